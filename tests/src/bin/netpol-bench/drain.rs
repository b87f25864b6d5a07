//! What verdicts cost the agent: its processor time for taking 50,000 events a second out of the rings, naming them and
//! folding those that are the same.
//!
//! The agent is the real one, on a node with pods. Test runs of its classifiers, called as the pods' entries call them, stand
//! for the pods' packets: to send so many of those takes half a processor, and no sender is so steady. A round in which the agent
//! did not tell all of them counts for nothing: not with the wanted rate, or with events that found no room or were beyond a
//! pod's rate.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use netpol_agent::datapath::{Classifier, Cycle, Measured, TestRun, Told};
use netpol_common::Direction;
use netpol_tests::{Laboratory, PodSpec};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::frames::{Ends, Family, Kind, Range, places};
use crate::goals::{Answer, Bound, Goal, Only};
use crate::machine::{Machine, cpu_nanoseconds};
use crate::path::{
    policies,
    traffic::{CONNECT_PORT, OTHER_PORT},
};
use crate::statistics::Figure;

/// What the agent takes, and how many verdicts of each second it has told.
const ALL: [Goal; 2] = [
    Goal::told("m8-drain", "the agent's work on 50,000 verdicts a second, of a processor", "%")
        .of("M8")
        .must(Bound::AtMost(10.0))
        .moonshot(Bound::AtMost(5.0)),
    Goal::told("m8-drain-rate", "the same: verdicts that it told", "1/s").of("M8"),
];

/// The node's pods, a power of two; so many that denials stay within the rate of each, 256 in 1.07 s.
const PODS: u32 = 64;
/// Pods elsewhere, of which each packet comes from any; with the node's pods so many pairs that the agent remembers few of them.
const PEERS: u32 = 1024;
/// Verdicts of a step: new connections, and denied packets.
const STEP: [u32; 2] = [80, 20];
/// How long a step is.
const STEP_TIME: Duration = Duration::from_millis(2);
/// Steps of a round.
const STEPS: u32 = 500;
/// What is asked for.
const RATE: f64 = 50_000.0;
/// A round counts when it has come so close.
const CLOSE: f64 = 0.01;
/// In this time all that was written is told.
const TOLD: Duration = Duration::from_millis(60);
/// How long it is looked before each round what the agent takes with nothing to do.
const IDLE: Duration = Duration::from_millis(500);
/// Times the wanted rounds, when some do not count.
const PATIENCE: u32 = 3;
/// An interface that there is not: packets come from outside the node.
const UPLINK: u32 = 1 << 20;

/// All goals.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    ALL.into_iter()
}

/// Measures what of it is wanted.
pub(crate) fn run(machine: &Machine, only: &Only, rounds: u32) -> Result<Vec<Answer>> {
    if !all().any(|goal| only.wants_goal(&goal)) {
        return Ok(Vec::new());
    }
    let mut node = Node::new(machine)?;
    let mut values: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds * PATIENCE {
        if values[0].len() == rounds as usize {
            break;
        }
        for (values, value) in values.iter_mut().zip(node.round()?.into_iter().flatten()) {
            values.push(value);
        }
    }
    if values[0].len() < rounds as usize {
        let (told, tried) = (values[0].len(), rounds * PATIENCE);
        bail!("only {told} of {tried} rounds had {RATE} verdicts a second of which none was lost");
    }
    let figures = ALL.into_iter().zip(&values);
    let answers = figures.map(|(goal, values)| Answer { goal, figure: Figure::of(values) });
    Ok(answers.filter(|answer| only.wants_goal(&answer.goal)).collect())
}

/// A node whose agent is told of verdicts.
struct Node {
    lab: Laboratory,
    told: Told,
    clock: ClockId,
    /// Allowed packets and denied ones.
    packets: [(Measured, Vec<u8>); 2],
}

impl Node {
    fn new(machine: &Machine) -> Result<Self> {
        let mut lab = Laboratory::new()?;
        for number in 0..PODS {
            lab.add_pod(PodSpec::new("shop", &format!("web-{number:02}")).label("app", "server"))?;
        }
        lab.apply_file("peers.json", &peers().to_string())?;
        policies(&mut lab)?;
        machine.unpinned(|| lab.start_agent())?;
        let id = lab.agent_id().context("no agent runs")?;
        let clock = clock_getcpuclockid(Pid::from_raw(id.cast_signed())).context("the agent has no clock")?;
        let packets = [packets(&lab, CONNECT_PORT)?, packets(&lab, OTHER_PORT)?];
        Ok(Self { told: Told::of(&lab.pins())?, lab, clock, packets })
    }

