//! One packet: as the parser leaves it, and as bytes.

use std::net::{IpAddr, SocketAddr};

use netpol_common::packet::{
    ICMP, ICMP_ERROR, ICMP_QUERY, ICMP_REPLY, ICMPV6, KIND_FIRST_FRAGMENT, KIND_LATER_FRAGMENT, LINK_CONTROL,
    LINK_CONTROL_ADVERTISES, Packet, SCTP, TCP, TCP_ACK, TCP_SYN, UDP,
};
use netpol_policy::{model::Protocol, spec::Payload};
use netpol_tests::{kernel::craft, packet};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Tcp(u16),
    Udp(u16),
    Sctp(u16),
    /// An echo request of the family.
    Ping,
    /// Any other protocol, by its number.
    Other(u8),
}

impl What {
    /// As the evaluator of the specification is asked.
    pub(crate) const fn payload(self, v4: bool) -> Payload {
        match self {
            Self::Tcp(port) => Payload::Port(Protocol::Tcp, port),
            Self::Udp(port) => Payload::Port(Protocol::Udp, port),
            Self::Sctp(port) => Payload::Port(Protocol::Sctp, port),
            Self::Ping => Payload::Other(if v4 { ICMP } else { ICMPV6 }),
            Self::Other(protocol) => Payload::Other(protocol),
        }
    }

    /// The port of whoever is asked; 0 where there are none.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Tcp(port) | Self::Udp(port) | Self::Sctp(port) => port,
            Self::Ping | Self::Other(_) => 0,
        }
    }
}

/// Where in its flow a packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Opens,
    Answers,
    Continues,
}

/// A packet.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) packet: Packet,
    pub(crate) frame: Vec<u8>,
}

impl Sent {
    fn new(src: IpAddr, dst: IpAddr, proto: u8, frame: Vec<u8>) -> Self {
        let length = frame.len() as u32;
        Self {
            packet: Packet { src: src.into(), dst: dst.into(), proto, length, ..Packet::default() },
            frame,
        }
    }

    fn with_ports(mut self, src: u16, dst: u16) -> Self {
        (self.packet.src_port, self.packet.dst_port) = (src, dst);
        self
    }

    /// A packet of a flow. A ping's identifier is the port of whoever asks.
    pub(crate) fn of_flow(what: What, step: Step, src: SocketAddr, dst: SocketAddr) -> Self {
        let (from, to) = (src.ip(), dst.ip());
        match what {
            What::Tcp(_) => {
                let flags = match step {
                    Step::Opens => TCP_SYN,
                    Step::Answers => TCP_SYN | TCP_ACK,
                    Step::Continues => TCP_ACK,
                };
                let mut sent = Self::new(from, to, TCP, craft::tcp(src, dst, flags));
                sent.packet.tcp_flags = flags;
                sent.with_ports(src.port(), dst.port())
            }
            What::Udp(_) => Self::new(from, to, UDP, craft::udp(src, dst)).with_ports(src.port(), dst.port()),
            What::Sctp(_) => {
                let chunk = match step {
                    Step::Opens => packet::INIT,
                    Step::Answers => packet::INIT_ACK,
                    Step::Continues => 0,
                };
                let frame = craft::framed(&packet::sctp(src, dst, chunk));
                Self::new(from, to, SCTP, frame).with_ports(src.port(), dst.port())
            }
            What::Ping => Self::ping(step, src, dst),
            What::Other(protocol) => Self::new(from, to, protocol, craft::other(from, to, protocol)),
        }
    }

    fn ping(step: Step, src: SocketAddr, dst: SocketAddr) -> Self {
        let (from, to) = (src.ip(), dst.ip());
        let proto = if from.is_ipv4() { ICMP } else { ICMPV6 };
        if step == Step::Answers {
            let mut sent = Self::new(from, to, proto, craft::echo_reply(from, to, dst.port()));
            sent.packet.icmp_kind = ICMP_REPLY;
            sent.packet.icmp_type = if from.is_ipv4() { 0 } else { 129 };
            sent.with_ports(0, dst.port())
        } else {
            let mut sent = Self::new(from, to, proto, craft::echo(from, to, src.port()));
            sent.packet.icmp_kind = ICMP_QUERY;
            sent.packet.icmp_type = if from.is_ipv4() { 8 } else { 128 };
            sent.with_ports(src.port(), 0)
        }
    }

    /// "Too big" about a packet with ports, from somebody on its way.
    pub(crate) fn too_big(src: IpAddr, quoted: &Self) -> Self {
        let about = quoted.packet;
        let dst = IpAddr::from(about.src);
        let proto = if src.is_ipv4() { ICMP } else { ICMPV6 };
        // Of IPv4 the header and eight bytes, as routers do; of IPv6 the same.
        let bytes = if src.is_ipv4() { 28 } else { 48 };
        let frame = craft::too_big(src, dst, &quoted.frame[14..14 + bytes]);
        let mut sent = Self::new(src, dst, proto, frame);
        sent.packet.icmp_kind = ICMP_ERROR;
        (sent.packet.icmp_type, sent.packet.icmp_code) = if src.is_ipv4() { (3, 4) } else { (2, 0) };
        (sent.packet.quoted_src, sent.packet.quoted_dst) = (about.src, about.dst);
        (sent.packet.quoted_src_port, sent.packet.quoted_dst_port) = (about.src_port, about.dst_port);
        sent.packet.quoted_proto = about.proto;
        sent
    }

    /// A UDP datagram in three fragments.
    pub(crate) fn datagram(src: SocketAddr, dst: SocketAddr, id: u16) -> [Self; 3] {
        let parts = packet::fragments(&packet::udp(src, dst, &[7; 40]), 16, id);
        std::array::from_fn(|turn| {
            let mut sent = Self::new(src.ip(), dst.ip(), UDP, craft::framed(&parts[turn]));
            sent.packet.fragment_id = u32::from(id);
            sent.packet.kind = if turn == 0 { KIND_FIRST_FRAGMENT } else { KIND_LATER_FRAGMENT };
            if turn == 0 { sent.with_ports(src.port(), dst.port()) } else { sent }
        })
    }

    /// Neighbour discovery of this type, as it should be.
    pub(crate) fn neighbour(src: IpAddr, dst: IpAddr, kind: u8, target: IpAddr) -> Self {
        let frame = craft::framed(&craft::neighbour(src, dst, kind, Some(target)));
        let mut sent = Self::new(src, dst, ICMPV6, frame);
        sent.packet.icmp_type = kind;
        sent.packet.link_control = LINK_CONTROL;
        if kind == 136 {
            sent.packet.link_control = LINK_CONTROL_ADVERTISES;
            sent.packet.quoted_src = target.into();
        }
        sent
    }

    /// Link control of another kind, whose bytes the parser knows as such.
    pub(crate) fn link_control(src: IpAddr, dst: IpAddr, proto: u8, control: u8, frame: Vec<u8>) -> Self {
        let mut sent = Self::new(src, dst, proto, frame);
        sent.packet.link_control = control;
        sent
    }

    /// The same packet, of which the parser knows its ports.
    pub(crate) fn on_ports(self, src: u16, dst: u16) -> Self {
        self.with_ports(src, dst)
    }
}
