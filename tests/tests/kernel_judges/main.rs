//! Three judges of one packet: the literal evaluator of the specification, the decision function over the tables that
//! the compiler's operations make and ordinary flows, and the programs in the kernel. They must agree on each side of
//! the way: on random clusters, and on every step of random histories of them.
//!
//! On clusters one compiler goes from one to the other, so that what it changes is tried too; beside it a new one starts
//! from nothing on each, and must say the same. In histories everything changes in small steps, flows stay open, and the
//! tables are looked at between two operations as well.
//!
//! `NETPOL_SEED` repeats a run, `NETPOL_CASES` and `NETPOL_HISTORIES` change its length, `NETPOL_LONG` makes it a long one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod case;
mod cluster;
mod compiled;
mod expected;
mod flows;
mod histories;
mod history;
mod prefixes;
mod run;
mod shrink;
mod sight;
mod tally;
mod walk;

use std::{io::Write as _, time::Instant};

use netpol_policy::model::Object;
use netpol_tests::{counted, kernel::in_virtual_machine};

use run::Run;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Not by `println!`, which is only heard of a test that fails.
fn say(text: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{text}").unwrap();
}

fn agree(cases: u64, with_kernel: bool, judges: &str) {
    let seed = number("NETPOL_SEED").unwrap_or_else(|| fastrand::u64(0..1_000_000));
    let cases = number("NETPOL_CASES").unwrap_or(cases);
    let start = Instant::now();
    let mut run = Run::new(seed, with_kernel);
    while run.tally.cases < cases {
        run.next_cluster();
    }
    let (seconds, tally) = (start.elapsed().as_secs_f64(), &run.tally);
    say(&format!("NETPOL_SEED={seed}: {judges} agree on {tally}, {seconds:.1} s"));
    if with_kernel {
        counted(&[(tally.cases, "cases judged by all three"), (tally.clusters, "clusters")]);
    }
    if cases >= 3000 {
        assert_eq!(tally.unmet(), [""; 0], "NETPOL_SEED={seed}: reasons that no case met");
    }
}

#[test]
fn two_judges_agree_without_a_kernel() {
    let cases = if in_virtual_machine() { 300 } else { 3000 };
    agree(cases, false, "the specification and the decision function");
}

/// The judges are worth nothing if they agree on everything.
#[test]
fn a_compiler_that_loses_an_object_is_found_out() {
    let mut rng = fastrand::Rng::with_seed(1);
    for (what, lost) in [
        ("a policy", (|object| matches!(object, Object::Policy(_))) as fn(&Object) -> bool),
        ("a pod", |object| matches!(object, Object::Pod(pod) if &*pod.node != cluster::NODE)),
        ("a namespace", |object| matches!(object, Object::Namespace(_))),
        ("a Service", |object| matches!(object, Object::Service(_))),
        ("a slice", |object| matches!(object, Object::EndpointSlice(_))),
    ] {
        let found = (0..500).any(|_| run::finds_out(&mut rng, lost));
        assert!(found, "nobody noticed that {what} was lost");
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn three_judges_agree() {
    let cases = if in_virtual_machine() { 500 } else { 10_000 };
    agree(cases, true, "the specification, the decision function and the programs in the kernel");
}
