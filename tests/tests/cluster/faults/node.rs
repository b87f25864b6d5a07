//! Parts of a node fail: its kubelet, and the agent itself.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{self, Agents, Node, NodePart};
use serde_json::Value;

use super::scene::Faulty;
use crate::scene::{ALLOWED, PATIENCE, both, egress_of, pod};

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
