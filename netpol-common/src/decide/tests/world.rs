//! Tables and flows as ordinary maps, and packets in one line.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use crate::{
    Addr, Direction, Reason,
    decide::{Arrival, Decision, Memory, Tables, Work, decide},
    packet::{Packet, TCP},
    tables::{
        BACKENDS_NONE, Backend, BackendSet, CLASS_NONE, ENDPOINT_LIVE, ENDPOINT_RESERVED, Endpoint,
        FrontendKey, Interface, Judgement, MAX_BACKENDS, PORTS_ALL, PORTS_NONE, PortRange, PortSet, Prefix,
        SET_CLOSED, judgement,
    },
};

/// The pod that is looked at.
pub(super) const POD: u32 = 16;
/// Another one of the node.
pub(super) const NEIGHBOUR: u32 = 17;
/// An interface of which nothing is known.
pub(super) const UPLINK: u32 = 7;
/// A bridge on which tags are believed.
pub(super) const BRIDGE: u32 = 8;

/// The class of the friend.
pub(super) const FRIENDS: u32 = 1;
/// A set that allows TCP 80 with friends.
pub(super) const TO_FRIENDS: u32 = 10;
/// A set that allows everything with everybody.
pub(super) const EVERYTHING: u32 = 11;

/// A port set: TCP 80.
const WEB: u32 = 2;

pub(super) const OWN: &str = "10.1.0.16";
pub(super) const OWN_6: &str = "fd01::16";
pub(super) const FRIEND: &str = "10.2.0.1";
pub(super) const FRIEND_6: &str = "fd02::1";
pub(super) const STRANGER: &str = "10.2.0.3";

pub(super) fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

/// All that a decision reads and keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) tables: Maps,
    pub(super) memory: Memory,
    pub(super) now: u32,
    revision: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Maps {
    pub(super) endpoints: HashMap<u32, Endpoint>,
    pub(super) sources: BTreeSet<(u32, Addr)>,
    pub(super) generations: HashMap<Addr, u32>,
    pub(super) peers: HashMap<Addr, Prefix>,
    pub(super) any_peer: HashMap<u32, u32>,
    pub(super) rules: HashMap<(u32, u32), u32>,
    pub(super) port_sets: HashMap<u32, PortSet>,
    pub(super) chunks: BTreeSet<(u32, u8, u16)>,
    pub(super) frontends: HashMap<FrontendKey, u32>,
    pub(super) backends: HashMap<u32, BackendSet>,
    pub(super) members: BTreeSet<(u32, u32)>,
    pub(super) interfaces: HashMap<u32, Interface>,
}

impl Tables for Maps {
    fn endpoint(&self, slot: u32) -> Option<&Endpoint> {
        self.endpoints.get(&slot).filter(|endpoint| endpoint.flags & ENDPOINT_LIVE != 0)
    }
    fn judgement(&self, slot: u32, direction: Direction) -> Judgement {
        self.endpoints.get(&slot).map_or(judgement(SET_CLOSED, 0), |one| one.judgements[direction.index()])
    }
    fn more_sources(&self, slot: u32, addr: &Addr) -> bool {
        self.sources.contains(&(slot, *addr))
    }
    fn generation(&self, addr: &Addr) -> u32 {
        self.generations.get(addr).copied().unwrap_or(0)
    }
    fn peer(&self, addr: &Addr, out: &mut Prefix) {
        *out = self.peers.get(addr).copied().unwrap_or(Prefix { class: CLASS_NONE, flags: 0 });
    }
    fn any_peer(&self, set: u32) -> u32 {
        self.any_peer.get(&set).copied().unwrap_or(PORTS_NONE)
    }
    fn rule(&self, set: u32, class: u32, default: u32) -> u32 {
        self.rules.get(&(set, class)).copied().unwrap_or(default)
    }
    fn port_set(&self, id: u32) -> Option<&PortSet> {
        self.port_sets.get(&id)
    }
    fn port_chunk(&self, port_set: u32, proto: u8, port: u16) -> bool {
        self.chunks.contains(&(port_set, proto, port))
    }
    fn frontend(&self, key: &FrontendKey) -> u32 {
        self.frontends.get(key).copied().unwrap_or(BACKENDS_NONE)
    }
    fn backends(&self, id: u32) -> Option<&BackendSet> {
        self.backends.get(&id)
    }
    fn member(&self, backends: u32, slot: u32) -> bool {
        self.members.contains(&(backends, slot))
    }
    fn interface(&self, ifindex: u32, out: &mut Interface) {
        if let Some(interface) = self.interfaces.get(&ifindex) {
            *out = *interface;
        }
    }
}

