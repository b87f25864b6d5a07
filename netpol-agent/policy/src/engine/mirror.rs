//! The tables as the kernel holds them after the operations so far: what the next ones are compared with, and what
//! `explain` decides over.

mod content;

use std::collections::{BTreeMap, HashMap, HashSet};

use netpol_common::{
    Addr, Direction,
    decide::Tables,
    packet,
    tables::{
        BACKENDS_NONE, BackendSet, CHUNK_PORTS, CLASS_NONE, Digest, ENDPOINT_LIVE, ENDPOINT_RESERVED,
        Endpoint, Frontend, FrontendKey, INTERFACE_ENDPOINT, Interface, InternedKey, Judgement, MemberKey,
        PORTS_NONE, Peer, PolicySet, PortChunk, PortChunkKey, PortSet, Prefix, Rule, RuleKey, SET_CLOSED,
        judgement, revision_of, set_of,
    },
};

use super::{
    by_addr::ByAddr,
    cidr::Cidr,
    ops::{HookLevel, TableOp},
};

/// Cells of generations: here they are by the hash of an address, and in the kernel by its bucket.
const GENERATIONS: usize = 1 << 16;

fn generation_cell(addr: &Addr) -> usize {
    addr.hash() as usize & (GENERATIONS - 1)
}

/// A copy of the tables.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    pub(super) interned: BTreeMap<(u32, u32), Digest>,
    pub(super) port_sets: HashMap<u32, PortSet>,
    pub(super) port_chunks: HashMap<PortChunkKey, PortChunk>,
    pub(super) policy_sets: HashMap<u32, PolicySet>,
    pub(super) rules: HashMap<RuleKey, Rule>,
    peers: ByAddr<Prefix>,
    pub(super) prefixes: BTreeMap<Cidr, Prefix>,
    /// How many prefixes of each length there are, so that a look-up tries only those.
    lengths: BTreeMap<u8, u32>,
    pub(super) backends: HashMap<u32, BackendSet>,
    pub(super) members: HashSet<MemberKey>,
    pub(super) frontends: HashMap<FrontendKey, u32>,
    /// One for each cell; none before the first has moved.
    generations: Vec<u32>,
    all_generations: u32,
    pub(super) endpoints: BTreeMap<u32, Endpoint>,
    pub(super) sources: BTreeMap<u32, Vec<Cidr>>,
    pub(super) hooks: BTreeMap<u32, (u32, HookLevel)>,
}

const NO_ENDPOINT: Endpoint = Endpoint {
    judgements: [judgement(SET_CLOSED, 0); 2],
    v6: Addr::NONE,
    v4: 0,
    flags: 0,
    hardware: [0; 6],
    reserved: [0; ENDPOINT_RESERVED],
};

/// How many entries each table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are called as the tables are")]
pub struct Entries {
    pub peers: usize,
    pub prefixes: usize,
    pub policy_sets: usize,
    pub rules: usize,
    pub port_sets: usize,
    pub port_chunks: usize,
    pub frontends: usize,
    pub backends: usize,
}

impl Mirror {
    /// How many entries each table has.
    #[must_use]
    pub fn entries(&self) -> Entries {
        Entries {
            peers: self.peers.len(),
            prefixes: self.prefixes.len(),
            policy_sets: self.policy_sets.len(),
            rules: self.rules.len(),
            port_sets: self.port_sets.len(),
            port_chunks: self.port_chunks.len(),
            frontends: self.frontends.len(),
            backends: self.backends.len(),
        }
    }

