//! One packet that opens a flow: as a question to the specification, as the parser would leave it, as bytes.

use std::net::IpAddr;

use fastrand::Rng;
use netpol_common::packet::{ICMP, ICMP_QUERY, ICMPV6, Packet, SCTP, TCP, TCP_SYN, UDP};
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

/// Protocols without ports that are no extension header of IPv6.
const OTHERS: [u8; 6] = [4, 41, 47, 50, 88, 103];

impl Case {
    pub(crate) fn random(rng: &mut Rng, cluster: &Cluster, port: u16) -> Self {
        let of = |local: bool| -> Vec<IpAddr> {
            let pods = cluster.pods().filter(|pod| !local || &*pod.node == NODE);
            pods.flat_map(|pod| pod.addresses.clone()).collect()
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

    pub(crate) fn packet(&self) -> Packet {
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
        packet.length = self.frame().len() as u32;
        packet
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
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
            TCP => craft::tcp(src, dst, TCP_SYN),
            UDP => craft::udp(src, dst),
            SCTP => craft::sctp(src, dst),
            other => unreachable!("{other}"),
        }
    }
}
