//! Rules with their places, as people and as the API count them.

use netpol_common::Direction;

use super::report::At;
use crate::model::{Policy, PolicyPeer, Rule};

/// A rule and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct RuleAt<'a> {
    pub(super) policy: &'a Policy,
    pub(super) direction: Direction,
    /// Counted from 0.
    pub(super) index: usize,
    pub(super) rule: &'a Rule,
}

impl RuleAt<'_> {
    /// As people count.
    pub(super) fn name(&self) -> String {
        format!("rule {}", self.index + 1)
    }

    pub(super) fn field(&self) -> String {
        format!("{}[{}]", direction_field(self.direction), self.index)
    }

    pub(super) fn peer_field(&self, peer: usize) -> String {
        format!("{}.{}[{peer}]", self.field(), self.peers_field())
    }

    /// `from` or `to`.
    pub(super) const fn peers_field(&self) -> &'static str {
        match self.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        }
    }

    pub(super) fn port_field(&self, port: usize) -> String {
        format!("{}.ports[{port}]", self.field())
    }

    pub(super) fn at(&self, field: String) -> At {
        At::policy(self.policy, field)
    }

    /// The items of `from` or `to`; none where everybody is meant.
    pub(super) fn peers(&self) -> &[PolicyPeer] {
        self.rule.peers.as_deref().unwrap_or_default()
    }
}

/// `spec.ingress` or `spec.egress`.
pub(super) const fn direction_field(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "spec.ingress",
        Direction::Egress => "spec.egress",
    }
}

/// `ingress` or `egress`.
pub(super) const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// Every rule of a policy, in force or void.
pub(super) fn rules_of(policy: &Policy) -> impl Iterator<Item = RuleAt<'_>> {
    Direction::ALL.into_iter().flat_map(move |direction| {
        let rules = policy.rules(direction).unwrap_or_default();
        rules.iter().enumerate().map(move |(index, rule)| RuleAt { policy, direction, index, rule })
    })
}
