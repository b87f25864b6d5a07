use std::collections::{BTreeMap, BTreeSet};

use netpol_common::Reason;

use super::*;
use crate::control::protocol::{
    Absence, BreakGlassLine, CounterLine, EndpointLine, EnforcerLine, Moment, PolicyLine, TableLine,
};

fn status() -> Status {
    let endpoint = |pod: &str| EndpointLine { pod: pod.to_owned(), ..EndpointLine::default() };
    let released = EndpointLine { egress: "break-glass".to_owned(), ..endpoint("n/c") };
    Status {
        ready: true,
        synced: true,
        heard_seconds_ago: Some(7),
        endpoints: vec![endpoint("n/a"), endpoint("n/b"), released, endpoint("")],
        break_glass: ["Namespace", "Namespace", "Node"]
            .map(|kind| BreakGlassLine { kind: kind.to_owned(), ..BreakGlassLine::default() })
            .into(),
        enforcers: vec![EnforcerLine::default()],
        unhooked: vec!["veth9: nobody says whose it is".to_owned()],
        policies: vec![
            PolicyLine { realized: true, ..PolicyLine::default() },
            PolicyLine { realized: false, ..PolicyLine::default() },
        ],
        counters: vec![
            CounterLine { direction: "egress".into(), reason: "policy-denied".into(), packets: 5 },
            CounterLine { direction: "ingress".into(), reason: "policy".into(), packets: 3 },
        ],
        hooks_repaired: 4,
        tables: BTreeMap::from([("peers".to_owned(), TableLine { used: 2, size: 10 })]),
        absence: Some(Absence {
            since: Moment::from_milliseconds(1_000),
            until: Moment::from_milliseconds(43_000),
            pods: vec!["n/a".to_owned()],
        }),
        ..Status::default()
    }
}

#[test]
fn numbers_are_those_of_the_status() {
    let latencies = latencies();
    latencies.observe(0.02);
    let text = text(status(), &latencies);
    for line in [
        "netpol_ready 1",
        "netpol_source_synced 1",
        "netpol_source_silence_seconds 7",
        "netpol_endpoints{state=\"enforced\"} 2",
        "netpol_endpoints{state=\"waiting\"} 1",
        "netpol_endpoints{state=\"break-glass\"} 1",
        "netpol_endpoints{state=\"refused\"} 1",
        "netpol_break_glass{object=\"namespace\"} 2",
        "netpol_break_glass{object=\"node\"} 1",
        "netpol_other_enforcers 1",
        "netpol_policies{state=\"realized\"} 1",
        "netpol_policies{state=\"not-as-written\"} 1",
        "netpol_verdicts_total{direction=\"egress\",verdict=\"drop\",reason=\"policy-denied\"} 5",
        "netpol_verdicts_total{direction=\"ingress\",verdict=\"allow\",reason=\"policy\"} 3",
        "netpol_hooks_repaired_total 4",
        "netpol_table_entries{table=\"peers\"} 2",
        "netpol_table_capacity{table=\"peers\"} 10",
        "netpol_absence_seconds 42",
        "netpol_absence_pods 1",
        "netpol_enforcement_latency_seconds_bucket{le=\"0.025\"} 1",
        "netpol_enforcement_latency_seconds_bucket{le=\"0.01\"} 0",
    ] {
        assert!(text.lines().any(|of| of == line), "{line} is not in\n{text}");
    }
}

#[test]
fn the_table_of_metrics_is_what_is_served() {
    let text = text(status(), &latencies());
    let served: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            (format!("{name}{suffix}"), kind.to_owned())
        })
        .collect();
    let documented: BTreeSet<(String, String)> = include_str!("../../../docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `netpol_"))
        .filter_map(|line| line.split_once("` | "))
        .map(|(name, rest)| {
            (format!("netpol_{name}"), rest.split(" |").next().unwrap_or_default().to_owned())
        })
        .collect();
    assert!(served.len() > 10);
    assert_eq!(served, documented);
}

#[test]
fn every_reason_has_a_verdict_and_no_pod_is_a_label() {
    let mut status = status();
    let line = |reason: &Reason| CounterLine {
        direction: "ingress".into(),
        reason: reason.name().to_owned(),
        packets: 1,
    };
    status.counters = Reason::ALL.iter().map(line).collect();
    let text = text(status, &latencies());
    for reason in Reason::ALL {
        let verdict = if reason.is_drop() { "drop" } else { "allow" };
        let wanted = format!("verdict=\"{verdict}\",reason=\"{}\"", reason.name());
        assert!(text.contains(&wanted), "{wanted}");
    }
    assert!(!text.contains("n/a"));
}
