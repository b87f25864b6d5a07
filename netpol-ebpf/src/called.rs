//! The decision function's tables for the long way: what takes many instructions is a function of its own, of numbers only.
//! So the verifier walks it once for itself, and not once for each path that leads there; the short way has no time for calls.

use netpol_common::{
    Addr, Direction, Reason,
    decide::Tables,
    tables::{BackendSet, CLASS_NONE, Endpoint, FrontendKey, Interface, Judgement, PortSet, Prefix},
};

use crate::tables::{Maps, netpol_rule};

/// The maps, by calls.
pub(crate) struct Called;

impl Tables for Called {
    #[inline(always)]
    fn endpoint(&self, slot: u32) -> Option<&Endpoint> {
        Maps.endpoint(slot)
    }

    #[inline(always)]
    fn judgement(&self, slot: u32, direction: Direction) -> Judgement {
        Maps.judgement(slot, direction)
    }

    #[inline(always)]
    fn more_sources(&self, slot: u32, addr: &Addr) -> bool {
        let [first, second] = addr.halves();
        netpol_more_sources(slot.into(), first, second) != 0
    }

    #[inline(always)]
    fn generation(&self, addr: &Addr) -> u32 {
        Maps.generation(addr)
    }

    #[inline(always)]
    fn peer(&self, addr: &Addr, out: &mut Prefix) {
        let [first, second] = addr.halves();
        let found = netpol_peer(first, second);
        out.class = found as u32;
        out.flags = (found >> 32) as u32;
    }

    #[inline(always)]
    fn any_peer(&self, set: u32) -> u32 {
        Maps.any_peer(set)
    }

    #[inline(always)]
    fn rule(&self, set: u32, class: u32, default: u32) -> u32 {
        netpol_rule(set.into(), class.into(), default.into()) as u32
    }

    #[inline(always)]
    fn port_set(&self, id: u32) -> Option<&PortSet> {
        Maps.port_set(id)
    }

    #[inline(always)]
    fn port_chunk(&self, port_set: u32, proto: u8, port: u16) -> bool {
        Maps.port_chunk(port_set, proto, port)
    }

    #[inline(always)]
    fn frontend(&self, key: &FrontendKey) -> u32 {
        let [first, second] = key.addr.halves();
        netpol_frontend(first, second, key.port.into(), key.proto.into()) as u32
    }

    #[inline(always)]
    fn backends(&self, id: u32) -> Option<&BackendSet> {
        Maps.backends(id)
    }

    #[inline(always)]
    fn member(&self, backends: u32, slot: u32) -> bool {
        Maps.member(backends, slot)
    }

    #[inline(always)]
    fn permits(&self, port_set: u32, proto: u8, port: u16) -> bool {
        Maps.permits(port_set, proto, port)
    }

    #[inline(always)]
    fn judge_backends(&self, slot: u32, set: u32, any_peer: u32, backends: u32, proto: u8) -> Reason {
        Maps.judge_backends(slot, set, any_peer, backends, proto)
    }

    #[inline(always)]
    fn interface(&self, ifindex: u32, out: &mut Interface) {
        let found = netpol_interface(ifindex.into());
        *out = Interface { ifindex, kind: found as u32, slot: (found >> 32) as u32 };
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netpol_more_sources(slot: u64, first: u64, second: u64) -> u64 {
    Maps.more_sources(slot as u32, &Addr::from_halves(first, second)).into()
}

/// Class and flags, one behind the other.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netpol_peer(first: u64, second: u64) -> u64 {
    let mut peer = Prefix { class: CLASS_NONE, flags: 0 };
    Maps.peer(&Addr::from_halves(first, second), &mut peer);
    u64::from(peer.class) | u64::from(peer.flags) << 32
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netpol_frontend(first: u64, second: u64, port: u64, proto: u64) -> u64 {
    let addr = Addr::from_halves(first, second);
    Maps.frontend(&FrontendKey { addr, port: port as u16, proto: proto as u8, reserved: 0 }).into()
}

/// Kind and slot, one behind the other.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn netpol_interface(ifindex: u64) -> u64 {
    let mut interface = Interface { ifindex: 0, kind: 0, slot: 0 };
    Maps.interface(ifindex as u32, &mut interface);
    u64::from(interface.kind) | u64::from(interface.slot) << 32
}
