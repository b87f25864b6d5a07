//! Network headers.

use aya_ebpf::bindings::__sk_buff;
use netpol_common::{
    Addr,
    packet::{IGMP, KIND_FIRST_FRAGMENT, KIND_LATER_FRAGMENT, LINK_CONTROL, Packet},
    verdict::Reason,
};

use super::{Frame, IP, SHORT, drop_as, transport_header};
use crate::skb::Skb;

/// IPv4 options start with their kind; these two route by the source's will.
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

/// IPv4, all fields in network order.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct V4 {
    pub(crate) version_and_length: u8,
    service: u8,
    pub(crate) total: u16,
    id: u16,
    pub(crate) fragment: u16,
    hops: u8,
    pub(crate) proto: u8,
    checksum: u16,
    pub(crate) src: u32,
    pub(crate) dst: u32,
}

/// IPv6, all fields in network order.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct V6 {
    pub(crate) version: u32,
    pub(crate) payload: u16,
    pub(crate) next: u8,
    hops: u8,
    pub(crate) src: [u32; 4],
    pub(crate) dst: [u32; 4],
}

pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;
pub(crate) const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Sets what kind of packet this is; says whether its offset would let it write into the transport header.
#[inline(always)]
fn fragment(packet: &mut Packet, offset_in_bytes: u32, more: bool) -> bool {
    if offset_in_bytes != 0 {
        packet.kind = KIND_LATER_FRAGMENT;
        return offset_in_bytes < transport_header(packet.proto);
    }
    if more {
        packet.kind = KIND_FIRST_FRAGMENT;
    }
    false
}

#[inline(always)]
pub(super) fn v4(skb: Skb, network: usize, packet: &mut Packet, frame: &mut Frame) -> u32 {
    let Some(header) = skb.read::<V4>(network) else {
        return SHORT;
    };
    let length = usize::from(header.version_and_length & 0x0f) * 4;
    if header.version_and_length >> 4 != 4 || length < 20 {
        return drop_as(Reason::Malformed);
    }
    // Large segments that the kernel has not cut yet say 0.
    let mut total = u32::from(u16::from_be(header.total));
    if total == 0 {
        total = packet.length - network as u32;
    }
    if total < length as u32 {
        return drop_as(Reason::Malformed);
    }
    packet.src = Addr::from_v4_word(header.src);
    packet.dst = Addr::from_v4_word(header.dst);
    packet.proto = header.proto;
    let bits = u16::from_be(header.fragment);
    packet.fragment_id = u32::from(u16::from_be(header.id));
    if fragment(packet, u32::from(bits & FRAGMENT_OFFSET) * 8, bits & MORE_FRAGMENTS != 0) {
        return drop_as(Reason::FragmentOverlapsHeader);
    }
    if length > 20 {
        let outcome = v4_options(skb, network + 20, length as u32 - 20);
        if outcome != 0 {
            return outcome;
        }
    }
    if packet.proto == IGMP && packet.dst.is_multicast_or_broadcast() {
        packet.link_control = LINK_CONTROL;
    }
    frame.hops = header.hops.into();
    frame.set_rest(network + length, total - length as u32);
    IP
}

/// Looks for source routing among `length` bytes of options; 0 when there is none.
#[inline(always)]
fn v4_options(skb: Skb, start: usize, length: u32) -> u32 {
    let mut at = 0;
    let mut i = 0;
    while i < 40 {
        if at >= length {
            break;
        }
        let said = netpol_option(skb.as_raw(), start as u64 + u64::from(at)) as u32;
        if said & STEP == 0 {
            return said;
        }
        at += said & 0x3f;
        i += 1;
    }
    0
}

/// [`netpol_option`]: there may be another one, so many bytes behind.
const STEP: u32 = 0x1000;

