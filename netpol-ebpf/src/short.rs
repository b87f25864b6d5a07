//! The short way of nearly every packet: a plain one, without anything in its headers that would have to be looked for. Where
//! it belongs to a flow that was allowed under what is still in force, it passes, and nothing is reported ([`look`]); where
//! it opens one, that is judged at once ([`open`]).
//!
//! It does what the decision function would, and leaves everything that needs a look more to the long way. What is left out
//! for a known flow is what that has proven by being there: only what was allowed is kept.

use netpol_common::{
    Addr, Direction,
    decide::{self, Decision, Tables as _, is_judged, keep, keep_up},
    flow::{
        Flow, FlowKey, Origin, REFRESH, STATE_CLOSING,
        table::{Life, WAYS, age, read, way_of, write_life},
    },
    packet::{Packet, TCP, UDP, is_syn},
    tables::{TAG_DEFERRED, revision_of},
};

use crate::{
    flows::{Tracked, bucket, place_of},
    maps::{self, Scratch},
    parse::{
        ETHERNET, Ethernet, FRAGMENT_OFFSET, IPV4, IPV6, MORE_FRAGMENTS, V4, V6, hardware_fits,
        transport_header,
    },
    skb::Skb,
    tables::{Maps, fetch},
};

/// What was read of a plain packet that opens a flow.
#[repr(C)]
pub struct Plain {
    key: FlowKey,
    /// TCP's; 0 for other protocols.
    flags: u8,
    /// What the network header says, in network order; 0 for large segments.
    length: u16,
}

/// [`look`]: the packet opens a flow; what [`open`] needs stands in the working memory. No tag is as large.
pub const NEW: u32 = u32::MAX;

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

/// The tag that the packet of a known flow carries away from its sender; or [`NEW`]; or nothing, when it has to go the long way.
#[inline(always)]
#[must_use]
pub fn look(skb: Skb, now: u32) -> Option<u32> {
    let slot = skb.slot();
    let egress = skb.is_egress();
    let endpoint = Maps.endpoint(slot)?;
    let ethernet = skb.read::<Ethernet>(0)?;
    if skb.vlan_present() != 0 || egress && !hardware_fits(&ethernet, endpoint) {
        return None;
    }
    let mut key = FlowKey::default();
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
        (key.pod, key.peer) = of_packet(src, dst, egress);
        let flags = transport(headers, ip.proto, ip.total, 20, &mut key, egress)?;
        look_at_flow(skb, slot, now, key, flags, ip.total)
    } else if ethernet.ethertype == IPV6 {
        // SAFETY: as above.
        let headers = unsafe { &*skb.at::<Headers<V6>>(ETHERNET)? };
        let ip = &headers.ip;
        let (src, dst) = (Addr(ip.src), Addr(ip.dst));
        let own = if egress { src } else { dst };
        if ip.version.to_ne_bytes()[0] >> 4 != 6 || !own.same(&endpoint.v6) || own.same(&Addr::NONE) {
            return None;
        }
        (key.pod, key.peer) = of_packet(src, dst, egress);
        let flags = transport(headers, ip.next, ip.payload, 0, &mut key, egress)?;
        look_at_flow(skb, slot, now, key, flags, ip.payload)
    } else {
        None
    }
}

