//! The engine against the kernel's own firewalls: iptables with ipset, and nftables with sets and maps of verdicts.
//!
//! Four laboratories are alike but for what decides on the node: nothing, which is the zero point, the engine, and the two
//! others. All are told the same [`rules`]: policies for what comes into the node's two pods, each with ten peers of its own
//! and a port of its own; the last one lets the traffic pass. That they give the same verdicts is asked before anything is
//! measured, and again after the last change. Pods have routes to them: what crosses a bridge the others need not see.
//!
//! They take turns every tenth of a second, and each is in each of the four laboratories once; what a round says is the mean
//! of the four, so that nothing else that differs between them is taken for a firewall. While it is another's turn the agent
//! stands still. Client and server share one processor.
//!
//! Every ratio is what the engine adds by what the other one adds:
//!
//! - to a **request with its response** over one connection. All have seen the connection before: the others leave at their
//!   first rule, by the kernel's conntrack. What that costs is theirs where nothing else wants it; where Services are
//!   translated (`services`), every packet pays it already, and nothing is left to them but that rule;
//! - to a **connection** with one request, whose first packet goes through the policies until one lets it pass, which is the
//!   last one;
//! - to **one policy**, which gets other peers and another port. For the engine, the time from when its manifest is written
//!   until both pods are judged by what follows from it: that the agent hears of the file, waits for more, reads, compiles
//!   and writes. For the others, the time of the programs that exchange the policy's set and its chain, and nothing of what
//!   a daemon does before it runs them: `ipset restore` and `iptables-restore --noflush`, or one `nft -f`.

mod engine;
mod ipset;
mod nftables;
mod ours;
mod rules;
mod side;
mod verdicts;

use anyhow::Result;
use netpol_tests::Laboratory;

use crate::goals::{Answer, Bound, Goal, Only};
use crate::machine::Machine;
use crate::statistics::Figure;
use engine::Engine;
use rules::Rules;
use side::{Kind, Side};

/// What is compared, the zero point and the engine first.
const ENGINES: [Engine; 4] = [Engine::Nothing, Engine::Ours, Engine::Ipset, Engine::Nftables];

/// One kind over one rule set: the engine's own figure, and its ratios to both others'.
struct Part {
    kind: Kind,
    goals: [Goal; 3],
}

const fn told(name: &'static str, what: &'static str, unit: &'static str) -> Goal {
    Goal::told(name, what, unit).of("M10")
}

const fn ahead(name: &'static str, what: &'static str) -> Goal {
    told(name, what, "").must(Bound::AtMost(1.0)).moonshot(Bound::AtMost(0.5))
}

/// Policies, each with ten peers; whether Services are translated; what is measured there.
const ALL: [(u16, bool, &[Part]); 4] = [
    (
        1,
        false,
        &[Part {
            kind: Kind::Connection,
            goals: [
                told("m10-first-1-ours", "1 policy, 10 peers: the engine adds to a connection", "us"),
                told("m10-first-1-ipset", "the same, engine / iptables with ipset", ""),
                told("m10-first-1-nftables", "the same, engine / nftables", ""),
            ],
        }],
    ),
    (
        100,
        false,
        &[
            Part {
                kind: Kind::Exchange,
                goals: [
                    told("m10-rr-ours", "100 policies, 1k peers: it adds to request and response", "us"),
                    ahead("m10-rr-ipset", "the same, engine / iptables with ipset"),
                    ahead("m10-rr-nftables", "the same, engine / nftables"),
                ],
            },
            Part {
                kind: Kind::Connection,
                goals: [
                    told("m10-first-100-ours", "100 policies, 1k peers: it adds to a connection", "us"),
                    told("m10-first-100-ipset", "the same, engine / iptables with ipset", ""),
                    told("m10-first-100-nftables", "the same, engine / nftables", ""),
                ],
            },
        ],
    ),
    (
        100,
        true,
        &[Part {
            kind: Kind::Exchange,
            goals: [
                told("m10-rr-services-ours", "100 policies, where Services are translated: the same", "us"),
                told("m10-rr-services-ipset", "the same, engine / iptables with ipset", ""),
                told("m10-rr-services-nftables", "the same, engine / nftables", ""),
            ],
        }],
    ),
    (
        1000,
        false,
        &[
            Part {
                kind: Kind::Connection,
                goals: [
                    told("m10-first-ours", "1,000 policies, 10k peers: it adds to a connection", "us"),
                    ahead("m10-first-ipset", "the same, engine / iptables with ipset"),
                    ahead("m10-first-nftables", "the same, engine / nftables"),
                ],
            },
            Part {
                kind: Kind::Update,
                goals: [
                    told("m10-update-ours", "1,000 policies, 10k peers: one policy, file to kernel", "ms"),
                    ahead("m10-update-ipset", "the same, engine / ipset restore and iptables-restore"),
                    ahead("m10-update-nftables", "the same, engine / nft -f"),
                ],
            },
        ],
    ),
];

