//! The startup taint: no pod is scheduled onto a node before its agent is ready.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use netpol_tests::cluster::{self, Cluster};
use netpol_tests::deadline::wait_for;
use serde_json::json;

use crate::scene::{ALLOWED, PATIENCE, Scene, both, egress_of, pod};

const KEY: &str = "netpol.io/agent-not-ready";
/// The right to take taints off.
const RIGHTS: &str = include_str!("../../../deploy/startup-taint/rbac.yaml");
/// The right to everything else.
const ALL_RIGHTS: &str = include_str!("../../../deploy/rbac.yaml");
/// Long enough for an agent that does not wait for what it has to.
const A_WHILE: Duration = Duration::from_secs(3);

/// Takes off what a test puts on.
struct Tainted<'a>(&'a Cluster);

impl<'a> Tainted<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        let tainted = Self(cluster);
        cluster.kubectl(&["taint", "nodes", "--all", &format!("{KEY}=:NoSchedule")])?;
        Ok(tainted)
    }
}

impl Drop for Tainted<'_> {
    fn drop(&mut self) {
        // On most nodes it is off already.
        for node in self.0.nodes() {
            drop(self.0.kubectl(&["taint", "nodes", node.name(), &format!("{KEY}-")]));
        }
        drop(self.0.apply(ALL_RIGHTS));
        drop(self.0.kubectl_with(&["delete", "-f", "-"], RIGHTS));
    }
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_without_toleration_waits_until_an_agent_is_ready_and_is_enforced_then() -> Result<()> {
    let _guard = cluster::exclusive();
    let mut scene = Scene::with("taint", &[pod("server", 0)], &["--startup-taint", KEY])?;
    let cluster = scene.cluster.clone();
    cluster.apply(RIGHTS)?;
    for node in cluster.nodes() {
        scene.agents.kill(node)?;
    }
    let tainted = Tainted::new(&cluster)?;
    // An agent that may not list everything is not ready.
    cluster.kubectl(&["delete", "clusterrolebinding", "netpol-agent"])?;
    for node in cluster.nodes() {
        scene.agents.launch(node)?;
    }
    scene.put(&json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": scene.namespace, "name": "waiting"},
        "spec": egress_of("waiting", &json!([])),
    }))?;
    // The scheduler decides where these run.
    let anywhere = |name: &'static str| {
        let mut object = scene.object(&pod(name, 0));
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove("nodeName");
        }
        object
    };
    let mut tolerant = anywhere("tolerant");
    tolerant["spec"]["tolerations"] = json!([{"key": KEY, "operator": "Exists"}]);
    scene.put(&anywhere("waiting"))?;
    scene.put(&tolerant)?;
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    // The control: who tolerates the taint is scheduled, so that the scheduler is at work and there is room.
    scene.kubectl(&["wait", "--for=condition=PodScheduled", &timeout, "pod/tolerant"])?;
    let why = "jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].reason}";
    wait_for("the scheduler refuses the other one", PATIENCE, || {
        scene.kubectl(&["get", "pod", "waiting", "-o", why]).ok().filter(|why| why == "Unschedulable")
    })?;
    sleep(A_WHILE);
    for node in cluster.nodes() {
        ensure!(scene.agents.status(node)?["ready"] == false, "an agent is ready without rights");
        let taints =
            cluster.kubectl(&["get", "node", node.name(), "-o", "jsonpath={.spec.taints[*].key}"])?;
        ensure!(taints.contains(KEY), "the taint of {} is off: {taints:?}", node.name());
    }
    let phase = scene.kubectl(&["get", "pod", "waiting", "-o", "jsonpath={.status.phase}"])?;
    ensure!(phase == "Pending", "it is {phase}");

    cluster.apply(ALL_RIGHTS)?;
    for node in cluster.nodes() {
        scene.agents.ready(node)?;
    }
    scene.kubectl(&["wait", "--for=condition=Ready", &timeout, "pod/waiting"])?;
    wait_for("no taint is left", PATIENCE, || {
        let path = "jsonpath={.items[*].spec.taints[*].key}";
        let taints = cluster.kubectl(&["get", "nodes", "-o", path]).ok()?;
        (!taints.contains(KEY)).then_some(())
    })?;
    let on = scene.kubectl(&["get", "pod", "waiting", "-o", "jsonpath={.spec.nodeName}"])?;
    scene.meet("waiting", cluster.node(on.trim())?)?;
    scene.agents.settled()?;
    let to = both(&scene.pod("server")?.sockets(ALLOWED));
    scene.is_dropped("waiting", &to)?;
    scene.no_policy("waiting")?;
    scene.reaches("waiting", "server", &to)?;
    drop(tainted);
    Ok(())
}
