//! Network headers.

use netpol_common::{
    Addr,
    packet::{IGMP, KIND_FIRST_FRAGMENT, KIND_LATER_FRAGMENT, LINK_CONTROL, Packet},
    verdict::Reason,
};

use super::{Frame, SHORT, drop_as, transport, transport_header};
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
        let outcome = v4_options(skb, network + 20, length as u32 - 20, frame);
        if outcome != 0 {
            return outcome;
        }
    }
    if packet.proto == IGMP && packet.dst.is_multicast_or_broadcast() {
        packet.link_control = LINK_CONTROL;
    }
    transport(skb, network + length, total - length as u32, header.hops, packet)
}

/// Looks for source routing among `length` bytes of options; 0 when there is none.
///
/// The place is kept in memory, not in a register: of what it reads there the verifier knows nothing but the mask, so
/// that it walks the loop once and not once for each way the options may be cut.
#[inline(always)]
fn v4_options(skb: Skb, start: usize, length: u32, frame: &mut Frame) -> u32 {
    let cursor = &raw mut frame.cursor;
    // SAFETY: a field of ours, here and below.
    unsafe { cursor.write_volatile([0, length]) };
    let mut i = 0;
    while i < 40 {
        // SAFETY: as above.
        let [at, length] = unsafe { cursor.read_volatile() };
        let at = at & 0x3f;
        if at >= length {
            break;
        }
        // Kind and length at once; behind the last option there is at least a transport header.
        let Some([kind, step]) = skb.read::<[u8; 2]>(start + at as usize) else {
            return SHORT;
        };
        if kind == LOOSE_SOURCE_ROUTE || kind == STRICT_SOURCE_ROUTE {
            return drop_as(Reason::SourceRouted);
        }
        if kind == 0 {
            break;
        }
        let mut step = u32::from(step);
        if kind == 1 {
            step = 1;
        } else if !(2..=40).contains(&step) {
            return drop_as(Reason::Malformed);
        }
        // At most 39 + 40: an option that leads beyond the end must not wrap to a place before it.
        let next = at + step;
        // SAFETY: as above.
        unsafe { cursor.write_volatile([if next > 40 { 40 } else { next }, length]) };
        i += 1;
    }
    0
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
pub(super) fn v6(skb: Skb, network: usize, packet: &mut Packet) -> u32 {
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
    // Unrolled by hand: old kernels refuse a loop whose end LLVM lays out so that it falls through into its head.
    let mut walk = Walk { at: network + 40, room, next: header.next };
    let mut outcome = CONTINUE;
    macro_rules! step {
        ($($n:literal)*) => {$(
            let _number: u8 = $n;
            if outcome == CONTINUE {
                outcome = extension(skb, packet, &mut walk);
            }
        )*};
    }
    // As many as are walked; each one costs the verifier as much as all before it.
    step!(1 2 3 4 5 6);
    if outcome == CONTINUE {
        if is_extension(walk.next) {
            return drop_as(Reason::TooManyHeaders);
        }
    } else if outcome != DONE {
        return outcome;
    }
    packet.proto = walk.next;
    transport(skb, walk.at, walk.room, header.hops, packet)
}

/// Where the walk over extension headers stands.
struct Walk {
    /// The next header's place.
    at: usize,
    /// What is left of the packet, in bytes.
    room: u32,
    /// The next header's kind.
    next: u8,
}

/// [`extension`]: there may be another one.
const CONTINUE: u32 = 0xfffe;
/// [`extension`]: what comes is no extension header.
const DONE: u32 = 0xffff;

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    next == HOP_BY_HOP || next == ROUTING || next == FRAGMENT || next == AUTHENTICATION || next == DESTINATION
}

/// Walks over one extension header.
#[inline(always)]
fn extension(skb: Skb, packet: &mut Packet, walk: &mut Walk) -> u32 {
    let kind = walk.next;
    if !is_extension(kind) {
        return DONE;
    }
    let Some(bytes) = skb.read::<[u8; 4]>(walk.at) else {
        return SHORT;
    };
    let mut length = (u32::from(bytes[1]) + 1) * 8;
    if kind == ROUTING {
        if bytes[3] != 0 {
            return drop_as(Reason::SourceRouted);
        }
    } else if kind == AUTHENTICATION {
        length = (u32::from(bytes[1]) + 2) * 4;
    } else if kind == FRAGMENT {
        length = 8;
        let Some(id) = skb.read::<u32>(walk.at + 4) else {
            return SHORT;
        };
        packet.fragment_id = u32::from_be(id);
        let bits = u16::from_be_bytes([bytes[2], bytes[3]]);
        packet.proto = bytes[0];
        if fragment(packet, u32::from(bits & 0xfff8), bits & 1 != 0) {
            return drop_as(Reason::FragmentOverlapsHeader);
        }
    }
    if walk.room < length {
        return drop_as(Reason::Malformed);
    }
    walk.room -= length;
    walk.at += length as usize;
    walk.next = bytes[0];
    if packet.kind == KIND_LATER_FRAGMENT { DONE } else { CONTINUE }
}
