//! The first look at a packet (1 to 7), which decides it or says what is left to do.

use super::{
    Decision,
    access::{Flows, Tables},
    arrival::{addresses, sender_of},
    keep::living,
    steps::{Case, Left},
};
use crate::{
    flow::{Flow, FlowKey},
    packet::{ICMP_ERROR, KIND_LATER_FRAGMENT, LINK_CONTROL_SERVES, Packet},
    verdict::{Direction, Reason},
};

/// The flow that a packet belongs to, as the endpoint sees it.
#[inline(always)]
const fn own_key(packet: &Packet, egress: bool) -> FlowKey {
    let proto = packet.proto;
    let reserved = [0; 3];
    if egress {
        FlowKey {
            pod: packet.src,
            peer: packet.dst,
            pod_port: packet.src_port,
            peer_port: packet.dst_port,
            proto,
            reserved,
        }
    } else {
        FlowKey {
            pod: packet.dst,
            peer: packet.src,
            pod_port: packet.dst_port,
            peer_port: packet.src_port,
            proto,
            reserved,
        }
    }
}

/// 1 to 7: fills in the decision where that is all, and else the key of the flow, and the flow where it is known.
#[inline(always)]
pub(super) fn first_look<T: Tables, F: Flows>(case: &mut Case<'_, T, F>) -> Left {
    let Case { tables, packet, arrival, .. } = *case;
    let out = &mut *case.out;
    *out = Decision::default();
    let slot = arrival.slot;
    let egress = matches!(case.direction, Direction::Egress);
    let Some(endpoint) = tables.endpoint(slot) else {
        out.drop_as(Reason::UnknownEndpoint); // 1
        return Left::Nothing;
    };

    // A pod asks for an address; it does not give them to others.
    let link_control =
        if egress && packet.link_control == LINK_CONTROL_SERVES { 0 } else { packet.link_control };

    // 2. Addresses that cannot be there, or that decide alone.
    match addresses(tables, endpoint, packet, arrival, egress, link_control) {
        // Silent: a bridge floods what it has not learned, to every port.
        Some(Reason::NotForThisPod) => {
            out.reason = Reason::NotForThisPod as u8;
            return Left::Nothing;
        }
        Some(reason) if reason.is_drop() => {
            out.drop_as(reason);
            return Left::Nothing;
        }
        Some(reason) => {
            out.pass_as(reason);
            return Left::Nothing;
        }
        None => {}
    }

    // 3. Link control.
    if link_control != 0 {
        out.pass_as(Reason::LinkControl);
        return Left::Nothing;
    }

    // 5. Later fragments.
    let key = &mut case.work.key;
    *key = own_key(packet, egress);
    if packet.kind == KIND_LATER_FRAGMENT {
        // 4. The node, and the pod itself; of what is no fragment it is kept as a flow, so that replies pass.
        if !egress && arrival.is_from_node() {
            out.pass_as(Reason::Node);
            return Left::Nothing;
        }
        if !egress && sender_of(tables, arrival).slot == slot {
            out.pass_as(Reason::Itself);
            return Left::Nothing;
        }
        return Left::LaterFragment;
    }

    // 6. ICMP errors speak of another flow.
    // They go to who sent the packet that they quote; otherwise anything could be said to anybody in their name.
    let error =
        packet.icmp_kind == ICMP_ERROR && packet.quoted_proto != 0 && packet.dst.same(&packet.quoted_src);
    if error {
        // The quoted packet went the other way: an error that comes in quotes what the pod sent.
        if egress {
            key.pod = packet.quoted_dst;
            key.peer = packet.quoted_src;
            key.pod_port = packet.quoted_dst_port;
            key.peer_port = packet.quoted_src_port;
        } else {
            key.pod = packet.quoted_src;
            key.peer = packet.quoted_dst;
            key.pod_port = packet.quoted_src_port;
            key.peer_port = packet.quoted_dst_port;
        }
        key.proto = packet.quoted_proto;
    }

    // 7. Known flows.
    let flow = &mut case.work.flow;
    *flow = Flow::default();
    let known = living(case.flows, arrival, key, flow);
    let syn = packet.is_pure_syn();
    if known && !syn {
        return if error { Left::KnownByError } else { Left::Known };
    }
    if error {
        *key = own_key(packet, egress);
    }
    if known { Left::Renewed } else { Left::New } // 8
}
