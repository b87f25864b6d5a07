//! From the event on the wire to the last map write, as the agent itself counts it, with 100 pods of the node and 1,000
//! policies.

use std::net::{IpAddr, Ipv4Addr};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{self, Node};
use netpol_tests::deadline::wait_for;
use netpol_tests::etcd::Etcd;
use netpol_tests::figure;
use serde_json::{Value, json};

use super::local_pods::{LocalPods, pod};
use crate::faults::NoKubelet;
use crate::metrics::{METRICS, metric};
use crate::scene::{PATIENCE, Scene, ingress_of};

/// The node's own pods.
const LOCAL: u8 = 100;
/// Policies, each of which selects one of them.
const POLICIES: u16 = 1000;
/// Changes of policies, and as many of pods' labels.
const CHANGES: u16 = 200;
/// How often it is tried at most: a machine that is busy with other things is late by itself.
const ROUNDS: u16 = 3;
/// Pods of another node, and how many labels policies name.
const ELSEWHERE: u16 = 50;
const NAMED: u16 = 70;
/// Between two changes of labels.
const PAUSE: Duration = Duration::from_millis(20);
/// What the issue gives 99 of 100 changes: a bound of the agent's histogram, in seconds.
const AIM: &str = "0.05";
/// Bounds that are told.
const BOUNDS: [&str; 5] = ["0.005", "0.01", "0.025", AIM, "0.1"];

/// Counts of the histogram: within a bound, and at all.
#[derive(Debug, Clone, Copy)]
struct Counts {
    within: u64,
    all: u64,
}

fn counts(node: &Node, bound: &str) -> Result<Counts> {
    let name = "netpol_enforcement_latency_seconds";
    Ok(Counts {
        within: metric(node, &format!("{name}_bucket{{le=\"{bound}\"}}"))?,
        all: metric(node, &format!("{name}_count"))?,
    })
}

fn policy(namespace: &str, number: u16, port: u16) -> Value {
    let peers = json!([{"podSelector": {"matchLabels": {"app": format!("app-{}", number % NAMED)}}}]);
    let rule = json!([{"from": peers, "ports": [{"protocol": "TCP", "port": port}]}]);
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": format!("policy-{number}")},
        "spec": ingress_of(&format!("app-{}", number % u16::from(LOCAL)), &rule),
    })
}

#[test]
#[ignore = "needs a cluster"]
fn changes_are_in_force_within_50_ms_of_the_wire_with_100_pods_and_1000_policies() -> Result<()> {
    let _guard = cluster::exclusive();
    let scene = Scene::with("latency", &[], &["--metrics", METRICS])?;
    let (node, namespace) = (scene.node(0).clone(), scene.namespace.clone());
    let _dead = NoKubelet::new(&node)?;
    let _pods = LocalPods::new(&scene.cluster, &node, &namespace, LOCAL)?;
    let etcd = Etcd::new(scene.cluster.network());
    etcd.put((0..POLICIES).map(|number| policy(&namespace, number, 8080)))?;
    wait_for("every pod is isolated by its policies", PATIENCE, || {
        let status = scene.agents.status(&node).ok()?;
        let own = |line: &&Value| line["interface"].as_str().is_some_and(|name| name.starts_with("figure"));
        let lines = status["endpoints"].as_array()?.iter().filter(own);
        let isolated = lines.filter(|line| line["ingress"] == "isolated").count();
        let known = status["objects"]["NetworkPolicy"].as_u64()? >= u64::from(POLICIES);
        (isolated == usize::from(LOCAL) && known && status["ready"] == true).then_some(())
    })?;

    let mut last = Ok(());
    for round in 1..=ROUNDS {
        let before = BOUNDS.map(|bound| counts(&node, bound));
        change(&scene, round)?;
        for (bound, before) in BOUNDS.into_iter().zip(before) {
            let (now, before) = (counts(&node, bound)?, before?);
            let (within, all) = (now.within - before.within, now.all - before.all);
            figure(format_args!(
                "{within} of {all} changes in force within {bound} s, with {LOCAL} pods and {POLICIES} policies"
            ));
            // Also those that are written together are counted one by one.
            ensure!(all >= u64::from(CHANGES) * 2, "only {all} changes were counted");
            if bound == AIM {
                let is_met = within * 100 >= all * 99;
                last = is_met.then_some(()).with_context(|| format!("{within} of {all} within {AIM} s"));
            }
        }
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Changes policies, each acknowledged before the next one is written, and labels of pods elsewhere that they name.
fn change(scene: &Scene, round: u16) -> Result<()> {
    let namespace = &scene.namespace;
    let port = 9000 + round * CHANGES;
    let changed: Vec<Value> = (0..CHANGES).map(|number| policy(namespace, number, port + number)).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": changed});
    scene.cluster.kubectl_with(&["replace", "-f", "-"], &list.to_string())?;
    let etcd = Etcd::new(scene.cluster.network());
    for number in 0..CHANGES {
        let part = u8::try_from(number % ELSEWHERE)?;
        let address = IpAddr::V4(Ipv4Addr::new(10, 244, 211, part + 1));
        let app = format!("app-{}", (number + round) % NAMED);
        etcd.put([pod(namespace, &format!("elsewhere-{part}"), "node-9", &app, address)])?;
        sleep(PAUSE);
    }
    let settled = scene.agents.settled();
    for part in 0..ELSEWHERE {
        // A controller may have seen already that there is no such node.
        drop(etcd.delete("Pod", namespace, &format!("elsewhere-{part}")));
    }
    settled
}
