//! A verdict, and what is said where verdicts are missing: what `netpol observe -o json` prints.
//!
//! The names of fields are stable. `netpol observe --help` lists them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Moment;

/// Whether a packet passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It passed.
    Allowed,
    /// It was dropped.
    Dropped,
}

impl Outcome {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Allowed, Self::Dropped];

    /// `allowed` or `dropped`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Dropped => "dropped",
        }
    }
}

/// What an end of a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndKind {
    /// A pod.
    Pod,
    /// A Service.
    Service,
    /// A node, this one or another.
    Node,
    /// Anything else.
    World,
}

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// What it is.
    pub kind: EndKind,
    /// `NAMESPACE/NAME` of a pod or Service, the node's name, empty for the world.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its port; `None` where the protocol has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A pod's labels at that time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A rule that allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPart {
    /// `NAMESPACE/NAME`.
    pub policy: String,
    /// Which rule of that direction, counted from 1.
    pub number: usize,
    /// Its path, counted from 0, such as `spec.ingress[0]`.
    pub rule: String,
}

/// How near a policy that isolates came to allowing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nearest {
    /// `NAMESPACE/NAME`.
    pub policy: String,
    /// The nearest rule of that direction, counted from 1; none where the policy has no rule there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<usize>,
    /// The path of the first thing in it that did not match, such as `spec.ingress[0].ports`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// What that is: `port`, `peer`, `peer-and-port` or `void`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub miss: String,
    /// The whole, for people.
    pub text: String,
}

/// One verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// When: of repeated ones, the last.
    pub time: Moment,
    /// Whether the packet passed.
    pub verdict: Outcome,
    /// The stable name of the reason; `netpol observe --reasons` says what each means.
    pub reason: String,
    /// `ingress` or `egress`, as the endpoint sees the packet.
    pub direction: String,
    /// The pod that judged: `NAMESPACE/NAME`, or the interface while the pod is not known.
    pub endpoint: String,
    /// `TCP`, `UDP`, `SCTP`, `ICMP`, `ICMPv6`, or another protocol's name; `protocol-253` where it has none.
    pub protocol: String,
    /// Who sent the packet.
    pub source: End,
    /// Where to.
    pub destination: End,
    /// How many packets of this flow were told of here, if it is more than one: denials that repeat are one verdict.
    #[serde(default = "one")]
    pub count: u64,
    /// When the first of them was, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Moment>,
    /// There may have been more: verdicts were lost meanwhile, which a gap tells of.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// The rules that allowed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_by: Vec<PolicyPart>,
    /// For a packet that was dropped by policy: the policies that isolate the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub isolated_by: Vec<String>,
    /// For a packet that was dropped by policy: how the nearest rule of each policy failed to match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<Nearest>,
    /// The endpoint is closed: nothing is known of its pod, or no policy could be written for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// A policy, a label or an address has changed since the packet: which rule decided is not known any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed_since: bool,
    /// For a flow to a Service: the backends it was judged by, `ADDRESS:PORT`, with the pod's name where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<String>,
    /// Whether the packet is a reply of its flow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reply: bool,
    /// TCP flags as letters, such as `S`; empty for other protocols.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tcp_flags: String,
    /// What an ICMP message is, such as `echo-request`; empty for other protocols.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub icmp: String,
    /// The packet's length in bytes.
    pub length: u32,
    /// The endpoint's slot, which `netpol status` lists.
    pub slot: u32,
    /// The endpoint's revision in that direction: the same number, the same policies.
    pub revision: u32,
}

const fn one() -> u64 {
    1
}

/// Why verdicts are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// They found no room in the kernel's rings.
    RingFull,
    /// A pod had more of them than it may report in a second; the packets are counted by reason all the same.
    RateLimit,
    /// Whoever reads here is too slow.
    SlowReader,
    /// An agent had read them, and ended before it told of them.
    AgentEnded,
}

impl Cause {
    /// What it means, and what can be done, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::RingFull => {
                "found no room in the kernel's rings (--table-ring-bytes of the agent makes them larger)"
            }
            Self::RateLimit => {
                "were more than a pod may report in a second (`netpol status` counts them all)"
            }
            Self::SlowReader => "came faster than they were read here",
            Self::AgentEnded => "had been read by an agent that ended before it told of them",
        }
    }
}

/// Verdicts that are missing, exactly how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// When it was found out.
    pub time: Moment,
    /// They are of the time from here to `time`.
    pub since: Moment,
    /// Why.
    pub cause: Cause,
    /// How many.
    pub count: u64,
    /// Of which pod; empty: of any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
}
