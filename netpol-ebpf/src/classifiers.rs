//! The classifiers: `from_pod` at tc ingress of the host's end of a pod's veth (the pod's egress), `to_pod` at its tc
//! egress, and `source_check`, the small part of `from_pod` for pods that no policy selects.
//!
//! They are called by the entry of each endpoint, which leaves the slot in the packet's control buffer. **Allow
//! returns "next"**, so that programs of others in the chain run too.
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the macro of a classifier gives it its context so")]

mod object;

use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::bpf_jiffies64,
    macros::classifier,
    programs::TcContext,
};
use netpol_common::{
    Addr, Direction, Reason,
    decide::{Decision, Tables, decide, source_check as check_source},
    flow::ticks_of_jiffies,
    packet::{ICMPV6, Packet},
    tables::ENDPOINT_TAGS_ALLOWED,
};
use netpol_ebpf::{
    flows::Tracked,
    maps::{self, Scratch},
    parse::{ARP, Arp, DROP, Ethernet, Frame, IP, IPV4, IPV6, SHORT, hardware_fits, parse_scratch},
    report::report,
    short::{self, NEW},
    skb::Skb,
    tables::Maps,
};

/// The pod's egress.
#[classifier]
#[inline(always)]
fn from_pod(ctx: TcContext) -> i32 {
    classify(&ctx, Direction::Egress)
}

/// The pod's ingress.
#[classifier]
#[inline(always)]
fn to_pod(ctx: TcContext) -> i32 {
    classify(&ctx, Direction::Ingress)
}

/// The pod's egress where no policy selects it, on a node where another pod is isolated: nobody speaks with another's
/// address, and everybody's packets carry their sender's tag.
#[classifier]
fn source_check(ctx: TcContext) -> i32 {
    let skb = Skb::new(&ctx);
    let slot = skb.slot();
    if speaks_for_itself(skb, slot) {
        skb.set_tc_index(slot);
        return TC_ACT_UNSPEC;
    }
    let outcome = parse_scratch(skb);
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) else {
        return TC_ACT_SHOT;
    };
    // SAFETY: the cell of this CPU, on which no other classifier runs meanwhile.
    let Scratch { packet, decision, frame, .. } = unsafe { &mut *scratch };
    let reason = if outcome == ARP {
        check_arp(skb, frame, slot)
    } else if packet.src.same(&Addr::NONE) && outcome != IP {
        // Not IP, or not readable as such: no address is claimed. The pod is not isolated.
        Reason::NotIsolated
    } else {
        check_source(&Maps, slot, &packet.src, packet.link_control != 0)
    };
    if reason.is_drop() {
        *decision = Decision::default();
        decision.reason = reason as u8;
        decision.report = 1;
        report(slot, now(), Direction::Egress, packet, decision);
        return TC_ACT_SHOT;
    }
    skb.set_tc_index(slot);
    TC_ACT_UNSPEC
}

/// Whether the source is one of the pod's own two addresses, seen without reading the rest of the packet: what nearly
/// all packets are let through by. Says no where it is not that simple.
#[inline(always)]
fn speaks_for_itself(skb: Skb, slot: u32) -> bool {
    // As much as the shortest packet of IPv4 has, at once.
    let (Some(endpoint), Some(frame)) = (Maps.endpoint(slot), skb.at::<[u16; SHORTEST / 2]>(0)) else {
        return false;
    };
    // SAFETY: within what was checked, and aligned as the kernel aligns IP headers.
    let (ethertype, source) = unsafe {
        (frame.byte_add(ETHERTYPE).cast::<u16>().read(), frame.byte_add(SOURCE_V4).cast::<u32>().read())
    };
    if ethertype == IPV4 {
        source != 0 && source == endpoint.v4
    } else if ethertype == IPV6 {
        skb.read::<Addr>(SOURCE_V6).is_some_and(|addr| addr.same(&endpoint.v6) && !addr.same(&Addr::NONE))
    } else {
        false
    }
}

/// The time as the classifiers have it. Never attached: the agent runs it to date what it takes over.
#[classifier]
fn clock(_ctx: TcContext) -> i32 {
    now() as i32
}

/// Bytes of a frame of IPv4 with nothing behind its header.
const SHORTEST: usize = 34;
/// Where the ethertype is, in a frame.
const ETHERTYPE: usize = 12;
/// Where the source is, in a frame without a VLAN tag in its bytes.
const SOURCE_V4: usize = 26;
/// The same for IPv6.
const SOURCE_V6: usize = 22;

/// Nanoseconds of a jiffy, set by the agent before loading.
#[unsafe(no_mangle)]
static JIFFY: u32 = 4_000_000;

/// The time in ticks. The kernel makes one load of it, where the precise clock takes as long as all of a packet's other
/// work but the flow's lookup.
#[inline(always)]
fn now() -> u32 {
    // SAFETY: a helper without arguments, and a constant of the program; volatile, since it is set after compilation.
    unsafe { ticks_of_jiffies(bpf_jiffies64(), read_volatile(&raw const JIFFY)) }
}

