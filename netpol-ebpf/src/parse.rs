//! The parser: from bytes to a [`Packet`], for both families, with bounded walks.
//!
//! What it cannot read it does not guess: [`SHORT`] asks for more linear bytes, everything else that is wrong is a drop
//! with its reason.

mod icmp;
mod ip;

pub(crate) use self::ip::{FRAGMENT_OFFSET, MORE_FRAGMENTS, V4, V6};

use netpol_common::{
    packet::{
        KIND_FIRST_FRAGMENT, KIND_LATER_FRAGMENT, LINK_CONTROL, LINK_CONTROL_SERVES, Packet, SCTP, TCP, UDP,
    },
    tables::{ENDPOINT_HARDWARE_KNOWN, Endpoint},
    verdict::Reason,
};

use aya_ebpf::bindings::__sk_buff;

use crate::{
    maps::{self, Scratch},
    skb::Skb,
};

/// The packet was read.
pub const IP: u32 = 0;
/// It is ARP; look at it with [`arp`].
pub const ARP: u32 = 1;
/// The linear part ends too early.
pub const SHORT: u32 = 2;
/// Or'ed with the number of the reason for which the packet is dropped.
pub const DROP: u32 = 0x100;

const fn drop_as(reason: Reason) -> u32 {
    DROP | reason as u32
}

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;

/// Ethertypes as they stand in memory.
pub const IPV4: u16 = 0x0800u16.to_be();
/// As [`IPV4`].
pub const IPV6: u16 = 0x86ddu16.to_be();
const ARP_TYPE: u16 = 0x0806u16.to_be();
const VLAN: u16 = 0x8100u16.to_be();
const VLAN_SERVICE: u16 = 0x88a8u16.to_be();

/// The Ethernet header, in halves of four bytes and less, as its fields are aligned to two.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ethernet {
    /// To whom.
    pub destination: [u16; 3],
    /// From whom.
    pub source: [u16; 3],
    /// Network order.
    pub ethertype: u16,
}

/// Whether a frame's source is the pod's hardware address, where that is known.
#[inline(always)]
#[must_use]
pub fn hardware_fits(ethernet: &Ethernet, endpoint: &Endpoint) -> bool {
    let (seen, known) = (&ethernet.source, &endpoint.hardware);
    let a = u16::from_ne_bytes([known[0], known[1]]);
    let b = u16::from_ne_bytes([known[2], known[3]]);
    let c = u16::from_ne_bytes([known[4], known[5]]);
    let fits = ((seen[0] ^ a) | (seen[1] ^ b) | (seen[2] ^ c)) == 0;
    endpoint.flags & ENDPOINT_HARDWARE_KNOWN == 0 || fits
}

/// What else was seen on the way.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Frame {
    /// Where the network header starts.
    pub network: u32,
    /// 1 when the frame carries a VLAN tag, in its bytes or beside them.
    pub tagged: u32,
    /// Where the header behind those that were read starts, and how many bytes the network header says are there.
    rest: [u32; 2],
    /// The TTL or hop limit.
    hops: u32,
}

impl Frame {
    /// Where the next header starts, and how many bytes are left.
    ///
    /// Both are kept in memory, not in registers: of what is read there the verifier knows nothing, so that it walks what
    /// follows once and not once for each way to come there.
    #[inline(always)]
    fn rest(&self) -> (usize, u32) {
        // SAFETY: a field of ours.
        let [at, room] = unsafe { (&raw const self.rest).read_volatile() };
        (at as usize, room)
    }

    #[inline(always)]
    fn set_rest(&mut self, at: usize, room: u32) {
        // SAFETY: as above.
        unsafe { (&raw mut self.rest).write_volatile([at as u32, room]) };
    }
}

/// Reads a frame into the working memory of this CPU, as far as the reading comes.
///
/// The kernel takes it as a function of its own: the verifier walks it once, and not once for each caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn netpol_parse(context: *mut __sk_buff) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) else {
        return drop_as(Reason::TableInconsistent).into();
    };
    // SAFETY: the cell of this CPU, on which no other classifier runs meanwhile.
    let Scratch { packet, frame, .. } = unsafe { &mut *scratch };
    parse(Skb::from_raw(context), packet, frame).into()
}

/// Reads a frame, and once more after making its headers linear where they were not.
#[inline(always)]
#[must_use]
pub fn parse_scratch(skb: Skb) -> u32 {
    let outcome = netpol_parse(skb.as_raw()) as u32;
    if outcome != SHORT {
        return outcome;
    }
    skb.pull(if skb.length() < PULL { skb.length() } else { PULL });
    netpol_parse(skb.as_raw()) as u32
}

/// Bytes that are made linear when the packet's headers are not: all that the parser can ask for.
const PULL: u32 = 256;