    /// Applies an operation; says whether anything is different now. An operation that changes nothing need not be
    /// sent.
    pub fn apply(&mut self, op: &TableOp) -> bool {
        match op {
            TableOp::Intern { kind, id, digest } => {
                self.interned.insert((*kind, *id), *digest) != Some(*digest)
            }
            TableOp::Forget { kind, id } => self.interned.remove(&(*kind, *id)).is_some(),
            TableOp::PortSet { id, value, chunks } => {
                let mut changed = self.port_sets.insert(*id, **value) != Some(**value);
                for chunk in chunks {
                    changed |= self.port_chunks.insert(chunk.key, *chunk) != Some(*chunk);
                }
                changed
            }
            TableOp::RemovePortSet { id, chunks } => {
                let mut changed = self.port_sets.remove(id).is_some();
                for chunk in chunks {
                    changed |= self.port_chunks.remove(&chunk.key).is_some();
                }
                changed
            }
            TableOp::PolicySet { id, value } => self.policy_sets.insert(*id, *value) != Some(*value),
            TableOp::RemovePolicySet { id } => self.policy_sets.remove(id).is_some(),
            TableOp::Rule(rule) => self.rules.insert(rule.key, *rule) != Some(*rule),
            TableOp::RemoveRule(key) => self.rules.remove(key).is_some(),
            TableOp::Peer(Peer { addr, class, flags }) => {
                let new = Prefix { class: *class, flags: *flags };
                self.peers.insert(addr, new) != Some(new)
            }
            TableOp::RemovePeer(addr) => self.peers.remove(addr).is_some(),
            TableOp::Prefix { cidr, value } => {
                let old = self.prefixes.insert(*cidr, *value);
                if old.is_none() {
                    *self.lengths.entry(cidr.bits()).or_default() += 1;
                }
                old != Some(*value)
            }
            TableOp::RemovePrefix(cidr) => {
                let there = self.prefixes.remove(cidr).is_some();
                if there && let Some(count) = self.lengths.get_mut(&cidr.bits()) {
                    *count -= 1;
                    if *count == 0 {
                        self.lengths.remove(&cidr.bits());
                    }
                }
                there
            }
            TableOp::Backends(set) => self.backends.insert(set.id, **set) != Some(**set),
            TableOp::RemoveBackends(id) => self.backends.remove(id).is_some(),
            TableOp::Member(key) => self.members.insert(*key),
            TableOp::RemoveMember(key) => self.members.remove(key),
            TableOp::Frontend(frontend) => {
                self.frontends.insert(frontend.key, frontend.backends) != Some(frontend.backends)
            }
            TableOp::RemoveFrontend(key) => self.frontends.remove(key).is_some(),
            TableOp::Generation(addr) => {
                self.generations.resize(GENERATIONS, 0);
                if let Some(cell) = self.generations.get_mut(generation_cell(addr)) {
                    *cell = cell.wrapping_add(1);
                }
                true
            }
            TableOp::AllGenerations => {
                self.all_generations = self.all_generations.wrapping_add(1);
                true
            }
            _ => self.apply_to_endpoint(op),
        }
    }

    fn apply_to_endpoint(&mut self, op: &TableOp) -> bool {
        match op {
            TableOp::Endpoint { slot, value } => {
                let entry = self.endpoints.entry(*slot).or_insert(NO_ENDPOINT);
                let new = Endpoint { judgements: entry.judgements, ..**value };
                std::mem::replace(entry, new) != new
            }
            TableOp::RemoveEndpoint { slot } => match self.endpoints.get_mut(slot) {
                Some(entry) => {
                    let new = Endpoint { judgements: entry.judgements, ..NO_ENDPOINT };
                    std::mem::replace(entry, new) != new
                }
                None => false,
            },
            TableOp::Judgement { slot, direction, judgement } => {
                let entry = self.endpoints.entry(*slot).or_insert(NO_ENDPOINT);
                std::mem::replace(&mut entry.judgements[direction.index()], *judgement) != *judgement
            }
            TableOp::Source { slot, cidr } => {
                let sources = self.sources.entry(*slot).or_default();
                let new = !sources.contains(cidr);
                if new {
                    sources.push(*cidr);
                }
                new
            }
            TableOp::RemoveSource { slot, cidr } => {
                let Some(sources) = self.sources.get_mut(slot) else { return false };
                let before = sources.len();
                sources.retain(|c| c != cidr);
                let changed = sources.len() != before;
                if sources.is_empty() {
                    self.sources.remove(slot);
                }
                changed
            }
            TableOp::Hook { slot, ifindex, level } => {
                if *level == HookLevel::None {
                    self.hooks.remove(slot).is_some()
                } else {
                    self.hooks.insert(*slot, (*ifindex, *level)) != Some((*ifindex, *level))
                }
            }
            _ => false,
        }
    }

    /// What the longest prefix says of an address.
    pub(super) fn prefix(&self, addr: &Addr) -> Prefix {
        for (&bits, _) in self.lengths.iter().rev() {
            let cidr = Cidr::around(*addr, bits);
            if cidr.is_v4() == addr.is_v4()
                && let Some(prefix) = self.prefixes.get(&cidr)
            {
                return *prefix;
            }
        }
        Prefix { class: CLASS_NONE, flags: 0 }
    }

    /// What the longest prefix around a CIDR says, itself included.
    pub(super) fn prefix_around(&self, cidr: &Cidr) -> Prefix {
        for (&bits, _) in self.lengths.range(..=cidr.bits()).rev() {
            let around = cidr.shortened(bits);
            if around.is_v4() == cidr.is_v4()
                && let Some(prefix) = self.prefixes.get(&around)
            {
                return *prefix;
            }
        }
        Prefix { class: CLASS_NONE, flags: 0 }
    }

