//! On every node two hundred connections stay open and two hundred denied datagrams a second are denied, whatever becomes
//! of the agents.

mod damaged;
mod detached;
mod replaced;
mod rolling;
mod told;
mod two;

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::Node;
use netpol_tests::deadline::wait_for;
use netpol_tests::figure;
use netpol_tests::held::Ids;
use netpol_tests::laboratory::Namespace;
use netpol_tests::serve::{self, Server};
use netpol_tests::steady::{CONNECTIONS, Carried, Denied, Steady};
use serde_json::{Value, json};

use crate::held::{Held, pins_of};
use crate::scene::{PATIENCE, Running, Scene, app, ingress_of, pod};

/// What servers give back that this test runs in the pods' networks; policies allow the first.
const ALLOWED: u16 = 7000;
/// See [`ALLOWED`].
const OTHER: u16 = 7001;

/// Whether `--brief` was asked for.
fn brief() -> bool {
    std::env::var_os("NETPOL_BRIEF").is_some()
}

/// A client, a server and a stranger on every node: clients call the server of the next node.
struct Alive {
    scene: Scene,
    steady: Vec<Steady>,
    never: Vec<Server>,
    _servers: Vec<Server>,
    /// What was heard before it was denied.
    heard: u64,
    /// What has passed although it is denied, where a test expects that.
    passed: u64,
    seen: Ids,
}

/// Where what libcni has noted says that the pod's network is.
fn sandbox(noted: &Value) -> Option<&str> {
    let interfaces = noted["result"]["interfaces"].as_array()?;
    interfaces.iter().filter_map(|one| one["sandbox"].as_str()).find(|path| !path.is_empty())
}

/// The network namespace of a pod, as libcni has noted it.
fn network(scene: &Scene, name: &str) -> Result<Namespace> {
    let node = &scene.pod(name)?.node;
    for entry in fs::read_dir(node.path("/var/lib/cni/results")).context("no cache of libcni")?.flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let Ok(result) = serde_json::from_str::<Value>(&text) else { continue };
        let is = |key: &str, value: &str| {
            let mut all = result["cniArgs"].as_array().into_iter().flatten();
            all.any(|pair| pair[0] == key && pair[1] == value)
        };
        if is("K8S_POD_NAMESPACE", &scene.namespace)
            && is("K8S_POD_NAME", name)
            && let Some(path) = sandbox(&result)
        {
            return Namespace::opened(name, node.path(&path.replace("/var/run/", "/run/")));
        }
    }
    anyhow::bail!("libcni knows no network of {name}")
}

impl Alive {
    fn build(name: &str) -> Result<Self> {
        let pods = ["server-0", "client-0", "stranger-0", "server-1", "client-1", "stranger-1"];
        let shapes: Vec<_> = pods
            .into_iter()
            .map(|name| pod(name, usize::from(name.ends_with('1'))).label("role", &name[..name.len() - 2]))
            .collect();
        let scene = Scene::build(name, &shapes)?;
        let (mut never, mut servers) = (Vec::new(), Vec::new());
        for server in ["server-0", "server-1"] {
            let network = network(&scene, server)?;
            servers.extend([serve::tcp(&network, ALLOWED)?, serve::udp(&network, ALLOWED)?]);
            never.push(serve::udp(&network, OTHER)?);
        }
        // The control: without policies all of it is heard.
        for (from, to) in [("client-0", "server-1"), ("stranger-1", "server-0")] {
            for to in scene.pod(to)?.sockets(OTHER) {
                let outcome = network(&scene, from)?.udp(to, netpol_tests::probe::ARRIVAL_PATIENCE);
                ensure!(outcome == netpol_tests::Outcome::Reached, "{from} to {to}: {outcome:?}");
            }
        }
        for server in ["server-0", "server-1"] {
            let clients = [app("client-0"), app("client-1")].map(|one| one[0].clone());
            let port = |protocol: &str| json!({"protocol": protocol, "port": ALLOWED});
            let rule = json!([{"from": clients, "ports": [port("TCP"), port("UDP")]}]);
            scene.policy(server, &ingress_of(server, &rule))?;
        }
        let heard = never.iter().map(Server::heard).sum();
        let (steady, seen) = (Vec::new(), Ids::default());
        let mut alive = Self { scene, steady, never, _servers: servers, heard, passed: 0, seen };
        for (client, stranger, to) in
            [("client-0", "stranger-0", "server-1"), ("client-1", "stranger-1", "server-0")]
        {
            let to = alive.scene.pod(to)?.clone();
            let denied = [client, stranger].map(|from| alive.denied(from, &to.sockets(OTHER)));
            let denied = denied.into_iter().collect::<Result<Vec<_>>>()?;
            let client = network(&alive.scene, client)?;
            alive.steady.push(Steady::start(&client, &to.sockets(ALLOWED), denied)?);
        }
        Ok(alive)
    }

