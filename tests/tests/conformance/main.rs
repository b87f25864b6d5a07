//! The cases of a published suite, when they lie beside the project: every probe of every step, judged by the literal
//! evaluator of the specification, by the compiled tables, by the programs in the kernel, and a choice of them with real
//! packets. Without the folder nothing is judged, which is said and counted as nothing.
//!
//! A probe has two sides, and the suite says what each of them is to say; both are compared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod node;
mod packets;
mod specification;
mod tables;

use netpol_policy::model::Protocol;
use netpol_tests::conformance::{Case, Probe, Step, cases};

/// A probe as text.
fn text(case: &Case, step: &Step, probe: &Probe) -> String {
    let Probe { source, destination, protocol, port, expected } = probe;
    let (source, destination) = (step.pods[*source].key(), step.pods[*destination].key());
    let (id, what) = (case.id, &case.description);
    let turn = case.steps.iter().position(|one| std::ptr::eq(one, step)).unwrap() + 1;
    let protocol = protocol.name();
    format!(
        "case {id} ({what}), step {turn}: {source} to {destination} {port}/{protocol}, expected {expected:?}"
    )
}

/// The suite as it was published: a loader that loses something would make every comparison easier.
#[test]
fn the_suite_is_whole() {
    let suite = cases().unwrap();
    if suite.is_empty() {
        return;
    }
    let steps: Vec<&Step> = suite.iter().flat_map(|case| &case.steps).collect();
    let probes: Vec<&Probe> = steps.iter().flat_map(|step| &step.probes).collect();
    let count = |egress, ingress| {
        probes.iter().filter(|one| (one.expected.egress, one.expected.ingress) == (egress, ingress)).count()
    };
    assert_eq!((suite.len(), steps.len(), probes.len()), (230, 256, 109_956));
    assert_eq!(probes.len() - count(true, true), 20_768, "are blocked");
    assert!(count(true, false) > 0 && count(false, true) > 0 && count(false, false) > 0);
    for protocol in Protocol::ALL {
        assert!(probes.iter().any(|one| one.protocol == protocol));
    }
}