/// Lets a packet of a known flow pass; decides and reports any other.
#[inline(always)]
fn classify(ctx: &TcContext, direction: Direction) -> i32 {
    let skb = Skb::new(ctx);
    let slot = skb.slot();
    let now = now();
    let egress = matches!(direction, Direction::Egress);
    let found = short::look(skb, slot, direction, now);
    if let Some(tag) = found
        && tag != NEW
    {
        if egress {
            skb.set_tc_index(tag);
        }
        return TC_ACT_UNSPEC;
    }
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) else {
        return TC_ACT_SHOT;
    };
    // SAFETY: the cell of this CPU, on which no other classifier runs meanwhile.
    let scratch = unsafe { &mut *scratch };
    // Who sent it is asked at the pod's ingress only.
    let arrival = &mut scratch.arrival;
    arrival.slot = slot;
    arrival.now = now;
    (arrival.ingress_ifindex, arrival.tag) = if egress { (0, 0) } else { skb.origin() };
    arrival.has_socket = u32::from(skb.has_socket());
    if found.is_none() || !short::open(skb, direction, scratch) {
        look_closely(skb, direction, scratch);
    }
    // From the working memory, where they do not have to be kept on the stack meanwhile.
    let Scratch { packet, arrival, decision, .. } = scratch;
    let slot = arrival.slot;
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(
        ctx,
        "slot {} direction {} protocol {} ports {} to {} reason {}",
        slot,
        direction as u8,
        packet.proto,
        packet.src_port,
        packet.dst_port,
        decision.reason
    );
    if decision.report != 0 || !decision.passes() {
        report(slot, arrival.now, direction, packet, decision);
    }
    if !decision.passes() {
        return TC_ACT_SHOT;
    }
    if egress {
        skb.set_tc_index(decision.tag(slot));
    }
    TC_ACT_UNSPEC
}

/// The long way: reads all of the packet's headers, and decides.
#[inline(always)]
fn look_closely(skb: Skb, direction: Direction, scratch: &mut Scratch) {
    let outcome = parse_scratch(skb);
    let Scratch { packet, arrival, decision, frame, work, way, .. } = scratch;
    let reason = unreadable(skb, arrival.slot, direction, outcome, packet, frame);
    if reason == READABLE {
        decide(&Maps, &mut Tracked::new(arrival.now, way), packet, arrival, direction, work, decision);
    } else {
        *decision = Decision::default();
        decision.reason = reason as u8;
        decision.report = u8::from(decision.reason >= netpol_common::verdict::FIRST_DROP);
    }
}

/// [`unreadable`]: the packet is for the decision function.
const READABLE: u32 = 0xffff;

/// Judges what the decision function does not see: frames that are not IP, or cannot be read, and frames that no pod may
/// send whatever their content. [`READABLE`], or the number of a reason.
#[inline(always)]
fn unreadable(
    skb: Skb,
    slot: u32,
    direction: Direction,
    outcome: u32,
    packet: &Packet,
    frame: &Frame,
) -> u32 {
    let Some(endpoint) = Maps.endpoint(slot) else {
        return Reason::UnknownEndpoint as u32;
    };
    if frame.tagged != 0 && endpoint.flags & ENDPOINT_TAGS_ALLOWED == 0 {
        return Reason::Tagged as u32;
    }
    let egress = matches!(direction, Direction::Egress);
    if egress && !skb.read::<Ethernet>(0).is_some_and(|ethernet| hardware_fits(&ethernet, endpoint)) {
        return Reason::SpoofedHardware as u32;
    }
    if outcome == ARP {
        return if egress { check_arp(skb, frame, slot) as u32 } else { Reason::LinkControl as u32 };
    }
    if outcome & DROP != 0 {
        return outcome & 0xff;
    }
    if outcome == SHORT {
        return Reason::Malformed as u32;
    }
    // Advertisements and redirects of a router: never from a pod.
    if egress && packet.proto == ICMPV6 && (packet.icmp_type == 134 || packet.icmp_type == 137) {
        return Reason::RouterFromPod as u32;
    }
    if egress
        && packet.proto == netpol_common::packet::ICMP
        && (packet.icmp_type == 5 || packet.icmp_type == 9)
    {
        return Reason::RouterFromPod as u32;
    }
    READABLE
}

/// A pod's ARP speaks for its own address (or, probing, for none), with the hardware address of its frame.
#[inline(always)]
fn check_arp(skb: Skb, frame: &Frame, slot: u32) -> Reason {
    let (Some(ethernet), Some(arp)) = (skb.read::<Ethernet>(0), skb.read::<Arp>(frame.network as usize))
    else {
        return Reason::Malformed;
    };
    let same = ((ethernet.source[0] ^ arp.sender_hardware[0])
        | (ethernet.source[1] ^ arp.sender_hardware[1])
        | (ethernet.source[2] ^ arp.sender_hardware[2]))
        == 0;
    if !arp.is_ipv4_over_ethernet() || !same {
        return Reason::SpoofedNeighbour;
    }
    let word = arp.sender_word();
    if word == 0 || !check_source(&Maps, slot, &Addr::from_v4_word(word), false).is_drop() {
        Reason::LinkControl
    } else {
        Reason::SpoofedNeighbour
    }
}
