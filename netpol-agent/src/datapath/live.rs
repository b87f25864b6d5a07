//! What a new flow meets in the kernel's tables: the decision function over the pinned maps, each entry looked up at
//! that moment. Nothing is written.

mod kept;
mod trail;

use std::cell::OnceCell;

use aya::maps::{HashMap, MapData, MapError, lpm_trie::Key};
use netpol_common::{
    Addr, Direction, Pod,
    decide::{Arrival, Decision, Tables},
    flow::FlowKey,
    packet::Packet,
    tables::{
        BACKENDS_NONE, BackendSet, CHUNK_PORTS, CLASS_NONE, ENDPOINT_LIVE, Endpoint, FrontendKey, Interface,
        Judgement, LONG_WAY_CELL, MemberKey, PORTS_NONE, PortChunkKey, PortSet, Prefix, RuleKey, SET_CLOSED,
        SourceKey, judgement, program_cell,
    },
};
use netpol_policy::engine::HookLevel;

use self::kept::Kept;
pub use self::trail::{Entry, first_packet};
use super::{
    Attachment, Datapath, Error, Holder, Side, apply::named, pins, raw::Raw, sys, tables, tcx_programs,
};

/// The first packet of a flow, and where it is met.
#[derive(Clone, Copy, Debug)]
pub struct Meeting {
    /// The packet.
    pub packet: Packet,
    /// The endpoint, and how the packet got there.
    pub arrival: Arrival,
    /// As the endpoint sees it.
    pub direction: Direction,
}

/// What it meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// What the interface carries.
    pub hook: Hook,
    /// What the classifier decides.
    pub decision: Decision,
    /// The entries that it reads for that, in this order.
    pub entries: Vec<Entry>,
    /// Flows of these ends that the endpoint knows already.
    pub known: usize,
    /// Those of them that are denied.
    pub denied: usize,
}

/// What an interface carries in a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Nothing, and nothing is wanted there.
    None,
    /// Nothing, although a classifier was attached: somebody has taken it off.
    Gone,
    /// An entry that calls no classifier: it drops everything.
    Empty,
    /// The classifier that only checks the source address.
    SourceCheck,
    /// The classifier that judges.
    Full,
}

impl Datapath {
    /// What the first packet of a flow meets now.
    ///
    /// # Errors
    ///
    /// When a table or a hook cannot be read.
    pub fn meet(&self, meeting: &Meeting) -> Result<Met, Error> {
        let live = Live {
            tables: &self.tables,
            port_sets: Kept::default(),
            backends: Kept::default(),
            endpoints: Kept::default(),
            failed: OnceCell::new(),
        };
        let (decision, entries) = first_packet(&live, meeting);
        if let Some(error) = live.failed.into_inner() {
            return Err(error);
        }
        let hook = self.carried(meeting.arrival.slot, meeting.direction)?;
        let (mut known, mut denied) = (0, 0);
        for (key, flow) in self.flows_of(meeting.arrival.slot) {
            if is_of(&key, meeting) {
                known += 1;
                denied += usize::from(flow.denied != 0);
            }
        }
        Ok(Met { hook, decision, entries, known, denied })
    }

    /// What an interface really carries, beside what was attached to it.
    fn carried(&self, slot: u32, direction: Direction) -> Result<Hook, Error> {
        let Some((ifindex, level)) = self.hooks().get(&slot).copied() else { return Ok(Hook::None) };
        let hook = match (level, direction) {
            (HookLevel::None, _) | (HookLevel::SourceCheck, Direction::Ingress) => return Ok(Hook::None),
            (HookLevel::SourceCheck, Direction::Egress) => Hook::SourceCheck,
            (HookLevel::Full, _) => Hook::Full,
        };
        let Some(held) = self.attached.at(Attachment { slot, ifindex, direction }) else {
            return Ok(Hook::Gone);
        };
        if held.by == Holder::Link {
            let programs = tcx_programs(ifindex, Side::of(direction))
                .map_err(|source| Error::Carried { ifindex, source })?;
            if !programs.contains(&held.program) {
                return Ok(Hook::Gone);
            }
        }
        let map = pins::map(&self.folder.join("maps/PROGRAMS"))?;
        for cell in [program_cell(slot, direction), LONG_WAY_CELL] {
            let called = sys::element(&map, cell);
            if called.map_err(|source| named("PROGRAMS")(MapError::IoError(source)))?.is_none() {
                return Ok(Hook::Empty);
            }
        }
        Ok(hook)
    }
}

/// Whether a flow is one that this packet would open once more, from whatever port.
fn is_of(key: &FlowKey, meeting: &Meeting) -> bool {
    let Meeting { packet, direction, .. } = meeting;
    key.proto == packet.proto
        && match direction {
            Direction::Egress => {
                key.pod.same(&packet.src) && key.peer.same(&packet.dst) && key.peer_port == packet.dst_port
            }
            Direction::Ingress => {
                key.pod.same(&packet.dst) && key.peer.same(&packet.src) && key.pod_port == packet.dst_port
            }
        }
}

