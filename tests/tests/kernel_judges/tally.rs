//! What was met in a run.

use std::{collections::BTreeMap, fmt};

use netpol_common::Reason;

use crate::{cluster::KINDS, compiled::Said};

/// How a flow can fare from one of its packets to a later one.
pub(crate) const FATES: [&str; 3] = ["lived on", "was stopped", "went on again"];

/// Counts.
#[derive(Default)]
pub(crate) struct Tally {
    /// Packets that all judges have judged.
    pub(crate) cases: u64,
    pub(crate) clusters: u64,
    pub(crate) histories: u64,
    pub(crate) prefixes: u64,
    /// How many of the cases were packets of flows that were opened earlier.
    pub(crate) of_flows: u64,
    passed: u64,
    reasons: BTreeMap<&'static str, u64>,
    kinds: BTreeMap<&'static str, u64>,
    fates: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// A packet was judged. Where there is no classifier nobody judges.
    pub(crate) fn judged(&mut self, said: &Said) {
        if let Some(reason) = said.reason() {
            self.cases += 1;
            self.passed += u64::from(said.passes);
            *self.reasons.entry(reason.name()).or_default() += 1;
        }
    }

    pub(crate) fn changed(&mut self, kind: &'static str) {
        *self.kinds.entry(kind).or_default() += 1;
    }

    pub(crate) fn fared(&mut self, fate: &'static str) {
        *self.fates.entry(fate).or_default() += 1;
    }

    /// The reasons that new flows can meet and none has met.
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

    /// What histories can meet beyond that and have not met.
    pub(crate) fn unmet_in_histories(&self) -> Vec<&'static str> {
        let reasons = [Reason::Flow, Reason::FlowDenied].map(Reason::name);
        let reasons = reasons.into_iter().filter(|name| !self.reasons.contains_key(name));
        let kinds = KINDS.iter().map(|(name, _)| *name).filter(|name| !self.kinds.contains_key(name));
        let fates = FATES.into_iter().filter(|name| !self.fates.contains_key(name));
        self.unmet().into_iter().chain(reasons).chain(kinds).chain(fates).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cases, clusters, passed, .. } = self;
        write!(f, "{cases} cases over {clusters} clusters ({passed} passed")?;
        for counts in
            [&self.reasons, &self.kinds, &self.fates].into_iter().filter(|counts| !counts.is_empty())
        {
            let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
            write!(f, "; {}", counts.join(", "))?;
        }
        f.write_str(")")
    }
}