/// All goals.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    ALL.into_iter().flat_map(|(_, _, parts)| parts).flat_map(|part| part.goals)
}

/// Measures what of it is wanted. A firewall that the machine does not have is left out, which is said.
pub(crate) fn run(machine: &Machine, only: &Only, rounds: u32) -> Result<Vec<Answer>> {
    let is_wanted = |part: &&Part| part.goals.iter().any(|goal| only.wants_goal(goal));
    let mut engines = None;
    let mut answers = Vec::new();
    for (policies, has_services, parts) in ALL {
        let parts: Vec<&Part> = parts.iter().filter(is_wanted).collect();
        if parts.is_empty() {
            continue;
        }
        let engines: &Vec<Engine> = engines.get_or_insert_with(there);
        answers.extend(measure(machine, engines, (policies, has_services), &parts, rounds)?);
    }
    Ok(answers.into_iter().filter(|answer| only.wants_goal(&answer.goal)).collect())
}

/// Those that this machine has.
fn there() -> Vec<Engine> {
    let is_there = |engine: &Engine| match try_out(*engine) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("netpol-bench: {engine:?} cannot be compared with: {error:#}");
            false
        }
    };
    ENGINES.into_iter().filter(is_there).collect()
}

/// Loads a small rule set.
fn try_out(engine: Engine) -> Result<()> {
    let runs = engine.load(&Rules::new(1))?;
    if !runs.is_empty() {
        engine::run(&Laboratory::new()?.node, &runs)?;
    }
    Ok(())
}

fn measure(
    machine: &Machine,
    engines: &[Engine],
    (policies, has_services): (u16, bool),
    parts: &[&Part],
    rounds: u32,
) -> Result<Vec<Answer>> {
    let count = engines.len();
    let mut sides = engines.iter().map(|_| Side::new(policies, has_services)).collect::<Result<Vec<_>>>()?;
    let rounds = (rounds as usize).div_ceil(count);
    // By part, round and engine: the sum of all places.
    let mut seconds = vec![vec![vec![0.0; count]; rounds]; parts.len()];
    side::expect_verdicts(&sides)?;
    for place in 0..count {
        for (engine, side) in engines.iter().zip(&mut sides) {
            side.switch_on(*engine, machine)?;
        }
        side::expect_verdicts(&sides)?;
        for round in 0..rounds {
            for (part, sums) in parts.iter().zip(&mut seconds) {
                take_turns(machine, &mut sides, part.kind, place + round, &mut sums[round])?;
            }
        }
        for side in &sides {
            side.set_standing_still(false)?;
        }
        side::expect_verdicts(&sides)?;
        for side in &mut sides {
            side.switch_off()?;
        }
        side::expect_verdicts(&sides)?;
        sides.rotate_right(1);
    }
    Ok(parts.iter().zip(seconds).flat_map(|(part, rounds)| answers(part, engines, &rounds)).collect())
}

/// Lets each have a turn, and adds what it took.
fn take_turns(
    machine: &Machine,
    sides: &mut [Side],
    kind: Kind,
    round: usize,
    sums: &mut [f64],
) -> Result<()> {
    for turn in 0..sides.len() {
        // Who is first changes, and who follows whom: what one turn leaves behind is in the next.
        let turn = if round.is_multiple_of(2) { turn } else { sides.len() - 1 - turn };
        let now = (turn + round / 2) % sides.len();
        for (number, side) in sides.iter().enumerate() {
            side.set_standing_still(number != now)?;
        }
        sums[now] += sides[now].seconds(kind, machine)?;
    }
    Ok(())
}

/// A part's figures, from the sums of its rounds.
fn answers(part: &Part, engines: &[Engine], rounds: &[Vec<f64>]) -> Vec<Answer> {
    let added = |engine: usize| rounds.iter().map(move |sums| sums[engine] - sums[0]);
    let place = |wanted| engines.iter().position(|engine| *engine == wanted);
    let [own, ipset, nftables] = part.goals;
    let scale = if own.unit == "ms" { 1e3 } else { 1e6 };
    let means: Vec<f64> = added(1).map(|sum| sum / engines.len() as f64 * scale).collect();
    let mut answers = vec![Answer { goal: own, figure: Figure::of(&means) }];
    for (goal, engine) in [(ipset, Engine::Ipset), (nftables, Engine::Nftables)] {
        if let Some(theirs) = place(engine) {
            let ratios: Vec<f64> = added(1).zip(added(theirs)).map(|(ours, theirs)| ours / theirs).collect();
            answers.push(Answer { goal, figure: Figure::of(&ratios) });
        }
    }
    answers
}