    /// Class and flags of an address, as the packet path sees them.
    #[must_use]
    pub fn peer_of(&self, addr: &Addr) -> Prefix {
        self.peers.get(addr).copied().unwrap_or_else(|| self.prefix(addr))
    }

    /// The addresses that have an entry of their own, with what it says.
    pub(super) fn peers(&self) -> impl Iterator<Item = Peer> {
        self.peers.iter().map(|(addr, is)| Peer { addr, class: is.class, flags: is.flags })
    }

    /// The entry of an address.
    pub(super) fn own_peer(&self, addr: &Addr) -> Option<Peer> {
        self.peers.get(addr).map(|is| Peer { addr: *addr, class: is.class, flags: is.flags })
    }

    /// The policy set that a direction of an endpoint is judged by.
    #[must_use]
    pub fn judgement_set(&self, slot: u32, direction: Direction) -> u32 {
        set_of(self.judgement(slot, direction))
    }

    /// The revision of a direction of an endpoint.
    #[must_use]
    pub fn revision(&self, slot: u32, direction: Direction) -> u32 {
        revision_of(self.judgement(slot, direction))
    }

    /// Which classifiers the endpoint of a slot carries.
    #[must_use]
    pub fn hook(&self, slot: u32) -> HookLevel {
        self.hooks.get(&slot).map_or(HookLevel::None, |h| h.1)
    }

    /// What an id stands for.
    #[must_use]
    pub fn digest(&self, key: InternedKey) -> Option<Digest> {
        self.interned.get(&(key.kind, key.id)).copied()
    }
}

impl Tables for Mirror {
    fn endpoint(&self, slot: u32) -> Option<&Endpoint> {
        self.endpoints.get(&slot).filter(|e| e.flags & ENDPOINT_LIVE != 0)
    }

    fn judgement(&self, slot: u32, direction: Direction) -> Judgement {
        self.endpoints.get(&slot).map_or(judgement(SET_CLOSED, 0), |e| e.judgements[direction.index()])
    }

    fn more_sources(&self, slot: u32, addr: &Addr) -> bool {
        let host = Cidr::host(*addr);
        self.sources.get(&slot).is_some_and(|s| s.iter().any(|c| c.contains(&host)))
    }

    fn generation(&self, addr: &Addr) -> u32 {
        let own = self.generations.get(generation_cell(addr)).copied().unwrap_or(0);
        self.all_generations.wrapping_add(own)
    }

    fn peer(&self, addr: &Addr, out: &mut Prefix) {
        *out = self.peer_of(addr);
    }

    fn any_peer(&self, set: u32) -> u32 {
        self.policy_sets.get(&set).map_or(PORTS_NONE, |s| s.any_peer)
    }

    fn rule(&self, set: u32, class: u32, default: u32) -> u32 {
        self.rules.get(&RuleKey { set, class }).map_or(default, |r| r.port_set)
    }

    fn port_set(&self, id: u32) -> Option<&PortSet> {
        self.port_sets.get(&id)
    }

    fn port_chunk(&self, port_set: u32, proto: u8, port: u16) -> bool {
        debug_assert!(matches!(proto, packet::TCP | packet::UDP | packet::SCTP));
        let key = PortChunkKey { port_set, chunk: port / CHUNK_PORTS, proto, reserved: 0 };
        let bit = port % CHUNK_PORTS;
        self.port_chunks.get(&key).is_some_and(|c| c.ports[usize::from(bit / 64)] >> (bit % 64) & 1 != 0)
    }

    fn frontend(&self, key: &FrontendKey) -> u32 {
        self.frontends.get(key).copied().unwrap_or(BACKENDS_NONE)
    }

    fn backends(&self, id: u32) -> Option<&BackendSet> {
        self.backends.get(&id)
    }

    fn member(&self, backends: u32, slot: u32) -> bool {
        self.members.contains(&MemberKey { backends, slot })
    }

    fn interface(&self, ifindex: u32, out: &mut Interface) {
        *out = Interface { ifindex, kind: 0, slot: 0 };
        if let Some((slot, _)) = self.hooks.iter().find(|(_, (index, _))| *index == ifindex) {
            *out = Interface { ifindex, kind: INTERFACE_ENDPOINT, slot: *slot };
        }
    }
}

/// A frontend's entry from its parts.
pub(super) const fn frontend(key: FrontendKey, backends: u32) -> Frontend {
    Frontend { key, backends }
}
