//! From cluster to cluster and from case to case, until two judges disagree.

use fastrand::Rng;
use netpol_policy::model::Object;
use netpol_tests::kernel::{Kernel, sizes};

use crate::{
    case::Case,
    cluster::Cluster,
    compiled::Compiled,
    shrink::shrink,
    sight::Sight,
    tally::Tally,
    walk::{Disagreement, judge_places},
};

/// Packets per cluster, before those that follow them to the backends of Services.
const PACKETS: usize = 40;

/// A run, and what it has counted.
pub(crate) struct Run {
    seed: u64,
    rng: Rng,
    /// The compiler that lives through all clusters, with the kernel's tables.
    living: Compiled,
    port: u16,
    pub(crate) tally: Tally,
}

impl Run {
    pub(crate) fn new(seed: u64, with_kernel: bool) -> Self {
        let kernel = with_kernel.then(|| Kernel::load(sizes()));
        let living = Compiled::new(kernel);
        Self { seed, rng: Rng::with_seed(seed), living, port: 0, tally: Tally::default() }
    }

    /// One more cluster, and packets in it.
    pub(crate) fn next_cluster(&mut self) {
        let cluster = Cluster::random(&mut self.rng);
        self.tally.clusters += 1;
        self.living.turn_into(&cluster);
        let mut fresh = Compiled::of(&cluster, None);
        let sight = Sight::new(&cluster, Vec::new(), &self.living);
        // The slots of two compilers need not be the same.
        let sight_of_fresh = Sight::new(&cluster, Vec::new(), &fresh);
        for _ in 0..PACKETS {
            // 14 bits: the two others make more flows of one.
            self.port = (self.port + 1) & 0x3fff;
            let case = Case::random(&mut self.rng, &cluster, self.port);
            let judged = judge_places(&sight_of_fresh, &mut fresh, case)
                .and_then(|_| judge_places(&sight, &mut self.living, case));
            match judged {
                Ok(judged) => {
                    for (place, said) in &judged {
                        self.tally.judged(said);
                        self.living.forget(place.way, &place.case);
                    }
                }
                Err(disagreement) => self.report(cluster, case, &disagreement),
            }
        }
    }

    fn report(&self, cluster: Cluster, case: Case, disagreement: &Disagreement) -> ! {
        let head = format!(
            "NETPOL_SEED={} cluster {}: the specification says otherwise\n{disagreement:#?}",
            self.seed, self.tally.clusters
        );
        match shrink(cluster, case, self.living.kernel.is_some()) {
            Some((cluster, disagreement)) => {
                panic!("{head}\n\nThe smallest cluster that shows it:\n{cluster:#?}\n{disagreement:#?}")
            }
            None => panic!("{head}\n\nA compiler that starts from this cluster says the right thing."),
        }
    }
}

/// Whether it is noticed on a random cluster that a compiler has not heard of one object.
pub(crate) fn finds_out(rng: &mut Rng, lost: fn(&Object) -> bool) -> bool {
    let cluster = Cluster::random(rng);
    let Some(at) = cluster.objects.iter().position(lost) else { return false };
    let mut less = cluster.clone();
    less.objects.remove(at);
    let mut compiled = Compiled::of(&less, None);
    let sight = Sight::new(&cluster, Vec::new(), &compiled);
    (0..100).any(|port| judge_places(&sight, &mut compiled, Case::random(rng, &cluster, port)).is_err())
}
