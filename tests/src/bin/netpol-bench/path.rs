//! What the engine costs the traffic between two pods of a node: real connections, with 100 policies there.
//!
//! Two laboratories are alike but for the engine, and take turns every tenth of a second; in the middle the engine moves
//! from the one to the other, so that nothing else that differs between them is taken for it. While it is the other's
//! turn the agent stands still: its work counts where it belongs. Client and server share one processor, so that no idle one
//! has to be woken; the agent runs where it wants.

pub(crate) mod traffic;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use netpol_agent::datapath::Measured;
use netpol_tests::{Laboratory, Link, PodSpec, ServiceSpec, Setup};
use serde_json::json;

use crate::goals::{Answer, Bound, Goal, Only};
use crate::machine::Machine;
use crate::statistics::Figure;
use traffic::{CONNECT_PORT, EXCHANGE_PORT, Traffic};

/// Policies that select the two pods.
const POLICIES: u16 = 100;
/// How long one laboratory's turn is with one kind of traffic.
const SLICE: Duration = Duration::from_millis(100);

/// Rounds at least: a tenth of a second of real traffic is easily disturbed.
pub(crate) const ROUNDS: u32 = 40;

const fn on_off(name: &'static str, what: &'static str) -> Goal {
    Goal::told(name, what, "").must(Bound::AtLeast(0.95))
}

const fn to_empty(name: &'static str, what: &'static str) -> Goal {
    Goal::told(name, what, "").of("M1").must(Bound::AtLeast(0.98)).moonshot(Bound::AtLeast(0.99))
}

const fn to_silent(name: &'static str, what: &'static str) -> Goal {
    Goal::told(name, what, "").of("M8").must(Bound::AtLeast(0.97)).moonshot(Bound::AtLeast(0.99))
}

const fn told(name: &'static str, what: &'static str) -> Goal {
    Goal::told(name, what, "")
}

/// What is measured, by link and by what the other side has; exchanges and connections of each family.
const ALL: [(Link, Against, [[Goal; 2]; 2]); 4] = [
    (
        Link::Bridge,
        Against::Nothing,
        [
            [
                on_off("path-bridge-rr-v4", "over a bridge, IPv4: request and response, engine on / off"),
                on_off("path-bridge-crr-v4", "over a bridge, IPv4: connections, engine on / off"),
            ],
            [
                on_off("path-bridge-rr-v6", "over a bridge, IPv6: request and response, engine on / off"),
                on_off("path-bridge-crr-v6", "over a bridge, IPv6: connections, engine on / off"),
            ],
        ],
    ),
    (
        Link::Routed,
        Against::Nothing,
        [
            [
                on_off("path-routed-rr-v4", "by routes, IPv4: request and response, engine on / off"),
                on_off("path-routed-crr-v4", "by routes, IPv4: connections, engine on / off"),
            ],
            [
                on_off("path-routed-rr-v6", "by routes, IPv6: request and response, engine on / off"),
                on_off("path-routed-crr-v6", "by routes, IPv6: connections, engine on / off"),
            ],
        ],
    ),
    (
        Link::Bridge,
        Against::Empty,
        [
            [
                to_empty(
                    "m1-wire-rr-v4",
                    "over a bridge, IPv4: request and response, ours / empty classifiers",
                ),
                told("wire-crr-v4-empty", "over a bridge, IPv4: connections, ours / empty classifiers"),
            ],
            [
                to_empty(
                    "m1-wire-rr-v6",
                    "over a bridge, IPv6: request and response, ours / empty classifiers",
                ),
                told("wire-crr-v6-empty", "over a bridge, IPv6: connections, ours / empty classifiers"),
            ],
        ],
    ),
    (
        Link::Bridge,
        Against::Silent,
        [
            [
                told("log-rr-v4", "over a bridge, IPv4: request and response, verdicts told / not"),
                to_silent("m8-crr-v4", "over a bridge, IPv4: connections, verdicts told / not"),
            ],
            [
                told("log-rr-v6", "over a bridge, IPv6: request and response, verdicts told / not"),
                to_silent("m8-crr-v6", "over a bridge, IPv6: connections, verdicts told / not"),
            ],
        ],
    ),
];

/// All goals.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    ALL.into_iter().flat_map(|(.., families)| families).flatten()
}

/// Measures what of it is wanted.
pub(crate) fn run(machine: &Machine, only: &Only, rounds: u32) -> Result<Vec<Answer>> {
    let mut lines = Vec::new();
    for (link, against, goals) in ALL {
        if goals.iter().flatten().any(|goal| only.wants_goal(goal)) {
            lines.extend(measure(machine, link, against, goals, only, rounds)?);
        }
    }
    Ok(lines)
}

/// What is at the hooks of the side without the engine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Against {
    /// Nothing.
    Nothing,
    /// Classifiers that do nothing.
    Empty,
    /// The engine, which tells of no verdict.
    Silent,
}

/// A node with two pods and their traffic.
struct Side {
    lab: Laboratory,
    traffic: Traffic,
    /// Classifiers that do nothing, as long as they are attached.
    empty: Vec<Measured>,
}