impl World {
    /// Two pods that nothing isolates, a friend whose class is known, and the policy sets above.
    pub(super) fn new() -> Self {
        let mut world = Self { now: 10_000, ..Self::default() };
        for slot in [POD, NEIGHBOUR] {
            let endpoint = Endpoint {
                judgements: [0; 2],
                v6: addr(&format!("fd01::{slot}")),
                v4: addr(&format!("10.1.0.{slot}")).0[3],
                flags: ENDPOINT_LIVE,
                hardware: [0; 6],
                reserved: [0; ENDPOINT_RESERVED],
            };
            world.tables.endpoints.insert(slot, endpoint);
        }
        for friend in [FRIEND, FRIEND_6] {
            world.peer(friend, FRIENDS, 0);
        }
        let mut web = PortSet::NONE;
        web.put(0, TCP, PortRange { low: 80, high: 80 });
        world.tables.port_sets.insert(WEB, web);
        world.tables.rules.insert((TO_FRIENDS, FRIENDS), WEB);
        world.tables.any_peer.insert(EVERYTHING, PORTS_ALL);
        world
    }

    /// Both directions of the pod by the set.
    pub(super) fn isolated(set: u32) -> Self {
        let mut world = Self::new();
        for direction in Direction::ALL {
            world.judge_by(POD, direction, set);
        }
        world
    }

    pub(super) fn judge_by(&mut self, slot: u32, direction: Direction, set: u32) {
        self.revision += 1;
        let word = judgement(set, self.revision);
        self.endpoint(slot).judgements[direction.index()] = word;
    }

    pub(super) fn endpoint(&mut self, slot: u32) -> &mut Endpoint {
        self.tables.endpoints.get_mut(&slot).unwrap()
    }

    pub(super) fn peer(&mut self, address: &str, class: u32, flags: u32) {
        self.tables.peers.insert(addr(address), Prefix { class, flags });
    }

    pub(super) fn bump(&mut self, address: &str) {
        *self.tables.generations.entry(addr(address)).or_default() += 1;
    }

    pub(super) fn interface(&mut self, ifindex: u32, kind: u32, slot: u32) {
        self.tables.interfaces.insert(ifindex, Interface { ifindex, kind, slot });
    }

    /// A frontend that leads to backends of (class, port, flags).
    pub(super) fn frontend(&mut self, at: (&str, u16), id: u32, backends: &[(u32, u16, u16)]) {
        let key = FrontendKey { addr: addr(at.0), port: at.1, proto: TCP, reserved: 0 };
        self.tables.frontends.insert(key, id);
        let mut set = BackendSet { id, count: 0, flags: 0, backends: [Backend::UNUSED; MAX_BACKENDS] };
        for (place, &(class, port, flags)) in set.backends.iter_mut().zip(backends) {
            *place = Backend { class, port, flags };
            set.count += 1;
        }
        self.tables.backends.insert(id, set);
    }

    /// The pod sends a packet.
    pub(super) fn from(&mut self, packet: &Packet) -> Decision {
        self.arrive(
            Direction::Egress,
            packet,
            Arrival { slot: POD, ingress_ifindex: 100, ..Arrival::default() },
        )
    }

    /// The pod is sent a packet from the uplink.
    pub(super) fn to(&mut self, packet: &Packet) -> Decision {
        self.via(UPLINK, 0, packet)
    }

    /// The pod is sent a packet that came in by an interface with a tag.
    pub(super) fn via(&mut self, ifindex: u32, tag: u32, packet: &Packet) -> Decision {
        let arrival = Arrival { slot: POD, ingress_ifindex: ifindex, tag, ..Arrival::default() };
        self.arrive(Direction::Ingress, packet, arrival)
    }

    /// The node sends the pod a packet.
    pub(super) fn node(&mut self, packet: &Packet) -> Decision {
        let arrival = Arrival { slot: POD, has_socket: 1, ..Arrival::default() };
        self.arrive(Direction::Ingress, packet, arrival)
    }

    pub(super) fn arrive(&mut self, direction: Direction, packet: &Packet, arrival: Arrival) -> Decision {
        let arrival = Arrival { now: self.now, ..arrival };
        let mut out = Decision { reason: 255, ..Decision::default() };
        decide(&self.tables, &mut self.memory, packet, &arrival, direction, &mut Work::default(), &mut out);
        out
    }
}

impl Decision {
    /// The reason by name, which reads well in a failure.
    pub(super) fn why(&self) -> Reason {
        Reason::from_number(self.reason).unwrap()
    }
}
