//! The compiler's mirror of the tables as the decision function reads it, and no flows.

use netpol_common::{
    Addr, Direction,
    decide::{Flows, Table, Tables},
    flow::{Flow, FlowKey, FragmentKey},
    tables::{BackendSet, Endpoint, FrontendKey, INTERFACE_ENDPOINT, Interface, Judgement, PortSet, Prefix},
};
use netpol_policy::engine::{Engine, HookLevel, Mirror};

/// Every packet is a new flow.
pub(crate) struct NoFlows;

impl Flows for NoFlows {
    fn get(&mut self, _: u32, _: Table, _: &FlowKey, _: &mut Flow) -> bool {
        false
    }
    fn put(&mut self, _: u32, _: Table, _: &FlowKey, _: &Flow) {}
    fn touch(&mut self, _: u32, _: Table, _: &FlowKey, _: u32) {}
    fn remove(&mut self, _: u32, _: Table, _: &FlowKey) {}
    fn fragment(&mut self, _: &FragmentKey, _: u32) -> u32 {
        0
    }
    fn remember_fragment(&mut self, _: &FragmentKey, _: u32, _: bool) {}
}

/// The mirror, and the interfaces as the hooks make them known.
pub(crate) struct WithInterfaces<'a> {
    pub(crate) mirror: &'a Mirror,
    pub(crate) engine: &'a Engine,
}

impl Tables for WithInterfaces<'_> {
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
        let hooked =
            self.engine.endpoints().find(|one| one.local.ifindex == ifindex && one.hook != HookLevel::None);
        if let Some(endpoint) = hooked {
            *out = Interface { ifindex, kind: INTERFACE_ENDPOINT, slot: endpoint.slot };
        }
    }
}
