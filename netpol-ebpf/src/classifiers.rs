//! The classifiers: `short_way` at both ends of tc on the host's end of a pod's veth (the pod's egress is tc's ingress), and
//! `source_check` for the egress of pods that no policy selects. What these two do not see at once they leave to the
//! `long_way`, by a tail call, as its code and its stack are several times theirs.
//!
//! They are called by the entry of each endpoint, which leaves slot and direction in the packet's control buffer. One program
//! serves both directions, so that its code is in the processor's cache once, and the verifier walks it once. **Allow
//! returns "next"**, so that programs of others in the chain run too.
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the macro of a classifier gives it its context so")]

mod object;

use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::bpf_jiffies64,
    macros::classifier,
    programs::TcContext,
};
use netpol_common::{
    Addr, Reason,
    decide::{Decision, Tables, go, source_check as check_source},
    flow::ticks_of_jiffies,
    packet::{ICMP, ICMPV6, Packet},
    tables::{ENDPOINT_TAGS_ALLOWED, LONG_WAY_CELL},
    verdict::FIRST_DROP,
};
use netpol_ebpf::{
    maps::{self, Scratch},
    parse::{ARP, Arp, DROP, Ethernet, Frame, IP, IPV4, IPV6, SHORT, hardware_fits, parse_scratch},
    programs::PROGRAMS,
    report::report,
    short::{self, NEW},
    skb::{Asked, Skb},
    steps::Apart,
    tables::Maps,
};

/// A pod that a policy selects, in either direction.
#[classifier]
fn short_way(ctx: TcContext) -> i32 {
    let skb = Skb::new(&ctx);
    let now = now();
    match short::look(skb, now) {
        Some(NEW) => {}
        Some(tag) => {
            if skb.is_egress() {
                skb.set_tc_index(tag);
            }
            return TC_ACT_UNSPEC;
        }
        None => return look_closely(&ctx, Asked::All),
    }
    let Some(scratch) = met(skb, now) else {
        return TC_ACT_SHOT;
    };
    if short::open(skb, scratch) { conclude(&ctx, scratch) } else { look_closely(&ctx, Asked::All) }
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
    look_closely(&ctx, Asked::Source)
}

/// Reads all of a packet's headers, and decides. It takes nothing over from who has called it.
#[classifier]
fn long_way(ctx: TcContext) -> i32 {
    let skb = Skb::new(&ctx);
    let reason = netpol_admit(skb.as_raw(), parse_scratch(skb).into()) as u32;
    let Some(scratch) = met(skb, now()) else {
        return TC_ACT_SHOT;
    };
    if reason == READABLE {
        netpol_decide(skb.as_raw());
    } else {
        let decision = &mut scratch.decision;
        *decision = Decision::default();
        decision.reason = reason as u8;
        decision.report = u8::from(decision.reason >= FIRST_DROP);
    }
    conclude(&ctx, scratch)
}

/// Calls the long way. Where it is not, the packet is dropped.
#[inline(always)]
fn look_closely(ctx: &TcContext, asked: Asked) -> i32 {
    Skb::new(ctx).ask(asked);
    // SAFETY: nothing here needs dropping.
    unsafe { PROGRAMS.tail_call(ctx, LONG_WAY_CELL) };
    TC_ACT_SHOT
}

/// This CPU's working memory, with where the packet was met.
#[inline(always)]
fn met(skb: Skb, now: u32) -> Option<&'static mut Scratch> {
    // SAFETY: the cell of this CPU, on which no other classifier runs meanwhile; as for all of the following.
    let scratch = unsafe { &mut *maps::SCRATCH.get_ptr_mut(0)? };
    let arrival = &mut scratch.arrival;
    arrival.slot = skb.slot();
    arrival.now = now;
    // Who sent it is asked at the pod's ingress only.
    (arrival.ingress_ifindex, arrival.tag) = if skb.is_egress() { (0, 0) } else { skb.origin() };
    arrival.has_socket = u32::from(skb.has_socket());
    Some(scratch)
}

/// Does what was decided, and reports it.
#[inline(always)]
fn conclude(ctx: &TcContext, scratch: &Scratch) -> i32 {
    let skb = Skb::new(ctx);
    let Scratch { packet, arrival, decision, .. } = scratch;
    let passes = decision.passes();
    if passes && skb.is_egress() {
        skb.set_tc_index(decision.tag(arrival.slot));
    }
    #[cfg(feature = "log")]
    netpol_log(skb.as_raw());
    if !passes || decision.report != 0 {
        report(arrival.slot, arrival.now, skb.direction(), packet, decision);
    }
    if passes { TC_ACT_UNSPEC } else { TC_ACT_SHOT }
}

/// Writes down what was decided, for debugging. A function of its own, with a stack of its own.
#[cfg(feature = "log")]
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn netpol_log(context: *mut __sk_buff) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: as above.
    let Scratch { packet, arrival, decision, .. } = unsafe { &*scratch };
    aya_log_ebpf::debug!(
        &TcContext::new(context),
        "slot {} direction {} protocol {} ports {} to {} reason {}",
        arrival.slot,
        Skb::from_raw(context).direction() as u8,
        packet.proto,
        packet.src_port,
        packet.dst_port,
        decision.reason
    );
    0
}