/// The same for what was read: once for each family, of which the shorter one so has the shorter way.
#[inline(always)]
fn look_at_flow(skb: Skb, slot: u32, now: u32, key: FlowKey, flags: u8, length: u16) -> Option<u32> {
    // An answer from an address that nobody has, or from the pod's own, is forged, although the pod has sent there.
    if key.peer.is_multicast_or_broadcast() || key.peer.same(&key.pod) {
        return None;
    }
    let place = place_of(&key);
    let bucket = bucket(slot, place.bucket)?;
    // SAFETY: a bucket of the map. Others may write to it; what is read proves itself.
    let way = unsafe { way_of(bucket, place) };
    let mut flow = Flow::default();
    if way >= WAYS || is_syn(flags) {
        // A SYN opens a new connection in the place of one that is closed; on any other, it is looked at closely.
        // SAFETY: as above.
        let is_known = way < WAYS && unsafe { read(bucket, way, place, &key, &mut flow) };
        if is_known && flow.state != STATE_CLOSING {
            return None;
        }
        fetch(&key.peer);
        let scratch = maps::SCRATCH.get_ptr_mut(0)?;
        // SAFETY: the cell of this CPU, on which no other classifier runs meanwhile.
        let Scratch { plain, way: kept, place: kept_place, .. } = unsafe { &mut *scratch };
        *kept = way as u32;
        plain.key = key;
        *kept_place = place;
        plain.flags = flags;
        plain.length = length;
        return Some(NEW);
    }
    // SAFETY: as above.
    if !unsafe { read(bucket, way, place, &key, &mut flow) } {
        return None;
    }
    // By a bit, without a branch: it is the pod, or a peer, or it is not for here.
    const { assert!(Origin::Pod as u8 == 1 && Origin::Peer as u8 == 2) };
    let by_pod = flow.origin & 1 != 0;
    let original = if by_pod { Direction::Egress } else { Direction::Ingress };
    // No flow is forgotten so soon, so that none is asked here for how long it has been silent.
    if flow.origin.wrapping_sub(1) > 1
        || flow.denied != 0
        || flow.sender != 0
        || age(now, flow.last_seen) >= REFRESH
        || flow.revision != revision_of(Maps.judgement(slot, original))
        || flow.generation != Maps.generation(&key.peer)
    {
        return None;
    }
    // Read once more: kept since the packet's addresses were read, it would double what the verifier walks in between.
    let egress = skb.is_egress();
    if keep_up(&mut flow, now, flags, egress, egress != by_pod) {
        // SAFETY: as above. Where another flow has taken the place meanwhile, it lives as this one would.
        unsafe { write_life(bucket, way, Life::of(key.proto, &flow)) };
    }
    Some(if flow.backends == 0 { slot } else { slot | TAG_DEFERRED })
}

/// Judges what opens a flow, as [`decide`](decide::decide) would; says whether it could. Then the decision stands in the working
/// memory, and the packet as far as it is reported. Where the packet came from stands there already.
#[inline(always)]
#[must_use]
pub fn open(skb: Skb, scratch: &mut Scratch) -> bool {
    let direction = skb.direction();
    let Scratch { packet, arrival, decision, work, way, place, plain, .. } = scratch;
    let Plain { key, flags, length } = plain;
    let egress = matches!(direction, Direction::Egress);
    // What is not cut yet is looked at closely, and addresses of the other family are forged.
    if *length == 0
        || key.peer.is_loopback()
        || key.peer.is_unspecified()
        || key.peer.is_v4() != key.pod.is_v4()
        || !egress && !is_judged(&Maps, arrival)
    {
        return false;
    }
    let origin = if egress { Origin::Pod } else { Origin::Peer };
    let flows = &mut Tracked::found(arrival.now, way, place);
    *decision = Decision::default();
    let flow = work.no_flow();
    flow.opened_by(origin, 0);
    if decide::open(&Maps, arrival.slot, direction, key, flow, decision) {
        keep(flows, arrival, key, flow);
    }
    // Field by field: a whole one would be put together on the stack.
    *packet = Packet::default();
    (packet.src, packet.dst) = of_packet(key.pod, key.peer, egress);
    (packet.src_port, packet.dst_port) = of_packet(key.pod_port, key.peer_port, egress);
    packet.proto = key.proto;
    packet.tcp_flags = *flags;
    packet.length = skb.length();
    true
}

/// What is the pod's and what the peer's, as source and destination; and the other way round.
#[inline(always)]
const fn of_packet<T: Copy>(pod: T, peer: T, egress: bool) -> (T, T) {
    if egress { (pod, peer) } else { (peer, pod) }
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
    (key.pod_port, key.peer_port) = of_packet(src, dst, egress);
    Some(flags)
}

#[inline(always)]
const fn is_dhcp(port: u16) -> bool {
    port.wrapping_sub(67) < 2 || port.wrapping_sub(546) < 2
}
