//! Frames as bytes, around the packets of [`crate::packet`]: options, extension headers, tags, ARP, ICMP of every type.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::packet::{self, ICMP, ICMPV6};

/// The hardware address that pods send with here.
pub const HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Somebody else's.
pub const OTHER_HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// IPv6 extension headers.
pub const HOP_BY_HOP: u8 = 0;
/// Routing.
pub const ROUTING: u8 = 43;
/// Authentication.
pub const AUTHENTICATION: u8 = 51;
/// Destination options.
pub const DESTINATION: u8 = 60;
/// Nothing behind the header.
pub const NO_NEXT: u8 = 59;

/// An IP packet in its frame.
#[must_use]
pub fn framed(packet: &[u8]) -> Vec<u8> {
    packet::frame(OTHER_HARDWARE, HARDWARE, packet)
}

/// A socket's address.
#[must_use]
pub const fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

/// A TCP segment in its frame.
#[must_use]
pub fn tcp(src: SocketAddr, dst: SocketAddr, flags: u8) -> Vec<u8> {
    framed(&packet::tcp(src, dst, flags, 1, 0))
}

/// A UDP datagram in its frame.
#[must_use]
pub fn udp(src: SocketAddr, dst: SocketAddr) -> Vec<u8> {
    framed(&packet::udp(src, dst, b"netpol"))
}

/// An SCTP packet in its frame.
#[must_use]
pub fn sctp(src: SocketAddr, dst: SocketAddr) -> Vec<u8> {
    framed(&packet::sctp(src, dst, packet::INIT))
}

/// A packet of any protocol, with something behind its header, in its frame.
#[must_use]
pub fn other(src: IpAddr, dst: IpAddr, protocol: u8) -> Vec<u8> {
    framed(&packet::ip(src, dst, protocol, &[0; 40]))
}

/// An ICMP or ICMPv6 message: its type, its code, the word behind the checksum, and the rest. As an IP packet.
#[must_use]
pub fn icmp(src: IpAddr, dst: IpAddr, kind: u8, code: u8, word: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(word);
    message.extend(rest);
    packet::ip(src, dst, if src.is_ipv4() { ICMP } else { ICMPV6 }, &message)
}

/// An echo request in its frame.
#[must_use]
pub fn echo(src: IpAddr, dst: IpAddr, identifier: u16) -> Vec<u8> {
    framed(&packet::echo(src, dst, identifier, 1))
}

/// The reply to an echo request in its frame.
#[must_use]
pub fn echo_reply(src: IpAddr, dst: IpAddr, identifier: u16) -> Vec<u8> {
    let [high, low] = identifier.to_be_bytes();
    framed(&icmp(src, dst, if src.is_ipv4() { 0 } else { 129 }, 0, [high, low, 0, 1], b"netpol"))
}

/// "Too big" with a path MTU of 1280, quoting a packet (its header and eight bytes), in its frame.
#[must_use]
pub fn too_big(src: IpAddr, dst: IpAddr, quoted: &[u8]) -> Vec<u8> {
    let (kind, code) = if src.is_ipv4() { (3, 4) } else { (2, 0) };
    framed(&icmp(src, dst, kind, code, [0, 0, 5, 0], quoted))
}

/// The hop limit or TTL of an IP packet, changed.
#[must_use]
pub fn with_hops(mut packet: Vec<u8>, hops: u8) -> Vec<u8> {
    let at = if packet[0] >> 4 == 4 { 8 } else { 7 };
    packet[at] = hops;
    packet
}

/// Neighbour discovery: the type, and for those that have one the target. As it should be: with hop limit 255.
#[must_use]
pub fn neighbour(src: IpAddr, dst: IpAddr, kind: u8, target: Option<IpAddr>) -> Vec<u8> {
    let rest = target.map_or_else(Vec::new, |target| match target {
        IpAddr::V4(target) => target.octets().to_vec(),
        IpAddr::V6(target) => target.octets().to_vec(),
    });
    with_hops(icmp(src, dst, kind, 0, [0; 4], &rest), 255)
}