    /// What verdicts took of a processor's time, in percent, and how many of them were told each second; `None` when there were
    /// fewer than there have to be.
    fn round(&mut self) -> Result<Option<[f64; 2]>> {
        let (missing, begun) = (self.missing()?, Instant::now());
        let cpu = cpu_nanoseconds(self.clock)?;
        sleep(IDLE);
        let idle = (cpu_nanoseconds(self.clock)? - cpu) as f64 / begun.elapsed().as_secs_f64();

        let (told, cpu, begun) = (self.told.handed_on(), cpu_nanoseconds(self.clock)?, Instant::now());
        for step in 1..=STEPS {
            for ((program, frame), repeat) in self.packets.iter_mut().zip(STEP) {
                let run = TestRun {
                    classifier: Classifier::ToPod,
                    slot: 0,
                    ingress_ifindex: UPLINK,
                    tag: 0,
                    frame,
                    repeat,
                };
                program.run(run)?;
            }
            sleep((STEP_TIME * step).saturating_sub(begun.elapsed()));
        }
        let poured = begun.elapsed().as_secs_f64();
        sleep(TOLD);
        let cpu = (cpu_nanoseconds(self.clock)? - cpu) as f64 - idle * begun.elapsed().as_secs_f64();
        let rate = (self.told.handed_on() - told) as f64 / poured;
        let is_whole = (rate / RATE - 1.0).abs() <= CLOSE && self.missing()? == missing;
        Ok(is_whole.then_some([cpu / poured / 1e7, rate]))
    }

    /// Verdicts that found no room in a ring, or were beyond a pod's rate.
    fn missing(&self) -> Result<[Value; 2]> {
        let status = self.lab.agent()?.status()?;
        Ok(["lostEvents", "limitedEvents"].map(|name| status[name].clone()))
    }
}

/// The pods elsewhere, as the traffic's policy speaks of them.
fn peers() -> Value {
    let peer = |number| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": "shop", "name": format!("client-{number:05}"), "labels": {"app": "client"}},
            "spec": {"nodeName": "node-2"},
            "status": {"phase": "Running", "podIPs": [{"ip": Range::Peers.address(Family::V4, number)}]},
        })
    };
    json!({"apiVersion": "v1", "kind": "List", "items": (0..PEERS).map(peer).collect::<Vec<_>>()})
}

/// What gives the pods' classifiers packets that open connections to a port, each from another peer and port.
fn packets(lab: &Laboratory, port: u16) -> Result<(Measured, Vec<u8>)> {
    let status = lab.agent()?.status()?;
    let slot = |name: &str| {
        let lines = status["endpoints"].as_array().into_iter().flatten();
        lines.clone().find(|line| line["pod"] == name).and_then(|line| line["slot"].as_u64())
    };
    let pods: Vec<_> = lab.pods().collect();
    let (first, first_slot) =
        pods.first().and_then(|pod| Some((pod, slot(&pod.key())?))).context("no pod")?;
    for (pod, number) in pods.iter().zip(0..) {
        // As the program counts them.
        if slot(&pod.key()) != Some(first_slot + number)
            || pod.v4.to_bits() != first.v4.to_bits() + number as u32
        {
            bail!(
                "slots and addresses of the pods do not follow each other: {} {:?}",
                pod.key(),
                slot(&pod.key())
            );
        }
    }
    let (peer_at, pod_at, port_at) = places(Family::V4);
    let cycle = Cycle {
        slot: first_slot as u32,
        slots: PODS,
        direction: Direction::Ingress,
        pod_at,
        pod: first.v4.to_bits(),
        peer_at,
        peer: Range::Peers.base(Family::V4),
        peers: PEERS,
        port_at,
    };
    // The addresses are the program's.
    let ends =
        Ends { family: Family::V4, slot: 0, range: Range::Peers, peer: 0, opened: Direction::Ingress, port };
    Ok((Measured::cycle(&lab.pins(), &cycle)?, ends.frame(Direction::Ingress, Kind::Syn)))
}
