//! Connections as others have tracked them, and the flows that come of them.

use std::{
    net::{IpAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
};

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Protocol, Status, Tuple as TuplePart,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netpol_common::{
    Addr,
    flow::{Origin, STATE_CLOSING, STATE_ESTABLISHED, STATE_OPENING},
    packet::{ICMP, ICMPV6, SCTP, TCP, UDP},
};
use nix::sched::{CloneFlags, unshare};

use super::{
    connection::{Connection, OpenFlow, Places, Tuple},
    conntrack,
    sockets::{self, Counters, Seen},
};

const NOW: u32 = 4000;
/// A local pod, and another one.
const A: &str = "10.0.0.16";
const B: &str = "10.0.0.17";
const A_6: &str = "fd00::16";
const NODE: &str = "172.18.0.2";
const FAR: &str = "192.0.2.9";
const SERVICE: &str = "10.96.0.1";

fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

fn places() -> Places {
    let mut places = Places::default();
    places.slots.extend([(addr(A), 16), (addr(A_6), 16), (addr(B), 17)]);
    places.node.insert(addr(NODE));
    places
}

fn tuple(src: (&str, u16), dst: (&str, u16)) -> Tuple {
    Tuple { src: addr(src.0), dst: addr(dst.0), src_port: src.1, dst_port: dst.1 }
}

/// An answered connection of a protocol without translation.
fn plain(proto: u8, src: (&str, u16), dst: (&str, u16)) -> Connection {
    translated(proto, (src, dst), (dst, src))
}

/// An address and a port.
type Side = (IpAddr, u16);
type Pair<'a> = ((&'a str, u16), (&'a str, u16));

fn translated(proto: u8, original: Pair<'_>, reply: Pair<'_>) -> Connection {
    let (original, reply) = (tuple(original.0, original.1), tuple(reply.0, reply.1));
    Connection { proto, original, reply, answered: true, closing: false }
}

fn flows(connection: &Connection) -> Vec<(u32, OpenFlow)> {
    connection.flows(&places(), NOW).into_iter().flatten().collect()
}

/// Slot, origin, the pod's end and the peer's.
fn short(connection: &Connection) -> Vec<(u32, u8, Side, Side)> {
    let line = |(slot, open): &(u32, OpenFlow)| {
        let key = &open.key;
        (*slot, open.flow.origin, (key.pod.into(), key.pod_port), (key.peer.into(), key.peer_port))
    };
    flows(connection).iter().map(line).collect()
}

fn end(address: &str, port: u16) -> Side {
    (address.parse().unwrap(), port)
}

const POD: u8 = Origin::Pod as u8;
const PEER: u8 = Origin::Peer as u8;

#[test]
fn each_local_end_has_a_flow_with_the_origin_as_it_is_seen_there() {
    let out = plain(TCP, (A, 4000), (FAR, 80));
    assert_eq!(short(&out), [(16, POD, end(A, 4000), end(FAR, 80))]);
    let into = plain(TCP, (FAR, 4000), (A, 80));
    assert_eq!(short(&into), [(16, PEER, end(A, 80), end(FAR, 4000))]);
    let both = plain(UDP, (A, 4000), (B, 53));
    assert_eq!(short(&both), [(16, POD, end(A, 4000), end(B, 53)), (17, PEER, end(B, 53), end(A, 4000))]);
    assert!(short(&plain(TCP, (FAR, 1), (SERVICE, 2))).is_empty());
}

#[test]
fn it_is_judged_with_its_next_packet_and_dated_now() {
    let (_, open) = flows(&plain(TCP, (A, 4000), (FAR, 80)))[0];
    let flow = open.flow;
    assert_eq!((flow.revision, flow.generation, flow.backends, flow.denied), (0, 0, 0, 0));
    assert_eq!(flow.last_seen, NOW);
}

#[test]
fn through_a_service_each_end_sees_what_its_packets_carry() {
    // Translated, and masqueraded on the way.
    let service = translated(TCP, ((A, 4000), (SERVICE, 80)), ((B, 8080), (NODE, 5000)));
    assert_eq!(
        short(&service),
        [(16, POD, end(A, 4000), end(SERVICE, 80)), (17, PEER, end(B, 8080), end(NODE, 5000))]
    );
    // The backend's pod also judges the sender's egress: which backend it would be was not known there.
    assert_eq!(flows(&service).iter().map(|(_, open)| open.flow.sender).collect::<Vec<_>>(), [0, 16]);
    let from_afar = translated(TCP, ((FAR, 4000), (NODE, 30080)), ((B, 8080), (NODE, 5000)));
    assert_eq!(short(&from_afar), [(17, PEER, end(B, 8080), end(NODE, 5000))]);
    assert_eq!(flows(&from_afar)[0].1.flow.sender, 0);
}

#[test]
fn what_always_passes_is_taken_only_after_a_handshake() {
    let itself = |proto| translated(proto, ((A, 4000), (SERVICE, 80)), ((A, 8080), (NODE, 5000)));
    let of_node = |proto| plain(proto, (NODE, 4000), (A, 80));
    for proto in [TCP, SCTP] {
        assert_eq!(short(&itself(proto))[1].1, Origin::Itself as u8);
        assert_eq!(short(&of_node(proto))[0].1, Origin::Node as u8);
        let unanswered = Connection { answered: false, ..of_node(proto) };
        assert!(short(&unanswered).is_empty());
    }
    assert!(short(&of_node(UDP)).is_empty());
    assert_eq!(short(&itself(UDP)).len(), 1);
    // Towards the node there is nothing special.
    assert_eq!(short(&plain(UDP, (A, 4000), (NODE, 80)))[0].1, POD);
}

#[test]
fn addresses_beyond_a_pods_own_count_by_the_longest_prefix() {
    let mut places = places();
    let cidr = |text: &str, bits: u8| netpol_policy::engine::Cidr::around(addr(text), 96 + bits);
    places.ranges = vec![(cidr("10.9.0.0", 16), 16), (cidr("10.9.1.0", 24), 17)];
    let slot = |from: &str| {
        let flows = plain(TCP, (from, 1), (FAR, 2)).flows(&places, NOW);
        flows.into_iter().flatten().map(|(slot, _)| slot).collect::<Vec<_>>()
    };
    assert_eq!(slot("10.9.3.3"), [16]);
    assert_eq!(slot("10.9.1.3"), [17]);
    assert!(slot("10.8.1.3").is_empty());
}

#[test]
fn a_connections_state_becomes_its_flows() {
    for (answered, closing, state) in [
        (true, false, STATE_ESTABLISHED),
        (true, true, STATE_CLOSING),
        (false, false, STATE_OPENING),
        (false, true, STATE_CLOSING),
    ] {
        let connection = Connection { answered, closing, ..plain(TCP, (A, 1), (FAR, 2)) };
        let (_, open) = flows(&connection)[0];
        assert_eq!(open.flow.state, state);
    }
}

/// An entry of conntrack: addresses, then what tells the protocol's ends apart.
fn entry(
    original: ([&str; 2], Vec<ProtoTuple>),
    reply: ([&str; 2], Vec<ProtoTuple>),
) -> Vec<ConntrackAttribute> {
    let tuple = |([src, dst], proto): ([&str; 2], Vec<ProtoTuple>)| {
        let ip = vec![
            IPTuple::SourceAddress(src.parse().unwrap()),
            IPTuple::DestinationAddress(dst.parse().unwrap()),
        ];
        vec![TuplePart::Ip(ip), TuplePart::Proto(proto)]
    };
    vec![ConntrackAttribute::CtaTupleOrig(tuple(original)), ConntrackAttribute::CtaTupleReply(tuple(reply))]
}

fn ports(proto: Protocol, src: u16, dst: u16) -> Vec<ProtoTuple> {
    vec![ProtoTuple::Protocol(proto), ProtoTuple::SourcePort(src), ProtoTuple::DestinationPort(dst)]
}

#[test]
fn an_entry_of_conntrack_tells_both_tuples_and_whether_there_was_an_answer() {
    let mut attributes =
        entry(([A, SERVICE], ports(Protocol::Tcp, 4000, 80)), ([B, A], ports(Protocol::Tcp, 8080, 4000)));
    let wanted =
        Connection { answered: false, ..translated(TCP, ((A, 4000), (SERVICE, 80)), ((B, 8080), (A, 4000))) };
    assert_eq!(conntrack::connection(&attributes), Some(wanted));
    attributes.push(ConntrackAttribute::CtaStatus(Status::Confirmed | Status::SeenReply));
    assert_eq!(conntrack::connection(&attributes), Some(Connection { answered: true, ..wanted }));
    assert_eq!(conntrack::connection(&attributes[..1]), None);
}

#[test]
fn only_states_after_both_ends_have_closed_are_closing() {
    // SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT and CLOSE_WAIT; then LAST_ACK, TIME_WAIT, CLOSE; then SYN_SENT2.
    let closing = |state: u8| {
        let mut attributes =
            entry(([A, FAR], ports(Protocol::Tcp, 1, 2)), ([FAR, A], ports(Protocol::Tcp, 2, 1)));
        let info = ProtoInfo::TCP(vec![ProtoInfoTCP::State(state)]);
        attributes.push(ConntrackAttribute::CtaProtoInfo(vec![info]));
        conntrack::connection(&attributes).unwrap().closing
    };
    let states: Vec<u8> = (1..=9).filter(|state| closing(*state)).collect();
    assert_eq!(states, [6, 7, 8]);
}

#[test]
fn an_identifier_of_icmp_is_the_port_of_who_asks() {
    for (proto, number, id, kind, asks, answers, src, dst) in [
        (Protocol::Icmp, ICMP, 4, 5, 8, 0, A, B),
        (Protocol::Ipv6Icmp, ICMPV6, 7, 8, 128, 129, A_6, "fd00::9"),
    ] {
        let query = |of: u8, number: u16| {
            vec![
                ProtoTuple::Protocol(proto),
                ProtoTuple::Other(DefaultNla::new(id, number.to_be_bytes().to_vec())),
                ProtoTuple::Other(DefaultNla::new(kind, vec![of])),
            ]
        };
        let attributes = entry(([src, dst], query(asks, 77)), ([dst, src], query(answers, 78)));
        let connection = conntrack::connection(&attributes).unwrap();
        assert_eq!(connection.proto, number);
        assert_eq!(connection.original, tuple((src, 77), (dst, 0)));
        assert_eq!(connection.reply, tuple((dst, 0), (src, 78)));
        let other = entry(([src, dst], query(15, 77)), ([dst, src], query(16, 77)));
        assert_eq!(conntrack::connection(&other), None, "what asks nothing is no flow");
    }
}

#[test]
fn other_protocols_have_no_ports() {
    let attributes = entry(([A, FAR], ports(Protocol::Gre, 1, 2)), ([FAR, A], ports(Protocol::Gre, 2, 1)));
    let connection = conntrack::connection(&attributes).unwrap();
    assert_eq!((connection.proto, connection.original), (47, tuple((A, 0), (FAR, 0))));
}

fn socket(proto: u8, state: u8, local: (&str, u16), remote: (&str, u16)) -> Seen {
    Seen { proto, state, local: (addr(local.0), local.1), remote: (addr(remote.0), remote.1) }
}

#[test]
fn a_connection_to_a_port_that_is_served_was_opened_by_the_peer() {
    let sockets = [
        socket(TCP, 10, ("::", 80), ("::", 0)),
        socket(TCP, 1, (A, 80), (FAR, 4000)),
        socket(TCP, 1, (A, 4000), (FAR, 80)),
        socket(UDP, 7, ("0.0.0.0", 53), ("0.0.0.0", 0)),
        socket(UDP, 1, (A, 53), (FAR, 4000)),
        socket(UDP, 1, (A, 80), (FAR, 53)),
    ];
    let opened = sockets::opened(&sockets);
    assert_eq!(
        opened,
        [
            plain(TCP, (FAR, 4000), (A, 80)),
            plain(TCP, (A, 4000), (FAR, 80)),
            plain(UDP, (FAR, 4000), (A, 53)),
            plain(UDP, (A, 80), (FAR, 53)),
        ]
    );
}

#[test]
fn a_sockets_state_says_what_became_of_its_connection() {
    let state = |state: u8| {
        let opened = sockets::opened(&[socket(TCP, state, (A, 1), (FAR, 2))]);
        (opened[0].answered, opened[0].closing)
    };
    assert_eq!(state(2), (false, false), "SYN sent");
    for open in [1, 3, 4, 5, 8, 12] {
        assert_eq!(state(open), (true, false), "{open}");
    }
    for closing in [6, 7, 9, 11] {
        assert_eq!(state(closing), (true, true), "{closing}");
    }
}

/// Which of TCP over IPv4 and IPv6, and UDP over both, are listed.
fn listed(counters: &Counters) -> [bool; 4] {
    [(TCP, AF_INET), (TCP, AF_INET6), (UDP, AF_INET), (UDP, AF_INET6)]
        .map(|(proto, family)| !counters.say_none(proto, family))
}

#[test]
fn sockets_are_listed_unless_the_kernel_counts_none() {
    let of = |text: &str| listed(&Counters::of(text.to_owned()));
    let counted = |used: u32, tcp: u32, waiting: u32, udp: u32, udp6: u32| {
        of(&format!(
            "sockets: used {used}\nTCP: inuse {tcp} orphan 0 tw {waiting} alloc 9 mem 0\nUDP: inuse {udp} mem 292\n\
             UDPLITE: inuse 7\nTCP6: inuse 0\nUDP6: inuse {udp6}\nUDPLITE6: inuse 7\n"
        ))
    };
    assert_eq!(counted(0, 0, 0, 0, 0), [false; 4]);
    assert_eq!(counted(1, 1, 0, 0, 0), [true, true, false, false], "one that TCP6 may not count");
    assert_eq!(counted(0, 0, 1, 0, 0), [true, true, false, false], "waiting: of either family");
    assert_eq!(counted(0, 0, 0, 1, 0), [false, false, true, false]);
    assert_eq!(counted(0, 0, 0, 0, 1), [false, false, false, true]);
    assert_eq!(of(""), [true; 4], "nothing can be read");
    assert_eq!(of("sockets: used\nTCP: inuse none tw 0\nUDP: mem 3\n"), [true; 4], "nor be understood");
}

#[test]
#[ignore = "needs root"]
fn the_kernel_counts_what_a_namespace_has_and_nothing_of_others() {
    let _others = TcpListener::bind("127.0.0.1:0").unwrap();
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        assert_eq!(listed(&Counters::read()), [false; 4], "a new namespace");
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        for (address, of_tcp, of_udp) in [("127.0.0.1:0", 0, 2), ("[::1]:0", 1, 3)] {
            let server = TcpListener::bind(address).unwrap();
            assert!(listed(&Counters::read())[of_tcp], "it listens at {address}");
            let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
            drop(server.accept().unwrap());
            drop(server);
            assert!(listed(&Counters::read())[of_tcp], "the server's end is closed");
            drop(client);
            assert!(listed(&Counters::read())[of_tcp], "it waits");
            assert!(!listed(&Counters::read())[of_udp]);
            let _datagrams = UdpSocket::bind(address).unwrap();
            assert!(listed(&Counters::read())[of_udp], "datagrams at {address}");
        }
    };
    std::thread::spawn(inside).join().unwrap();
}