/// An IPv4 packet with options, which are filled up to a multiple of four.
#[must_use]
pub fn with_options(mut packet: Vec<u8>, options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().div_ceil(4) * 4, 0);
    packet[0] += (options.len() / 4) as u8;
    let total = u16::from_be_bytes([packet[2], packet[3]]) + options.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet.splice(20..20, options);
    packet
}

/// An IPv6 packet with extension headers in front of what it carries.
#[must_use]
pub fn with_headers(mut packet: Vec<u8>, headers: &[Extension]) -> Vec<u8> {
    let mut chain = Vec::new();
    let mut next = packet[6];
    for header in headers.iter().rev() {
        chain.splice(0..0, header.bytes(next));
        next = header.kind();
    }
    packet[6] = next;
    let length = u16::from_be_bytes([packet[4], packet[5]]) + chain.len() as u16;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet.splice(40..40, chain);
    packet
}

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, so many times eight bytes behind the first eight.
    HopByHop(u8),
    /// Destination options, in the same way.
    Destination(u8),
    /// Routing, with so many segments left.
    Routing(u8),
    /// Authentication, with so many words behind the first twelve bytes.
    Authentication(u8),
    /// A fragment: its offset in bytes, whether more follow, its identification.
    Fragment(u16, bool, u32),
}

impl Extension {
    const fn kind(&self) -> u8 {
        match self {
            Self::HopByHop(_) => HOP_BY_HOP,
            Self::Destination(_) => DESTINATION,
            Self::Routing(_) => ROUTING,
            Self::Authentication(_) => AUTHENTICATION,
            Self::Fragment(..) => 44,
        }
    }

    fn bytes(&self, next: u8) -> Vec<u8> {
        match *self {
            Self::HopByHop(more) | Self::Destination(more) => {
                // One option that fills it: PadN.
                let length = 8 * (usize::from(more) + 1);
                let mut bytes = vec![next, more, 1, (length - 4) as u8];
                bytes.resize(length, 0);
                bytes
            }
            Self::Routing(left) => vec![next, 0, 2, left, 0, 0, 0, 0],
            Self::Authentication(more) => {
                let mut bytes = vec![next, 1 + more];
                bytes.resize(12 + 4 * usize::from(more), 0);
                bytes
            }
            Self::Fragment(offset, more, id) => {
                let mut bytes = vec![next, 0];
                bytes.extend((offset | u16::from(more)).to_be_bytes());
                bytes.extend(id.to_be_bytes());
                bytes
            }
        }
    }
}

/// A frame with a VLAN tag of this kind behind its hardware addresses.
#[must_use]
pub fn tagged(mut frame: Vec<u8>, kind: u16, tag: u16) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend(tag.to_be_bytes());
    frame.splice(12..12, bytes);
    frame
}

/// A frame of any ethertype.
#[must_use]
pub fn of_type(kind: u16, bytes: &[u8]) -> Vec<u8> {
    let mut frame = [OTHER_HARDWARE, HARDWARE].concat();
    frame.extend(kind.to_be_bytes());
    frame.extend(bytes);
    frame
}

/// An ARP message: who speaks, with which hardware address, and who is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 asks, 2 answers.
    pub operation: u8,
    /// The sender's hardware address in the message; the frame's is always [`HARDWARE`].
    pub hardware: [u8; 6],
    /// The sender's address.
    pub sender: Ipv4Addr,
    /// Whose hardware address is wanted, or told.
    pub target: Ipv4Addr,
}

impl Arp {
    /// In its frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, self.operation];
        bytes.extend(self.hardware);
        bytes.extend(self.sender.octets());
        bytes.extend([0; 6]);
        bytes.extend(self.target.octets());
        of_type(0x0806, &bytes)
    }
}
