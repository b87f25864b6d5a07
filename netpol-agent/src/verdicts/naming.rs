//! From the numbers of an event to names: who speaks with whom, and which policies and rules decided.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use netpol_common::{
    Addr, Direction, Reason,
    event::Event,
    packet::{ICMP, ICMPV6, SCTP, TCP, UDP},
    tables::{BACKENDS_NONE, FrontendKey},
};
use netpol_policy::{
    engine::Engine,
    model::{Key, Namespace, Object, Pod, Policy, Protocol},
    spec::{Cluster, Payload},
    why::{self, Side},
};

use crate::control::protocol::{End, EndKind, Outcome, PolicyPart, Verdict};

/// Turns instants of `CLOCK_MONOTONIC` into the time of day.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The time of day at the clock's zero, in nanoseconds since 1970.
    zero: i128,
}

impl Clock {
    /// Compares both clocks now.
    #[must_use]
    pub fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let monotonic = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .map_or(Duration::ZERO, Duration::from);
        Self { zero: wall.as_nanos() as i128 - monotonic.as_nanos() as i128 }
    }

    fn time_of(self, at: u64) -> String {
        jiff::Timestamp::from_nanosecond(self.zero + i128::from(at))
            .map_or_else(|_| String::new(), |time| format!("{time:.3}"))
    }
}

/// Names an event by the state that the engine holds. What it was judged by is looked up by its revision, so that a
/// policy that has changed since is not blamed.
#[must_use]
pub fn name(engine: &Engine, node: &str, clock: Clock, event: &Event) -> Verdict {
    let direction =
        if event.direction == Direction::Egress as u8 { Direction::Egress } else { Direction::Ingress };
    let reason = Reason::from_number(event.reason);
    let dropped = event.reason >= netpol_common::verdict::FIRST_DROP;
    let endpoint = engine.endpoint(event.slot);
    let own = endpoint.as_ref().and_then(|e| e.local.pod.clone());
    let mut verdict = Verdict {
        time: clock.time_of(event.at),
        verdict: if dropped { Outcome::Dropped } else { Outcome::Allowed },
        reason: reason.map_or_else(|| event.reason.to_string(), |r| r.name().to_owned()),
        direction: direction.name().to_owned(),
        endpoint: match (&own, &endpoint) {
            (Some(pod), _) => pod.to_string(),
            (None, Some(endpoint)) => endpoint.local.ifname.to_string(),
            (None, None) => format!("slot {}", event.slot),
        },
        protocol: protocol_name(event.proto),
        source: end(engine, event.src, event.src_port, event.proto),
        destination: end(engine, event.dst, event.dst_port, event.proto),
        allowed_by: Vec::new(),
        isolated_by: Vec::new(),
        nearest: Vec::new(),
        backends: backends(engine, event.backends),
        reply: event.reply != 0,
        tcp_flags: tcp_flags(event),
        icmp: matches!(event.proto, ICMP | ICMPV6).then_some((event.icmp_type, event.icmp_code)),
        length: event.length,
        slot: event.slot,
        revision: event.revision,
    };
    let by_policy = matches!(
        reason,
        Some(
            Reason::Policy
                | Reason::Deferred
                | Reason::Flow
                | Reason::PolicyDenied
                | Reason::FlowDenied
                | Reason::BackendsDiffer
                | Reason::SenderDenied
        )
    );
    if by_policy {
        attribute(engine, node, event, direction, reason, own.as_ref(), &mut verdict);
    }
    verdict
}

