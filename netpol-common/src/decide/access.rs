//! What a decision reads and keeps, whatever holds it: BPF maps in the kernel, ordinary maps elsewhere.

use super::judge::{judge_backends, permits};
use crate::{
    addr::Addr,
    flow::{Flow, FlowKey, FragmentKey, Timeouts},
    tables::{BackendSet, Endpoint, FrontendKey, Interface, Judgement, PortSet, Prefix},
    verdict::{Direction, Reason},
};

/// The tables that a decision reads. `None` and the `*_NONE` ids mean "not there"; implementations compare the key
/// that a hash's value repeats, look once more on a mismatch, and then say "not there", which closes.
pub trait Tables {
    /// The endpoint of a slot, if it is live.
    fn endpoint(&self, slot: u32) -> Option<&Endpoint>;
    /// What a direction of the endpoint is judged by, read at once; the closed set for a slot that does not exist.
    fn judgement(&self, slot: u32, direction: Direction) -> Judgement;
    /// Whether the pod in the slot may speak with an address beyond its own two.
    fn more_sources(&self, slot: u32, addr: &Addr) -> bool;
    /// The generation of an address.
    fn generation(&self, addr: &Addr) -> u32;
    /// Class and flags of an address: its own entry, else the longest prefix's.
    fn peer(&self, addr: &Addr, out: &mut Prefix);
    /// The port set of a policy set for classes without a row; [`PORTS_NONE`](crate::tables::PORTS_NONE) for a set
    /// that does not exist.
    fn any_peer(&self, set: u32) -> u32;
    /// The port set of a class in a policy set, `default` without a row.
    fn rule(&self, set: u32, class: u32, default: u32) -> u32;
    /// [`rule`](Self::rule) for one of many. The kernel calls it as a function of its own, as [`permits`](Self::permits).
    #[inline(always)]
    fn rule_of_many(&self, set: u32, class: u32, default: u32) -> u32 {
        self.rule(set, class, default)
    }
    /// A port set.
    fn port_set(&self, id: u32) -> Option<&PortSet>;
    /// Whether a port is in the chunks of a port set.
    fn port_chunk(&self, port_set: u32, proto: u8, port: u16) -> bool;
    /// The set of backends of a frontend, [`BACKENDS_NONE`](crate::tables::BACKENDS_NONE) if there is none.
    fn frontend(&self, key: &FrontendKey) -> u32;
    /// A set of backends.
    fn backends(&self, id: u32) -> Option<&BackendSet>;
    /// Whether the pod in the slot is one of the backends.
    fn member(&self, backends: u32, slot: u32) -> bool;
    /// [`permits`]. The kernel calls it as a function of its own, which the verifier walks once instead of once
    /// for each path that leads there.
    #[inline(always)]
    fn permits(&self, port_set: u32, proto: u8, port: u16) -> bool
    where
        Self: Sized,
    {
        permits(self, port_set, proto, port)
    }
    /// [`judge_backends`]; a function of its own in the kernel, as `permits`.
    #[inline(always)]
    fn judge_backends(&self, slot: u32, set: u32, any_peer: u32, backends: u32, proto: u8) -> Reason
    where
        Self: Sized,
    {
        judge_backends(self, slot, set, any_peer, backends, proto)
    }
    /// What is known of the interface by which a packet came to the node; kind 0, as it is found, for nothing.
    #[inline(always)]
    fn interface(&self, ifindex: u32, out: &mut Interface) {
        let _ = (ifindex, out);
    }
}

/// The flows and fragments that a decision keeps. All calls may fail silently (no room): what is not kept is judged
/// anew.
pub trait Flows {
    /// Copies a flow into `out`, and remembers where it is, or is not, for the calls that follow.
    fn get(&mut self, slot: u32, key: &FlowKey, out: &mut Flow) -> bool;
    /// Replaces or adds the flow that was asked for last.
    fn put(&mut self, slot: u32, key: &FlowKey, flow: &Flow);
    /// Writes only what decides how long the flow that was found last is remembered: when it was seen, its state, its
    /// ends.
    fn touch(&mut self, slot: u32, key: &FlowKey, flow: &Flow);
    /// The idle time after which a flow is forgotten, in [`ticks`](crate::flow::ticks).
    #[inline(always)]
    fn timeout(&self, proto: u8, state: u8) -> u32 {
        Timeouts::DEFAULT.of(proto, state)
    }
    /// What became of the first fragment, and when: 0 unknown, 1 allowed, 2 denied.
    fn fragment(&mut self, key: &FragmentKey, now: u32) -> u32;
    /// Remembers what became of a first fragment.
    fn remember_fragment(&mut self, key: &FragmentKey, now: u32, denied: bool);
}
