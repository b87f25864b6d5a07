//! What the agent's start costs in a large cluster, from its first instruction to the last write.

use anyhow::Result;

use crate::aimed::{Aim, Aimed, Name};
use crate::api::ApiNode;
use crate::statistics::Figure;

/// What is measured, by the number of pods.
const ALL: [(u32, [Name; 3]); 2] = [
    (
        10_000,
        [
            Name {
                name: "start-10k-cpu",
                what: "start with 10,000 pods, 20 here, and 1,000 Services: processor time to the last write",
                unit: "s",
                aim: Aim::AtMost(2.0),
            },
            Name { name: "start-10k-wall", what: "the same: time that passed", unit: "s", aim: Aim::None },
            Name {
                name: "start-10k-memory",
                what: "the same: memory at most",
                unit: "MiB",
                aim: Aim::AtMost(40.0),
            },
        ],
    ),
    (
        100_000,
        [
            Name {
                name: "start-100k-cpu",
                what: "start with 100,000 pods, 20 here, and 1,000 Services: processor time to the last write",
                unit: "s",
                aim: Aim::None,
            },
            Name { name: "start-100k-wall", what: "the same: time that passed", unit: "s", aim: Aim::None },
            Name { name: "start-100k-memory", what: "the same: memory at most", unit: "MiB", aim: Aim::None },
        ],
    ),
];

/// The node's own pods, which are hooked and get their tables then.
const LOCAL: u32 = 20;
/// Starts of which the median is taken.
const STARTS: usize = 5;

/// All names.
pub(crate) fn all() -> impl Iterator<Item = Name> {
    ALL.into_iter().flat_map(|(_, names)| names)
}

/// Measures what of it is wanted.
pub(crate) fn run(wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Aimed>> {
    let mut lines = Vec::new();
    for (pods, names) in ALL {
        if !names.iter().any(|name| wanted(name.name)) {
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
        let of = |(name, values): (Name, &Vec<f64>)| Aimed { name, figure: Figure::of(values) };
        lines.extend(names.into_iter().zip(&values).map(of).filter(|line| wanted(line.name.name)));
    }
    Ok(lines)
}
