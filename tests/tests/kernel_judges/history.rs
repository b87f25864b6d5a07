//! Histories: a random cluster, and what happens to it step by step. All of it is data, so that less of it can be tried.

use std::time::Duration;

use fastrand::Rng;

use crate::{
    case::Case,
    cluster::{Change, Cluster, random_change},
};

/// How closely the tables are watched while they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// When all is written.
    Afterwards,
    /// After each operation, by the decision function.
    Tables,
    /// After each operation, by the kernel too.
    Kernel,
}

/// What happens, and what is asked then.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) kinds: Vec<&'static str>,
    pub(crate) changes: Vec<Change>,
    pub(crate) watched: Watched,
    /// Whether everything that takes its time passes then.
    pub(crate) rests: bool,
    /// What passes otherwise.
    pub(crate) wait: Duration,
    /// Packets that open flows: half of them at once, the others when the time has passed.
    pub(crate) cases: Vec<Case>,
}

/// A history.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) beginning: Cluster,
    /// The first one changes nothing.
    pub(crate) steps: Vec<Step>,
}

/// Steps after the beginning.
pub(crate) const STEPS: usize = 11;
/// Packets that open flows, per step.
const PACKETS: usize = 28;

impl History {
    /// The same one from the same seed.
    pub(crate) fn random(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let beginning = Cluster::random(&mut rng);
        let mut cluster = beginning.clone();
        let mut steps = Vec::new();
        let mut port = 0;
        for n in 0..=STEPS {
            let (mut kinds, mut changes) = (Vec::new(), Vec::new());
            // What two changes at once lead through is neither old nor new.
            let wanted = if n == 0 { 0 } else { 1 + usize::from(rng.u8(..4) == 0) };
            for _ in 0..wanted {
                let (kind, more) = random_change(&mut rng, &cluster);
                more.iter().for_each(|change| drop(cluster.change(change)));
                kinds.push(kind);
                changes.extend(more);
            }
            let watched = match rng.u32(..8) {
                0 if changes.len() == 1 => Watched::Kernel,
                1 | 2 if changes.len() == 1 => Watched::Tables,
                _ => Watched::Afterwards,
            };
            let mut random_case = || {
                port += 1;
                Case::random(&mut rng, &cluster, port)
            };
            let cases = (0..PACKETS).map(|_| random_case()).collect();
            let wait = Duration::from_millis([10, 120, 2000, 15_000][rng.usize(..4)]);
            steps.push(Step { kinds, changes, watched, rests: n == 0 || rng.bool(), wait, cases });
        }
        Self { beginning, steps }
    }
}
