//! From the numbers of an event to names: who speaks with whom; which policies and rules decided is found in
//! [`attribution`].
//!
//! An event is looked up when it comes, by the state that it was judged in; its names are made when somebody reads them.

mod attribution;

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
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
use netpol_policy::{
    engine::Engine,
    model::{Key, Labels, Namespace, Pod},
};

pub(super) use self::attribution::Decided;
use self::attribution::{Basis, Question, is_by_policy};
use super::{
    kept::{Kept, Kind},
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

/// So much is remembered of each sort.
const REMEMBERED: usize = 4096;

/// What was looked up for events, as long as no object changes: most packets differ from others in little, and kinds that
/// are new are of ends that are known.
#[derive(Debug)]
pub struct Memory {
    node: Arc<str>,
    kinds: HashMap<Alike, Arc<Kind>>,
    addresses: HashMap<Addr, Address>,
    slots: HashMap<u32, Slot>,
    backends: HashMap<u32, Arc<[Peer]>>,
}

impl Memory {
    /// Nothing is remembered yet by the node of this name.
    #[must_use]
    pub fn of(node: &str) -> Self {
        Self {
            node: node.into(),
            kinds: HashMap::new(),
            addresses: HashMap::new(),
            slots: HashMap::new(),
            backends: HashMap::new(),
        }
    }

    /// Forgets everything: objects have changed.
    pub fn forget(&mut self) {
        self.kinds.clear();
        self.addresses.clear();
        self.slots.clear();
        self.backends.clear();
    }

    fn address(&mut self, engine: &Engine, addr: Addr) -> &Address {
        remembered(&mut self.addresses, addr, || Address::look_up(engine, addr))
    }

    fn slot(&mut self, engine: &Engine, slot: u32) -> &Slot {
        remembered(&mut self.slots, slot, || Slot::look_up(engine, slot))
    }

    fn peer(&mut self, engine: &Engine, (address, port): (IpAddr, u16)) -> Peer {
        Peer { address, port, pod: self.address(engine, address.into()).pod.clone() }
    }

    fn backends(&mut self, engine: &Engine, id: u32) -> Arc<[Peer]> {
        if let Some(known) = self.backends.get(&id) {
            return known.clone();
        }
        let members = engine.backends(id).into_iter().map(|member| self.peer(engine, member)).collect();
        remembered(&mut self.backends, id, || members).clone()
    }

    /// What an address is to packets of a port.
    fn whose(&mut self, engine: &Engine, addr: Addr, port: u16, proto: u8) -> Whose {
        let Address { pod, node, service } = self.address(engine, addr);
        if let Some(pod) = pod {
            return Whose::Pod(pod.clone());
        }
        let frontend = FrontendKey { addr, port, proto, reserved: 0 };
        if let Some(view) = service.as_ref().and_then(|_any| engine.service_at(&frontend)) {
            return Whose::Service(view.service);
        }
        match (node, service) {
            (Some(node), _) => Whose::Node(node.clone()),
            (None, Some(service)) => Whose::Service(service.clone()),
            (None, None) => Whose::World,
        }
    }
}

/// What is known by a key; looked up if it is not.
fn remembered<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, look_up: impl FnOnce() -> V) -> &V {
    if map.len() >= REMEMBERED {
        map.clear();
    }
    map.entry(key).or_insert_with(look_up)
}

/// An event without what is the packet's own: when it came, its length, and the port that whoever opened the flow chose,
/// unless a Service may be named by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Alike(Event);

impl Alike {
    fn of(engine: &Engine, memory: &mut Memory, event: &Event) -> Self {
        let mut kind = Event { at: 0, length: 0, ..*event };
        let (chosen, by) =
            if event.reply == 0 { (&mut kind.src_port, event.src) } else { (&mut kind.dst_port, event.dst) };
        if memory.address(engine, by).service.is_none() {
            *chosen = 0;
        }
        Self(kind)
    }
}

