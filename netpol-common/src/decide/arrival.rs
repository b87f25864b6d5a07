//! Where a packet was met, who sent it, and which addresses it may carry.

use super::access::Tables;
use crate::{
    addr::Addr,
    packet::{LINK_CONTROL_ADVERTISES, Packet},
    tables::{
        BACKENDS_NONE, ENDPOINT_MORE_SOURCES, Endpoint, FIRST_SLOT, FrontendKey, INTERFACE_ENDPOINT,
        INTERFACE_TRUSTED_BRIDGE, Interface, TAG_DEFERRED,
    },
    verdict::Reason,
};

/// Where and when a packet was met.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The endpoint.
    pub slot: u32,
    /// The time in [`ticks`](crate::flow::ticks).
    pub now: u32,
    /// The interface by which the packet came to the node; 0 when the node made it.
    pub ingress_ifindex: u32,
    /// What an earlier hook wrote to the packet: see [`Decision::tag`](super::Decision::tag).
    pub tag: u32,
    /// 1 when a socket of the node, or of the pod that sent it, holds the packet.
    pub has_socket: u32,
}

impl Arrival {
    /// Whether the packet is the node's own: it did not come in anywhere, and a socket of the node holds it. A socket
    /// alone says nothing, since a packet between two pods of a bridge still carries its sender's.
    #[inline(always)]
    #[must_use]
    pub const fn is_from_node(&self) -> bool {
        self.ingress_ifindex == 0 && self.has_socket != 0
    }
}

/// The local pod that sent a packet, as far as that can be trusted.
#[derive(Clone, Copy)]
pub(super) struct Sender {
    /// Its slot; 0 when it is not known.
    pub(super) slot: u32,
    /// Whether its own classifier has said the last word on its egress.
    pub(super) judged: bool,
}

impl Sender {
    /// Nobody of this node's pods, or nobody who matters.
    pub(super) const NONE: Self = Self { slot: 0, judged: true };
}

/// Whether nobody has to be asked who sent a packet that arrives at a pod: it is neither the node's own nor from the pod
/// itself, and its sender's egress is not left to us.
#[inline(always)]
pub fn is_judged<T: Tables>(tables: &T, arrival: &Arrival) -> bool {
    if arrival.is_from_node() {
        return false;
    }
    let sender = sender_of(tables, arrival);
    sender.slot != arrival.slot && (sender.judged || sender.slot == 0)
}

/// Who sent a packet that arrives at a pod: by the interface first; by the tag only where that was a bridge all of
/// whose pod ports carry our classifier. A tag that is not the sender's own leaves the judgement of its egress to us.
#[inline(always)]
pub(super) fn sender_of<T: Tables>(tables: &T, arrival: &Arrival) -> Sender {
    let tagged = arrival.tag & (TAG_DEFERRED - 1);
    let mut interface = Interface { ifindex: 0, kind: 0, slot: 0 };
    if arrival.ingress_ifindex != 0 {
        tables.interface(arrival.ingress_ifindex, &mut interface);
    }
    let slot = if interface.kind == INTERFACE_ENDPOINT {
        interface.slot
    } else if interface.kind == INTERFACE_TRUSTED_BRIDGE && tagged >= FIRST_SLOT {
        tagged
    } else {
        0
    };
    Sender { slot, judged: arrival.tag == slot }
}

/// Whether the endpoint may speak with an address, and is spoken to by it.
#[inline(always)]
fn owns<T: Tables>(tables: &T, slot: u32, endpoint: &Endpoint, addr: &Addr) -> bool {
    // An endpoint without an address of a family holds the unspecified one there.
    if addr.is_unspecified() {
        return false;
    }
    if addr.is_v4() {
        if addr.0[3] == endpoint.v4 {
            return true;
        }
    } else if addr.same(&endpoint.v6) {
        return true;
    }
    endpoint.flags & ENDPOINT_MORE_SOURCES != 0 && tables.more_sources(slot, addr)
}

/// Whether a pod may send a packet with this source at all: the whole of what a pod is asked that no policy selects,
/// on a node where another one is isolated.
///
/// The unspecified address and link-local ones are let through only for link control.
#[inline(always)]
pub fn source_check<T: Tables>(tables: &T, slot: u32, src: &Addr, link_control: bool) -> Reason {
    let Some(endpoint) = tables.endpoint(slot) else {
        return Reason::UnknownEndpoint; // 1
    };
    if owns(tables, slot, endpoint, src) || link_control && (src.is_unspecified() || src.is_link_local()) {
        Reason::NotIsolated
    } else {
        Reason::SpoofedSource // 2
    }
}

/// 2. Whether a packet carries addresses that cannot be there, or that decide alone.
///
/// `link_control` is the packet's, as far as this direction may use it.
#[inline(always)]
pub(super) fn addresses<T: Tables>(
    tables: &T,
    endpoint: &Endpoint,
    packet: &Packet,
    arrival: &Arrival,
    egress: bool,
    link_control: u8,
) -> Option<Reason> {
    let slot = arrival.slot;
    if egress {
        let own = owns(tables, slot, endpoint, &packet.src);
        if !own && !(link_control != 0 && (packet.src.is_unspecified() || packet.src.is_link_local())) {
            return Some(Reason::SpoofedSource);
        }
        if packet.dst.is_loopback() || packet.dst.is_unspecified() {
            return Some(Reason::MartianAddress);
        }
        // A neighbour advertisement speaks for its target.
        if link_control == LINK_CONTROL_ADVERTISES
            && !packet.quoted_src.is_link_local()
            && !owns(tables, slot, endpoint, &packet.quoted_src)
        {
            return Some(Reason::SpoofedNeighbour);
        }
        // Where a Service names the pod's address, translation would lead away from the pod.
        let to_itself = own && link_control == 0 && packet.src.same(&packet.dst) && {
            let (addr, port, proto) = (packet.dst, packet.dst_port, packet.proto);
            tables.frontend(&FrontendKey { addr, port, proto, reserved: 0 }) == BACKENDS_NONE
        };
        return if to_itself { Some(Reason::Itself) } else { None };
    }
    if packet.src.is_multicast_or_broadcast() || packet.src.is_loopback() {
        return Some(Reason::MartianAddress);
    }
    if link_control == 0 && !packet.dst.is_multicast_or_broadcast() && !packet.dst.is_link_local() {
        if !owns(tables, slot, endpoint, &packet.dst) {
            return Some(Reason::NotForThisPod);
        }
        if packet.src.same(&packet.dst) {
            let itself = sender_of(tables, arrival).slot == slot;
            return Some(if itself { Reason::Itself } else { Reason::SpoofedSource });
        }
    }
    None
}
