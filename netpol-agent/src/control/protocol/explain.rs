//! Questions about flows and their answers, as they cross the socket.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Outcome;

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

/// A namespace whose every pair is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MatrixQuestion {
    /// The namespace.
    pub namespace: String,
    /// `PORT/PROTOCOL`; without it the ports that the pods are known to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
}

/// Why a flow passes or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Whether it passes, by the objects and by the live tables where they were asked; for a Service: with every
    /// backend that may be chosen.
    pub passes: bool,
    /// For people.
    pub text: String,
    /// The same as data: what [`netpol_policy::why::Explanation`] or [`netpol_policy::why::Matrix`] serializes to, each
    /// flow of the former with `live`, a list of [`LivePath`].
    pub explanation: serde_json::Value,
}

/// What the first packet of a flow meets in the kernel's tables, from one address to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LivePath {
    /// The source's address, where there is one.
    pub source: Option<IpAddr>,
    /// The destination's.
    pub destination: Option<IpAddr>,
    /// At the source's interface.
    pub egress: LiveSide,
    /// At the destination's interface.
    pub ingress: LiveSide,
    /// Where it is not what the objects say, and why that may be.
    pub differences: Vec<String>,
}

impl LivePath {
    /// Whether a classifier of this node drops it.
    #[must_use]
    pub const fn is_dropped(&self) -> bool {
        self.egress.is_dropped() || self.ingress.is_dropped()
    }
}

/// What it meets at one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum LiveSide {
    /// That end is no pod: nothing judges there.
    NoPod,
    /// It cannot be asked here.
    Elsewhere {
        /// Why not.
        why: String,
        /// The node whose agent can be asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// No classifier is there to judge, so it passes.
    Unhooked {
        /// Why none is there.
        why: String,
    },
    /// The classifier judges.
    Judged(Box<LiveVerdict>),
}

/// What a classifier says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveVerdict {
    /// Whether the packet passes.
    pub verdict: Outcome,
    /// The stable name of the reason.
    pub reason: String,
    /// What the reason means.
    pub meaning: String,
    /// The policies in the policy set that judges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// What the other end is to these policies: selectors and blocks that match it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<String>,
    /// Which ports they allow with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ports: String,
    /// For a flow to a Service: the backends that it is judged by, `ADDRESS PORT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<String>,
    /// Flows between these ends that the classifier knows already, and how many of them are denied.
    pub known_flows: usize,
    /// Those of them that are denied.
    pub denied_flows: usize,
}

impl LiveSide {
    /// Whether the packet is dropped there.
    #[must_use]
    pub const fn is_dropped(&self) -> bool {
        match self {
            Self::Judged(judged) => matches!(judged.verdict, Outcome::Dropped),
            Self::NoPod | Self::Elsewhere { .. } | Self::Unhooked { .. } => false,
        }
    }

    /// Whether it passes, where that can be said.
    #[must_use]
    pub const fn passes(&self) -> Option<bool> {
        match self {
            Self::NoPod | Self::Elsewhere { .. } => None,
            Self::Unhooked { .. } => Some(true),
            Self::Judged(_) => Some(!self.is_dropped()),
        }
    }
}
