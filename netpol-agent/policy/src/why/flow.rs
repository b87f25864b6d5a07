//! One flow: what both of its sides say, at whichever of their addresses it is the same.

use std::net::IpAddr;

use netpol_common::Direction;
use serde::{Deserialize, Serialize};

use super::{
    AlwaysReason, Frontend, Side,
    destination::Target,
    party::{self, Parties, Party},
    side, text,
};
use crate::{
    model::Key,
    spec::{Cluster, Payload},
};

/// One flow of an [`Explanation`](super::Explanation).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowExplanation {
    /// Who sends, in words.
    pub source: String,
    /// Who receives, in words; a backend when the question is about a Service.
    pub destination: String,
    /// What is sent there: a backend's own port.
    pub payload: String,
    /// The Service's address by which it gets there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend: Option<Frontend>,
    /// The addresses of both ends for which all this holds.
    pub paths: Vec<Path>,
    /// Whether both sides allow it.
    pub allowed: bool,
    /// What the policies of the source say.
    pub egress: Side,
    /// What the policies of the destination say.
    pub ingress: Side,
    /// Who the ends are, where the answer is made; whoever reads it has the words.
    #[serde(skip)]
    pub ends: Ends,
}

impl FlowExplanation {
    /// Whether an end is the world: which of its addresses stands for it is worth a word.
    #[must_use]
    pub fn is_of_world(&self) -> bool {
        [&self.source, &self.destination].iter().any(|name| {
            name.strip_prefix(party::WORLD).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
        })
    }
}

/// The addresses of both ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Path {
    /// The source's, `None` when it has none yet. For the world: one that no block names more narrowly than as a
    /// whole family.
    pub source: Option<IpAddr>,
    /// The destination's, in the same way.
    pub destination: Option<IpAddr>,
}

/// Who the ends of a flow are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who sends.
    pub source: Who,
    /// Who receives.
    pub destination: Who,
    /// What.
    pub payload: Payload,
}

impl Default for Ends {
    fn default() -> Self {
        Self { source: Who::Address, destination: Who::Address, payload: Payload::Other(0) }
    }
}

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A pod, which need not exist.
    Pod(Key),
    /// This node.
    Node,
    /// Any address outside.
    World,
    /// An address that is no pod's.
    Address,
}

impl Who {
    fn of(party: &Party) -> Self {
        match (&party.pod, party.place) {
            (Some(pod), _) => Self::Pod(pod.key.clone()),
            (None, party::Place::World { .. }) => Self::World,
            (None, _) if party.own_node => Self::Node,
            (None, _) => Self::Address,
        }
    }
}

/// The flows between two ends: one, unless the answers for their addresses differ, which then stand beside the names.
pub(super) fn explain_families(cluster: &Cluster, from: &Parties, to: &Target) -> Vec<FlowExplanation> {
    let mut different: Vec<(Party, Party, FlowExplanation)> = Vec::new();
    for (from, to_party) in party::pairs(from, &to.parties) {
        let flow = explain_flow(cluster, &from, &to_party, to.payload);
        let same = |a: &Side, b: &Side| a == b || !a.allows() && !b.allows();
        let known = different
            .iter_mut()
            .find(|(_, _, one)| same(&one.egress, &flow.egress) && same(&one.ingress, &flow.ingress));
        match known {
            Some((_, _, one)) => one.paths.extend(flow.paths),
            None => different.push((from, to_party, flow)),
        }
    }
    let several = different.len() > 1;
    let named = |(from, party, mut flow): (Party, Party, FlowExplanation)| {
        if several {
            flow.source = from.name_and_place();
            flow.destination = party.name_and_place();
        }
        flow.frontend.clone_from(&to.frontend);
        flow
    };
    different.into_iter().map(named).collect()
}

/// What both sides say of a flow between one address and another.
pub(super) fn explain_flow(cluster: &Cluster, from: &Party, to: &Party, payload: Payload) -> FlowExplanation {
    let itself = match (&from.pod, &to.pod) {
        (Some(from), Some(to)) => from.key == to.key && !from.addresses.is_empty(),
        _ => false,
    };
    let own_node =
        from.own_node && to.pod.as_ref().is_some_and(|pod| pod.node == cluster.node || pod.node.is_empty());
    let egress = if itself {
        Side::Always { reason: AlwaysReason::Itself }
    } else {
        side::side(cluster, from, Direction::Egress, to, to, payload)
    };
    let ingress = if itself {
        Side::Always { reason: AlwaysReason::Itself }
    } else if own_node && to.counts() {
        Side::Always { reason: AlwaysReason::OwnNode }
    } else {
        side::side(cluster, to, Direction::Ingress, from, to, payload)
    };
    FlowExplanation {
        source: from.name.clone(),
        destination: to.name.clone(),
        payload: text::payload(payload),
        frontend: None,
        paths: vec![Path { source: from.address(cluster), destination: to.address(cluster) }],
        allowed: egress.allows() && ingress.allows(),
        egress,
        ingress,
        ends: Ends { source: Who::of(from), destination: Who::of(to), payload },
    }
}
