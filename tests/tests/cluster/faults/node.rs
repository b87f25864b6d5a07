//! Parts of a node fail: its kubelet, and the agent itself.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{self, Agents, Node, NodePart};
use serde_json::{Value, json};

use super::scene::Faulty;
use crate::scene::{ALLOWED, PATIENCE, Scene, both, egress_of, pod};

/// A node's kubelet does not run as long as this lives.
pub(crate) struct NoKubelet<'a>(&'a Node);

impl<'a> NoKubelet<'a> {
    pub(crate) fn new(node: &'a Node) -> Result<Self> {
        node.part(NodePart::Kubelet).kill()?;
        Ok(Self(node))
    }
}

impl Drop for NoKubelet<'_> {
    fn drop(&mut self) {
        // When it does not start, the node's next pod says so.
        drop(self.0.part(NodePart::Kubelet).start());
    }
}

#[test]
#[ignore = "needs a cluster"]
fn without_its_kubelet_a_node_enforces_what_changes_and_its_next_pods_are_judged() -> Result<()> {
    let _guard = cluster::exclusive();
    let mut faulty = Faulty::build("kubelet")?;
    let traffic = faulty.traffic()?;
    faulty.expect_before()?;
    let node = faulty.scene.node(0).clone();
    let dead = NoKubelet::new(&node)?;
    let began = Instant::now();
    faulty.change()?()?;
    faulty.converges(began)?;
    // Its policy is known before it is there.
    let scene = &mut faulty.scene;
    scene.policy("late-pod", &egress_of("late-pod", &Value::Array(Vec::new())))?;
    let late = pod("late-pod", 0);
    scene.put(&scene.object(&late))?;
    let phase = scene.kubectl(&["get", "pod", "late-pod", "-o", "jsonpath={.status.phase}"])?;
    ensure!(phase == "Pending", "a pod is {phase} without a kubelet");
    drop(dead);
    scene.add(&[late])?;
    let to = both(&scene.pod("stranger")?.sockets(ALLOWED));
    scene.is_dropped("late-pod", &to)?;
    scene.no_policy("late-pod")?;
    scene.reaches("late-pod", "stranger", &to)?;
    faulty.ended(traffic)
}

#[test]
#[ignore = "needs a cluster"]
fn agents_that_are_killed_leave_all_in_force_and_catch_up_when_they_are_back() -> Result<()> {
    let _guard = cluster::exclusive();
    let faulty = Faulty::build("agents")?;
    let traffic = faulty.traffic()?;
    let (agents, nodes) = (&faulty.scene.agents, faulty.scene.cluster.nodes());
    for node in nodes {
        agents.kill(node)?;
        ensure!(agents.part(node).pid().is_none(), "the agent of {} lives", node.name());
    }
    let back = Back(agents, nodes);
    faulty.change()?()?;
    faulty.expect_before()?;
    drop(back);
    faulty.scene.agents.settled()?;
    faulty.converges(Instant::now())?;
    // Again and again, and nothing is lost or let through.
    for _ in 0..3 {
        for node in nodes {
            agents.restart(node).with_context(|| format!("within {PATIENCE:?}"))?;
        }
    }
    faulty.converges(Instant::now())?;
    faulty.ended(traffic)
}

/// What is left of an agent that does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// All that it has pinned: it was killed.
    Everything,
    /// Nothing, as on a node that has just booted.
    Nothing,
}

/// Two pods under one policy: one that an agent has known, and one that starts while there is none.
fn a_pod_starts_without_an_agent(name: &str, left: Left) -> Result<()> {
    let _guard = cluster::exclusive();
    let guest = |name| pod(name, 0).label("guest", "yes");
    let mut scene = Scene::build(name, &[pod("server", 0), guest("early")])?;
    let (agents, node) = (scene.agents.clone(), scene.node(0).clone());
    let to = both(&scene.pod("server")?.sockets(ALLOWED));
    let policy = json!({"podSelector": {"matchLabels": {"guest": "yes"}}, "policyTypes": ["Egress"]});
    scene.policy("guests", &policy)?;
    scene.is_dropped("early", &to)?;
    match left {
        Left::Everything => agents.kill(&node)?,
        Left::Nothing => agents.uninstall(&node)?,
    }
    let back = Back(&agents, std::slice::from_ref(&node));
    scene.put(&scene.object(&guest("late")))?;
    scene.meet("late", &node)?;
    // It is open, as the documents say: who was hooked before is not, as long as that is left.
    scene.reaches("late", "server", &to)?;
    match left {
        Left::Everything => scene.is_dropped("early", &to)?,
        Left::Nothing => scene.reaches("early", "server", &to)?,
    }

    drop(back);
    agents.ready(&node)?;
    let absence = agents.status(&node)?["absence"].clone();
    agents.settled()?;
    for guest in ["early", "late"] {
        scene.is_dropped(guest, &to)?;
    }
    let key = |name: &str| Value::from(format!("{}/{name}", scene.namespace));
    let pods = absence["pods"].as_array().with_context(|| format!("no absence is told: {absence}"))?;
    match left {
        Left::Everything => ensure!(*pods == [key("late")], "not only the late pod is told: {absence}"),
        Left::Nothing => {
            let all = ["server", "early", "late"].iter().all(|name| pods.contains(&key(name)));
            ensure!(all, "not all pods are told: {absence}");
        }
    }
    ensure!(absence["since"].as_str() < absence["until"].as_str(), "it took no time: {absence}");
    // The control: without the policy it arrives.
    scene.no_policy("guests")?;
    scene.reaches("late", "server", &to)
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_that_starts_while_its_agent_is_dead_is_open_until_the_next_one_which_names_it() -> Result<()> {
    a_pod_starts_without_an_agent("dead", Left::Everything)
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_that_starts_before_its_nodes_first_agent_is_open_until_that_is_there_which_names_it() -> Result<()> {
    a_pod_starts_without_an_agent("first", Left::Nothing)
}

/// The agents run again when this is dropped.
struct Back<'a>(&'a Agents, &'a [Node]);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        for node in self.1 {
            // One that does not start is waited for in vain.
            drop(self.0.launch(node));
        }
    }
}
