//! What is left in memory of an hour of churn, in fast motion: pods of the node come and go, policies and peers change, and in
//! the end all is as it was, but for other pods.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netpol_tests::{Laboratory, PodSpec};
use serde_json::{Value, json};

use crate::api::memory;
use crate::frames::{Family, Range};
use crate::goals::{Answer, Goal, Only};
use crate::machine::Machine;
use crate::memory::charged;
use crate::path::policies;
use crate::statistics::Figure;

/// What is told.
const ALL: [Goal; 5] = [
    Goal::told("churn", "an hour of churn in fast motion: changes of pods, policies and peers", ""),
    Goal::told("churn-maps-before", "the same: kernel memory of all maps before it", "MiB"),
    Goal::told("churn-maps-after", "the same: kernel memory of all maps after it", "MiB"),
    Goal::told("churn-agent-before", "the same: the agent's memory before it", "MiB"),
    Goal::told("churn-agent-after", "the same: the agent's memory after it", "MiB"),
];

/// Steps, of which each is a minute of a busy cluster.
const MINUTES: u32 = 60;
/// The node's pods, of which one goes and another comes each minute.
const PODS: u32 = 20;
/// Policies that change each minute.
const POLICIES: u32 = 10;
/// Files of peers, of which one changes each minute.
const FILES: u32 = 20;
/// Peers of each file.
const PEERS: u32 = 50;
/// After this time what is used no more is given back.
const QUIET: Duration = Duration::from_secs(10);

/// All goals.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    ALL.into_iter()
}

/// Measures what of it is wanted.
pub(crate) fn run(machine: &Machine, only: &Only) -> Result<Vec<Answer>> {
    if !all().any(|goal| only.wants_goal(&goal)) {
        return Ok(Vec::new());
    }
    let mut lab = Laboratory::new()?;
    for number in 0..PODS {
        add_pod(&mut lab, number)?;
    }
    policies(&mut lab)?;
    write_all(&mut lab)?;
    machine.unpinned(|| lab.start_agent())?;
    let before = kept(&mut lab)?;
    let mut changes = 0;
    for minute in 0..MINUTES {
        lab.remove_pod(&format!("shop/{}", pod_name(minute)))?;
        add_pod(&mut lab, PODS + minute)?;
        for number in 0..POLICIES {
            write_policy(&mut lab, number, 1 + minute)?;
        }
        write_peers(&mut lab, minute % FILES, 1 + minute)?;
        lab.settle()?;
        changes += 2 + POLICIES + PEERS;
    }
    write_all(&mut lab)?;
    changes += POLICIES + FILES * PEERS;
    let after = kept(&mut lab)?;
    let figures = [f64::from(changes), before[0], after[0], before[1], after[1]];
    let answers = ALL.into_iter().zip(figures);
    let answers = answers.map(|(goal, figure)| Answer { goal, figure: Figure::exact(figure) });
    Ok(answers.filter(|answer| only.wants_goal(&answer.goal)).collect())
}

/// MiB of all maps, and of the agent, once everything is written and nothing happens.
fn kept(lab: &mut Laboratory) -> Result<[f64; 2]> {
    lab.settle()?;
    sleep(QUIET);
    let maps = charged(&lab.pins())? as f64 / f64::from(1 << 20);
    Ok([maps, memory(lab.agent_id().context("no agent runs")?, "VmRSS:")?])
}

fn pod_name(number: u32) -> String {
    format!("web-{number:02}")
}

fn add_pod(lab: &mut Laboratory, number: u32) -> Result<()> {
    lab.add_pod(PodSpec::new("shop", &pod_name(number)).label("app", "server")).map(drop)
}

/// Policies and peers as they are in the beginning and in the end.
fn write_all(lab: &mut Laboratory) -> Result<()> {
    for number in 0..POLICIES {
        write_policy(lab, number, 0)?;
    }
    (0..FILES).try_for_each(|file| write_peers(lab, file, 0))
}

/// A policy with other peers and ports each minute.
fn write_policy(lab: &mut Laboratory, number: u32, minute: u32) -> Result<()> {
    let spec = json!({
        "podSelector": {},
        "ingress": [{
            "from": [
                {"podSelector": {"matchLabels": {"app": app(number + minute)}}},
                {"ipBlock": {"cidr": format!("192.168.{minute}.0/24")}},
            ],
            "ports": [{"protocol": "TCP", "port": 9000 + 100 * number + minute}],
        }],
    });
    lab.policy("shop", &format!("churn-{number}"), &spec)
}

/// Pods elsewhere, in a file, with other addresses and labels each minute.
fn write_peers(lab: &mut Laboratory, file: u32, minute: u32) -> Result<()> {
    let peer = |number: u32| {
        let name = format!("client-{file}-{number}");
        let address = Range::Peers.address(Family::V4, minute * FILES * PEERS + file * PEERS + number);
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": "shop", "name": name, "labels": {"app": app(number + minute)}},
            "spec": {"nodeName": "node-2"},
            "status": {"phase": "Running", "podIPs": [{"ip": address}]},
        })
    };
    let list =
        json!({"apiVersion": "v1", "kind": "List", "items": (0..PEERS).map(peer).collect::<Vec<Value>>()});
    lab.apply_file(&format!("peers-{file:02}.json"), &list.to_string())
}

/// A label that some of the policies name.
fn app(number: u32) -> String {
    format!("peer-{}", 1 + number % 90)
}
