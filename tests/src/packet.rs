//! Packets made by hand, both families: what sockets would never send.

use std::net::{IpAddr, SocketAddr};

/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMPv6.
pub const ICMPV6: u8 = 58;
/// SCTP.
pub const SCTP: u8 = 132;
/// The extension header of an IPv6 fragment.
const FRAGMENT: u8 = 44;

/// TCP's SYN flag.
pub const SYN: u8 = 0x02;
/// TCP's ACK flag.
pub const ACK: u8 = 0x10;

/// An SCTP chunk of the kind INIT.
pub const INIT: u8 = 1;
/// An SCTP chunk of the kind INIT ACK.
pub const INIT_ACK: u8 = 2;

/// An IP packet with this payload; both addresses of one family.
#[must_use]
pub fn ip(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let length = size(20 + payload.len());
            let mut packet = vec![0x45, 0];
            packet.extend(length.to_be_bytes());
            packet.extend([0x12, 0x34, 0, 0, 64, protocol, 0, 0]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
            seal4(&mut packet);
            packet.extend(payload);
            packet
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend(size(payload.len()).to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
            packet.extend(payload);
            packet
        }
        _ => Vec::new(),
    }
}

/// A UDP datagram in its IP packet.
#[must_use]
pub fn udp(src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut segment = ports(src, dst).to_vec();
    segment.extend(size(8 + payload.len()).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(payload);
    sealed(src, dst, UDP, segment, 6)
}

/// A TCP segment in its IP packet.
#[must_use]
pub fn tcp(src: SocketAddr, dst: SocketAddr, flags: u8, sequence: u32, acknowledged: u32) -> Vec<u8> {
    let mut segment = ports(src, dst).to_vec();
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    sealed(src, dst, TCP, segment, 16)
}

/// An SCTP packet with one chunk of this kind, in its IP packet.
#[must_use]
pub fn sctp(src: SocketAddr, dst: SocketAddr, chunk: u8) -> Vec<u8> {
    let mut segment = ports(src, dst).to_vec();
    // An INIT carries the tag 0, every other packet the one that the receiver chose.
    segment.extend(if chunk == INIT { [0; 4] } else { [1; 4] });
    segment.extend([0; 4]);
    // kind, flags, length; the tag, the window, 1 stream each way, the first number
    segment.extend([chunk, 0, 0, 20]);
    segment.extend([1, 1, 1, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let sum = crc32c(&segment).to_le_bytes();
    segment[8..12].copy_from_slice(&sum);
    ip(src.ip(), dst.ip(), SCTP, &segment)
}

/// An echo request in its IP packet.
#[must_use]
pub fn echo(src: IpAddr, dst: IpAddr, identifier: u16, number: u16) -> Vec<u8> {
    let kind = if src.is_ipv4() { 8 } else { 128 };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend(number.to_be_bytes());
    message.extend(b"netpol laboratory");
    let (src, dst) = (SocketAddr::new(src, 0), SocketAddr::new(dst, 0));
    let protocol = if src.is_ipv4() { ICMP } else { ICMPV6 };
    sealed(src, dst, protocol, message, 2)
}

/// The fragments of an IP packet, each with up to `bytes` of payload (a multiple of 8), in order.
#[must_use]
pub fn fragments(packet: &[u8], bytes: usize, identifier: u16) -> Vec<Vec<u8>> {
    let header = if is_v4(packet) { 20 } else { 40 };
    let payload = &packet[header..];
    let count = payload.len().div_ceil(bytes);
    payload
        .chunks(bytes)
        .enumerate()
        .map(|(turn, part)| fragment(&packet[..header], part, turn * bytes, turn + 1 < count, identifier))
        .collect()
}

/// One fragment below a packet's header: its part of the payload, the part's offset in bytes, and whether more follow.
#[must_use]
pub fn fragment(header: &[u8], part: &[u8], offset: usize, more: bool, identifier: u16) -> Vec<u8> {
    let mut packet = header.to_vec();
    let eighths = size(offset / 8);
    if is_v4(header) {
        packet[2..4].copy_from_slice(&size(20 + part.len()).to_be_bytes());
        packet[4..6].copy_from_slice(&identifier.to_be_bytes());
        packet[6..8].copy_from_slice(&(eighths | u16::from(more) << 13).to_be_bytes());
        seal4(&mut packet);
    } else {
        packet[4..6].copy_from_slice(&size(8 + part.len()).to_be_bytes());
        let next = std::mem::replace(&mut packet[6], FRAGMENT);
        packet.extend([next, 0]);
        packet.extend((eighths << 3 | u16::from(more)).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(identifier.to_be_bytes());
    }
    packet.extend(part);
    packet
}

/// An Ethernet frame around an IP packet.
#[must_use]
pub fn frame(dst: [u8; 6], src: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let kind: u16 = if is_v4(packet) { 0x0800 } else { 0x86dd };
    let mut frame = dst.to_vec();
    frame.extend(src);
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

/// What an IP packet without options and extension headers carries: its ends, its protocol, its payload.
#[must_use]
pub fn read(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    if is_v4(packet) {
        let header = packet.get(..20)?;
        let address = |at: usize| <[u8; 4]>::try_from(&header[at..at + 4]).ok().map(IpAddr::from);
        let payload = packet.get(usize::from(header[0] & 15) * 4..)?;
        Some((address(12)?, address(16)?, header[9], payload))
    } else {
        let header = packet.get(..40)?;
        let address = |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).ok().map(IpAddr::from);
        Some((address(8)?, address(24)?, header[6], packet.get(40..)?))
    }
}

/// The ports that a TCP, UDP or SCTP payload begins with.
#[must_use]
pub fn read_ports(payload: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *payload.first_chunk::<4>()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

fn is_v4(packet: &[u8]) -> bool {
    packet.first().is_some_and(|byte| byte >> 4 == 4)
}

/// A length as it stands in a header; what is built here is short.
fn size(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

fn ports(src: SocketAddr, dst: SocketAddr) -> [u8; 4] {
    let ([a, b], [c, d]) = (src.port().to_be_bytes(), dst.port().to_be_bytes());
    [a, b, c, d]
}

/// Puts the checksum over the pseudo header into a segment at `at`, and the IP header in front.
fn sealed(src: SocketAddr, dst: SocketAddr, protocol: u8, mut segment: Vec<u8>, at: usize) -> Vec<u8> {
    let mut covered = Vec::new();
    if protocol != ICMP {
        for address in [src.ip(), dst.ip()] {
            match address {
                IpAddr::V4(address) => covered.extend(address.octets()),
                IpAddr::V6(address) => covered.extend(address.octets()),
            }
        }
        covered.extend([0, 0]);
        covered.extend(size(segment.len()).to_be_bytes());
        covered.extend([0, protocol]);
    }
    covered.extend(&segment);
    let sum = match checksum(&covered) {
        // In UDP a zero says that there is none, which IPv6 refuses (RFC 768; RFC 8200, 8.1).
        0 if protocol == UDP => u16::MAX,
        sum => sum,
    };
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    ip(src.ip(), dst.ip(), protocol, &segment)
}

fn seal4(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum(&header[..20]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !size(sum as usize)
}

/// The checksum of SCTP (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::{checksum, crc32c, fragments, ip, read, udp};

    #[test]
    fn checksums_are_those_of_the_standards() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn no_datagram_says_that_it_has_no_checksum() {
        let (src, dst) =
            ("[fd00::1]:7".parse().expect("an address"), "[fd00::2]:9".parse().expect("an address"));
        for number in 0..=u16::MAX {
            assert_ne!(udp(src, dst, &number.to_be_bytes())[46..48], [0, 0], "{number}");
        }
    }

    #[test]
    fn fragments_hold_the_payload() {
        for (src, dst) in [("10.0.0.1:7", "10.0.0.2:9"), ("[fd00::1]:7", "[fd00::2]:9")] {
            let (src, dst) = (src.parse().expect("an address"), dst.parse().expect("an address"));
            let whole = udp(src, dst, &[7; 100]);
            let parts = fragments(&whole, 48, 5);
            assert_eq!(parts.len(), 3);
            let skip = if src.is_ipv4() { 0 } else { 8 };
            let joined: Vec<u8> =
                parts.iter().flat_map(|part| read(part).expect("a packet").3[skip..].to_vec()).collect();
            assert_eq!(joined, read(&whole).expect("a packet").3);
        }
    }

    #[test]
    fn what_is_made_can_be_read() {
        let (src, dst) = ("10.0.0.1".parse().expect("an address"), "10.0.0.2".parse().expect("an address"));
        assert_eq!(read(&ip(src, dst, 47, b"x")), Some((src, dst, 47, b"x".as_slice())));
    }
}
