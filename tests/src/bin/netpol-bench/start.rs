//! What the agent's start costs in a large cluster: from its first instruction to the last write, and what memory it keeps.

use std::time::Duration;

use anyhow::Result;

use crate::api::ApiNode;
use crate::goals::{Answer, Bound, Goal, Only};
use crate::statistics::Figure;

/// A cluster's pods.
const SMALL: u32 = 10_000;
const LARGE: u32 = 100_000;

/// What is measured of a start in the small cluster.
const OF_SMALL: [Goal; 4] = [
    Goal::told(
        "start-10k-cpu",
        "start with 10,000 pods, 20 here, and 1,000 Services: processor time to the last write",
        "s",
    )
    .of("M6")
    .must(Bound::AtMost(0.5))
    .moonshot(Bound::AtMost(0.2)),
    Goal::told("start-10k-wall", "the same: time that passed", "s").of("M6"),
    Goal::told("start-10k-memory", "the same: memory at most", "MiB").of("M7").must(Bound::AtMost(40.0)),
    Goal::told("start-10k-resident", "the same: memory five seconds later", "MiB").of("M7"),
];
/// And in the large one.
const OF_LARGE: [Goal; 4] = [
    Goal::told(
        "start-100k-cpu",
        "start with 100,000 pods, 20 here, and 1,000 Services: processor time to the last write",
        "s",
    )
    .of("M6")
    .must(Bound::AtMost(5.0))
    .moonshot(Bound::AtMost(2.0)),
    Goal::told("start-100k-wall", "the same: time that passed", "s").of("M6"),
    Goal::told("start-100k-memory", "the same: memory at most", "MiB").of("M7"),
    Goal::told("start-100k-resident", "the same: memory five seconds later", "MiB")
        .of("M7")
        .must(Bound::AtMost(64.0))
        .moonshot(Bound::AtMost(32.0)),
];
/// What each of the pods takes by which the clusters differ.
const PER_POD: Goal =
    Goal::told("start-per-pod", "memory for each pod elsewhere, of 90,000: five seconds later", "bytes")
        .of("M7")
        .must(Bound::AtMost(256.0))
        .moonshot(Bound::AtMost(128.0));

/// The node's own pods, which are hooked and get their tables then.
const LOCAL: u32 = 20;
/// Starts of which the median is taken.
const STARTS: usize = 5;
/// How long after the start it is looked what memory is kept.
const LATER: Duration = Duration::from_secs(5);

/// All goals.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    OF_SMALL.into_iter().chain(OF_LARGE).chain([PER_POD])
}

/// Measures what of it is wanted.
pub(crate) fn run(only: &Only) -> Result<Vec<Answer>> {
    let per_pod = only.wants_goal(&PER_POD);
    let wants = |goals: &[Goal]| per_pod || goals.iter().any(|goal| only.wants_goal(goal));
    let mut answers = Vec::new();
    let [mut small, mut large] = [Vec::new(), Vec::new()];
    if wants(&OF_SMALL) {
        small = starts(SMALL, &OF_SMALL, &mut answers)?;
    }
    if wants(&OF_LARGE) {
        large = starts(LARGE, &OF_LARGE, &mut answers)?;
    }
    if per_pod {
        let bytes = |(large, small)| (large - small) * f64::from(1 << 20) / f64::from(LARGE - SMALL);
        let values: Vec<f64> = large.into_iter().zip(small).map(bytes).collect();
        answers.push(Answer { goal: PER_POD, figure: Figure::of(&values) });
    }
    answers.retain(|answer| only.wants_goal(&answer.goal));
    Ok(answers)
}

/// Starts the agent beside so many pods, adds what that took to the answers, and returns the MiB that each start kept.
fn starts(pods: u32, goals: &[Goal; 4], answers: &mut Vec<Answer>) -> Result<Vec<f64>> {
    let mut node = ApiNode::new(pods, LOCAL)?;
    let mut values: [Vec<f64>; 4] = Default::default();
    for _ in 0..STARTS {
        let start = node.start()?;
        std::thread::sleep(LATER);
        let measured = [start.cpu, start.wall, start.memory, node.resident()?];
        for (values, value) in values.iter_mut().zip(measured) {
            values.push(value);
        }
    }
    answers.extend(
        goals.iter().zip(&values).map(|(goal, values)| Answer { goal: *goal, figure: Figure::of(values) }),
    );
    let [.., resident] = values;
    Ok(resident)
}
