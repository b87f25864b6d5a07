//! From the numbers of an event to names: who speaks with whom; which policies and rules decided is found in
//! [`attribution`].

mod attribution;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use netpol_common::{
    Addr, Direction, Reason,
    event::Event,
    packet::{SCTP, TCP, UDP},
    tables::{BACKENDS_NONE, FrontendKey},
    verdict::FIRST_DROP,
};
use netpol_policy::{engine::Engine, model::Labels};

use self::attribution::{Question, decided, is_by_policy};
use super::{
    kept::Kept,
    numbers::{flag_letters, icmp_name, protocol_name},
};
use crate::control::protocol::{End, EndKind, Moment, Outcome, Verdict};

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

    /// The time of day at an instant of the kernel's, in nanoseconds.
    #[must_use]
    pub fn time_of(self, at: u64) -> Moment {
        let milliseconds = (self.zero + i128::from(at)) / 1_000_000;
        Moment::from_milliseconds(i64::try_from(milliseconds).unwrap_or_default())
    }
}

/// Kinds that are remembered.
const REMEMBERED: usize = 4096;

/// What events of a kind are named, as long as no object changes: most packets differ from others in little.
#[derive(Debug, Default)]
pub struct Memory {
    kinds: HashMap<Event, Arc<Verdict>>,
}

impl Memory {
    /// Forgets everything: objects have changed.
    pub fn forget(&mut self) {
        self.kinds.clear();
    }
}

/// An event without what is the packet's own: when it came, its length, and the port that whoever opened the flow chose,
/// unless a Service may be named by it.
fn kind_of(engine: &Engine, event: &Event) -> Event {
    let mut kind = Event { at: 0, length: 0, ..*event };
    let (chosen, by) =
        if event.reply == 0 { (&mut kind.src_port, event.src) } else { (&mut kind.dst_port, event.dst) };
    if engine.service_of(by.into()).is_none() {
        *chosen = 0;
    }
    kind
}

/// Names an event by the state that the engine holds. What it was judged by is looked up by its revision, so that a
/// policy that has changed since is not blamed.
#[must_use]
pub fn name(engine: &Engine, memory: &mut Memory, node: &str, clock: Clock, event: &Event) -> Kept {
    if memory.kinds.len() >= REMEMBERED {
        memory.forget();
    }
    let kind = kind_of(engine, event);
    let named = memory.kinds.entry(kind).or_insert_with(|| Arc::new(name_kind(engine, node, event)));
    Kept::of(named.clone(), clock.time_of(event.at), event)
}

/// The names; what is the packet's own is not set.
fn name_kind(engine: &Engine, node: &str, event: &Event) -> Verdict {
    let direction =
        if event.direction == Direction::Egress as u8 { Direction::Egress } else { Direction::Ingress };
    let reason = Reason::from_number(event.reason);
    let dropped = event.reason >= FIRST_DROP;
    let endpoint = engine.endpoint(event.slot);
    let own = endpoint.as_ref().and_then(|e| e.local.pod.clone());
    let mut verdict = Verdict {
        time: Moment::default(),
        verdict: if dropped { Outcome::Dropped } else { Outcome::Allowed },
        reason: reason.map_or_else(|| format!("reason-{}", event.reason), |r| r.name().to_owned()),
        direction: direction.name().to_owned(),
        endpoint: match (&own, &endpoint) {
            (Some(pod), _) => pod.to_string(),
            (None, Some(endpoint)) => endpoint.local.ifname.to_string(),
            (None, None) => format!("slot {}", event.slot),
        },
        protocol: protocol_name(event.proto),
        source: end(engine, event.src, event.src_port, event.proto),
        destination: end(engine, event.dst, event.dst_port, event.proto),
        count: 1,
        first: None,
        at_least: false,
        allowed_by: Vec::new(),
        isolated_by: Vec::new(),
        nearest: Vec::new(),
        closed: false,
        changed_since: false,
        backends: backends(engine, event.backends),
        reply: event.reply != 0,
        tcp_flags: flag_letters(event.proto, event.tcp_flags),
        icmp: icmp_name(event.proto, event.icmp_type, event.icmp_code),
        length: event.length,
        slot: event.slot,
        revision: event.revision,
    };
    if reason == Some(Reason::Node) {
        // The kernel knows the node by its socket, not by an address: it has more of them than its object names.
        verdict.source.kind = EndKind::Node;
        node.clone_into(&mut verdict.source.name);
        verdict.source.labels.clear();
    }
    if let Some(reason) = reason.filter(|reason| is_by_policy(*reason)) {
        let question = Question::of(event, direction, reason);
        let decided = decided(engine, node, &question, own.as_ref());
        verdict.allowed_by = decided.allowed_by;
        verdict.isolated_by = decided.isolated_by;
        verdict.nearest = decided.nearest;
        verdict.closed = decided.closed;
        verdict.changed_since = decided.changed_since;
    }
    verdict
}

/// What an address is: a pod, a Service's, a node's, or anything else.
#[must_use]
pub fn end(engine: &Engine, addr: Addr, port: u16, proto: u8) -> End {
    let address = IpAddr::from(addr);
    let (kind, name, labels) = match engine.pod_at(address) {
        Some(pod) => (EndKind::Pod, pod.key.to_string(), Labels::clone(&pod.labels)),
        None => {
            let (kind, name) = no_pod(engine, addr, address, port, proto);
            (kind, name, Labels::new())
        }
    };
    let port = matches!(proto, TCP | UDP | SCTP).then_some(port);
    End { kind, name, address: address.to_string(), port, labels }
}

fn no_pod(engine: &Engine, addr: Addr, address: IpAddr, port: u16, proto: u8) -> (EndKind, String) {
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

#[cfg(test)]
mod tests;
