//! What the agent's start costs in a large cluster, from its first instruction to the last write.

use anyhow::Result;

use crate::api::ApiNode;
use crate::goals::{Answer, Bound, Goal, Only};
use crate::statistics::Figure;

/// What is measured, by the number of pods.
const ALL: [(u32, [Goal; 3]); 2] = [
    (
        10_000,
        [
            Goal::told(
                "start-10k-cpu",
                "start with 10,000 pods, 20 here, and 1,000 Services: processor time to the last write",
                "s",
            )
            .must(Bound::AtMost(2.0)),
            Goal::told("start-10k-wall", "the same: time that passed", "s"),
            Goal::told("start-10k-memory", "the same: memory at most", "MiB").must(Bound::AtMost(40.0)),
        ],
    ),
    (
        100_000,
        [
            Goal::told(
                "start-100k-cpu",
                "start with 100,000 pods, 20 here, and 1,000 Services: processor time to the last write",
                "s",
            ),
            Goal::told("start-100k-wall", "the same: time that passed", "s"),
            Goal::told("start-100k-memory", "the same: memory at most", "MiB"),
        ],
    ),
];

/// The node's own pods, which are hooked and get their tables then.
const LOCAL: u32 = 20;
/// Starts of which the median is taken.
const STARTS: usize = 5;

/// All goals.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    ALL.into_iter().flat_map(|(_, goals)| goals)
}

/// Measures what of it is wanted.
pub(crate) fn run(only: &Only) -> Result<Vec<Answer>> {
    let mut lines = Vec::new();
    for (pods, goals) in ALL {
        if !goals.iter().any(|goal| only.wants_goal(goal)) {
            continue;
        }
        let mut node = ApiNode::new(pods, LOCAL)?;
        let mut values: [Vec<f64>; 3] = Default::default();
        for _ in 0..STARTS {
            let start = node.start()?;
            for (values, value) in values.iter_mut().zip([start.cpu, start.wall, start.memory]) {
                values.push(value);
            }
        }
        let of = |(goal, values): (Goal, &Vec<f64>)| Answer { goal, figure: Figure::of(values) };
        lines.extend(goals.into_iter().zip(&values).map(of).filter(|answer| only.wants_goal(&answer.goal)));
    }
    Ok(lines)
}
