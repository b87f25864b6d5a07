//! ICMP and ICMPv6: queries by their identifier, errors by what they quote, and link control.

use netpol_common::{
    Addr,
    packet::{
        ICMP, ICMP_ERROR, ICMP_OTHER, ICMP_QUERY, ICMP_REPLY, ICMPV6, LINK_CONTROL, LINK_CONTROL_ADVERTISES,
        Packet, SCTP, TCP, UDP,
    },
};

use super::{
    IP, SHORT,
    ip::{V4, V6},
};
use crate::skb::Skb;

/// The hop limit that only a neighbour can have.
const NEIGHBOUR_HOPS: u32 = 255;

/// Types of neighbour discovery, RFC 4861.
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

/// What a solicitation or advertisement of a neighbour needs: 24 bytes, a hardware address and a nonce. More would be a
/// message to somebody in its clothes.
const DISCOVERY_ROOM: u32 = 40;

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    kind: u8,
    code: u8,
    checksum: u16,
    id: u16,
    sequence: u16,
}

/// What a type means for flows.
#[inline(always)]
const fn meaning(proto: u8, kind: u8) -> u8 {
    if proto == ICMP {
        match kind {
            8 | 13 => ICMP_QUERY,
            0 | 14 => ICMP_REPLY,
            3 | 11 | 12 => ICMP_ERROR,
            _ => ICMP_OTHER,
        }
    } else {
        match kind {
            128 => ICMP_QUERY,
            129 => ICMP_REPLY,
            1..=4 => ICMP_ERROR,
            _ => ICMP_OTHER,
        }
    }
}

/// Reads an ICMP header, and passes over every other protocol.
#[inline(always)]
pub(super) fn read(skb: Skb, offset: usize, room: u32, hops: u32, packet: &mut Packet) -> u32 {
    let proto = packet.proto;
    // The other family's ICMP is just a protocol without ports.
    if proto != if packet.src.is_v4() { ICMP } else { ICMPV6 } {
        return IP;
    }
    let Some(header) = skb.read::<Header>(offset) else {
        return SHORT;
    };
    packet.icmp_type = header.kind;
    packet.icmp_code = header.code;
    packet.icmp_kind = meaning(proto, header.kind);
    if packet.icmp_kind == ICMP_QUERY {
        packet.src_port = u16::from_be(header.id);
    } else if packet.icmp_kind == ICMP_REPLY {
        packet.dst_port = u16::from_be(header.id);
    } else if packet.icmp_kind == ICMP_ERROR {
        return quoted(skb, offset + 8, room - 8, packet);
    } else if proto == ICMPV6 {
        let router = header.kind == ROUTER_ADVERTISEMENT || header.kind == REDIRECT;
        let discovery = header.kind >= ROUTER_SOLICITATION
            && header.kind <= REDIRECT
            && (router && packet.src.is_link_local() || !router && room <= DISCOVERY_ROOM);
        let listener = header.kind >= 130 && header.kind <= 132 || header.kind == 143;
        if discovery && hops == NEIGHBOUR_HOPS
            || listener && packet.src.is_link_local()
            || listener && packet.src.is_unspecified()
        {
            packet.link_control = LINK_CONTROL;
        }
        if packet.link_control != 0 && header.kind == NEIGHBOUR_ADVERTISEMENT {
            let Some(target) = skb.read::<[u32; 4]>(offset + 8) else {
                return SHORT;
            };
            packet.quoted_src = Addr(target);
            packet.link_control = LINK_CONTROL_ADVERTISES;
        }
    }
    IP
}

/// Reads the packet that an error quotes: its first header and eight bytes behind it. What is not there, or is itself
/// a fragment, stays unread, and the error is then judged as any other ICMP.
#[inline(always)]
fn quoted(skb: Skb, offset: usize, room: u32, packet: &mut Packet) -> u32 {
    let proto;
    let length;
    if packet.src.is_v4() {
        if room < 28 {
            return IP;
        }
        let Some(inner) = skb.read::<V4>(offset) else {
            return SHORT;
        };
        length = usize::from(inner.version_and_length & 0x0f) * 4;
        if inner.version_and_length >> 4 != 4 || length < 20 || u16::from_be(inner.fragment) & 0x1fff != 0 {
            return IP;
        }
        packet.quoted_src = Addr::from_v4_word(inner.src);
        packet.quoted_dst = Addr::from_v4_word(inner.dst);
        proto = inner.proto;
    } else {
        if room < 48 {
            return IP;
        }
        let Some(inner) = skb.read::<V6>(offset) else {
            return SHORT;
        };
        packet.quoted_src = Addr(inner.src);
        packet.quoted_dst = Addr(inner.dst);
        // These would read as flows of IPv4.
        if packet.quoted_src.is_v4() || packet.quoted_dst.is_v4() {
            return IP;
        }
        length = 40;
        proto = inner.next;
    }
    let transport = offset + length;
    if room < length as u32 + 8 {
        return IP;
    }
    let Some(bytes) = skb.read::<Header>(transport) else {
        return SHORT;
    };
    let first = u16::from_be(u16::from_ne_bytes([bytes.kind, bytes.code]));
    if proto == TCP || proto == UDP || proto == SCTP {
        packet.quoted_src_port = first;
        packet.quoted_dst_port = u16::from_be(bytes.checksum);
        packet.quoted_proto = proto;
    } else if proto == packet.proto {
        match meaning(proto, bytes.kind) {
            ICMP_QUERY => packet.quoted_src_port = u16::from_be(bytes.id),
            ICMP_REPLY => packet.quoted_dst_port = u16::from_be(bytes.id),
            _ => return IP,
        }
        packet.quoted_proto = proto;
    } else if proto != 44 && proto != 0 {
        packet.quoted_proto = proto;
    }
    IP
}
