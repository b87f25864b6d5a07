//! From cluster to cluster and from case to case, until two judges disagree.

use std::{collections::BTreeMap, fmt};

use fastrand::Rng;
use netpol_common::Reason;
use netpol_policy::{model::Object, spec};
use netpol_tests::kernel::{Kernel, sizes};

use crate::{
    case::Case,
    cluster::{Cluster, NODE},
    compiled::{Compiled, Said},
    expected::{Place, places},
    shrink::shrink,
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
    pub(crate) cases: u64,
    clusters: u64,
    passed: u64,
    led: u64,
    /// How often the decision function decided for each reason.
    reasons: BTreeMap<&'static str, u64>,
}

/// Two judges disagree.
#[derive(Debug)]
#[expect(dead_code, reason = "it is there to be printed")]
pub(crate) struct Disagreement {
    pub(crate) place: Place,
    /// What each of them says; the specification's word is in the place.
    pub(crate) said: Vec<(&'static str, Said)>,
}

impl Run {
    pub(crate) fn new(seed: u64, with_kernel: bool) -> Self {
        let kernel = with_kernel.then(|| Kernel::load(sizes()));
        Self {
            seed,
            rng: Rng::with_seed(seed),
            living: Compiled::new(kernel),
            port: 0,
            cases: 0,
            clusters: 0,
            passed: 0,
            led: 0,
            reasons: BTreeMap::new(),
        }
    }

    /// The reasons for which nothing was decided, of those that new flows of such clusters meet.
    pub(crate) fn unmet(&self) -> Vec<&'static str> {
        let all = [
            Reason::NotIsolated,
            Reason::Policy,
            Reason::Node,
            Reason::Itself,
            Reason::Deferred,
            Reason::PolicyDenied,
            Reason::BackendsDiffer,
            Reason::UnknownFrontend,
            Reason::NoBackend,
            Reason::SenderDenied,
        ];
        all.into_iter().map(Reason::name).filter(|name| !self.reasons.contains_key(name)).collect()
    }

    /// One more cluster, and packets in it.
    pub(crate) fn next_cluster(&mut self) {
        let cluster = Cluster::random(&mut self.rng);
        self.clusters += 1;
        self.living.turn_into(&cluster);
        let fresh = Compiled::of(&cluster, None);
        let spec = spec::Cluster::new(&cluster.objects, NODE);
        for _ in 0..PACKETS {
            // 14 bits: the two others make more flows of one.
            self.port = (self.port + 1) & 0x3fff;
            let case = Case::random(&mut self.rng, &cluster, self.port);
            if let Err(disagreement) = self.compare(&cluster, &spec, &fresh, case) {
                self.report(cluster, case, &disagreement);
            }
        }
    }

    fn compare(
        &mut self,
        cluster: &Cluster,
        spec: &spec::Cluster,
        fresh: &Compiled,
        case: Case,
    ) -> Result<(), Disagreement> {
        // The slots of two compilers need not be the same.
        let others = places(cluster, spec, fresh, case);
        let mut first_passed = true;
        for (n, (place, other)) in
            places(cluster, spec, &self.living, case).into_iter().zip(others).enumerate()
        {
            let led = place.case.dst != case.dst;
            if led && !first_passed {
                continue;
            }
            let said = judge(place, &mut self.living)?;
            let anew = fresh.decides(other.way, &other.case);
            if !other.expected.fits(&anew) {
                return Err(Disagreement { place: other, said: vec![("a new compiler", anew)] });
            }
            first_passed = n > 0 && first_passed || said.passes;
            // Where there is no classifier nobody judges.
            if let Some(reason) = said.reason() {
                self.cases += 1;
                self.passed += u64::from(said.passes);
                self.led += u64::from(led);
                *self.reasons.entry(reason.name()).or_default() += 1;
            }
        }
        Ok(())
    }

    fn report(&self, cluster: Cluster, case: Case, disagreement: &Disagreement) -> ! {
        let head = format!(
            "NETPOL_SEED={} cluster {}: the specification says otherwise\n{disagreement:#?}",
            self.seed, self.clusters
        );
        match shrink(cluster, case, self.living.kernel.is_some()) {
            Some((cluster, disagreement)) => {
                panic!("{head}\n\nThe smallest cluster that shows it:\n{cluster:#?}\n{disagreement:#?}")
            }
            None => panic!("{head}\n\nA compiler that starts from this cluster says the right thing."),
        }
    }
}

/// Asks the decision function and, where there is one, the kernel.
pub(crate) fn judge(place: Place, compiled: &mut Compiled) -> Result<Said, Disagreement> {
    let decided = compiled.decides(place.way, &place.case);
    let mut said = vec![("the decision function", decided)];
    let mut agree = place.expected.fits(&decided);
    if let Some(ran) = compiled.runs(place.way, &place.case) {
        said.push(("the programs in the kernel", ran));
        // Beyond its rate an endpoint's verdicts have no event.
        let same = ran.by.is_none() || decided.by.is_none() || ran.by == decided.by;
        agree &= ran.passes == decided.passes && same;
    }
    if agree { Ok(decided) } else { Err(Disagreement { place, said }) }
}

/// Whether it is noticed on a random cluster that a compiler has not heard of one object.
pub(crate) fn finds_out(rng: &mut Rng, lost: fn(&Object) -> bool) -> bool {
    let cluster = Cluster::random(rng);
    let Some(at) = cluster.objects.iter().position(lost) else { return false };
    let mut less = cluster.clone();
    less.objects.remove(at);
    let mut compiled = Compiled::of(&less, None);
    let spec = spec::Cluster::new(&cluster.objects, NODE);
    (0..100).any(|port| {
        let case = Case::random(rng, &cluster, port);
        places(&cluster, &spec, &compiled, case).into_iter().any(|place| judge(place, &mut compiled).is_err())
    })
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cases, clusters, passed, led, .. } = self;
        write!(
            f,
            "{cases} cases over {clusters} clusters ({passed} passed, {led} behind a Service; by reason:"
        )?;
        self.reasons.iter().try_for_each(|(reason, count)| write!(f, " {reason} {count}"))?;
        write!(f, ")")
    }
}