impl Hash for Alike {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // What tells kinds apart; all fields, one by one, would take longer than all else that is done for an event.
        let Event { src, dst, src_port, dst_port, slot, proto, direction, reason, tcp_flags, .. } = self.0;
        state.write(&src.to_bytes());
        state.write(&dst.to_bytes());
        state.write_u64(u64::from(src_port) << 48 | u64::from(dst_port) << 32 | u64::from(slot));
        state.write_u32(u32::from_ne_bytes([proto, direction, reason, tcp_flags]));
    }
}

/// Looks up what an event is named by, in the state that the engine holds. What it was judged by is looked up by its revision,
/// so that a policy that has changed since is not blamed.
#[must_use]
pub fn look_up(engine: &Engine, memory: &mut Memory, clock: Clock, event: &Event) -> Kept {
    let alike = Alike::of(engine, memory, event);
    let kind = match memory.kinds.get(&alike) {
        Some(known) => known.clone(),
        None => {
            let new = Arc::new(Kind::from(Seen::of(engine, memory, &alike.0)));
            remembered(&mut memory.kinds, alike, || new).clone()
        }
    };
    Kept::of(kind, clock.time_of(event.at), event)
}

/// What is known of an address.
#[derive(Debug)]
struct Address {
    pod: Option<Arc<Snapshot>>,
    node: Option<Arc<str>>,
    /// One that has it, on whatever port.
    service: Option<Key>,
}

impl Address {
    fn look_up(engine: &Engine, addr: Addr) -> Self {
        let address = IpAddr::from(addr);
        let node = || engine.store().nodes().find(|node| node.addresses.contains(&address));
        let pod = engine.pod_at(address).map(|pod| Snapshot::of(engine, pod));
        Self {
            node: if pod.is_some() { None } else { node().map(|node| node.name.clone()) },
            pod,
            service: engine.service_of(address).cloned(),
        }
    }
}

/// What is known of the endpoint in a slot.
#[derive(Clone, Debug)]
struct Slot {
    /// That of the pod, or of the interface while the pod is not known.
    name: Arc<str>,
    pod: Option<Arc<Snapshot>>,
    /// Its policy sets, by [`Direction::index`], if it is there.
    sets: Option<[u32; 2]>,
}

impl Slot {
    fn look_up(engine: &Engine, slot: u32) -> Self {
        let endpoint = engine.endpoint(slot);
        let own = endpoint.as_ref().and_then(|endpoint| endpoint.local.pod.as_ref());
        Self {
            name: match (own, &endpoint) {
                (Some(pod), _) => pod.to_string().into(),
                (None, Some(endpoint)) => endpoint.local.ifname.clone(),
                (None, None) => format!("slot {slot}").into(),
            },
            pod: own.and_then(|own| engine.store().pod(own)).map(|pod| Snapshot::of(engine, pod)),
            sets: endpoint.map(|endpoint| endpoint.sets),
        }
    }
}

/// A pod with its namespace, as they were.
#[derive(Debug, PartialEq, Eq)]
struct Snapshot {
    pod: Pod,
    namespace: Option<Arc<Namespace>>,
}

impl Snapshot {
    fn of(engine: &Engine, pod: Pod) -> Arc<Self> {
        let namespace = engine.store().namespace(&pod.key.namespace).cloned();
        // Without what no policy asks for: a pod that has become ready is the same to who reads of its denials.
        let pod = Pod { uid: Arc::default(), mirror_of: None, host_ports: Vec::new(), ready: true, ..pod };
        Arc::new(Self { pod, namespace })
    }
}

/// Where a flow leads to.
#[derive(Debug, PartialEq, Eq)]
struct Peer {
    address: IpAddr,
    port: u16,
    pod: Option<Arc<Snapshot>>,
}

/// Whose an address is.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    Pod(Arc<Snapshot>),
    Service(Key),
    Node(Arc<str>),
    World,
}

impl Whose {
    fn named(&self, addr: Addr, port: u16, proto: u8) -> End {
        let (kind, name, labels) = match self {
            Self::Pod(of) => (EndKind::Pod, of.pod.key.to_string(), Labels::clone(&of.pod.labels)),
            Self::Service(service) => (EndKind::Service, service.to_string(), Labels::new()),
            Self::Node(node) => (EndKind::Node, node.to_string(), Labels::new()),
            Self::World => (EndKind::World, String::new(), Labels::new()),
        };
        let port = has_ports(proto).then_some(port);
        End { kind, name, address: IpAddr::from(addr).to_string(), port, labels }
    }
}