/// Fills in which policies and rules decided.
fn attribute(
    engine: &Engine,
    node: &str,
    event: &Event,
    direction: Direction,
    reason: Option<Reason>,
    own: Option<&Key>,
    verdict: &mut Verdict,
) {
    // A reply is judged as the flow that it belongs to.
    let (judged, port) =
        if event.reply != 0 { (direction.reverse(), event.src_port) } else { (direction, event.dst_port) };
    let (own_address, peer) =
        if direction == Direction::Egress { (event.src, event.dst) } else { (event.dst, event.src) };
    let (judge, judged, peer, policies) = if reason == Some(Reason::SenderDenied) {
        // Judged here by the sender's egress, towards this pod.
        let sender = engine.pod_at(peer.into()).map(|pod| pod.key.clone());
        let slot =
            engine.endpoints().find(|e| e.local.pod.is_some() && e.local.pod == sender).map(|e| e.slot);
        let policies = slot.map(|slot| engine.policies_of(slot, Direction::Egress)).unwrap_or_default();
        (sender, Direction::Egress, own_address, policies)
    } else {
        let policies = match engine.policies_at(event.revision) {
            Some(policies) => policies.to_vec(),
            None => engine.policies_of(event.slot, judged),
        };
        (own.cloned(), judged, peer, policies)
    };
    let Some(judge) = judge else { return };
    let behind = if judged == Direction::Egress { engine.backends(event.backends) } else { Vec::new() };
    let mut peers: Vec<(IpAddr, u16)> = behind;
    if event.backends == BACKENDS_NONE || peers.is_empty() {
        peers = vec![(peer.into(), port)];
    }
    // Only what the question is about: as exact as the whole cluster, and nothing to copy.
    let mut objects = Vec::new();
    let mut add = |pod: &Pod| {
        if let Some(namespace) = engine.store().namespace(&pod.key.namespace) {
            objects.push(Object::Namespace(Namespace::clone(namespace)));
        }
        objects.push(Object::Pod(pod.clone()));
    };
    let Some(pod) = engine.store().pod(&judge) else { return };
    add(pod);
    for (address, _) in &peers {
        if let Some(other) = engine.pod_at(*address).filter(|other| other.key != pod.key) {
            add(other);
        }
    }
    objects.extend(policies.iter().map(|policy| Object::Policy(Policy::clone(policy))));
    let cluster = Cluster::new(&objects, node);
    for (address, port) in peers {
        let payload = payload(event.proto, port);
        for attribution in why::attribute(&cluster, &judge, judged, address, payload) {
            note(attribution.side, verdict);
        }
    }
    if verdict.verdict == Outcome::Dropped {
        verdict.allowed_by.clear();
        verdict.isolated_by = policies.iter().map(|policy| policy.key.to_string()).collect();
    } else {
        verdict.nearest.clear();
    }
}

fn note(side: Side, verdict: &mut Verdict) {
    match side {
        Side::Allowed { by } => {
            for granted in by {
                let part = PolicyPart { policy: granted.policy, rule: granted.field };
                if !verdict.allowed_by.contains(&part) {
                    verdict.allowed_by.push(part);
                }
            }
        }
        Side::Denied { policies } => {
            for policy in policies {
                let text = policy.to_string();
                if !verdict.nearest.contains(&text) {
                    verdict.nearest.push(text);
                }
            }
        }
        Side::NoPod | Side::HostNetwork | Side::NotIsolated | Side::Always { .. } => {}
    }
}

fn payload(proto: u8, port: u16) -> Payload {
    match proto {
        TCP => Payload::Port(Protocol::Tcp, port),
        UDP => Payload::Port(Protocol::Udp, port),
        SCTP => Payload::Port(Protocol::Sctp, port),
        other => Payload::Other(other),
    }
}

/// What an address is: a pod, a Service's, a node's, or anything else.
#[must_use]
pub fn end(engine: &Engine, addr: Addr, port: u16, proto: u8) -> End {
    let address = IpAddr::from(addr);
    let (kind, name) = kind_of(engine, addr, address, port, proto);
    End { kind, name, address: address.to_string(), port: matches!(proto, TCP | UDP | SCTP).then_some(port) }
}

fn kind_of(engine: &Engine, addr: Addr, address: IpAddr, port: u16, proto: u8) -> (EndKind, String) {
    if let Some(pod) = engine.pod_at(address) {
        return (EndKind::Pod, pod.key.to_string());
    }
    let owner = engine.store().nodes().find(|n| n.addresses.contains(&address));
    let frontend = engine.service_at(&FrontendKey { addr, port, proto, reserved: 0 });
    if let Some(view) = frontend {
        return (EndKind::Service, view.service.to_string());
    }
    if let Some(owner) = owner {
        return (EndKind::Node, owner.name.to_string());
    }
    match engine.service_of(address) {
        Some(service) => (EndKind::Service, service.to_string()),
        None => (EndKind::World, String::new()),
    }
}

fn backends(engine: &Engine, id: u32) -> Vec<String> {
    if id == BACKENDS_NONE {
        return Vec::new();
    }
    engine
        .backends(id)
        .into_iter()
        .map(|(address, port)| {
            let place = std::net::SocketAddr::new(address, port);
            match engine.pod_at(address) {
                Some(pod) => format!("{} ({place})", pod.key),
                None => place.to_string(),
            }
        })
        .collect()
}

fn protocol_name(proto: u8) -> String {
    match proto {
        TCP => "TCP".to_owned(),
        UDP => "UDP".to_owned(),
        SCTP => "SCTP".to_owned(),
        ICMP => "ICMP".to_owned(),
        ICMPV6 => "ICMPv6".to_owned(),
        other => other.to_string(),
    }
}

fn tcp_flags(event: &Event) -> String {
    if event.proto != TCP {
        return String::new();
    }
    "FSRPAUEC"
        .chars()
        .enumerate()
        .filter(|(bit, _)| event.tcp_flags >> bit & 1 != 0)
        .map(|(_, letter)| letter)
        .collect()
}

#[cfg(test)]
mod tests;
