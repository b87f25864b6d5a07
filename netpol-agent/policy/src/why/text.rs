//! The answer as text for a terminal.

use std::fmt;

use netpol_common::packet;

use super::{AlwaysReason, Explanation, FlowExplanation, Frontend, IsolatingPolicy, Outcome, Side};
use crate::{model::BREAK_GLASS, spec::Payload};

/// What is sent, in words.
#[must_use]
pub fn payload(payload: Payload) -> String {
    match payload {
        Payload::Port(protocol, port) => format!("{port}/{}", protocol.name()),
        Payload::Other(packet::ICMP) => "ICMP".into(),
        Payload::Other(packet::ICMPV6) => "ICMPv6".into(),
        Payload::Other(number) => format!("IP protocol {number}"),
    }
}

/// Words with commas between them.
pub(super) fn list(words: &[String]) -> String {
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Differs => "differs",
            Self::Nowhere => "leads nowhere",
        })
    }
}

impl fmt::Display for AlwaysReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Itself => "a pod always reaches itself",
            Self::OwnNode => "a node always reaches its own pods",
        })
    }
}

/// What there is to say beside an [`Explanation`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Behind the outcome.
    pub outcome: String,
    /// Below it, a line each.
    pub head: Vec<String>,
    /// By flow: below its egress, below its ingress.
    pub sides: Vec<[Vec<String>; 2]>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&Remarks::default()))
    }
}

impl Explanation {
    /// The answer step by step, with remarks.
    #[must_use]
    pub fn text(&self, remarks: &Remarks) -> String {
        let Self { source, destination, payload, outcome, flows, notes } = self;
        let mut lines = vec![format!("{source} -> {destination} {payload}: {outcome}{}", remarks.outcome)];
        lines.extend(remarks.head.iter().chain(notes).map(|line| format!("  {line}")));
        let none = [Vec::new(), Vec::new()];
        for (index, flow) in flows.iter().enumerate() {
            let single = flows.len() == 1 && flow.destination == *destination && flow.payload == *payload;
            if !single {
                let FlowExplanation { destination, payload, allowed, .. } = flow;
                let verdict = if *allowed { "allowed" } else { "denied" };
                lines.push(format!("  to {destination} {payload}: {verdict}"));
            }
            let indent = if single { "  " } else { "    " };
            let remarks = remarks.sides.get(index).unwrap_or(&none);
            steps(flow, remarks, indent, &mut lines);
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// What a packet meets, in this order.
fn steps(flow: &FlowExplanation, remarks: &[Vec<String>; 2], indent: &str, lines: &mut Vec<String>) {
    let FlowExplanation { source, destination, payload, frontend, egress, ingress, .. } = flow;
    let [of_egress, of_ingress] = remarks;
    let mut number = 0;
    let mut step = |text: String, below: Vec<String>| {
        number += 1;
        lines.push(format!("{indent}{number} {text}"));
        lines.extend(below.into_iter().map(|line| format!("{indent}    {line}")));
    };
    let below = |side: &Side, remarks: &[String]| -> Vec<String> {
        let policies: Vec<String> = match side {
            Side::Denied { policies } => policies.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        policies.into_iter().chain(remarks.iter().cloned()).collect()
    };
    step(format!("egress of {source}: {egress}"), below(egress, of_egress));
    if let Some(Frontend { services, address, payload: asked, .. }) = frontend {
        let services =
            if services.is_empty() { String::new() } else { format!(" of Service {}", list(services)) };
        step(format!("{address} {asked}{services} leads to {destination} {payload}"), Vec::new());
    }
    step(format!("ingress of {destination}: {ingress}"), below(ingress, of_ingress));
}

/// One line, without the policies that deny.
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPod => f.write_str("no pod, so no policy applies"),
            Self::HostNetwork => f.write_str("a pod of the node's network, which no policy selects"),
            Self::Finished => f.write_str("finished: policies ignore it"),
            Self::NotIsolated => f.write_str("not isolated"),
            Self::BreakGlass { by, policies } => {
                write!(f, "NOT ENFORCED: {BREAK_GLASS} is set on {by}, against {}", list(policies))
            }
            Self::Always { reason } => write!(f, "allowed: {reason}"),
            Self::Allowed { by } => {
                f.write_str("allowed by ")?;
                for (index, granted) in by.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}rule {} of {} ({})", granted.rule, granted.policy, granted.field)?;
                }
                Ok(())
            }
            Self::Denied { policies } => match policies.len() {
                1 => f.write_str("denied by the policy that isolates it"),
                count => write!(f, "denied by the {count} policies that isolate it"),
            },
        }
    }
}

impl fmt::Display for IsolatingPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.nearest {
            None => write!(f, "{} has no rule in this direction", self.policy),
            Some(nearest) => {
                write!(f, "rule {} of {} {} ({})", nearest.rule, self.policy, nearest.text, nearest.field)
            }
        }
    }
}
