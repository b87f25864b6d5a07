//! What crosses the socket: one JSON object a line, a [`Request`] first, then [`Response`]s until [`Response::End`] or
//! [`Response::Error`]. It is also what `-o json` prints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sources::Located;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// How the agent is.
    Status,
    /// Verdicts, those of the past first.
    Observe {
        /// Whether to go on with those that come.
        follow: bool,
        /// How many of the past, after the filter.
        last: usize,
        /// Which ones.
        filter: Filter,
    },
    /// What would become of a flow.
    Explain(Question),
    /// Every policy.
    Policies,
    /// One policy.
    Policy {
        /// `NAMESPACE/NAME`.
        name: String,
    },
}

/// Which verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Only allowed ones, or only dropped ones.
    pub verdict: Option<Outcome>,
    /// Only those with this pod (`NAMESPACE/NAME`), or this namespace (`NAMESPACE/`), at one end.
    pub pod: Option<String>,
}

impl Filter {
    /// Whether a verdict is asked for.
    #[must_use]
    pub fn admits(&self, verdict: &Verdict) -> bool {
        if self.verdict.is_some_and(|wanted| wanted != verdict.verdict) {
            return false;
        }
        let Some(pod) = &self.pod else { return true };
        let is = |name: &str| if pod.ends_with('/') { name.starts_with(pod.as_str()) } else { name == pod };
        is(&verdict.endpoint)
            || [&verdict.source, &verdict.destination]
                .iter()
                .any(|end| end.kind == EndKind::Pod && is(&end.name))
    }
}

/// A flow to explain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Who sends.
    pub source: String,
    /// Where to.
    pub destination: String,
    /// `PORT/PROTOCOL`.
    pub port: String,
}

/// An answer, or a part of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Observe`], one for each verdict.
    Verdict(Box<Verdict>),
    /// To [`Request::Observe`]: the reader is too slow, and has missed some.
    Missed {
        /// How many.
        count: u64,
    },
    /// To [`Request::Explain`].
    Explanation(Box<Explanation>),
    /// To [`Request::Policies`].
    Policies {
        /// By namespace and name.
        policies: Vec<PolicyLine>,
    },
    /// To [`Request::Policy`].
    Policy(Box<PolicyDetail>),
    /// Nothing more comes.
    End,
    /// Nothing more comes, since something is wrong.
    Error {
        /// What, for people.
        message: String,
    },
}

/// Whether a packet passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It passed.
    Allowed,
    /// It was dropped.
    Dropped,
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
}

/// A policy's part in a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyPart {
    /// `NAMESPACE/NAME`.
    pub policy: String,
    /// The rule, such as `ingress[0]`; empty when the policy only isolates.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
}

/// One verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    /// Whether the packet passed.
    pub verdict: Outcome,
    /// The stable name of the reason.
    pub reason: String,
    /// `ingress` or `egress`, as the endpoint sees the packet.
    pub direction: String,
    /// The pod that judged: `NAMESPACE/NAME`, or the interface while the pod is not known.
    pub endpoint: String,
    /// `TCP`, `UDP`, `SCTP`, `ICMP`, `ICMPv6`, or the number.
    pub protocol: String,
    /// Who sent the packet.
    pub source: End,
    /// Where to.
    pub destination: End,
    /// The rules that allowed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_by: Vec<PolicyPart>,
    /// For a packet that was dropped by policy: the policies that isolate the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub isolated_by: Vec<String>,
    /// For a packet that was dropped by policy: how the nearest rule of each policy failed to match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<String>,
    /// For a flow to a Service: the backends it was judged by, `ADDRESS:PORT`, with the pod's name where there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<String>,
    /// Whether the packet is a reply of its flow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reply: bool,
    /// TCP flags as letters, such as `S`; empty for other protocols.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tcp_flags: String,
    /// ICMP type and code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<(u8, u8)>,
    /// The packet's length in bytes.
    pub length: u32,
    /// The endpoint's slot.
    pub slot: u32,
    /// The endpoint's revision in that direction.
    pub revision: u32,
}

/// How the agent is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// Synced, every known local pod hooked, everything written.
    pub ready: bool,
    /// Why not, when it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_ready: Vec<String>,
    /// Where objects come from.
    pub source: String,
    /// How local pods are found.
    pub discovery: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// How often the tables were brought up to date.
    pub revision: u64,
    /// Objects by kind.
    pub objects: BTreeMap<String, usize>,
    /// Objects of kinds that are not read, by kind.
    pub skipped: BTreeMap<String, usize>,
    /// Local pods.
    pub endpoints: Vec<EndpointLine>,
    /// Interfaces of pods that are not hooked, and why.
    pub unhooked: Vec<String>,
    /// Bridges, and whether the tag is believed of what comes in by them.
    pub bridges: Vec<BridgeLine>,
    /// Policies, and whether they are realized as they are written.
    pub policies: Vec<PolicyLine>,
    /// What is wrong with objects and files.
    pub problems: Vec<Located>,
    /// What is wrong with interfaces and the kernel.
    pub faults: Vec<String>,
    /// Packets by direction and reason.
    pub counters: Vec<CounterLine>,
    /// Verdicts that found no room in the kernel's rings.
    pub lost_events: u64,
    /// Verdicts beyond a pod's rate, not sent.
    pub limited_events: u64,
    /// Flows that found no room.
    pub flows_refused: u64,
    /// Entries of the tables, and how many fit.
    pub tables: BTreeMap<String, TableLine>,
}

/// A local pod's interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointLine {
    /// `NAMESPACE/NAME`; empty while it is not known.
    pub pod: String,
    /// The host's interface.
    pub interface: String,
    /// The slot.
    pub slot: u32,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// `none`, `source-check` or `full`.
    pub hook: String,
    /// `open`, `isolated` or `closed`.
    pub ingress: String,
    /// `open`, `isolated` or `closed`.
    pub egress: String,
    /// Whether its packets are recognised at other pods of the node.
    pub tag_trusted: bool,
}

/// A bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeLine {
    /// Its name.
    pub name: String,
    /// Whether the tag is believed.
    pub trusted: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterLine {
    /// `ingress` or `egress`.
    pub direction: String,
    /// The reason's stable name.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLine {
    /// Entries.
    pub used: usize,
    /// Entries that fit.
    pub size: usize,
}

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyLine {
    /// `NAMESPACE/NAME`.
    pub policy: String,
    /// `Ingress`, `Egress`.
    pub isolates: Vec<String>,
    /// Its podSelector as text.
    pub selects: String,
    /// Local pods that it selects.
    pub local_pods: usize,
    /// Whether it is in force as it is written.
    pub realized: bool,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Located>,
}

/// A policy with its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDetail {
    /// The policy.
    pub line: PolicyLine,
    /// Local pods that it selects.
    pub pods: Vec<String>,
    /// Its rules as text, by direction.
    pub rules: BTreeMap<String, Vec<String>>,
}

/// Why a flow passes or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whether it passes; for a Service: with every backend that may be chosen.
    pub passes: bool,
    /// For people.
    pub text: String,
    /// The same as data: what [`netpol_policy::why::Explanation`] serializes to.
    pub explanation: serde_json::Value,
}