fn measure(
    machine: &Machine,
    link: Link,
    against: Against,
    goals: [[Goal; 2]; 2],
    only: &Only,
    rounds: u32,
) -> Result<Vec<Answer>> {
    let mut sides = [Side::new(link)?, Side::new(link)?];
    let mut ratios: [[Vec<f64>; 2]; 2] = Default::default();
    for engine in [0, 1] {
        sides[engine].switch_on(machine, &[])?;
        if against == Against::Silent {
            sides[1 - engine].switch_on(machine, &["--verdicts", "none"])?;
        } else {
            sides[1 - engine].expect_open().context("without the engine everything must arrive")?;
        }
        if against == Against::Empty {
            sides[1 - engine].attach_empty()?;
        }
        for round in 0..rounds.div_ceil(2) {
            for (family, kinds) in ratios.iter_mut().enumerate() {
                for (kind, values) in kinds.iter_mut().enumerate() {
                    if !only.wants_goal(&goals[family][kind]) {
                        continue;
                    }
                    let mut rates = [0.0; 2];
                    // Who is first changes: what one turn leaves behind is in the other's next.
                    for turn in 0..2 {
                        let side = (turn + round as usize) % 2;
                        for (other, of) in sides.iter_mut().enumerate() {
                            of.set_standing_still(other != side)?;
                        }
                        rates[side] = sides[side].traffic.rate(family, kind, SLICE)?;
                    }
                    values.push(rates[engine] / rates[1 - engine]);
                }
            }
        }
        sides[1 - engine].empty.clear();
        for side in &mut sides {
            if side.lab.agent_id().is_some() {
                side.set_standing_still(false)?;
                side.expect_enforced()?;
                side.switch_off()?;
            }
        }
    }
    let lines = goals.into_iter().flatten().zip(ratios.into_iter().flatten());
    let lines = lines.filter(|(goal, _)| only.wants_goal(goal));
    Ok(lines.map(|(goal, values)| Answer { goal, figure: Figure::of(&values) }).collect())
}

impl Side {
    fn new(link: Link) -> Result<Self> {
        let mut lab = Laboratory::with(Setup { link, ..Setup::default() })?;
        let server = lab.add_pod(PodSpec::new("shop", "server").label("app", "server"))?;
        let client = lab.add_pod(PodSpec::new("shop", "client").label("app", "client"))?;
        policies(&mut lab)?;
        // As on every node with kube-proxy: where Services are translated, conntrack sees each packet.
        lab.add_service(ServiceSpec::new("shop", "server", 10, "app", "server").port(
            "TCP",
            80,
            EXCHANGE_PORT,
        ))?;
        Ok(Self { traffic: Traffic::start(client, &server)?, lab, empty: Vec::new() })
    }

    /// Attaches classifiers that do nothing where the engine would have its own.
    fn attach_empty(&mut self) -> Result<()> {
        let interfaces: Vec<String> = self.lab.pods().map(|pod| pod.host_interface.clone()).collect();
        self.empty = self.lab.node.run(|| -> Result<Vec<Measured>> {
            let attach = |interface: String| -> Result<Measured> {
                let mut empty = Measured::empty()?;
                empty.attach(&interface)?;
                Ok(empty)
            };
            interfaces.into_iter().map(attach).collect()
        })??;
        Ok(())
    }

    /// Starts the agent with these flags, and sees that it enforces.
    fn switch_on(&mut self, machine: &Machine, flags: &[&str]) -> Result<()> {
        self.lab.set_agent_flags(flags);
        machine.unpinned(|| self.lab.start_agent())?;
        self.traffic.reconnect()?;
        self.expect_enforced()
    }

    fn expect_enforced(&self) -> Result<()> {
        if self.traffic.passes_elsewhere() {
            bail!("the engine is on, and a port that no policy allows can be reached");
        }
        Ok(())
    }

    fn expect_open(&self) -> Result<()> {
        if !self.traffic.passes_elsewhere() {
            bail!("the engine is off, and a port that no policy allows cannot be reached");
        }
        Ok(())
    }

    fn switch_off(&mut self) -> Result<()> {
        self.lab.uninstall_agent()
    }

    fn set_standing_still(&self, still: bool) -> Result<()> {
        if self.lab.agent_id().is_none() {
            return Ok(());
        }
        if still { self.lab.freeze_agent() } else { self.lab.thaw_agent() }
    }
}

/// 100 policies, both directions, all of which select both pods; the last one lets their traffic pass.
pub(crate) fn policies(lab: &mut Laboratory) -> Result<()> {
    for number in 1..POLICIES {
        let peer = json!([{"podSelector": {"matchLabels": {"app": format!("peer-{number}")}}}]);
        let ports = json!([{"protocol": "TCP", "port": 8000 + number}]);
        let spec = json!({
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": peer, "ports": ports}],
            "egress": [{"to": peer, "ports": ports}],
        });
        lab.policy("shop", &format!("policy-{number:02}"), &spec)?;
    }
    let ports = json!([{"port": EXCHANGE_PORT}, {"port": CONNECT_PORT}]);
    let spec = json!({
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": ports}],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "server"}}}], "ports": ports}],
    });
    lab.policy("shop", "traffic", &spec)
}
