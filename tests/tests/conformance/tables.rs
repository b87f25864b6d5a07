//! Against the compiled tables and the programs in the kernel.

use netpol_tests::conformance::{Case, cases};
use netpol_tests::counted;
use netpol_tests::kernel::{Kernel, sizes};

use crate::node::Node;
use crate::text;

/// Judges every probe of cases, and says how many there were and how often a program was run.
fn judge_all(suite: &[Case], with_kernel: bool) -> (u64, u64) {
    if suite.is_empty() {
        return (0, 0);
    }
    let mut node = Node::new(with_kernel.then(|| Kernel::load(sizes())));
    let mut judged = 0;
    for case in suite {
        for step in &case.steps {
            node.turn_into(step);
            for probe in &step.probes {
                let said = node.judge(step, probe);
                let text = || text(case, step, probe);
                assert_eq!(said.tables, probe.expected, "the tables: {}", text());
                if let Some(kernel) = said.kernel {
                    assert_eq!(kernel, probe.expected, "the kernel: {}", text());
                }
                judged += 1;
            }
        }
    }
    (judged, node.runs)
}

#[test]
fn every_probe_is_judged_by_the_tables_as_the_suite_expects() {
    let (judged, _) = judge_all(&cases().unwrap(), false);
    counted(&[(judged, "conformance probes against the tables")]);
}

#[test]
#[ignore = "needs root and BPF"]
fn every_probe_is_judged_in_the_kernel_as_the_suite_expects() {
    let (judged, runs) = judge_all(&cases().unwrap(), true);
    assert!(judged == 0 || runs > judged / 2, "{runs} runs for {judged} probes: who judged the others?");
    counted(&[
        (judged, "conformance probes against the kernel"),
        (runs, "runs of programs for conformance probes"),
    ]);
}
