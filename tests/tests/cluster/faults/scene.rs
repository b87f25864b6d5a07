//! Pods on both nodes whose traffic flows while something fails, and what changes meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use netpol_prober::Protocol;
use netpol_tests::cluster::Part;
use netpol_tests::deadline::wait_for;
use netpol_tests::etcd::Etcd;
use netpol_tests::figure;
use serde_json::{Value, json};

use super::traffic::{Asked, Traffic};
use crate::scene::{ALLOWED, OTHER, PATIENCE, Running, Scene, app, both, ingress_of, pod, ports};

/// What the issue gives the agents after the API server's return.
const CONVERGED: Duration = Duration::from_secs(5);
/// How long a question waits that is asked again and again, in milliseconds.
const LOOK: u64 = 300;
/// Which pods are called, one on each node.
const SERVERS: [&str; 2] = ["near", "far"];

type Places = Vec<(Protocol, std::net::SocketAddr)>;

/// The pods, with agents that have settled.
pub(super) struct Faulty {
    pub(super) scene: Scene,
}

impl Faulty {
    /// Two servers that take calls of clients, and one of guests as well, at one port.
    pub(super) fn build(name: &str) -> Result<Self> {
        let names = [("near", 0), ("far", 1), ("client", 0), ("guest", 0), ("turncoat", 1), ("stranger", 0)];
        let scene = Scene::build(name, &names.map(|(name, node)| pod(name, node)))?;
        let faulty = Self { scene };
        let every: Vec<_> =
            [ALLOWED, OTHER].into_iter().flat_map(|port| faulty.places(&SERVERS, port)).collect();
        for from in ["client", "guest", "turncoat", "stranger"] {
            for server in SERVERS {
                let places: Vec<_> =
                    every.iter().filter(|place| faulty.is_at(server, place)).copied().collect();
                faulty.scene.reaches(from, server, &places).context("without policies all arrives")?;
            }
        }
        for server in SERVERS {
            let rule = json!([{"from": app("client"), "ports": ports(ALLOWED)}]);
            faulty.scene.policy(server, &ingress_of(server, &rule))?;
        }
        for who in ["guest", "turncoat"] {
            faulty.scene.policy(who, &lets_in(who))?;
        }
        for server in SERVERS {
            faulty.scene.pod(server)?.prober.heard(true)?;
        }
        Ok(faulty)
    }

    fn places(&self, servers: &[&str], port: u16) -> Places {
        let sockets = |name: &&str| self.scene.pod(name).map(|pod| pod.sockets(port)).unwrap_or_default();
        both(&servers.iter().flat_map(sockets).collect::<Vec<_>>())
    }

    fn is_at(&self, server: &str, place: &(Protocol, std::net::SocketAddr)) -> bool {
        self.scene.pod(server).is_ok_and(|pod| pod.addresses.contains(&place.1.ip()))
    }

    fn running(&self, name: &str) -> Result<Running> {
        Ok(self.scene.pod(name)?.clone())
    }

    /// What always passes, and what never does.
    pub(super) fn traffic(&self) -> Result<Traffic> {
        let from_client = |port| -> Result<Asked> {
            Ok(Asked { from: self.running("client")?, to: self.places(&SERVERS, port) })
        };
        let stranger = Asked { from: self.running("stranger")?, to: self.places(&["far"], OTHER) };
        Traffic::start(vec![from_client(ALLOWED)?], vec![from_client(OTHER)?, stranger])
    }

    /// Ends the traffic, and sees that nothing has arrived that is denied.
    pub(super) fn ended(&self, traffic: Traffic) -> Result<()> {
        traffic.stop()?;
        let client = self.running("client")?;
        for server in SERVERS {
            let heard = self.scene.pod(server)?.prober.heard(false)?;
            let denied = heard.iter().find(|one| one.port == OTHER);
            ensure!(denied.is_none(), "{server} has heard what is denied: {denied:?}");
            let allowed = heard.iter().any(|one| client.addresses.contains(&one.source));
            ensure!(allowed, "{server} has not heard what is allowed: {heard:?}");
        }
        Ok(())
    }