#[inline(always)]
fn parse(skb: Skb, packet: &mut Packet, frame: &mut Frame) -> u32 {
    *packet = Packet::default();
    packet.length = skb.length();
    let Some(ethernet) = skb.read::<Ethernet>(0) else {
        return SHORT;
    };
    let mut ethertype = ethernet.ethertype;
    let mut network = ETHERNET;
    frame.tagged = u32::from(skb.vlan_present() != 0);
    if ethertype == VLAN || ethertype == VLAN_SERVICE {
        frame.tagged = 1;
        let Some(tag) = skb.read::<[u16; 2]>(network) else {
            return SHORT;
        };
        ethertype = tag[1];
        network += 4;
    }
    frame.network = network as u32;
    let outcome = if ethertype == IPV4 {
        ip::v4(skb, network, packet, frame)
    } else if ethertype == IPV6 {
        ip::v6(skb, network, packet, frame)
    } else if ethertype == ARP_TYPE {
        ARP
    } else if ethertype == VLAN || ethertype == VLAN_SERVICE {
        // Tags in tags hide a packet from whoever looks one tag deep.
        drop_as(Reason::Tagged)
    } else {
        drop_as(Reason::UnknownEthertype)
    };
    if outcome == IP { transport(skb, packet, frame) } else { outcome }
}

/// Bytes of the transport header that are needed to judge.
#[inline(always)]
pub(crate) const fn transport_header(proto: u8) -> u32 {
    match proto {
        TCP => 20,
        SCTP => 12,
        UDP | netpol_common::packet::ICMP | netpol_common::packet::ICMPV6 => 8,
        _ => 0,
    }
}

/// Reads the transport header, behind the headers of either family.
#[inline(always)]
fn transport(skb: Skb, packet: &mut Packet, frame: &Frame) -> u32 {
    let (offset, room) = frame.rest();
    let proto = packet.proto;
    if packet.kind == KIND_LATER_FRAGMENT {
        return IP;
    }
    if room < transport_header(proto) {
        return drop_as(if packet.kind == KIND_FIRST_FRAGMENT {
            Reason::FragmentOverlapsHeader
        } else {
            Reason::Malformed
        });
    }
    if proto == TCP || proto == UDP || proto == SCTP {
        let Some(ports) = skb.read::<[u16; 2]>(offset) else {
            return SHORT;
        };
        packet.src_port = u16::from_be(ports[0]);
        packet.dst_port = u16::from_be(ports[1]);
        if proto == TCP {
            let Some(flags) = skb.read::<[u8; 2]>(offset + 12) else {
                return SHORT;
            };
            packet.tcp_flags = flags[1];
        } else if proto == UDP {
            packet.link_control = dhcp(packet);
        }
        return IP;
    }
    icmp::read(skb, offset, room, frame.hops, packet)
}

/// DHCP, only between a client and the broadcast or all-servers address, and back: `LINK_CONTROL_*`, or 0.
#[inline(always)]
fn dhcp(packet: &Packet) -> u8 {
    let (asks, answers);
    if packet.src.is_v4() {
        let to_all = packet.dst.0[3] == u32::MAX;
        asks = packet.src_port == 68 && packet.dst_port == 67 && to_all;
        answers = packet.src_port == 67 && packet.dst_port == 68 && to_all;
    } else {
        let local = packet.src.is_link_local();
        asks = packet.src_port == 546
            && packet.dst_port == 547
            && local
            && packet.dst.is_multicast_or_broadcast();
        answers = packet.src_port == 547 && packet.dst_port == 546 && local && packet.dst.is_link_local();
    }
    if asks {
        LINK_CONTROL
    } else if answers {
        LINK_CONTROL_SERVES
    } else {
        0
    }
}

/// ARP for IPv4 over Ethernet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Arp {
    kinds: [u16; 4],
    /// Who speaks.
    pub sender_hardware: [u16; 3],
    /// For which address, in two halves.
    pub sender: [u16; 2],
}

impl Arp {
    /// Whether this is ARP for IPv4 over Ethernet at all.
    #[inline(always)]
    #[must_use]
    pub fn is_ipv4_over_ethernet(&self) -> bool {
        self.kinds[0] == 1u16.to_be() && self.kinds[1] == IPV4 && self.kinds[2] == u16::from_ne_bytes([6, 4])
    }

    /// The address of the sender as the last word of an `Addr`.
    #[inline(always)]
    #[must_use]
    pub fn sender_word(&self) -> u32 {
        let (a, b) = (self.sender[0].to_ne_bytes(), self.sender[1].to_ne_bytes());
        u32::from_ne_bytes([a[0], a[1], b[0], b[1]])
    }
}
