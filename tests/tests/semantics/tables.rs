//! The engine's mirror of the tables together with the bridges that are believed.

use std::collections::BTreeSet;

use netpol_common::{
    Addr, Direction,
    decide::Tables,
    tables::{
        BackendSet, Endpoint, FrontendKey, INTERFACE_TRUSTED_BRIDGE, Interface, Judgement, PortSet, Prefix,
    },
};
use netpol_policy::engine::Mirror;

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
