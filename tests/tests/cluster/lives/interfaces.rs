//! A pod with further interfaces than its first, as a second network of its CNI makes them: each is enforced, or refused
//! openly.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use netpol_prober::Protocol;
use netpol_tests::cluster::{self, Node};
use netpol_tests::deadline::wait_for;
use netpol_tests::laboratory::Namespace;
use netpol_tests::not_run;
use serde_json::{Value, json};

use super::runtime::{cache, cached, forget};
use crate::metrics::{METRICS, metric};
use crate::scene::{ALLOWED, OTHER, PATIENCE, Scene, app, both, nothing, pod, ports};

/// The node's end, and its address: of the pods' range, as the node hides whom of that it sends elsewhere.
const OUTSIDE: &str = "second0";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 200, 1);
/// The pod's end, and its address.
const INSIDE: &str = "net1";
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 244, 200, 2);
/// An interface that does not end on the node.
const BLIND: &str = "net2";

/// What was added to a pod; it goes when this is dropped.
struct Added {
    node: Node,
    pod: Namespace,
    /// Of the pod's first interface in libcni's cache.
    cached: Value,
    /// The file of the pod's network namespace, as the node sees it.
    sandbox: String,
    files: Vec<String>,
}

impl Added {
    /// A second veth that leads into the pod, which answers by it to whoever asks its address there.
    fn new(scene: &Scene, name: &str) -> Result<Self> {
        let node = scene.pod(name)?.node.clone();
        let (_, cached) = cached(scene, name)?;
        let mut ends = cached["result"]["interfaces"].as_array().into_iter().flatten();
        let sandbox = ends.find_map(|end| end["sandbox"].as_str().filter(|path| !path.is_empty()));
        let sandbox = sandbox.context("libcni's cache names no namespace")?.to_owned();
        // `/var/run` is a link, which would be followed on this machine.
        let pod = Namespace::opened(name, node.path(&sandbox.replacen("/var/run/", "/run/", 1)))?;
        let added = Self { node, pod, cached, sandbox, files: Vec::new() };
        added.node.command("ip", &["link", "add", OUTSIDE, "type", "veth", "peer", "name", "second1"])?;
        added.node.command("ip", &["link", "set", "second1", "netns", &added.sandbox])?;
        added.node.command("ip", &["address", "add", &format!("{GATEWAY}/24"), "dev", OUTSIDE])?;
        added.node.command("ip", &["link", "set", OUTSIDE, "up"])?;
        added.pod.batch(&format!(
            "link set second1 name {INSIDE}\n\
             address add {SECOND}/24 dev {INSIDE}\n\
             link set {INSIDE} up\n\
             rule add from {SECOND} lookup 99\n\
             route add default via {GATEWAY} dev {INSIDE} table 99\n"
        ))?;
        Ok(added)
    }

    /// What the pod sends to this address goes by its second interface.
    fn lead(&self, to: IpAddr) -> Result<()> {
        self.pod.batch(&format!("route add {to} via {GATEWAY} dev {INSIDE}\n"))
    }

    /// What libcni writes when a plugin of another network has returned.
    fn write(&mut self, network: &str, inside: &str, interfaces: &Value, address: Ipv4Addr) -> Result<()> {
        let mut value = self.cached.clone();
        value["networkName"] = network.into();
        value["ifName"] = inside.into();
        let last = interfaces.as_array().map_or(0, Vec::len).saturating_sub(1);
        value["result"] = json!({
            "cniVersion": "1.0.0",
            "interfaces": interfaces,
            "ips": [{"interface": last, "address": format!("{address}/24")}],
        });
        let container = self.cached["containerId"].as_str().context("libcni's cache names no sandbox")?;
        let file = format!("{network}-{container}-{inside}");
        cache(&self.node, &file, &value)?;
        self.files.push(file);
        Ok(())
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        for file in &self.files {
            forget(&self.node, file);
        }
        // The other end goes with it.
        drop(self.node.command("ip", &["link", "delete", OUTSIDE]));
    }
}

fn said(scene: &Scene, list: &str) -> Result<String> {
    Ok(scene.agents.status(&scene.pod("subject")?.node)?[list].to_string())
}