/// The decision function, step by step. A function of its own, so that its stack is not there while headers are read.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn netpol_decide(context: *mut __sk_buff) -> u64 {
    go(&mut Apart::of(Skb::from_raw(context)));
    0
}

/// [`netpol_admit`]: the packet is for the decision function.
const READABLE: u32 = 0xffff;

/// Judges what the decision function does not see, and where only the sender is asked for. [`READABLE`], or the number of a
/// reason. `outcome` is the parser's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn netpol_admit(context: *mut __sk_buff, outcome: u64) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) else {
        return Reason::TableInconsistent as u64;
    };
    // SAFETY: as above.
    let Scratch { packet, frame, .. } = unsafe { &*scratch };
    let (skb, outcome) = (Skb::from_raw(context), outcome as u32);
    if skb.asked() == Asked::Source as u32 {
        check(skb, outcome, packet, frame) as u64
    } else {
        unreadable(skb, outcome, packet, frame).into()
    }
}

/// All that a pod is asked that no policy selects.
#[inline(always)]
fn check(skb: Skb, outcome: u32, packet: &Packet, frame: &Frame) -> Reason {
    if outcome == ARP {
        check_arp(skb, frame)
    } else if packet.src.same(&Addr::NONE) && outcome != IP {
        // Not IP, or not readable as such: no address is claimed. The pod is not isolated.
        Reason::NotIsolated
    } else {
        check_source(&Maps, skb.slot(), &packet.src, packet.link_control != 0)
    }
}

/// Judges what the decision function does not see: frames that are not IP, or cannot be read, and frames that no pod may
/// send whatever their content. [`READABLE`], or the number of a reason.
#[inline(always)]
fn unreadable(skb: Skb, outcome: u32, packet: &Packet, frame: &Frame) -> u32 {
    let Some(endpoint) = Maps.endpoint(skb.slot()) else {
        return Reason::UnknownEndpoint as u32;
    };
    if frame.tagged != 0 && endpoint.flags & ENDPOINT_TAGS_ALLOWED == 0 {
        return Reason::Tagged as u32;
    }
    let egress = skb.is_egress();
    if egress && !skb.read::<Ethernet>(0).is_some_and(|ethernet| hardware_fits(&ethernet, endpoint)) {
        return Reason::SpoofedHardware as u32;
    }
    if outcome == ARP {
        return if egress { check_arp(skb, frame) as u32 } else { Reason::LinkControl as u32 };
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
    if egress && packet.proto == ICMP && (packet.icmp_type == 5 || packet.icmp_type == 9) {
        return Reason::RouterFromPod as u32;
    }
    READABLE
}

/// A pod's ARP speaks for its own address (or, probing, for none), with the hardware address of its frame.
#[inline(always)]
fn check_arp(skb: Skb, frame: &Frame) -> Reason {
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
    if word == 0 || !check_source(&Maps, skb.slot(), &Addr::from_v4_word(word), false).is_drop() {
        Reason::LinkControl
    } else {
        Reason::SpoofedNeighbour
    }
}

/// Whether the source is one of the pod's own two addresses, seen without reading the rest of the packet: what nearly
/// all packets are let through by. Says no where it is not that simple.
#[inline(always)]
fn speaks_for_itself(skb: Skb, slot: u32) -> bool {
    let Some(endpoint) = Maps.endpoint(slot) else {
        return false;
    };
    // As far as the longer source reaches, for both families at once: nearly every packet has as much.
    let Some(frame) = skb.first::<[u16; SOURCES_END / 2]>() else {
        return false;
    };
    // SAFETY: within what was checked. To a verifier that asks for alignment, with two bytes before a frame each word is where
    // it belongs; in memory IP headers are aligned to four bytes, and the processors that load eight of them do not mind.
    unsafe {
        match frame.byte_add(ETHERTYPE).cast::<u16>().read() {
            IPV4 => {
                let source = frame.byte_add(SOURCE_V4).cast::<u32>().read();
                source != 0 && source == endpoint.v4
            }
            IPV6 => {
                let source = frame.byte_add(SOURCE_V6).cast::<u64>();
                let own = (&raw const endpoint.v6).cast::<u64>();
                // An address of which this much is 0 is looked at closely: it may be none at all.
                source.read() != 0 && source.read() == own.read() && source.add(1).read() == own.add(1).read()
            }
            _ => false,
        }
    }
}

/// The time as the classifiers have it. Never attached: the agent runs it to date what it takes over.
#[classifier]
fn clock(_ctx: TcContext) -> i32 {
    now() as i32
}

/// Where the ethertype is, in a frame.
const ETHERTYPE: usize = 12;
/// Where the source is, in a frame without a VLAN tag in its bytes.
const SOURCE_V4: usize = 26;
/// The same for IPv6.
const SOURCE_V6: usize = 22;
/// Behind both.
const SOURCES_END: usize = SOURCE_V6 + size_of::<Addr>();

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
