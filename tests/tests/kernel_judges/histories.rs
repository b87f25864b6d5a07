//! The tests on histories.

use std::time::Instant;

use netpol_policy::{engine::TableOp, model::Kind};
use netpol_tests::{
    counted,
    kernel::{Kernel, in_virtual_machine, sizes},
};

use crate::{
    cluster::Change,
    history::{History, STEPS},
    number, say,
    shrink::history::shrink,
    tally::Tally,
    walk::{Disagreement, Loses, Lost, walk},
};

/// Histories until so many cases were judged, and never fewer than so many histories.
fn agree(cases: u64, histories: u64, with_kernel: bool, judges: &str) {
    let first = number("NETPOL_SEED").unwrap_or_else(|| fastrand::u64(0..1_000_000_000));
    let only = number("NETPOL_HISTORIES");
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut kernel = with_kernel.then(|| Kernel::load(sizes()));
    while only.map_or(tally.cases < cases || tally.histories < histories, |only| tally.histories < only) {
        let seed = first + tally.histories;
        let history = History::random(seed);
        let (result, back) = walk(&history, kernel, Lost::default(), &mut tally);
        kernel = back;
        if let Err((step, disagreement)) = result {
            report(seed, history, step, &disagreement, kernel);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let Tally { cases, clusters, histories, prefixes, of_flows, .. } = tally;
    say(&format!(
        "NETPOL_SEED={first}: {judges} agree in {histories} histories on {tally}, {of_flows} of them packets of open \
         flows; {prefixes} prefixes, {seconds:.1} s"
    ));
    if with_kernel {
        counted(&[
            (cases, "cases judged by all three"),
            (clusters, "clusters"),
            (histories, "histories"),
            (prefixes, "prefixes replayed"),
        ]);
    }
    if histories >= 100 {
        assert_eq!(tally.unmet_in_histories(), [""; 0], "NETPOL_SEED={first}: what no history met");
    }
}

fn report(
    seed: u64,
    history: History,
    step: usize,
    disagreement: &Disagreement,
    kernel: Option<Kernel>,
) -> ! {
    let test =
        if kernel.is_some() { "three_judges_agree_in_histories" } else { "two_judges_agree_in_histories" };
    let head = format!(
        "NETPOL_SEED={seed}, step {step} ({:?}): the judges disagree\n{disagreement:#?}\n\nTo repeat it:\n\
         NETPOL_SEED={seed} NETPOL_HISTORIES=1 cargo test -p netpol-tests --test kernel_judges {test} -- \
         --include-ignored\n",
        history.steps[step].kinds,
    );
    match shrink(history, step, kernel) {
        Some((history, (step, disagreement))) => {
            panic!(
                "{head}\nThe shortest history that shows it, at its step {step}:\n{history:#?}\n{disagreement:#?}"
            )
        }
        None => panic!("{head}\nIt does not happen again."),
    }
}

#[test]
fn two_judges_agree_in_histories_without_a_kernel() {
    let histories = if in_virtual_machine() { 2 } else { 20 };
    agree(0, histories, false, "the specification and the decision function");
}

#[test]
#[ignore = "needs root and BPF"]
fn three_judges_agree_in_histories() {
    let (cases, histories) = if in_virtual_machine() {
        (500, 2)
    } else if std::env::var_os("NETPOL_LONG").is_some() {
        (1_000_000, 1000)
    } else {
        (100_000, 200)
    };
    agree(cases, histories, true, "the specification, the decision function and the programs in the kernel");
}

/// Other kernels have no part in it.
fn how_many() -> usize {
    if in_virtual_machine() { 1 } else { usize::MAX }
}

/// Whether it is noticed in some of a number of histories, by what becomes of packets alone.
fn found_out(lost: Lost) -> bool {
    (0..1500).any(|seed| walk(&History::random(seed), None, lost, &mut Tally::default()).0.is_err())
}

#[test]
fn a_compiler_that_does_not_hear_of_a_change_is_found_out() {
    let changes: [(&str, Loses<Change>); 8] = [
        ("a pod", |change| matches!(change, Change::Put(object) if object.kind() == Kind::Pod)),
        ("a pod that goes", |change| matches!(change, Change::Gone(Kind::Pod, _))),
        ("a namespace", |change| matches!(change, Change::Put(object) if object.kind() == Kind::Namespace)),
        ("a policy", |change| matches!(change, Change::Put(object) if object.kind() == Kind::NetworkPolicy)),
        ("a policy that goes", |change| matches!(change, Change::Gone(Kind::NetworkPolicy, _))),
        ("a document", |change| matches!(change, Change::Written { .. })),
        ("a slice", |change| matches!(change, Change::Put(object) if object.kind() == Kind::EndpointSlice)),
        ("tags", |change| matches!(change, Change::Tags(_))),
    ];
    for (what, change) in changes.into_iter().take(how_many()) {
        let found = found_out(Lost { change: Some(change), operation: None });
        assert!(found, "nobody noticed that {what} was lost");
    }
}

/// Flows that are open show what moves their judgement and nothing else. Of all generations at once hardly any flow
/// depends, as policies most often change with them; and that a frontend stays shows only when the tables are read.
#[test]
fn tables_that_lose_an_operation_are_found_out() {
    let operations: [(&str, Loses<TableOp>); 10] = [
        ("a generation", |op| matches!(op, TableOp::Generation(_))),
        ("all generations", |op| matches!(op, TableOp::AllGenerations)),
        ("a peer", |op| matches!(op, TableOp::Peer(_))),
        ("a peer that goes", |op| matches!(op, TableOp::RemovePeer(_))),
        ("a prefix that goes", |op| matches!(op, TableOp::RemovePrefix(_))),
        ("a prefix", |op| matches!(op, TableOp::Prefix { .. })),
        ("a row", |op| matches!(op, TableOp::Rule(_))),
        ("a set of backends", |op| matches!(op, TableOp::Backends(_))),
        ("a member", |op| matches!(op, TableOp::Member(_))),
        ("a judgement", |op| matches!(op, TableOp::Judgement { .. })),
    ];
    for (what, operation) in operations.into_iter().take(how_many()) {
        let found = found_out(Lost { change: None, operation: Some(operation) });
        assert!(found, "nobody noticed that {what} was lost");
    }
}

#[test]
fn the_same_seed_makes_the_same_history() {
    let (one, other) = (History::random(7), History::random(7));
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
    assert_eq!(one.steps.len(), STEPS + 1);
}
