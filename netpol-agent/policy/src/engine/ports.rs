//! Port sets: merged ranges, interned.

use std::{collections::HashMap, fmt::Write, sync::Arc};

use netpol_common::tables::{
    CHUNK_PORTS, Digest, FIRST_PORT_SET, INLINE_RANGES, INTERNED_PORT_SET, PORTS_ALL, PORTS_FLAG_CHUNKS,
    PORTS_NONE, PortChunk, PortChunkKey, PortRange, PortSet, proto_bit,
};

use super::{
    interner::{Ids, digest_of},
    ops::TableOp,
};

/// A set of (protocol, port): everything, or ranges that are sorted and do not touch each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ports {
    all: bool,
    ranges: Vec<(u8, u16, u16)>,
}

impl Ports {
    /// Every port of every protocol, and protocols without ports.
    pub(super) const fn all() -> Self {
        Self { all: true, ranges: Vec::new() }
    }

    /// From ranges in any order.
    pub(super) fn of(ranges: impl IntoIterator<Item = (u8, u16, u16)>) -> Self {
        let mut ports = Self { all: false, ranges: ranges.into_iter().filter(|r| r.1 <= r.2).collect() };
        ports.merge();
        ports
    }

    pub(super) const fn is_all(&self) -> bool {
        self.all
    }

    pub(super) fn add(&mut self, other: &Self) {
        if self.all || other.ranges.is_empty() && !other.all {
            return;
        }
        if other.all {
            *self = Self::all();
            return;
        }
        self.ranges.extend_from_slice(&other.ranges);
        self.merge();
    }

    fn merge(&mut self) {
        self.ranges.sort_unstable();
        let mut merged: Vec<(u8, u16, u16)> = Vec::with_capacity(self.ranges.len());
        for &(proto, low, high) in &self.ranges {
            match merged.last_mut() {
                Some(last) if last.0 == proto && u32::from(low) <= u32::from(last.2) + 1 => {
                    last.2 = last.2.max(high);
                }
                _ => merged.push((proto, low, high)),
            }
        }
        self.ranges = merged;
    }

    pub(super) fn contains(&self, proto: u8, port: u16) -> bool {
        self.all || self.ranges.iter().any(|&(p, low, high)| p == proto && low <= port && port <= high)
    }

    /// As people write it.
    pub(super) fn text(&self) -> String {
        if self.all {
            return "every port".into();
        }
        let mut text = String::new();
        for &(proto, low, high) in &self.ranges {
            let proto = match proto {
                6 => "TCP",
                17 => "UDP",
                _ => "SCTP",
            };
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing into a string cannot fail.
            let _: std::fmt::Result = match (low, high) {
                (0 | 1, u16::MAX) => write!(text, "{comma}{proto}"),
                _ if low == high => write!(text, "{comma}{proto} {low}"),
                _ => write!(text, "{comma}{proto} {low}-{high}"),
            };
        }
        if text.is_empty() { "no port".into() } else { text }
    }

    /// The entries of the tables. The widest ranges stand inline, the others as bits in chunks.
    pub(super) fn entries(&self, id: u32) -> (PortSet, Vec<PortChunk>) {
        let mut set = PortSet::NONE;
        let mut order: Vec<_> = self.ranges.clone();
        order.sort_by_key(|&(_, low, high)| std::cmp::Reverse(high - low));
        let rest = order.split_off(order.len().min(INLINE_RANGES));
        order.sort_unstable();
        for (place, &(proto, low, high)) in order.iter().enumerate() {
            set.put(place, proto, PortRange { low, high });
        }
        let mut chunks: Vec<PortChunk> = Vec::new();
        let mut places: HashMap<(u8, u16), usize> = HashMap::new();
        for &(proto, low, high) in &rest {
            set.protos |= proto_bit(proto);
            for port in low..=high {
                let chunk = port / CHUNK_PORTS;
                let place = *places.entry((proto, chunk)).or_insert_with(|| {
                    let key = PortChunkKey { port_set: id, chunk, proto, reserved: 0 };
                    chunks.push(PortChunk { key, ports: [0; 8] });
                    chunks.len() - 1
                });
                let bit = port % CHUNK_PORTS;
                chunks[place].ports[usize::from(bit / 64)] |= 1 << (bit % 64);
            }
        }
        if !rest.is_empty() {
            set.flags |= PORTS_FLAG_CHUNKS;
        }
        (set, chunks)
    }
}

#[derive(Debug)]
struct State {
    content: Arc<Ports>,
    digest: Digest,
    refs: u32,
    dead_since: u64,
}

/// The port sets that are in use.
#[derive(Debug)]
pub(super) struct PortSets {
    by_content: HashMap<Arc<Ports>, u32>,
    states: HashMap<u32, State>,
    pub(super) ids: Ids,
    all: Ports,
    none: Ports,
    /// A port set found no id.
    pub(super) exhausted: bool,
}

impl PortSets {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            by_content: HashMap::new(),
            states: HashMap::new(),
            ids: Ids::new(FIRST_PORT_SET, limit),
            all: Ports::all(),
            none: Ports::default(),
            exhausted: false,
        }
    }

    /// The id of a set, for one more user; what has to be written comes into `ops`. Without a free id: nothing is
    /// allowed.
    pub(super) fn acquire(&mut self, ports: &Ports, ops: &mut Vec<TableOp>) -> u32 {
        if ports.all {
            return PORTS_ALL;
        }
        if ports.ranges.is_empty() {
            return PORTS_NONE;
        }
        if let Some(&id) = self.by_content.get(ports) {
            if let Some(state) = self.states.get_mut(&id) {
                state.refs += 1;
            }
            return id;
        }
        let digest = digest_of(&("ports", ports));
        let Some(id) = self.ids.assign(digest) else {
            self.exhausted = true;
            return PORTS_NONE;
        };
        let content = Arc::new(ports.clone());
        self.by_content.insert(content.clone(), id);
        self.states.insert(id, State { content, digest, refs: 1, dead_since: 0 });
        let (value, chunks) = ports.entries(id);
        ops.push(TableOp::Intern { kind: INTERNED_PORT_SET, id, digest });
        ops.push(TableOp::PortSet { id, value: Box::new(value), chunks });
        id
    }

    /// One user less; says whether that was the last.
    pub(super) fn release(&mut self, id: u32, batch: u64) -> bool {
        let Some(state) = self.states.get_mut(&id) else { return false };
        state.refs -= 1;
        state.dead_since = batch;
        state.refs == 0
    }

    /// Collects a set that has had no user since `batch`.
    pub(super) fn collect(&mut self, id: u32, batch: u64, ops: &mut Vec<TableOp>) -> Option<Digest> {
        let state = self.states.get(&id)?;
        if state.refs != 0 || state.dead_since != batch {
            return None;
        }
        let state = self.states.remove(&id)?;
        self.by_content.remove(&state.content);
        ops.push(TableOp::RemovePortSet { id, chunks: state.content.entries(id).1 });
        ops.push(TableOp::Forget { kind: INTERNED_PORT_SET, id });
        Some(state.digest)
    }

    /// What an id stands for; nothing for one that is not known.
    pub(super) fn content(&self, id: u32) -> &Ports {
        match id {
            PORTS_ALL => &self.all,
            _ => self.states.get(&id).map_or(&self.none, |s| &s.content),
        }
    }

    pub(super) fn knows(&self, id: u32) -> bool {
        self.states.contains_key(&id)
    }
}
