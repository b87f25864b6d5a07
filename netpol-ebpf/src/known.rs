//! The short way of nearly every packet: one of the commonest shape, of a flow that was allowed under what is still in
//! force. It passes, and nothing is reported.
//!
//! It says yes only where the decision function would, and no wherever a look more is needed: then the packet goes the
//! long way. What it leaves out is what such a flow has proven by being there: only what was allowed is kept.

use netpol_common::{
    Addr, Direction,
    decide::{Tables as _, keep_up},
    flow::{
        Flow, FlowKey, Origin, REFRESH,
        table::{Life, WAYS, age, read, way_of, write_life},
    },
    packet::{TCP, TCP_ACK, TCP_SYN, UDP},
    tables::{TAG_DEFERRED, revision_of},
};

use crate::{
    flows::{bucket, place_of},
    parse::{
        ETHERNET, Ethernet, FRAGMENT_OFFSET, IPV4, IPV6, MORE_FRAGMENTS, V4, V6, hardware_fits,
        transport_header,
    },
    skb::Skb,
    tables::Maps,
};

/// A network header, and as much of the transport header as TCP's flags need.
#[repr(C)]
struct Headers<Ip> {
    ip: Ip,
    /// Network order.
    ports: [u16; 2],
    sequence: [u32; 2],
    /// The header's length, and TCP's flags.
    flags: [u8; 2],
}

/// IPv4 without options.
const PLAIN_V4: u8 = 0x45;
/// More fragments, or a place that is not the first.
const FRAGMENTED: u16 = (MORE_FRAGMENTS | FRAGMENT_OFFSET).to_be();

/// Whether the packet passes on the short way; with the tag that it carries away from its sender.
#[inline(always)]
#[must_use]
pub fn is_known(skb: Skb, slot: u32, direction: Direction, now: u32) -> Option<u32> {
    let egress = matches!(direction, Direction::Egress);
    let endpoint = Maps.endpoint(slot)?;
    let ethernet = skb.read::<Ethernet>(0)?;
    if skb.vlan_present() != 0 || egress && !hardware_fits(&ethernet, endpoint) {
        return None;
    }
    let mut key = FlowKey::default();
    let flags;
    if ethernet.ethertype == IPV4 {
        // SAFETY: the bounds were checked; plain integers, and the kernel aligns IP headers.
        let headers = unsafe { &*skb.at::<Headers<V4>>(ETHERNET)? };
        let ip = &headers.ip;
        let own = if egress { ip.src } else { ip.dst };
        if ip.version_and_length != PLAIN_V4
            || ip.fragment & FRAGMENTED != 0
            || own != endpoint.v4
            || own == 0
        {
            return None;
        }
        let (src, dst) = (Addr::from_v4_word(ip.src), Addr::from_v4_word(ip.dst));
        ends(&mut key, src, dst, egress);
        flags = transport(headers, ip.proto, ip.total, 20, &mut key, egress)?;
    } else if ethernet.ethertype == IPV6 {
        // SAFETY: as above.
        let headers = unsafe { &*skb.at::<Headers<V6>>(ETHERNET)? };
        let ip = &headers.ip;
        let (src, dst) = (Addr(ip.src), Addr(ip.dst));
        let own = if egress { src } else { dst };
        if ip.version.to_ne_bytes()[0] >> 4 != 6 || !own.same(&endpoint.v6) || own.is_unspecified() {
            return None;
        }
        ends(&mut key, src, dst, egress);
        flags = transport(headers, ip.next, ip.payload, 0, &mut key, egress)?;
    } else {
        return None;
    }
    // An answer from an address that nobody has, or from the pod's own, is forged, although the pod has sent there.
    if flags & (TCP_SYN | TCP_ACK) == TCP_SYN
        || key.peer.is_multicast_or_broadcast()
        || key.peer.same(&key.pod)
    {
        return None;
    }
    let place = place_of(&key);
    let bucket = bucket(slot, place.bucket)?;
    let mut flow = Flow::default();
    // SAFETY: a bucket of the map. Others may write to it; what is read proves itself.
    let way = unsafe { way_of(bucket, place.tag()) };
    // SAFETY: as above.
    if way >= WAYS || !unsafe { read(bucket, way, place, &key, &mut flow) } {
        return None;
    }
    let by_pod = flow.origin == Origin::Pod as u8;
    let original = if by_pod { Direction::Egress } else { Direction::Ingress };
    // No flow is forgotten so soon, so that none is asked here for how long it has been silent.
    if !by_pod && flow.origin != Origin::Peer as u8
        || flow.denied != 0
        || flow.sender != 0
        || age(now, flow.last_seen) >= REFRESH
        || flow.revision != revision_of(Maps.judgement(slot, original))
        || flow.generation != Maps.generation(&key.peer)
    {
        return None;
    }
    if keep_up(&mut flow, now, key.proto, flags, egress, egress != by_pod) {
        // SAFETY: as above. Where another flow has taken the place meanwhile, it lives as this one would.
        unsafe { write_life(bucket, way, Life::of(key.proto, &flow)) };
    }
    Some(if flow.backends == 0 { slot } else { slot | TAG_DEFERRED })
}

/// Writes whose addresses are which into a key.
#[inline(always)]
const fn ends(key: &mut FlowKey, src: Addr, dst: Addr, egress: bool) {
    (key.pod, key.peer) = if egress { (src, dst) } else { (dst, src) };
}

/// Writes the protocol and its ports into a key; TCP's flags, or nothing where the header has no room (`length` is what the
/// network header says, in network order, and `before` what it counts of itself) or where more than the flow decides.
#[inline(always)]
fn transport<Ip>(
    headers: &Headers<Ip>,
    proto: u8,
    length: u16,
    before: u32,
    key: &mut FlowKey,
    egress: bool,
) -> Option<u8> {
    let (src, dst) = (u16::from_be(headers.ports[0]), u16::from_be(headers.ports[1]));
    let flags = match proto {
        TCP => headers.flags[1],
        UDP if !is_dhcp(src) && !is_dhcp(dst) => 0,
        _ => return None,
    };
    // Large segments that the kernel has not cut yet say 0.
    if length != 0 && u32::from(u16::from_be(length)) < before + transport_header(proto) {
        return None;
    }
    key.proto = proto;
    (key.pod_port, key.peer_port) = if egress { (src, dst) } else { (dst, src) };
    Some(flags)
}

#[inline(always)]
const fn is_dhcp(port: u16) -> bool {
    port.wrapping_sub(67) < 2 || port.wrapping_sub(546) < 2
}
