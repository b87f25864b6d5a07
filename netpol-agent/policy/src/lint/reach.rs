//! Whether a pod may speak with another as far as the objects say it. Where an address is not known, as of a workload's
//! pods, a block may contain it: so a denial that is found here is certain.

use netpol_common::Direction;

use super::scene::{Group, Scene};
use crate::{
    model::{NamedPort, Pod, Policy, PolicyPeer, PolicyPort, Protocol, Rule},
    spec::matching,
};

/// Ports by their numbers, both ends inclusive; `None` is every port of every protocol, and all other traffic.
pub(super) type Spans = Option<Vec<(Protocol, u16, u16)>>;

/// What items of `ports` mean on whoever receives; a name means nothing on what is no pod.
pub(super) fn spans(ports: Option<&[PolicyPort]>, receiver: Option<&Pod>) -> Spans {
    let mut spans = Vec::new();
    for port in ports? {
        match port {
            PolicyPort::Nothing => {}
            PolicyPort::All(protocol) => spans.push((*protocol, 1, u16::MAX)),
            PolicyPort::Range(protocol, low, high) => spans.push((*protocol, *low, *high)),
            PolicyPort::Named(protocol, name) => {
                let declared = receiver.map_or(&[][..], |pod| &*pod.named_ports);
                let meant = |one: &&NamedPort| one.name == *name && one.protocol == *protocol;
                spans.extend(declared.iter().filter(meant).map(|one| (*protocol, one.port, one.port)));
            }
        }
    }
    Some(spans)
}

/// Whether two have a port in common.
pub(super) fn overlap(a: &Spans, b: &Spans) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        let some = |spans: &Spans| spans.as_ref().is_none_or(|spans| !spans.is_empty());
        return some(a) && some(b);
    };
    a.iter().any(|(protocol, low, high)| {
        b.iter().any(|(other, from, to)| protocol == other && low <= to && from <= high)
    })
}

/// Whether the policies of a pod may let through, in a direction, some of what is asked for. `peer` is the other end,
/// `receiver` whoever is spoken to.
pub(super) fn may_pass(
    scene: &Scene<'_>,
    group: &Group<'_>,
    direction: Direction,
    peer: &Group<'_>,
    receiver: &Group<'_>,
    asked: &Spans,
) -> bool {
    let policies = group.isolating(direction);
    let allows = |policy: &&Policy| {
        policy.rules(direction).unwrap_or_default().iter().any(|rule| {
            !rule.void
                && may_have_peer(scene, policy, rule, peer)
                && overlap(&spans(rule.ports.as_deref(), Some(receiver.pod)), asked)
        })
    };
    policies.is_empty() || policies.iter().any(allows)
}

/// Whether a pod may reach another with some of what is asked for.
pub(super) fn may_reach(scene: &Scene<'_>, from: &Group<'_>, to: &Group<'_>, asked: &Spans) -> bool {
    may_pass(scene, from, Direction::Egress, to, to, asked)
        && may_pass(scene, to, Direction::Ingress, from, to, asked)
}

fn may_have_peer(scene: &Scene<'_>, policy: &Policy, rule: &Rule, peer: &Group<'_>) -> bool {
    let Some(peers) = &rule.peers else { return true };
    peers.iter().any(|item| match item {
        PolicyPeer::Nobody => false,
        PolicyPeer::Block(block) => {
            let addresses = &peer.pod.addresses;
            addresses.is_empty() || addresses.iter().any(|address| matching::block_contains(block, *address))
        }
        PolicyPeer::Pods { namespaces, pods } => scene.contains(policy, namespaces, pods, peer),
    })
}