/// Looks at one option: [`STEP`] with its length, or what becomes of the packet; 0 at the end of the options.
///
/// The kernel takes it as a function of its own: the verifier walks it once, and not once for each way the options may be
/// cut.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn netpol_option(context: *mut __sk_buff, at: u64) -> u64 {
    // Kind and length at once; behind the last option there is at least a transport header.
    let Some([kind, step]) = Skb::from_raw(context).read::<[u8; 2]>(at as usize) else {
        return SHORT.into();
    };
    let outcome = if kind == LOOSE_SOURCE_ROUTE || kind == STRICT_SOURCE_ROUTE {
        drop_as(Reason::SourceRouted)
    } else if kind == 0 {
        0
    } else if kind == 1 {
        STEP | 1
    } else if (2..=40).contains(&step) {
        STEP | u32::from(step)
    } else {
        drop_as(Reason::Malformed)
    };
    outcome.into()
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// Whether the second half of the address is all that makes it IPv4, which the wire never carries.
#[inline(always)]
fn is_mapped(addr: &Addr) -> bool {
    addr.is_v4()
}

#[inline(always)]
pub(super) fn v6(skb: Skb, network: usize, packet: &mut Packet, frame: &mut Frame) -> u32 {
    let Some(header) = skb.read::<V6>(network) else {
        return SHORT;
    };
    if header.version.to_ne_bytes()[0] >> 4 != 6 {
        return drop_as(Reason::Malformed);
    }
    packet.src = Addr(header.src);
    packet.dst = Addr(header.dst);
    if is_mapped(&packet.src) || is_mapped(&packet.dst) {
        return drop_as(Reason::MartianAddress);
    }
    // Large segments that the kernel has not cut yet, and jumbograms, say 0.
    let mut room = u32::from(u16::from_be(header.payload));
    if room == 0 {
        room = packet.length - network as u32 - 40;
    }
    packet.proto = header.next;
    frame.hops = header.hops.into();
    frame.set_rest(network + 40, room);
    // Unrolled by hand: old kernels refuse a loop whose end LLVM lays out so that it falls through into its head.
    let mut outcome = CONTINUE;
    macro_rules! step {
        ($($n:literal)*) => {$(
            let _number: u8 = $n;
            if outcome == CONTINUE {
                outcome = extension(skb, packet, frame);
            }
        )*};
    }
    // As many as are walked.
    step!(1 2 3 4 5 6);
    if outcome == CONTINUE {
        if is_extension(packet.proto) { drop_as(Reason::TooManyHeaders) } else { IP }
    } else if outcome == DONE {
        IP
    } else {
        outcome
    }
}

/// [`extension`]: there may be another one.
const CONTINUE: u32 = 0xfffe;
/// [`extension`]: what comes is no extension header.
const DONE: u32 = 0xffff;

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    next == HOP_BY_HOP || next == ROUTING || next == FRAGMENT || next == AUTHENTICATION || next == DESTINATION
}

/// Walks over one extension header. Its kind, and then that of what follows, is the packet's protocol.
#[inline(always)]
fn extension(skb: Skb, packet: &mut Packet, frame: &mut Frame) -> u32 {
    let kind = packet.proto;
    if !is_extension(kind) {
        return DONE;
    }
    let (at, room) = frame.rest();
    let Some(bytes) = skb.read::<[u8; 4]>(at) else {
        return SHORT;
    };
    packet.proto = bytes[0];
    let mut length = (u32::from(bytes[1]) + 1) * 8;
    if kind == ROUTING {
        if bytes[3] != 0 {
            return drop_as(Reason::SourceRouted);
        }
    } else if kind == AUTHENTICATION {
        length = (u32::from(bytes[1]) + 2) * 4;
    } else if kind == FRAGMENT {
        length = 8;
        let Some(id) = skb.read::<u32>(at + 4) else {
            return SHORT;
        };
        packet.fragment_id = u32::from_be(id);
        let bits = u16::from_be_bytes([bytes[2], bytes[3]]);
        if fragment(packet, u32::from(bits & 0xfff8), bits & 1 != 0) {
            return drop_as(Reason::FragmentOverlapsHeader);
        }
    }
    if room < length {
        return drop_as(Reason::Malformed);
    }
    frame.set_rest(at + length as usize, room - length);
    if packet.kind == KIND_LATER_FRAGMENT { DONE } else { CONTINUE }
}
