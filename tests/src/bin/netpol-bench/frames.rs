//! Frames, and where in them the addresses are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netpol_common::Direction;
use netpol_tests::packet::{self, ACK, SYN};

/// The family of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// What a packet is to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Opens a connection.
    Syn,
    /// Answers that.
    SynAck,
    /// Belongs to one.
    Ack,
    /// A datagram.
    Udp,
}

/// Where addresses begin: the last word of each, the next address is the next number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// Local pods, by slot.
    Pods,
    /// Pods of the cluster, which have entries of their own.
    Peers,
    /// Addresses that only CIDRs speak of, 256 to each.
    Blocks,
}

impl Range {
    /// The first address's last word.
    pub(crate) const fn base(self, family: Family) -> u32 {
        match (family, self) {
            (Family::V4, Self::Pods) => 0x0a4d_0000,   // 10.77.0.0
            (Family::V4, Self::Peers) => 0x0a80_0000,  // 10.128.0.0
            (Family::V4, Self::Blocks) => 0x6440_0000, // 100.64.0.0
            (Family::V6, _) => 0,
        }
    }

    /// An address.
    pub(crate) fn address(self, family: Family, number: u32) -> IpAddr {
        let last = self.base(family) + number;
        let net = match self {
            Self::Pods => 0x77,
            Self::Peers => 0x80,
            Self::Blocks => 0x64,
        };
        match family {
            Family::V4 => Ipv4Addr::from(last).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, (last >> 16) as u16, last as u16).into(),
        }
    }
}

/// A flow between a local pod and a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) family: Family,
    /// The local pod.
    pub(crate) slot: u32,
    /// Where the peer is.
    pub(crate) range: Range,
    /// Which one it is.
    pub(crate) peer: u32,
    /// Who opened the flow, as the pod sees it.
    pub(crate) opened: Direction,
    /// The port of the one that did not.
    pub(crate) port: u16,
}

/// The port of whoever opens.
const EPHEMERAL: u16 = 40_000;

impl Ends {
    /// A packet of the flow as it passes the pod in this direction.
    pub(crate) fn frame(&self, direction: Direction, kind: Kind) -> Vec<u8> {
        let (pod_port, peer_port) =
            if self.opened == Direction::Egress { (EPHEMERAL, self.port) } else { (self.port, EPHEMERAL) };
        let pod = SocketAddr::new(Range::Pods.address(self.family, self.slot), pod_port);
        let peer = SocketAddr::new(self.range.address(self.family, self.peer), peer_port);
        let (src, dst) = if direction == Direction::Egress { (pod, peer) } else { (peer, pod) };
        let packet = match kind {
            Kind::Syn => packet::tcp(src, dst, SYN, 1, 0),
            Kind::SynAck => packet::tcp(src, dst, SYN | ACK, 1, 2),
            Kind::Ack => packet::tcp(src, dst, ACK, 2, 2),
            Kind::Udp => packet::udp(src, dst, &[0; 12]),
        };
        packet::frame([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], &packet)
    }
}

/// Where the last words of source and destination are, and the source port, in a frame.
pub(crate) const fn places(family: Family) -> (u32, u32, u32) {
    match family {
        Family::V4 => (26, 30, 34),
        Family::V6 => (34, 50, 54),
    }
}
