//! The agent as a monitoring system sees it: `/metrics`, `/healthz`, `/readyz`. Names and labels are listed in
//! `docs/metrics.md`. The number of lines depends on nothing that a cluster can make more of: no pod, no policy and no
//! address is ever a label.

mod server;

use std::fmt;

use netpol_policy::model::Kind;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, histogram::Histogram},
    registry::Registry,
};

pub(crate) use self::server::ask;
pub use self::server::serve;
use crate::{
    control::protocol::{CounterLine, EndpointLine, Status},
    reconcile::BREAK_GLASS,
};

/// From when a change is read from the wire to the end of the last write, in seconds.
const LATENCIES: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// How long changes took until they were enforced.
#[must_use]
pub fn latencies() -> Histogram {
    Histogram::new(LATENCIES)
}

/// What is served of a status.
#[must_use]
pub fn text(status: Status, latencies: &Histogram) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(status)));
    registry.register(
        "netpol_enforcement_latency_seconds",
        "From when a change was read from the wire to the end of the last write",
        latencies.clone(),
    );
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _: fmt::Result = encode(&mut text, &registry);
    text
}

/// Labels of one line: names with values.
type Labels<'a> = Vec<(&'static str, &'a str)>;

#[derive(Debug)]
struct Snapshot(Status);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.0;
        let out = &mut encoder;
        gauge(out, "netpol_ready", "Whether everything is listed, hooked and written", status.ready.into())?;
        gauge(out, "netpol_source_synced", "Whether all objects were listed once", status.synced.into())?;
        let silence = status.heard_seconds_ago.map_or(-1, u64::cast_signed);
        let help = "Seconds since the source said something; -1 before it ever has";
        gauge(out, "netpol_source_silence_seconds", help, silence)?;
        gauges(out, "netpol_endpoints", "Local pods' interfaces by state", &endpoints(status))?;
        let realized = status.policies.iter().filter(|policy| policy.realized).count();
        let policies = [("realized", realized), ("not-as-written", status.policies.len() - realized)];
        let lines: Vec<_> =
            policies.iter().map(|(state, count)| (vec![("state", *state)], number(*count))).collect();
        gauges(out, "netpol_policies", "NetworkPolicies by state", &lines)?;
        let help = "Objects whose break-glass switch is set: this node, and namespaces";
        gauges(out, "netpol_break_glass", help, &break_glass(status))?;
        let help = "Other engines that seem to enforce policies on this node";
        gauge(out, "netpol_other_enforcers", help, number(status.enforcers.len()))?;
        let help = "Hooks that somebody had taken off, and that were attached again";
        counters(out, "netpol_hooks_repaired", help, &[(Vec::new(), status.hooks_repaired)])?;
        counters(out, "netpol_verdicts", "Packets that were worth counting", &verdicts(status))?;
        for (name, help, count) in [
            ("netpol_verdicts_lost", "Verdicts without room in the kernel's rings", status.lost_events),
            ("netpol_verdicts_limited", "Verdicts beyond a pod's rate", status.limited_events),
            ("netpol_flows_refused", "Flows without room in their pod's table", status.flows_refused),
        ] {
            counters(out, name, help, &[(Vec::new(), count)])?;
        }
        let (used, sizes): (Vec<_>, Vec<_>) = status
            .tables
            .iter()
            .map(|(name, line)| {
                let label = vec![("table", name.as_str())];
                ((label.clone(), number(line.used)), (label, number(line.size)))
            })
            .unzip();
        gauges(out, "netpol_table_entries", "Entries of the tables", &used)?;
        gauges(out, "netpol_table_capacity", "Entries that the tables hold", &sizes)?;
        let absence = status.absence.as_ref();
        let seconds = absence.map_or(0, |absence| absence.milliseconds() / 1000);
        let help = "How long no agent ran before this one; pods that started meanwhile were open";
        gauge(out, "netpol_absence_seconds", help, seconds)?;
        let pods = absence.map_or(0, |absence| absence.pods.len());
        gauge(out, "netpol_absence_pods", "Pods that started while no agent ran", number(pods))
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Enforced, closed until the pod is known, or not enforced.
fn endpoints(status: &Status) -> Vec<(Labels<'_>, i64)> {
    let count = |is: &dyn Fn(&EndpointLine) -> bool| status.endpoints.iter().filter(|one| is(one)).count();
    let waiting = count(&|endpoint| endpoint.pod.is_empty());
    let released =
        count(&|endpoint| [&endpoint.ingress, &endpoint.egress].iter().any(|one| *one == BREAK_GLASS));
    let states = [
        ("enforced", status.endpoints.len() - waiting - released),
        ("waiting", waiting),
        (BREAK_GLASS, released),
        ("refused", status.unhooked.len() + status.unenforced.len() + status.refused.len()),
    ];
    states.into_iter().map(|(state, count)| (vec![("state", state)], number(count))).collect()
}

/// Switches by what they are set on.
fn break_glass(status: &Status) -> Vec<(Labels<'_>, i64)> {
    let count = |kind: &str| status.break_glass.iter().filter(|line| line.kind == kind).count();
    [("node", Kind::Node), ("namespace", Kind::Namespace)]
        .map(|(label, kind)| (vec![("object", label)], number(count(kind.name()))))
        .into()
}

fn verdicts(status: &Status) -> Vec<(Labels<'_>, u64)> {
    let mut lines = Vec::new();
    for line in &status.counters {
        let verdict = if line.is_drop() { "drop" } else { "allow" };
        let CounterLine { direction, reason, packets } = line;
        let labels =
            vec![("direction", direction.as_str()), ("verdict", verdict), ("reason", reason.as_str())];
        lines.push((labels, *packets));
    }
    lines
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    gauges(out, name, help, &[(Vec::new(), value)])
}

fn gauges(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    lines: &[(Labels<'_>, i64)],
) -> fmt::Result {
    each(out.encode_descriptor(name, help, None, MetricType::Gauge)?, lines, |value, encoder| {
        ConstGauge::new(*value).encode(encoder)
    })
}

fn counters(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    lines: &[(Labels<'_>, u64)],
) -> fmt::Result {
    each(out.encode_descriptor(name, help, None, MetricType::Counter)?, lines, |value, encoder| {
        ConstCounter::new(*value).encode(encoder)
    })
}

fn each<T>(
    mut family: MetricEncoder<'_>,
    lines: &[(Labels<'_>, T)],
    encode: impl Fn(&T, MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    for (labels, value) in lines {
        if labels.is_empty() {
            return encode(value, family);
        }
        encode(value, family.encode_family(labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
