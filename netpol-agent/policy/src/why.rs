//! Who decided, for people: the policies and rules behind a verdict, or how each of them failed to match.
//!
//! Works on objects and by looking at every rule, like [`spec`](crate::spec), whose questions to selectors and blocks
//! it shares; the packet path pays nothing for it. Ends of the question may be pods, workloads that have no pods yet,
//! pods that exist only as labels, addresses, Services, this node, and the world outside.
//!
//! Rules are counted from 1, as people count them; beside the number stands the path of the field, such as
//! `spec.ingress[0]`, which counts from 0 as the API does. Every text is safe to print: control characters of names
//! are escaped where a text is made, so the values of the structs are too.

mod destination;
mod end;
mod escape;
mod flow;
mod matrix;
mod miss;
mod party;
mod side;
#[cfg(test)]
mod tests;
mod text;
mod world;

use std::net::IpAddr;

use netpol_common::Direction;
use serde::{Deserialize, Serialize};

use crate::{
    model::Key,
    spec::{Cluster, Payload},
    why::escape::key_text,
};

pub use destination::Frontend;
pub use end::{End, InvalidEnd};
pub use escape::{escape, escaped, is_hostile};
pub use flow::{Ends, FlowExplanation, Path, Who};
pub use matrix::{Cell, CellVerdict, Column, Matrix, Row, matrix};
pub use side::{AlwaysReason, Granted, IsolatingPolicy, Miss, NearestRule, Side};
pub use text::{Remarks, payload as payload_text};

/// A question: may this reach that?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who sends.
    pub source: End,
    /// Who receives.
    pub destination: End,
    /// What is sent; to a Service, by its own port.
    pub payload: Payload,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Who sends, in words.
    pub source: String,
    /// Who receives, in words.
    pub destination: String,
    /// What is sent, such as `8080/TCP` or `ICMP`.
    pub payload: String,
    /// Whether all, some or none of the flows pass.
    pub outcome: Outcome,
    /// The flow; several when a Service has several backends, or when the families differ.
    pub flows: Vec<FlowExplanation>,
    /// What else there is to say, such as why a Service leads nowhere.
    pub notes: Vec<String>,
}

/// What becomes of all flows of an [`Explanation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All of them pass.
    Allowed,
    /// None of them passes.
    Denied,
    /// Backends or families differ.
    Differs,
    /// The Service has no backend for it.
    Nowhere,
}

impl Outcome {
    /// That of these flows.
    #[must_use]
    pub fn of(flows: &[FlowExplanation]) -> Self {
        let allowed = flows.iter().filter(|flow| flow.allowed).count();
        match (allowed, flows.len()) {
            (_, 0) => Self::Nowhere,
            (0, _) => Self::Denied,
            (allowed, all) if allowed == all => Self::Allowed,
            _ => Self::Differs,
        }
    }
}

/// One side of a flow that was seen, as far as an event says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attribution {
    /// The other end, in words.
    pub peer: String,
    /// What was sent, at the backend's port when the peer is a Service.
    pub payload: String,
    /// What the policies say.
    pub side: Side,
}

/// A question that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// There is no such object.
    #[error("there is no pod, workload or Service {0}")]
    Unknown(String),
    /// There is no such node.
    #[error("there is no node {0}; its Node object is not among the objects")]
    UnknownNode(String),
    /// There is no pod to ask about.
    #[error("there are no pods in the namespace {0}")]
    NoPods(String),
    /// A Service does not send.
    #[error("the Service {0} receives only: name a pod as the source")]
    ServiceAsSource(String),
}

/// Answers a question.
///
/// # Errors
///
/// When an end is not there, or cannot be an end of that side.
pub fn explain(cluster: &Cluster, question: &Question) -> Result<Explanation, Unanswerable> {
    let Question { source, destination, payload } = question;
    let from = party::resolve_source(cluster, source)?;
    let to = destination::resolve(cluster, destination, *payload)?;

    let flows: Vec<FlowExplanation> =
        to.targets.iter().flat_map(|target| flow::explain_families(cluster, &from, target)).collect();
    let outcome = Outcome::of(&flows);
    let mut notes = from.notes();
    notes.extend(to.notes);
    if outcome == Outcome::Nowhere && notes.is_empty() {
        notes.push("the ends have no family of addresses in common".into());
    }
    Ok(Explanation {
        source: from.name,
        destination: to.name,
        payload: text::payload(*payload),
        outcome,
        flows,
        notes,
    })
}

/// Which policies judged one side of a flow that was seen: that of a local pod towards or from an address. Several
/// when the address is a Service's: one for each backend. Empty when there is no such pod.
#[must_use]
pub fn attribute(
    cluster: &Cluster,
    pod: &Key,
    direction: Direction,
    peer: IpAddr,
    payload: Payload,
) -> Vec<Attribution> {
    let Some(own) = party::party_of_pod(cluster, pod, peer.is_ipv4()) else { return Vec::new() };
    let mut peers = vec![(peer, payload)];
    if let (Direction::Egress, Payload::Port(protocol, port)) = (direction, payload)
        && let Some(backends) = cluster.backends(peer, protocol, port)
    {
        peers = backends.into_iter().map(|one| (one.address, Payload::Port(protocol, one.port))).collect();
    }
    let attribution = |(address, payload): (IpAddr, Payload)| {
        let peer = party::party_of_address(cluster, address);
        let side = match direction {
            Direction::Egress => side::side(cluster, &own, direction, &peer, &peer, payload),
            Direction::Ingress => side::side(cluster, &own, direction, &peer, &own, payload),
        };
        Attribution { peer: peer.name.clone(), payload: text::payload(payload), side }
    };
    peers.into_iter().map(attribution).collect()
}

/// The name of an object, safe to print.
#[must_use]
pub fn name_of(key: &Key) -> String {
    key_text(key)
}
