//! The cases that engines of NetworkPolicy get wrong, each a test that bears its number. A case is written as a user
//! would: manifests, then questions. They go through the agent's own reader, reconciler and compiler, and every answer
//! comes from three judges, which must agree: the literal evaluator of the specification, the decision function over
//! the compiler's tables, and the programs in the kernel.
//!
//! What opens no flow (replies, fragments, errors, link control) the specification's evaluator does not know; there the
//! case itself says what is expected of the other two.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod ask;
mod blocks;
mod changes;
mod fragments;
mod isolation;
mod led;
mod manifest;
mod nodes;
mod packets;
mod peers;
mod pods;
mod ports;
mod scene;
mod sent;
mod tables;
mod wrong;

use std::collections::BTreeSet;

/// Rows of the table.
const CASES: u64 = 51;

/// Each case of the table has a test that bears its number; counted in the text of this target.
#[test]
fn every_case_has_a_test_that_bears_its_number() {
    const FILES: [&str; 10] = [
        include_str!("blocks.rs"),
        include_str!("changes.rs"),
        include_str!("fragments.rs"),
        include_str!("isolation.rs"),
        include_str!("nodes.rs"),
        include_str!("packets.rs"),
        include_str!("peers.rs"),
        include_str!("pods.rs"),
        include_str!("ports.rs"),
        include_str!("wrong.rs"),
    ];
    let tests = FILES.iter().flat_map(|text| text.split("#[test]").skip(1));
    let numbers: BTreeSet<u64> = tests
        .map(|test| test.split_once("fn case_").expect("a test is of a case").1)
        .map(|name| name[..2].parse().expect("a number of two digits"))
        .collect();
    assert_eq!(numbers, (1..=CASES).collect(), "some case has no test");
    netpol_tests::counted(&[(CASES, "cases of semantics")]);
}
