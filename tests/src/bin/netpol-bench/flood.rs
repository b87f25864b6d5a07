//! What it costs when two processors are at the same pod: a flood of denied packets, and new flows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, bail};
use netpol_agent::datapath::Measured;

use crate::cases::{self, Case};
use crate::goals::{Answer, Bound, Goal, Only};
use crate::machine::{Machine, pin_to};
use crate::measure::{fastest, load, timed};
use crate::pins::Pins;
use crate::statistics::Figure;
use crate::world::{EMPTY, World};

/// What is measured, and of which case.
const ALL: [(Goal, &str); 2] = [
    (
        Goal::told("m3-flood", "denied, a flood from two processors at one pod / from one", "")
            .of("M3")
            .must(Bound::AtMost(1.3))
            .moonshot(Bound::AtMost(1.1)),
        "denied-1k-peers",
    ),
    (
        Goal::told("insert-two-processors", "new flows of one pod from two processors / from one", ""),
        "first-1k-peers",
    ),
];

/// Packets of one stretch.
const PACKETS: u32 = 20_000;

/// All goals.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    ALL.into_iter().map(|(goal, _)| goal)
}

/// Measures what of it is wanted.
pub(crate) fn run(machine: &Machine, only: &Only, rounds: u32) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for (goal, name) in ALL.into_iter().filter(|(goal, _)| only.wants_goal(goal)) {
        let Some(other) = machine.other() else {
            eprintln!("{}: left out, since there is only one processor", goal.name);
            continue;
        };
        let case = cases::all().into_iter().find(|case| case.name == name).context("no such case")?;
        answers.push(Answer { goal, figure: measure(other, &case, rounds)? });
    }
    Ok(answers)
}

fn measure(other: usize, case: &Case, rounds: u32) -> Result<Figure> {
    let mut empty = Measured::empty()?;
    let pins = Pins::new()?;
    let mut world = World::build(&pins, "flood", &case.contents, &mut empty)?;
    world.datapath.make_flow_table(case.ends.slot)?;
    let frame = case.ends.frame(case.direction, case.kind);
    let mut ours = load(case, case.ends.slot, &world)?;
    let mut theirs = load(case, case.ends.slot, &world)?;
    let mut nothing = load(case, EMPTY, &world)?;
    let cost = |program: &mut Measured| fastest(0.0, PACKETS, || timed(program, &frame, PACKETS));
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let without = cost(&mut nothing)?;
        let alone = cost(&mut ours)? - without;
        let ends = AtomicBool::new(false);
        let begun = AtomicBool::new(false);
        let together = thread::scope(|scope| {
            let flood = scope.spawn(|| -> Result<()> {
                pin_to(other)?;
                while !ends.load(Ordering::Relaxed) {
                    timed(&mut theirs, &frame, PACKETS)?;
                    begun.store(true, Ordering::Relaxed);
                }
                Ok(())
            });
            while !begun.load(Ordering::Relaxed) && !flood.is_finished() {
                std::hint::spin_loop();
            }
            let together = cost(&mut ours);
            ends.store(true, Ordering::Relaxed);
            match flood.join() {
                Ok(result) => result?,
                Err(_) => bail!("the thread on the other processor has panicked"),
            }
            Ok(together? - without)
        })?;
        ratios.push(together / alone);
    }
    Ok(Figure::of(&ratios))
}
