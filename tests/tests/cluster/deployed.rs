//! netpol as it is deployed: the image that `cargo xtask image` makes, started by the kubelets from what `deploy/` holds, with
//! the rights, the mounts and the capabilities that stand there, and removed again.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{self, Agents, Cluster, Node, Pod};
use netpol_tests::{deploy, eventually};
use serde_json::{Value, json};

/// How long agents, and what they enforce, may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Objects of a deployment; when this is dropped they are gone, and nothing is enforced any more.
struct Deployed<'a> {
    cluster: &'a Cluster,
    objects: String,
}

impl<'a> Deployed<'a> {
    fn new(cluster: &'a Cluster, objects: String) -> Result<Self> {
        // A test before may have left agents that are processes of the nodes.
        Agents::end_all(cluster)?;
        let image = std::env::var_os("NETPOL_IMAGE")
            .context("NETPOL_IMAGE names no image: `cargo xtask test --cluster` makes one")?;
        cluster.load_image(Path::new(&image))?;
        let deployed = Self { cluster, objects };
        cluster.apply(&deployed.objects)?;
        let ready = ["rollout", "status", "daemonset/netpol-agent", "-n", "kube-system", "--timeout=120s"];
        cluster.kubectl(&ready).with_context(|| deployed.trouble())?;
        Ok(deployed)
    }

    /// What keeps agents from being ready.
    fn trouble(&self) -> String {
        let label = "app.kubernetes.io/name=netpol";
        let ask = |arguments: &[&str]| self.cluster.kubectl(arguments).unwrap_or_default();
        format!(
            "{}\n{}",
            ask(&["describe", "pods", "-n", "kube-system", "-l", label]),
            ask(&["logs", "-n", "kube-system", "-l", label, "--tail=20"])
        )
    }

    /// Deletes the objects, which leaves what is enforced in force, and takes that down.
    fn remove(self) -> Result<()> {
        let pinned = |node: &Node| node.path("/sys/fs/bpf/netpol/maps").exists();
        self.cluster.kubectl_with(&["delete", "-f", "-", "--timeout=60s"], &self.objects)?;
        ensure!(self.cluster.nodes().iter().all(pinned), "what is enforced stays");
        Agents::end_all(self.cluster)?;
        ensure!(!self.cluster.nodes().iter().any(pinned), "nothing is left");
        Ok(())
    }

    /// What the agents say of themselves, asked in their containers, by node.
    fn statuses(&self) -> Result<Vec<(String, Value)>> {
        let named = "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{\"\\n\"}{end}";
        let pods = ["get", "pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=netpol", "-o", named];
        let lines = self.cluster.kubectl(&pods)?;
        let status = |line: &str| -> Result<(String, Value)> {
            let (pod, node) = line.split_once(' ').context("a pod without a node")?;
            let asks = ["exec", "-n", "kube-system", pod, "--", "/netpol", "status", "-o", "json"];
            Ok((node.to_owned(), serde_json::from_str(&self.cluster.kubectl(&asks)?)?))
        };
        lines.lines().map(status).collect()
    }
}

impl Drop for Deployed<'_> {
    fn drop(&mut self) {
        // What is not removed here is by the next one, or with the cluster.
        drop(self.cluster.kubectl_with(&["delete", "--ignore-not-found", "-f", "-"], &self.objects));
        drop(Agents::end_all(self.cluster));
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
    let namespace = cluster.namespace("deployed")?;
    let [first, .., last] = cluster.nodes() else { anyhow::bail!("two nodes are wanted") };
    let serve = ["netexec", "--http-port=8080", "--udp-port=-1"];
    let start =
        |name: &str, node| cluster.pod(&namespace, name).on(node).label("app", name).args(&serve).start();
    let (server, friend, near, far) =
        (start("server", first)?, start("friend", last)?, start("near", first)?, start("far", last)?);
    let url = format!("http://{}/hostname", std::net::SocketAddr::new(server.addresses()[0], 8080));
    let hears = |pod: &Pod| {
        let answer = pod.exec(&["wget", "-qO-", "--timeout=2", "--tries=1", &url]);
        answer.is_ok_and(|answer| answer.stdout == b"server")
    };
    let all = || [&friend, &near, &far].map(hears);
    eventually("without a policy all are heard", PATIENCE, &[true; 3], all)?;
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace.name(), "name": "server"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}],
        },
    });
    cluster.apply(&policy.to_string())?;
    eventually("only the friend is heard", PATIENCE, &[true, false, false], all)?;
    cluster.kubectl(&["delete", "networkpolicy", "-n", namespace.name(), "server"])?;
    eventually("all are heard again", PATIENCE, &[true; 3], all)?;
    let statuses = deployed.statuses()?;
    let found: BTreeSet<&str> = statuses
        .iter()
        .flat_map(|(_, status)| status["endpoints"].as_array().into_iter().flatten())
        .filter_map(|line| line["pod"].as_str())
        .collect();
    for pod in [&server, &friend, &near, &far] {
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
