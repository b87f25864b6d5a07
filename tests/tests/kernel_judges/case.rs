//! One packet that opens a flow: as a question to the specification, as the parser would leave it, as bytes.

use std::net::IpAddr;

use fastrand::Rng;
use netpol_common::{
    flow::FlowKey,
    packet::{ICMP, ICMP_QUERY, ICMP_REPLY, ICMPV6, Packet, SCTP, TCP, TCP_ACK, TCP_SYN, UDP},
};
use netpol_policy::{
    model::Protocol,
    spec::{Payload, Sender, Traffic},
};
use netpol_tests::kernel::craft;

use crate::cluster::{Cluster, NODE, PORTS, SERVICES, WORLD};

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) payload: Payload,
    /// The port of its sender, or the identifier of an echo: no two cases have the same.
    pub(crate) port: u16,
}

/// A packet as the parser would leave it, and as bytes.
pub(crate) struct Sent {
    pub(crate) packet: Packet,
    pub(crate) frame: Vec<u8>,
}

/// Protocols without ports that are no extension header of IPv6.
const OTHERS: [u8; 6] = [4, 41, 47, 50, 88, 103];

impl Case {
    pub(crate) fn random(rng: &mut Rng, cluster: &Cluster, port: u16) -> Self {
        // Those of interfaces whose pods are not there are among them.
        let of = |local: bool| -> Vec<IpAddr> {
            let pods = cluster.pods().filter(|pod| !local || &*pod.node == NODE);
            let interfaces = cluster.interfaces.iter().flat_map(|interface| &interface.addresses);
            pods.flat_map(|pod| &pod.addresses).chain(interfaces).copied().collect()
        };
        let from = |rng: &mut Rng, list: &[&str]| list[rng.usize(..list.len())].parse::<IpAddr>().unwrap();
        let pod = |rng: &mut Rng, local: bool| rng.choice(&of(local)).copied().unwrap_or(from(rng, &WORLD));
        // What neither comes from here nor goes to here is judged nowhere.
        loop {
            let mut payload = match rng.u32(..12) {
                0 => Payload::Other(0),
                1 => Payload::Other(OTHERS[rng.usize(..OTHERS.len())]),
                2 => Payload::Port(Protocol::Tcp, [30_080, 30_081, 1, 7990, 8100][rng.usize(..5)]),
                n => Payload::Port(
                    Protocol::ALL[[0, 0, 0, 1, 2][n as usize % 5]],
                    PORTS[rng.usize(..PORTS.len())],
                ),
            };
            let (src, dst) = match rng.u32(..12) {
                0 => (from(rng, &WORLD), pod(rng, true)),
                1 | 2 => (pod(rng, false), pod(rng, true)),
                3 => (pod(rng, true), from(rng, &WORLD)),
                4 => (pod(rng, true), from(rng, &SERVICES)),
                5..=8 => {
                    let Some((address, protocol, port)) = rng.choice(cluster.frontends()) else { continue };
                    payload = Payload::Port(protocol, port);
                    (pod(rng, true), address)
                }
                _ => (pod(rng, true), pod(rng, false)),
            };
            if payload == Payload::Other(0) {
                payload = Payload::Other(if src.is_ipv4() { ICMP } else { ICMPV6 });
            }
            // Both ends are of one family.
            if dst.is_ipv4() == src.is_ipv4() {
                return Self { src, dst, payload, port };
            }
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic { src: Sender::Address(self.src), dst: self.dst, payload: self.payload }
    }

    /// The same flow after translation.
    pub(crate) const fn led_to(self, dst: IpAddr, port: u16) -> Self {
        let payload = match self.payload {
            Payload::Port(protocol, _) => Payload::Port(protocol, port),
            other @ Payload::Other(_) => other,
        };
        Self { dst, payload, ..self }
    }

    /// What opens the flow.
    pub(crate) fn opens(&self) -> Sent {
        let frame = self.frame(if self.is_tcp() { TCP_SYN } else { 0 });
        Sent { packet: self.packet(frame.len()), frame }
    }

    /// Another packet in the direction in which the flow was opened.
    pub(crate) fn follows(&self) -> Sent {
        let frame = self.frame(TCP_ACK);
        let mut packet = self.packet(frame.len());
        packet.tcp_flags = if self.is_tcp() { TCP_ACK } else { 0 };
        Sent { packet, frame }
    }

    /// A packet in the other direction.
    pub(crate) fn answers(&self) -> Sent {
        let (src, dst) = (self.dst, self.src);
        let frame = match self.payload {
            Payload::Port(protocol, port) => {
                let (src, dst) = (craft::at(src, port), craft::at(dst, self.port));
                match protocol {
                    Protocol::Tcp => craft::tcp(src, dst, TCP_SYN | TCP_ACK),
                    Protocol::Udp => craft::udp(src, dst),
                    Protocol::Sctp => craft::sctp(src, dst),
                }
            }
            Payload::Other(ICMP | ICMPV6) => craft::echo_reply(src, dst, self.port),
            Payload::Other(protocol) => craft::other(src, dst, protocol),
        };
        let opened = self.packet(frame.len());
        let mut packet = Packet {
            src: opened.dst,
            dst: opened.src,
            src_port: opened.dst_port,
            dst_port: opened.src_port,
            ..opened
        };
        packet.tcp_flags = if self.is_tcp() { TCP_SYN | TCP_ACK } else { 0 };
        if packet.icmp_kind != 0 {
            packet.icmp_kind = ICMP_REPLY;
            packet.icmp_type = if src.is_ipv4() { 0 } else { 129 };
        }
        Sent { packet, frame }
    }

    /// Whether no other case is of the same flow.
    pub(crate) const fn is_one_flow(&self) -> bool {
        matches!(self.payload, Payload::Port(..) | Payload::Other(ICMP | ICMPV6))
    }

    const fn is_tcp(&self) -> bool {
        matches!(self.payload, Payload::Port(Protocol::Tcp, _))
    }

    /// The flow as the endpoint at an end of it knows it.
    pub(crate) fn key(&self, at_its_source: bool) -> FlowKey {
        let Packet { src, dst, src_port, dst_port, proto, .. } = self.packet(0);
        let (pod, peer, pod_port, peer_port) =
            if at_its_source { (src, dst, src_port, dst_port) } else { (dst, src, dst_port, src_port) };
        FlowKey { pod, peer, pod_port, peer_port, proto, reserved: [0; 3] }
    }

    fn packet(&self, length: usize) -> Packet {
        let mut packet = Packet { src: self.src.into(), dst: self.dst.into(), ..Packet::default() };
        match self.payload {
            Payload::Port(protocol, port) => {
                packet.proto = protocol.number();
                packet.src_port = self.port;
                packet.dst_port = port;
                packet.tcp_flags = if packet.proto == TCP { TCP_SYN } else { 0 };
            }
            Payload::Other(protocol) => {
                packet.proto = protocol;
                if protocol == ICMP || protocol == ICMPV6 {
                    packet.icmp_kind = ICMP_QUERY;
                    packet.icmp_type = if self.src.is_ipv4() { 8 } else { 128 };
                    packet.src_port = self.port;
                }
            }
        }
        packet.length = length as u32;
        packet
    }

    fn frame(&self, tcp_flags: u8) -> Vec<u8> {
        let Payload::Port(protocol, port) = self.payload else {
            let Payload::Other(protocol) = self.payload else { unreachable!() };
            return if protocol == ICMP || protocol == ICMPV6 {
                craft::echo(self.src, self.dst, self.port)
            } else {
                craft::other(self.src, self.dst, protocol)
            };
        };
        let (src, dst) = (craft::at(self.src, self.port), craft::at(self.dst, port));
        match protocol.number() {
            TCP => craft::tcp(src, dst, tcp_flags),
            UDP => craft::udp(src, dst),
            SCTP => craft::sctp(src, dst),
            other => unreachable!("{other}"),
        }
    }
}
