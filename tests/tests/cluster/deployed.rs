//! netpol as it is deployed: the image that `cargo xtask image` makes, started by the kubelets from what `deploy/` holds, with
//! the rights, the mounts and the capabilities that stand there, and removed again.

mod deployment;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{self, Cluster, Node, Pod, TestNamespace};
use netpol_tests::held::Ids;
use netpol_tests::{deploy, eventually};
use serde_json::json;

pub(crate) use self::deployment::Deployed;
use self::deployment::is_pinned;
use crate::held::pins_of;

/// How long agents, and what they enforce, may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server, and three who ask it: a friend on the other node, and one on each.
struct Asking<'a> {
    cluster: &'a Cluster,
    namespace: TestNamespace,
    server: Pod,
    ask: [Pod; 3],
}

impl<'a> Asking<'a> {
    fn start(cluster: &'a Cluster) -> Result<Self> {
        let namespace = cluster.namespace("deployed")?;
        let [first, .., last] = cluster.nodes() else { anyhow::bail!("two nodes are wanted") };
        let serve = ["netexec", "--http-port=8080", "--udp-port=-1"];
        let start =
            |name: &str, node| cluster.pod(&namespace, name).on(node).label("app", name).args(&serve).start();
        let ask = [start("friend", last)?, start("near", first)?, start("far", last)?];
        let server = start("server", first)?;
        Ok(Self { cluster, namespace, server, ask })
    }

    /// Whom the server hears.
    fn heard(&self) -> [bool; 3] {
        let url = format!("http://{}/hostname", SocketAddr::new(self.server.addresses()[0], 8080));
        self.ask.each_ref().map(|pod| {
            let answer = pod.exec(&["wget", "-qO-", "--timeout=2", "--tries=1", &url]);
            answer.is_ok_and(|answer| answer.stdout == b"server")
        })
    }

    fn all_are_heard(&self) -> Result<()> {
        eventually("all are heard", PATIENCE, &[true; 3], || self.heard()).map(drop)
    }

    /// From now on only the friend is.
    fn isolate(&self) -> Result<()> {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"namespace": self.namespace.name(), "name": "server"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "server"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}],
            },
        });
        self.cluster.apply(&policy.to_string())?;
        eventually("only the friend is heard", PATIENCE, &[true, false, false], || self.heard()).map(drop)
    }
}

/// Agents are ready on every node, and enforce between pods of one node and of two.
fn enforces(deployed: &Deployed<'_>) -> Result<()> {
    let cluster = deployed.cluster;
    let nodes: BTreeSet<&str> = cluster.nodes().iter().map(Node::name).collect();
    let statuses = deployed.statuses()?;
    assert_eq!(statuses.iter().map(|(node, _)| &**node).collect::<BTreeSet<_>>(), nodes);
    for (node, status) in &statuses {
        ensure!(status["ready"] == true && status["node"] == **node, "{status:#}");
    }
    let asking = Asking::start(cluster)?;
    asking.all_are_heard()?;
    asking.isolate()?;
    cluster.kubectl(&["delete", "networkpolicy", "-n", asking.namespace.name(), "server"])?;
    asking.all_are_heard()?;
    let statuses = deployed.statuses()?;
    let found: BTreeSet<&str> = statuses
        .iter()
        .flat_map(|(_, status)| status["endpoints"].as_array().into_iter().flatten())
        .filter_map(|line| line["pod"].as_str())
        .collect();
    for pod in asking.ask.iter().chain([&asking.server]) {
        ensure!(found.contains(&*pod.key()), "{} is not among {found:?}", pod.key());
    }
    Ok(())
}

#[test]
#[ignore = "needs a cluster"]
fn the_kustomize_base_gives_agents_that_enforce_on_every_node() -> Result<()> {
    let _guard = cluster::exclusive();
    let cluster = Cluster::running()?;
    let deployed = Deployed::new(&cluster, deploy::kustomized(&deploy::folder())?)?;
    enforces(&deployed)?;
    deployed.remove()
}

#[test]
#[ignore = "needs a cluster"]
fn the_chart_gives_agents_that_enforce_on_every_node() -> Result<()> {
    let _guard = cluster::exclusive();
    let cluster = Cluster::running()?;
    let ranges = format!("agent.service-cidr={{{}}}", cluster.options().service_ranges().join(","));
    let objects = deploy::rendered(&["--set", &ranges, "--set", "startupTaint=netpol.io/agent-not-ready"])?;
    let deployed = Deployed::new(&cluster, objects)?;
    enforces(&deployed)?;
    deployed.remove()
}

#[test]
#[ignore = "needs a cluster"]
fn without_the_daemonset_all_stays_in_force_until_it_is_taken_down_on_every_node() -> Result<()> {
    let _guard = cluster::exclusive();
    let cluster = Cluster::running()?;
    let deployed = Deployed::new(&cluster, deploy::kustomized(&deploy::folder())?)?;
    let asking = Asking::start(&cluster)?;
    asking.all_are_heard()?;
    asking.isolate()?;
    let mut seen = Ids::default();
    for node in cluster.nodes() {
        seen.note(&pins_of(node))?;
    }
    deployed.delete()?;
    ensure!(asking.heard() == [true, false, false], "what was enforced is not any more");

    let uninstall = deploy::uninstall()?;
    cluster.apply(&uninstall)?;
    let gone = is_taken_down(&asking, &seen);
    cluster.kubectl_with(&["delete", "-f", "-", "--timeout=60s"], &uninstall)?;
    gone
}

/// Waits until `deploy/uninstall.yaml` has done its work.
fn is_taken_down(asking: &Asking<'_>, seen: &Ids) -> Result<()> {
    let cluster = asking.cluster;
    let done = ["rollout", "status", "daemonset/netpol-uninstall", "-n", "kube-system", "--timeout=120s"];
    let pods = ["describe", "pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=netpol-uninstall"];
    cluster.kubectl(&done).with_context(|| cluster.kubectl(&pods).unwrap_or_default())?;
    ensure!(asking.heard() == [true; 3], "something is enforced still");
    ensure!(!cluster.nodes().iter().any(is_pinned), "something is pinned still");
    ensure!(seen.len() > 20, "hardly anything was pinned: {seen:?}");
    seen.wait_until_gone(&[], PATIENCE)
}