#[test]
#[ignore = "needs a cluster"]
fn each_interface_of_a_pod_is_enforced_and_closed_before_it_is_known() -> Result<()> {
    let _guard = cluster::exclusive();
    let names = ["subject", "client", "stranger", "server"];
    let scene = Scene::build("second", &names.map(|name| pod(name, 0)))?;
    let rule = |who: &str, peer: &str| json!([{who: app(peer), "ports": ports(ALLOWED)}]);
    let policy = json!({
        "podSelector": {"matchLabels": {"app": "subject"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": rule("from", "client"),
        "egress": rule("to", "server"),
    });
    scene.policy("subject", &policy)?;
    let server = scene.pod("server")?.addresses.iter().copied().find(IpAddr::is_ipv4);
    let Some(server) = server else {
        not_run("pods with several interfaces: the second network has IPv4 alone, and the cluster has none");
        return Ok(());
    };
    let mut added = Added::new(&scene, "subject")?;
    added.lead(server)?;
    // A pod answers datagrams by the interface that its routes name, not by the one that they came by.
    let at = |port| [(Protocol::Tcp, SocketAddr::new(SECOND.into(), port))];

    // Nothing but the cgroup of a process behind it says whose it is, and no status confirms its address.
    wait_for("the interface is said to stay closed", PATIENCE, || {
        said(&scene, "problems")
            .ok()
            .filter(|text| text.contains(OUTSIDE))
            .or_else(|| said(&scene, "faults").ok().filter(|text| text.contains(OUTSIDE)))
    })?;
    scene.is_dropped("client", &at(ALLOWED))?;

    let ends = json!([{"name": OUTSIDE}, {"name": INSIDE, "sandbox": added.sandbox}]);
    added.write("second", INSIDE, &ends, SECOND)?;
    let node = scene.pod("subject")?.node.clone();
    wait_for("both interfaces are enforced", PATIENCE, || {
        let lines = scene.endpoints(&node, "subject").ok()?;
        let isolated = |line: &Value| line["ingress"] == "isolated" && line["egress"] == "isolated";
        (lines.len() == 2 && lines.iter().all(isolated)).then_some(())
    })?;
    scene.reaches("client", "subject", &at(ALLOWED))?;
    scene.is_dropped("client", &at(OTHER))?;
    scene.is_dropped("stranger", &at(ALLOWED))?;
    let to = |port| [(Protocol::Tcp, SocketAddr::new(server, port))];
    scene.reaches("subject", "server", &to(ALLOWED))?;
    let seen = scene.ask("subject", &to(ALLOWED), 3000)?;
    ensure!(seen[0].seen_as == Some(SECOND.into()), "it was not sent by {INSIDE}: {seen:?}");
    scene.is_dropped("subject", &to(OTHER))?;
    // The controls: without the policy all of it arrives.
    scene.no_policy("subject")?;
    scene.reaches("stranger", "subject", &[at(ALLOWED), at(OTHER)].concat())?;
    scene.reaches("subject", "server", &to(OTHER))
}

#[test]
#[ignore = "needs a cluster"]
fn an_interface_that_does_not_end_on_the_node_is_refused_openly_and_the_first_stays_enforced() -> Result<()> {
    let _guard = cluster::exclusive();
    let shapes = [pod("subject", 0), pod("client", 0)];
    let scene = Scene::with("blind", &shapes, &["--metrics", METRICS])?;
    let mut added = Added::new(&scene, "subject")?;
    let asked = scene.pod("subject")?.clone();
    let key = format!("{}/subject", scene.namespace);
    let events = || -> Result<String> {
        let of_it = "--field-selector=involvedObject.kind=Pod,involvedObject.name=subject,reason=NotEnforced";
        scene.kubectl(&["get", "events", of_it, "-o", "jsonpath={range .items[*]}{.type} {.message}{end}"])
    };
    let counted = || metric(&asked.node, "netpol_endpoints{state=\"refused\"}");
    ensure!(!said(&scene, "unenforced")?.contains(&key), "{}", said(&scene, "unenforced")?);
    ensure!(events()?.is_empty(), "{}", events()?);
    let before = counted()?;
    let ends = json!([{"name": BLIND, "sandbox": added.sandbox}]);
    added.write("blind", BLIND, &ends, Ipv4Addr::new(10, 244, 201, 2))?;
    let line = wait_for("it is refused openly", PATIENCE, || {
        let status = scene.agents.status(&asked.node).ok()?;
        let mut lines = status["unenforced"].as_array()?.iter();
        lines.find(|line| line["pod"] == *key).cloned()
    })?;
    ensure!(line["cause"] == "no-veth" && line["interface"] == BLIND, "{line}");
    let after = counted()?;
    ensure!(after == before + 1, "{before} refused became {after}");
    let event = wait_for("an Event on the pod says it", PATIENCE, || {
        events().ok().filter(|event| !event.is_empty())
    })?;
    let message = line["message"].as_str().context("nothing is said of what it means")?;
    ensure!(event.starts_with("Warning ") && event.contains(BLIND) && event.contains(message), "{event}");
    scene.reaches("client", "subject", &both(&asked.sockets(ALLOWED)))?;
    scene.policy("subject", &nothing())?;
    scene.is_dropped("client", &both(&asked.sockets(ALLOWED)))?;
    drop(added);
    wait_for("nothing is refused any more", PATIENCE, || {
        (counted().ok()? == before && !said(&scene, "unenforced").ok()?.contains(&key)).then_some(())
    })
}
