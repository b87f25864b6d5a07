//! Against the literal evaluator of the specification.

use std::net::IpAddr;

use netpol_policy::spec::{Cluster, Payload, Sender, Traffic};
use netpol_policy::why::{End, Question, explain};
use netpol_tests::conformance::{Probe, Step, cases};
use netpol_tests::counted;

use crate::text;

fn traffic(step: &Step, probe: &Probe) -> Traffic {
    let address = |pod: usize| IpAddr::V4(step.pods[pod].address);
    Traffic {
        src: Sender::Address(address(probe.source)),
        dst: address(probe.destination),
        payload: Payload::Port(probe.protocol, probe.port),
    }
}

/// Explaining takes longer than judging: one probe in so many is explained too.
const EXPLAINED: usize = 6;

#[test]
fn every_probe_is_answered_as_the_oracle_of_the_suite_expects() {
    let mut judged = 0;
    for case in &cases().unwrap() {
        for step in &case.steps {
            let cluster = Cluster::new(&step.objects("elsewhere").unwrap(), "here");
            for probe in &step.probes {
                let traffic = traffic(step, probe);
                let verdict = cluster.allows(&traffic);
                assert_eq!(verdict, probe.expected, "{}", text(case, step, probe));
                if judged % EXPLAINED == 0 {
                    let Traffic { src, dst, payload } = traffic;
                    let (source, destination) = (End::Address(src.address()), End::Address(dst));
                    let question = Question { source, destination, payload };
                    let flow = explain(&cluster, &question).unwrap().flows.remove(0);
                    let explained = (flow.egress.allows(), flow.ingress.allows());
                    let expected = (probe.expected.egress, probe.expected.ingress);
                    assert_eq!(explained, expected, "{}: {flow:?}", text(case, step, probe));
                }
                judged += 1;
            }
        }
    }
    counted(&[(judged as u64, "conformance probes against the specification")]);
}
