//! What crosses the socket: one JSON object a line, a [`Request`] first, then [`Response`]s until [`Response::End`] or
//! [`Response::Error`]. It is also what `-o json` prints.

mod status;

use serde::{Deserialize, Serialize};

pub use self::status::{
    BridgeLine, CounterLine, EndpointLine, PolicyDetail, PolicyLine, Status, TableLine, TakenOverLine,
};

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
#[serde(rename_all = "camelCase")]
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
}

/// A policy's part in a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPart {
    /// `NAMESPACE/NAME`.
    pub policy: String,
    /// The rule, such as `ingress[0]`; empty when the policy only isolates.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
}

/// One verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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

/// Why a flow passes or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Whether it passes; for a Service: with every backend that may be chosen.
    pub passes: bool,
    /// For people.
    pub text: String,
    /// The same as data: what [`netpol_policy::why::Explanation`] serializes to.
    pub explanation: serde_json::Value,
}