    fn denied(&self, from: &str, to: &[SocketAddr]) -> Result<Denied> {
        let Running { addresses, .. } = self.scene.pod(from)?;
        Ok(Denied { from: network(&self.scene, from)?, own: addresses.clone(), to: to.to_vec() })
    }

    /// How many datagrams were heard since they are denied.
    fn have_passed(&self) -> u64 {
        self.never.iter().map(Server::heard).sum::<u64>() - self.heard
    }

    fn no_more_have_passed(&self) -> Result<()> {
        let (passed, expected) = (self.have_passed(), self.passed);
        ensure!(passed == expected, "{passed} denied datagrams were heard, {expected} were to be");
        Ok(())
    }

    fn nodes(&self) -> Vec<Node> {
        self.scene.cluster.nodes().to_vec()
    }

    fn goes_on(&mut self) -> Result<()> {
        for node in self.nodes() {
            self.seen.note(&pins_of(&node))?;
        }
        self.steady.iter().try_for_each(Steady::goes_on)?;
        self.no_more_have_passed()
    }

    /// What becomes of each node while its agent is away, which is killed before and ready after it.
    fn meanwhile(&self, happens: impl Fn(&Node) -> Result<()>) -> Result<()> {
        let agents = &self.scene.agents;
        for node in self.nodes() {
            agents.kill(&node)?;
            happens(&node)?;
            agents.launch(&node)?;
        }
        self.nodes().iter().try_for_each(|node| agents.ready(node))
    }

    /// What happens, with all traffic before, meanwhile and after it; then nothing is left of what was there in between.
    fn through(mut self, what: &str, happens: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.goes_on()?;
        let before: Vec<Held> = self.nodes().iter().map(Held::at_rest).collect::<Result<_>>()?;
        happens(&mut self)?;
        self.scene.agents.settled()?;
        self.goes_on()?;
        let (mut exchanges, mut probes) = (0, 0);
        for steady in &mut self.steady {
            let Carried { exchanges: more, probes: denied } = steady.stop()?;
            (exchanges, probes) = (exchanges + more, probes + denied);
        }
        self.no_more_have_passed()?;
        figure(format_args!(
            "{what}: {CONNECTIONS} connections kept on each node ({exchanges} numbers came back), {} probes denied",
            probes - self.passed
        ));
        let mut now = None;
        let is_back = wait_for("the nodes hold what they held before", PATIENCE, || {
            now = self.held().ok();
            let within = |now: &Vec<Held>| now.iter().zip(&before).all(|(now, before)| now.is_within(before));
            now.as_ref().is_some_and(within).then_some(())
        });
        is_back.with_context(|| format!("{now:#?}\nbefore {before:#?}"))?;
        let pins: Vec<_> = self.nodes().iter().map(pins_of).collect();
        self.seen.wait_until_gone(&pins, PATIENCE)
    }

    fn held(&self) -> Result<Vec<Held>> {
        self.scene.cluster.nodes().iter().map(Held::of).collect()
    }
}
