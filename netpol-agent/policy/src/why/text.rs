//! The answer as text for a terminal.

use std::fmt;

use netpol_common::packet;

use super::{AlwaysReason, Explanation, FlowExplanation, IsolatingPolicy, Outcome, Side};
use crate::spec::Payload;

/// What is sent, in words.
pub(super) fn payload(payload: Payload) -> String {
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

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, payload, outcome, flows, notes } = self;
        writeln!(f, "{source} -> {destination} {payload}: {outcome}")?;
        for note in notes {
            writeln!(f, "  {note}")?;
        }
        for flow in flows {
            let single = flows.len() == 1 && flow.destination == *destination && flow.payload == *payload;
            if !single {
                let FlowExplanation { destination, payload, allowed, .. } = flow;
                let verdict = if *allowed { "allowed" } else { "denied" };
                writeln!(f, "  to {destination} {payload}: {verdict}")?;
            }
            let indent = if single { "  " } else { "    " };
            write_side(f, indent, "egress", &flow.source, &flow.egress)?;
            write_side(f, indent, "ingress", &flow.destination, &flow.ingress)?;
        }
        Ok(())
    }
}

fn write_side(
    f: &mut fmt::Formatter<'_>,
    indent: &str,
    direction: &str,
    of: &str,
    side: &Side,
) -> fmt::Result {
    writeln!(f, "{indent}{direction} of {of}: {side}")?;
    if let Side::Denied { policies } = side {
        for policy in policies {
            writeln!(f, "{indent}  {policy}")?;
        }
    }
    Ok(())
}

/// One line, without the policies that deny.
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPod => f.write_str("no pod, so no policy applies"),
            Self::HostNetwork => f.write_str("a pod of the node's network, which no policy selects"),
            Self::NotIsolated => f.write_str("not isolated"),
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