/// What packets of a kind are named by, as it was when they were judged. It is small, and shared with other kinds: of a flood
/// of verdicts hardly any is read.
#[derive(Debug)]
pub struct Seen {
    /// Without what is a packet's own.
    event: Event,
    node: Arc<str>,
    endpoint: Arc<str>,
    source: Whose,
    destination: Whose,
    backends: Option<Arc<[Peer]>>,
    basis: Basis,
}

impl Seen {
    fn of(engine: &Engine, memory: &mut Memory, event: &Event) -> Self {
        let own = memory.slot(engine, event.slot).clone();
        let reason = Reason::from_number(event.reason);
        let basis = match reason.filter(|reason| is_by_policy(*reason)) {
            Some(reason) => {
                let question = Question::of(event, direction_of(event), reason);
                Basis::of(engine, memory, &question, &own)
            }
            None => Basis::None,
        };
        let source = if reason == Some(Reason::Node) {
            // The kernel knows the node by its socket, not by an address: it has more of them than its object names.
            Whose::Node(memory.node.clone())
        } else {
            memory.whose(engine, event.src, event.src_port, event.proto)
        };
        Self {
            event: *event,
            node: memory.node.clone(),
            endpoint: own.name,
            source,
            destination: memory.whose(engine, event.dst, event.dst_port, event.proto),
            backends: (event.backends != BACKENDS_NONE).then(|| memory.backends(engine, event.backends)),
            basis,
        }
    }

    /// The name of the endpoint that judged.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where it was to go.
    pub(super) fn destination(&self) -> End {
        self.destination.named(self.event.dst, self.event.dst_port, self.event.proto)
    }

    /// The number of the reason.
    pub(super) const fn reason(&self) -> u8 {
        self.event.reason
    }

    /// Whether the names are the same, and who decided, of two kinds of packets of one flow.
    pub(super) fn is_named_as(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
            && self.source == other.source
            && self.destination == other.destination
            && self.event.reply == other.event.reply
            && self.basis == other.basis
    }

    /// The names, without who decided; what is the packet's own is not set.
    pub(super) fn named(&self) -> Verdict {
        let event = &self.event;
        let reason = Reason::from_number(event.reason);
        Verdict {
            time: Moment::default(),
            verdict: if event.reason >= FIRST_DROP { Outcome::Dropped } else { Outcome::Allowed },
            reason: reason.map_or_else(|| format!("reason-{}", event.reason), |r| r.name().to_owned()),
            direction: direction_of(event).name().to_owned(),
            endpoint: self.endpoint.to_string(),
            protocol: protocol_name(event.proto),
            source: self.source.named(event.src, event.src_port, event.proto),
            destination: self.destination(),
            count: 1,
            first: None,
            at_least: false,
            allowed_by: Vec::new(),
            isolated_by: Vec::new(),
            nearest: Vec::new(),
            closed: false,
            changed_since: false,
            backends: self.backends.iter().flat_map(|all| all.iter()).map(backend).collect(),
            reply: event.reply != 0,
            tcp_flags: flag_letters(event.proto, event.tcp_flags),
            icmp: icmp_name(event.proto, event.icmp_type, event.icmp_code),
            length: event.length,
            slot: event.slot,
            revision: event.revision,
        }
    }

    /// Who decided.
    pub(super) fn decided(&self) -> Decided {
        self.basis.decided(&self.node)
    }
}

const fn direction_of(event: &Event) -> Direction {
    if event.direction == Direction::Egress as u8 { Direction::Egress } else { Direction::Ingress }
}

/// Whether a protocol has ports.
pub(super) const fn has_ports(proto: u8) -> bool {
    matches!(proto, TCP | UDP | SCTP)
}

fn backend(peer: &Peer) -> String {
    let place = SocketAddr::new(peer.address, peer.port);
    match &peer.pod {
        Some(of) => format!("{} ({place})", of.pod.key),
        None => place.to_string(),
    }
}

#[cfg(test)]
mod tests;
