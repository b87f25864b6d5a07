//! The decision function, and which entries it read to decide.

use std::cell::RefCell;

use netpol_common::{
    Addr, Direction,
    decide::{Decision, Memory, Tables, Work, decide},
    tables::{BackendSet, Endpoint, FrontendKey, Interface, Judgement, PortSet, Prefix, set_of},
};

use super::Meeting;

/// An entry that was read, and what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `ENDPOINTS`: the addresses and flags of a slot, if it is live.
    Endpoint {
        /// The slot.
        slot: u32,
        /// IPv6 address, IPv4 address, flags.
        found: Option<(Addr, u32, u32)>,
    },
    /// `ENDPOINTS`: the policy set of a direction.
    Judgement {
        /// The slot.
        slot: u32,
        /// The direction.
        direction: Direction,
        /// The policy set.
        set: u32,
    },
    /// `SOURCES`: whether the pod may speak with an address.
    Source {
        /// The slot.
        slot: u32,
        /// The address.
        addr: Addr,
        /// Whether it may.
        found: bool,
    },
    /// `PEER_BUCKETS`, else `PEERS`, else `PREFIXES`.
    Peer {
        /// The address.
        addr: Addr,
        /// Class and flags.
        found: Prefix,
    },
    /// `POLICY_SETS`: the port set for any peer.
    AnyPeer {
        /// The policy set.
        set: u32,
        /// The port set.
        ports: u32,
    },
    /// `RULE_BUCKETS` and `RULES`: the port set of a class.
    Rule {
        /// The policy set.
        set: u32,
        /// The class.
        class: u32,
        /// The port set; the one for any peer, when there is no row.
        ports: u32,
    },
    /// `PORT_SETS`.
    PortSet {
        /// The port set.
        id: u32,
        /// What it holds.
        found: Option<PortSet>,
    },
    /// `PORT_CHUNKS`: whether a port is in a chunk.
    PortChunk {
        /// The port set.
        id: u32,
        /// The protocol's number.
        proto: u8,
        /// The port.
        port: u16,
        /// Whether it is.
        found: bool,
    },
    /// `FRONTENDS`.
    Frontend {
        /// Address, port, protocol.
        key: FrontendKey,
        /// The set of backends, 0 for none.
        backends: u32,
    },
    /// `BACKENDS`.
    Backends {
        /// The set.
        id: u32,
        /// What it holds.
        found: Option<BackendSet>,
    },
    /// `MEMBERS`: whether the pod is itself a backend.
    Member {
        /// The set of backends.
        backends: u32,
        /// The slot.
        slot: u32,
        /// Whether it is.
        found: bool,
    },
    /// `INTERFACES`: what kind, and whose.
    Interface {
        /// The interface's index.
        ifindex: u32,
        /// The kind, 0 when it is not known.
        kind: u32,
        /// The slot.
        slot: u32,
    },
}

/// Decides the first packet of a flow that nobody knows yet.
pub fn first_packet<T: Tables>(tables: &T, meeting: &Meeting) -> (Decision, Vec<Entry>) {
    let trail = Trail { tables, entries: RefCell::default() };
    let mut decision = Decision::default();
    // An empty memory knows no flow.
    decide(
        &trail,
        &mut Memory::default(),
        &meeting.packet,
        &meeting.arrival,
        meeting.direction,
        &mut Work::default(),
        &mut decision,
    );
    (decision, trail.entries.into_inner())
}

/// Tables that note what is read of them.
struct Trail<'t, T> {
    tables: &'t T,
    entries: RefCell<Vec<Entry>>,
}

impl<T> Trail<'_, T> {
    fn note(&self, entry: Entry) {
        let mut entries = self.entries.borrow_mut();
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
}

impl<T: Tables> Tables for Trail<'_, T> {
    fn endpoint(&self, slot: u32) -> Option<&Endpoint> {
        let endpoint = self.tables.endpoint(slot);
        self.note(Entry::Endpoint { slot, found: endpoint.map(|e| (e.v6, e.v4, e.flags)) });
        endpoint
    }

    fn judgement(&self, slot: u32, direction: Direction) -> Judgement {
        let judgement = self.tables.judgement(slot, direction);
        self.note(Entry::Judgement { slot, direction, set: set_of(judgement) });
        judgement
    }

    fn more_sources(&self, slot: u32, addr: &Addr) -> bool {
        let found = self.tables.more_sources(slot, addr);
        self.note(Entry::Source { slot, addr: *addr, found });
        found
    }

    fn generation(&self, addr: &Addr) -> u32 {
        self.tables.generation(addr)
    }

    fn peer(&self, addr: &Addr, out: &mut Prefix) {
        self.tables.peer(addr, out);
        self.note(Entry::Peer { addr: *addr, found: *out });
    }

    fn any_peer(&self, set: u32) -> u32 {
        let ports = self.tables.any_peer(set);
        self.note(Entry::AnyPeer { set, ports });
        ports
    }

    fn rule(&self, set: u32, class: u32, default: u32) -> u32 {
        let ports = self.tables.rule(set, class, default);
        self.note(Entry::Rule { set, class, ports });
        ports
    }

    fn port_set(&self, id: u32) -> Option<&PortSet> {
        let found = self.tables.port_set(id);
        self.note(Entry::PortSet { id, found: found.copied() });
        found
    }

    fn port_chunk(&self, id: u32, proto: u8, port: u16) -> bool {
        let found = self.tables.port_chunk(id, proto, port);
        self.note(Entry::PortChunk { id, proto, port, found });
        found
    }

    fn frontend(&self, key: &FrontendKey) -> u32 {
        let backends = self.tables.frontend(key);
        self.note(Entry::Frontend { key: *key, backends });
        backends
    }

    fn backends(&self, id: u32) -> Option<&BackendSet> {
        let found = self.tables.backends(id);
        self.note(Entry::Backends { id, found: found.copied() });
        found
    }

    fn member(&self, backends: u32, slot: u32) -> bool {
        let found = self.tables.member(backends, slot);
        self.note(Entry::Member { backends, slot, found });
        found
    }

    fn interface(&self, ifindex: u32, out: &mut Interface) {
        self.tables.interface(ifindex, out);
        self.note(Entry::Interface { ifindex, kind: out.kind, slot: out.slot });
    }
}
