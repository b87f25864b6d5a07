//! Packets in one line.

use super::world::addr;
use crate::{
    Addr,
    packet::{ICMP, ICMP_QUERY, ICMP_REPLY, ICMPV6, Packet, TCP},
};

/// `10.0.0.1` or `10.0.0.1:80`, `fd00::1` or `[fd00::1]:80`.
fn end(text: &str) -> (Addr, u16) {
    match text.parse::<std::net::SocketAddr>() {
        Ok(socket) => (socket.ip().into(), socket.port()),
        Err(_) => (addr(text), 0),
    }
}

/// A packet of a protocol between two ends.
pub(super) fn packet(proto: u8, from: &str, to: &str) -> Packet {
    let ((src, src_port), (dst, dst_port)) = (end(from), end(to));
    Packet { src, dst, src_port, dst_port, proto, length: 100, ..Packet::default() }
}

/// A TCP segment.
pub(super) fn tcp(from: &str, to: &str, tcp_flags: u8) -> Packet {
    Packet { tcp_flags, ..packet(TCP, from, to) }
}

/// An echo request (asks), or its reply.
pub(super) fn echo(from: &str, to: &str, asks: bool, identifier: u16) -> Packet {
    let plain = packet(if addr(from).is_v4() { ICMP } else { ICMPV6 }, from, to);
    if asks {
        Packet { icmp_kind: ICMP_QUERY, src_port: identifier, ..plain }
    } else {
        Packet { icmp_kind: ICMP_REPLY, dst_port: identifier, ..plain }
    }
}