    /// What changes while the API server is away, written to where it keeps its objects: the guest is let in no more, the
    /// stranger is, and another one has other labels.
    pub(super) fn change(&self) -> Result<impl FnOnce() -> Result<()> + use<>> {
        let etcd = Etcd::new(self.scene.cluster.network());
        let namespace = self.scene.namespace.clone();
        let text = self.scene.kubectl(&["get", "pod", "turncoat", "-o", "json"])?;
        let mut turncoat: Value = serde_json::from_str(&text).context("kubectl wrote no JSON")?;
        turncoat["metadata"]["labels"]["app"] = "retired".into();
        let text = self.scene.kubectl(&["get", "networkpolicy", "guest", "-o", "json"])?;
        let mut late: Value = serde_json::from_str(&text).context("kubectl wrote no JSON")?;
        late["metadata"]["name"] = "late".into();
        late["metadata"]["uid"] = "00000000-0000-4000-8000-000000000001".into();
        late["spec"] = lets_in("stranger");
        Ok(move || {
            etcd.put([turncoat, late])?;
            etcd.delete("NetworkPolicy", &namespace, "guest")
        })
    }

    /// Who is let in before the change, and who is after it.
    fn of_the_change(&self) -> Result<[Vec<(&'static str, Places)>; 2]> {
        let to = self.places(&["near"], ALLOWED);
        Ok([vec![("guest", to.clone()), ("turncoat", to.clone())], vec![("stranger", to)]])
    }

    /// All is as it was before the change.
    pub(super) fn expect_before(&self) -> Result<()> {
        let [before, after] = self.of_the_change()?;
        for (from, to) in &before {
            self.scene.reaches(from, "near", to)?;
        }
        after.iter().try_for_each(|(from, to)| self.scene.is_dropped(from, to))
    }

    fn is_changed(&self) -> Result<bool> {
        let [before, after] = self.of_the_change()?;
        for (from, to) in &after {
            if !self.scene.ask(from, to, LOOK)?.iter().all(netpol_prober::Outcomes::all_reached) {
                return Ok(false);
            }
        }
        for (from, to) in &before {
            if !self.scene.ask(from, to, LOOK)?.iter().all(netpol_prober::Outcomes::all_timed_out) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until the change is in force, and sees that this was in time.
    pub(super) fn converges(&self, returned: Instant) -> Result<()> {
        let took = loop {
            let asked = returned.elapsed();
            if self.is_changed()? {
                break asked;
            }
            if asked > CONVERGED {
                let node = &self.scene.pod("near")?.node;
                let status = self.scene.agents.status(node);
                bail!(
                    "not converged {asked:?} after the return: {status:?}\n{}",
                    self.scene.agents.log(node)
                );
            }
        };
        ensure!(self.is_changed()?, "it was so by accident");
        figure(format_args!("converged {:.2} s after the return, on a node", took.as_secs_f64()));
        Ok(())
    }

    /// Waits until the API server takes requests again.
    pub(super) fn server_is_back(&self) -> Result<()> {
        let cluster = &self.scene.cluster;
        wait_for("the API server is ready", PATIENCE, || {
            let ready = cluster.kubectl(&["get", "--raw", "/readyz"]).is_ok();
            if !ready && cluster.part(Part::ApiServer).pid().is_none() {
                return Some(false);
            }
            ready.then_some(true)
        })?
        .then_some(())
        .with_context(|| format!("the API server has ended:\n{}", cluster.part(Part::ApiServer).log()))
    }
}

/// One server takes calls of pods with this label at one port.
fn lets_in(who: &str) -> Value {
    ingress_of("near", &json!([{"from": app(who), "ports": ports(ALLOWED)}]))
}
