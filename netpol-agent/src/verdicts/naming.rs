//! From the numbers of an event to names: who speaks with whom, and which policies and rules decided.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use netpol_common::{
    Addr, Direction, Reason,
    event::Event,
    packet::{ICMP, ICMPV6, SCTP, TCP, UDP},
    tables::{BACKENDS_NONE, FrontendKey},
    verdict::FIRST_DROP,
};
use netpol_policy::{
    engine::Engine,
    model::{Key, Namespace, Object, Pod, Policy, Protocol},
    spec::{Cluster, Payload},
    why::{self, Side},
};

use crate::control::protocol::{End, EndKind, Outcome, PolicyPart, Verdict};

/// Answers that are remembered.
const REMEMBERED: usize = 4096;

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

/// Who decided, as far as it is the same for every packet of a kind: a flood of denials is named once.
#[derive(Debug, Default)]
pub struct Memory {
    decided: HashMap<Question, Decided>,
}

impl Memory {
    /// Forgets everything: objects have changed.
    pub fn forget(&mut self) {
        self.decided.clear();
    }
}

/// What an answer depends on, beside the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Question {
    slot: u32,
    revision: u32,
    judged: Direction,
    own: Addr,
    peer: Addr,
    port: u16,
    proto: u8,
    reason: u8,
    backends: u32,
}

/// Who decided.
#[derive(Clone, Debug, Default)]
struct Decided {
    allowed_by: Vec<PolicyPart>,
    isolated_by: Vec<String>,
    nearest: Vec<String>,
}

/// Names an event by the state that the engine holds. What it was judged by is looked up by its revision, so that a
/// policy that has changed since is not blamed.
#[must_use]
pub fn name(engine: &Engine, memory: &mut Memory, node: &str, clock: Clock, event: &Event) -> Verdict {
    let direction =
        if event.direction == Direction::Egress as u8 { Direction::Egress } else { Direction::Ingress };
    let reason = Reason::from_number(event.reason);
    let dropped = event.reason >= FIRST_DROP;
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
    if reason == Some(Reason::Node) {
        // The kernel knows the node by its socket, not by an address: it has more of them than its object names.
        verdict.source.kind = EndKind::Node;
        node.clone_into(&mut verdict.source.name);
    }
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
        // A reply is judged as the flow that it belongs to.
        let (judged, port) = if event.reply != 0 {
            (direction.reverse(), event.src_port)
        } else {
            (direction, event.dst_port)
        };
        let (own_address, peer) =
            if direction == Direction::Egress { (event.src, event.dst) } else { (event.dst, event.src) };
        let question = Question {
            slot: event.slot,
            revision: event.revision,
            judged,
            own: own_address,
            peer,
            port,
            proto: event.proto,
            reason: event.reason,
            backends: event.backends,
        };
        if memory.decided.len() >= REMEMBERED {
            memory.forget();
        }
        let decided =
            memory.decided.entry(question).or_insert_with(|| decided(engine, node, &question, own.as_ref()));
        verdict.allowed_by.clone_from(&decided.allowed_by);
        verdict.isolated_by.clone_from(&decided.isolated_by);
        verdict.nearest.clone_from(&decided.nearest);
    }
    verdict
}

/// Finds out which policies and rules decided.
fn decided(engine: &Engine, node: &str, question: &Question, own: Option<&Key>) -> Decided {
    let mut decided = Decided::default();
    let Question { slot, revision, judged, own: own_address, peer, port, proto, reason, backends } =
        *question;
    let (judge, judged, peer, policies) = if reason == Reason::SenderDenied as u8 {
        // Judged here by the sender's egress, towards this pod.
        let sender = engine.pod_at(peer.into()).map(|pod| pod.key.clone());
        let slot = sender.as_ref().and_then(|sender| engine.slot_of(sender));
        let policies = slot.map(|slot| engine.policies_of(slot, Direction::Egress)).unwrap_or_default();
        (sender, Direction::Egress, own_address, policies)
    } else {
        let policies = match engine.policies_at(revision) {
            Some(policies) => policies.to_vec(),
            None => engine.policies_of(slot, judged),
        };
        (own.cloned(), judged, peer, policies)
    };
    let Some(judge) = judge else { return decided };
    let behind = if judged == Direction::Egress { engine.backends(backends) } else { Vec::new() };
    let mut peers: Vec<(IpAddr, u16)> = behind;
    if backends == BACKENDS_NONE || peers.is_empty() {
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
    let Some(pod) = engine.store().pod(&judge) else { return decided };
    add(pod);
    for (address, _) in &peers {
        if let Some(other) = engine.pod_at(*address).filter(|other| other.key != pod.key) {
            add(other);
        }
    }
    objects.extend(policies.iter().map(|policy| Object::Policy(Policy::clone(policy))));
    let cluster = Cluster::new(&objects, node);
    for (address, port) in peers {
        let payload = payload(proto, port);
        for attribution in why::attribute(&cluster, &judge, judged, address, payload) {
            note(attribution.side, &mut decided);
        }
    }
    if reason >= FIRST_DROP {
        decided.allowed_by.clear();
        decided.isolated_by = policies.iter().map(|policy| policy.key.to_string()).collect();
    } else {
        decided.nearest.clear();
    }
    decided
}

fn note(side: Side, decided: &mut Decided) {
    match side {
        Side::Allowed { by } => {
            for granted in by {
                let part = PolicyPart { policy: granted.policy, rule: granted.field };
                if !decided.allowed_by.contains(&part) {
                    decided.allowed_by.push(part);
                }
            }
        }
        Side::Denied { policies } => {
            for policy in policies {
                let text = policy.to_string();
                if !decided.nearest.contains(&text) {
                    decided.nearest.push(text);
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
