//! Flows as ordinary maps, and the engine's mirror of the tables together with the bridges that are believed.

use std::collections::{BTreeSet, HashMap};

use netpol_common::{
    Addr, Direction,
    decide::{Flows, Table, Tables},
    flow::{FRAGMENT_TIMEOUT, Flow, FlowKey, FragmentKey},
    tables::{
        BackendSet, Endpoint, FrontendKey, INTERFACE_TRUSTED_BRIDGE, Interface, Judgement, PortSet, Prefix,
    },
};
use netpol_policy::engine::Mirror;

/// What the decision function keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    established: HashMap<(u32, FlowKey), Flow>,
    openings: HashMap<(u32, FlowKey), Flow>,
    fragments: HashMap<FragmentKey, (u32, bool)>,
}

impl Memory {
    fn table(&mut self, table: Table) -> &mut HashMap<(u32, FlowKey), Flow> {
        match table {
            Table::Established => &mut self.established,
            Table::Opening => &mut self.openings,
        }
    }

    /// Forgets every flow of a slot.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.established.retain(|(of, _), _| *of != slot);
        self.openings.retain(|(of, _), _| *of != slot);
    }
}

impl Flows for Memory {
    fn get(&mut self, slot: u32, table: Table, key: &FlowKey, out: &mut Flow) -> bool {
        let Some(flow) = self.table(table).get(&(slot, *key)) else { return false };
        *out = *flow;
        true
    }
    fn put(&mut self, slot: u32, table: Table, key: &FlowKey, flow: &Flow) {
        self.table(table).insert((slot, *key), *flow);
    }
    fn touch(&mut self, slot: u32, table: Table, key: &FlowKey, now: u32) {
        if let Some(flow) = self.table(table).get_mut(&(slot, *key)) {
            flow.last_seen = now;
        }
    }
    fn remove(&mut self, slot: u32, table: Table, key: &FlowKey) {
        self.table(table).remove(&(slot, *key));
    }
    fn fragment(&mut self, key: &FragmentKey, now: u32) -> u32 {
        match self.fragments.get(key) {
            Some((at, denied)) if now - at <= FRAGMENT_TIMEOUT => 1 + u32::from(*denied),
            _ => 0,
        }
    }
    fn remember_fragment(&mut self, key: &FragmentKey, now: u32, denied: bool) {
        self.fragments.insert(*key, (now, denied));
    }
}

/// The tables as the decision function reads them.
pub(crate) struct Read<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) bridges: &'a BTreeSet<u32>,
}

impl Tables for Read<'_> {
    fn endpoint(&self, slot: u32) -> Option<&Endpoint> {
        self.mirror.endpoint(slot)
    }
    fn judgement(&self, slot: u32, direction: Direction) -> Judgement {
        self.mirror.judgement(slot, direction)
    }
    fn more_sources(&self, slot: u32, addr: &Addr) -> bool {
        self.mirror.more_sources(slot, addr)
    }
    fn generation(&self, addr: &Addr) -> u32 {
        self.mirror.generation(addr)
    }
    fn peer(&self, addr: &Addr, out: &mut Prefix) {
        self.mirror.peer(addr, out);
    }
    fn any_peer(&self, set: u32) -> u32 {
        self.mirror.any_peer(set)
    }
    fn rule(&self, set: u32, class: u32, default: u32) -> u32 {
        self.mirror.rule(set, class, default)
    }
    fn port_set(&self, id: u32) -> Option<&PortSet> {
        self.mirror.port_set(id)
    }
    fn port_chunk(&self, port_set: u32, proto: u8, port: u16) -> bool {
        self.mirror.port_chunk(port_set, proto, port)
    }
    fn frontend(&self, key: &FrontendKey) -> u32 {
        self.mirror.frontend(key)
    }
    fn backends(&self, id: u32) -> Option<&BackendSet> {
        self.mirror.backends(id)
    }
    fn member(&self, backends: u32, slot: u32) -> bool {
        self.mirror.member(backends, slot)
    }
    fn interface(&self, ifindex: u32, out: &mut Interface) {
        if self.bridges.contains(&ifindex) {
            *out = Interface { ifindex, kind: INTERFACE_TRUSTED_BRIDGE, slot: 0 };
        } else {
            self.mirror.interface(ifindex, out);
        }
    }
}