/// The pinned maps as the decision function reads them.
struct Live<'d> {
    tables: &'d tables::Tables,
    endpoints: Kept<Endpoint>,
    port_sets: Kept<PortSet>,
    backends: Kept<BackendSet>,
    /// The first error but "not there".
    failed: OnceCell<Error>,
}

impl Live<'_> {
    /// Takes what cannot be read for what is not there, and remembers the first error.
    fn or_failed<V>(&self, result: Result<Option<V>, Error>) -> Option<V> {
        result.unwrap_or_else(|error| {
            // Only the first one is told.
            let _later = self.failed.set(error);
            None
        })
    }

    /// Takes "there is none" for an answer, and remembers any other error.
    fn found<V>(&self, name: &str, result: Result<V, MapError>) -> Option<V> {
        self.or_failed(match result {
            Ok(value) => Ok(Some(value)),
            Err(MapError::KeyNotFound | MapError::OutOfBounds { .. }) => Ok(None),
            Err(error) => Err(named(name)(error)),
        })
    }

    fn look_up<K: Pod, V: Pod>(
        &self,
        map: &HashMap<MapData, Raw<K>, Raw<V>>,
        name: &str,
        key: K,
    ) -> Option<V> {
        self.found(name, map.get(&Raw(key), 0)).map(|value| value.0)
    }
}

impl Tables for Live<'_> {
    fn endpoint(&self, slot: u32) -> Option<&Endpoint> {
        let endpoint = self.tables.endpoints.get(slot).filter(|entry| entry.flags & ENDPOINT_LIVE != 0)?;
        Some(self.endpoints.keep(endpoint))
    }

    fn judgement(&self, slot: u32, direction: Direction) -> Judgement {
        let entry = self.tables.endpoints.get(slot);
        entry.map_or(judgement(SET_CLOSED, 0), |entry| entry.judgements[direction.index()])
    }

    fn more_sources(&self, slot: u32, addr: &Addr) -> bool {
        let key = Key::new(32 + 128, Raw(SourceKey { slot: slot.to_be(), addr: *addr }));
        self.found("SOURCES", self.tables.sources.get(&key, 0)).is_some()
    }

    /// Only flows that are known already are compared with it.
    fn generation(&self, _addr: &Addr) -> u32 {
        0
    }

    fn peer(&self, addr: &Addr, out: &mut Prefix) {
        *out = match self.or_failed(self.tables.peers.get(addr)) {
            Some(peer) => Prefix { class: peer.class, flags: peer.flags },
            None => self
                .found("PREFIXES", self.tables.prefixes.get(&Key::new(128, Raw(*addr)), 0))
                .map_or(Prefix { class: CLASS_NONE, flags: 0 }, |prefix| prefix.0),
        };
    }

    fn any_peer(&self, set: u32) -> u32 {
        let found = self.found("POLICY_SETS", self.tables.policy_sets.get(&set, 0));
        found.map_or(PORTS_NONE, |set| set.0.any_peer)
    }

    fn rule(&self, set: u32, class: u32, default: u32) -> u32 {
        let rule = self.or_failed(self.tables.rules.get(&RuleKey { set, class }));
        rule.map_or(default, |rule| rule.port_set)
    }

    fn port_set(&self, id: u32) -> Option<&PortSet> {
        let found = self.found("PORT_SETS", self.tables.port_sets.get(&id, 0))?;
        Some(self.port_sets.keep(found.0))
    }

    fn port_chunk(&self, port_set: u32, proto: u8, port: u16) -> bool {
        let key = PortChunkKey { port_set, chunk: port / CHUNK_PORTS, proto, reserved: 0 };
        let bit = port % CHUNK_PORTS;
        let chunk = self.look_up(&self.tables.port_chunks, "PORT_CHUNKS", key);
        chunk.is_some_and(|chunk| chunk.ports[usize::from(bit / 64)] >> (bit % 64) & 1 != 0)
    }

    fn frontend(&self, key: &FrontendKey) -> u32 {
        let frontend = self.look_up(&self.tables.frontends, "FRONTENDS", *key);
        frontend.map_or(BACKENDS_NONE, |frontend| frontend.backends)
    }

    fn backends(&self, id: u32) -> Option<&BackendSet> {
        Some(self.backends.keep(self.look_up(&self.tables.backends, "BACKENDS", id)?))
    }

    fn member(&self, backends: u32, slot: u32) -> bool {
        self.look_up(&self.tables.members, "MEMBERS", MemberKey { backends, slot }).is_some()
    }

    fn interface(&self, ifindex: u32, out: &mut Interface) {
        if let Some(interface) = self.look_up(&self.tables.interfaces, "INTERFACES", ifindex) {
            *out = interface;
        }
    }
}
