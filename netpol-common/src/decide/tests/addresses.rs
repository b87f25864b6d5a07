//! Lines 1 to 4 of the precedence: endpoints, addresses, link control, the node.

use super::{
    packets::{echo, packet, tcp},
    world::{FRIEND, FRIEND_6, OWN, OWN_6, POD, STRANGER, World, addr},
};
use crate::{
    Direction, Reason,
    decide::{Arrival, source_check},
    packet::{
        ICMPV6, LINK_CONTROL, LINK_CONTROL_ADVERTISES, LINK_CONTROL_SERVES, Packet, TCP_ACK as ACK,
        TCP_SYN as SYN, UDP,
    },
    tables::{ENDPOINT_MORE_SOURCES, INTERFACE_ENDPOINT, SET_CLOSED},
};

#[test]
fn what_is_not_known_is_closed_before_anything_else_is_asked() {
    let mut world = World::new();
    world.endpoint(POD).flags = 0;
    let link = Packet { link_control: LINK_CONTROL, ..packet(ICMPV6, OWN_6, "ff02::1") };
    assert_eq!(world.from(&link).why(), Reason::UnknownEndpoint);
    let arrival = Arrival { slot: 4711, ..Arrival::default() };
    let out = world.arrive(Direction::Ingress, &tcp("10.9.9.9:1", "10.9.9.8:2", SYN), arrival);
    assert_eq!((out.why(), out.report), (Reason::UnknownEndpoint, 1));
}

#[test]
fn own_sources_are_the_two_and_those_of_the_table() {
    let mut world = World::new();
    assert!(world.from(&tcp("10.1.0.16:1", "10.2.0.1:80", SYN)).passes());
    assert!(world.from(&tcp("[fd01::16]:1", "[fd02::1]:80", SYN)).passes());
    let further = tcp("10.9.0.1:1", "10.2.0.1:80", SYN);
    world.tables.sources.insert((POD, addr("10.9.0.1")));
    assert_eq!(world.from(&further).why(), Reason::SpoofedSource);
    world.endpoint(POD).flags |= ENDPOINT_MORE_SOURCES;
    assert_eq!(world.from(&further).why(), Reason::NotIsolated);
}

#[test]
fn an_address_that_the_pod_does_not_have_matches_no_unspecified_one() {
    let mut world = World::new();
    world.endpoint(POD).v4 = 0;
    world.endpoint(POD).v6 = crate::Addr::NONE;
    for (src, dst) in [("0.0.0.0:1", "10.2.0.1:80"), ("[::]:1", "[fd02::1]:80")] {
        assert_eq!(world.from(&tcp(src, dst, SYN)).why(), Reason::SpoofedSource);
        assert_eq!(source_check(&world.tables, POD, &end_of(src), false), Reason::SpoofedSource);
        assert_eq!(world.to(&tcp(dst, src, SYN)).why(), Reason::NotForThisPod);
    }
}

fn end_of(text: &str) -> crate::Addr {
    text.parse::<std::net::SocketAddr>().unwrap().ip().into()
}

#[test]
fn the_source_check_lets_link_local_sources_do_link_control_only() {
    let world = World::new();
    for (src, link, expected) in [
        (OWN, false, Reason::NotIsolated),
        (OWN_6, true, Reason::NotIsolated),
        (FRIEND, false, Reason::SpoofedSource),
        (FRIEND, true, Reason::SpoofedSource),
        ("fe80::1", false, Reason::SpoofedSource),
        ("fe80::1", true, Reason::NotIsolated),
        ("::", true, Reason::NotIsolated),
        ("0.0.0.0", true, Reason::NotIsolated),
        ("0.0.0.0", false, Reason::SpoofedSource),
    ] {
        assert_eq!(source_check(&world.tables, POD, &addr(src), link), expected, "{src} {link}");
    }
    assert_eq!(source_check(&world.tables, 4711, &addr(OWN), false), Reason::UnknownEndpoint);
}

#[test]
fn link_control_passes_where_nothing_else_does() {
    let mut world = World::isolated(SET_CLOSED);
    let link = |from, to| Packet { link_control: LINK_CONTROL, ..packet(ICMPV6, from, to) };
    assert_eq!(world.from(&link("fe80::1", "ff02::1")).why(), Reason::LinkControl);
    assert_eq!(world.from(&link(OWN_6, "ff02::1")).why(), Reason::LinkControl);
    assert_eq!(world.to(&link("fe80::2", "ff02::1")).why(), Reason::LinkControl);
    // Also when it is for a group that the pod is in, or for its link-local address.
    assert_eq!(world.to(&link("fe80::2", "fe80::1")).why(), Reason::LinkControl);
    // But not with somebody else's address.
    assert_eq!(world.from(&link(FRIEND_6, "ff02::1")).why(), Reason::SpoofedSource);
    assert_eq!(world.memory.all().count(), 0);
}

#[test]
fn an_advertisement_speaks_for_own_addresses_or_a_link_local_one() {
    let mut world = World::isolated(SET_CLOSED);
    for (target, expected) in [
        (OWN_6, Reason::LinkControl),
        ("fe80::1", Reason::LinkControl),
        (FRIEND_6, Reason::SpoofedNeighbour),
        ("fd01::17", Reason::SpoofedNeighbour),
    ] {
        let advertisement = Packet {
            link_control: LINK_CONTROL_ADVERTISES,
            quoted_src: addr(target),
            ..packet(ICMPV6, OWN_6, "ff02::1")
        };
        assert_eq!(world.from(&advertisement).why(), expected, "{target}");
        let arriving = Packet { src: addr(FRIEND_6), ..advertisement };
        assert_eq!(world.to(&arriving).why(), Reason::LinkControl, "{target}");
    }
}

#[test]
fn a_servers_dhcp_is_link_control_towards_a_pod_only() {
    let mut world = World::isolated(SET_CLOSED);
    let answer =
        |from| Packet { link_control: LINK_CONTROL_SERVES, ..packet(UDP, from, "255.255.255.255:68") };
    assert_eq!(world.to(&answer("10.2.0.1:67")).why(), Reason::LinkControl);
    assert_eq!(world.from(&answer("10.1.0.16:67")).why(), Reason::PolicyDenied);
    assert_eq!(world.from(&answer("0.0.0.0:67")).why(), Reason::SpoofedSource);
}

#[test]
fn a_pod_reaches_itself_and_is_recognised_by_its_interface_or_its_tag() {
    let mut world = World::isolated(SET_CLOSED);
    let own = tcp("10.1.0.16:4000", "10.1.0.16:80", SYN);
    assert_eq!(world.from(&own).why(), Reason::Itself);
    assert_eq!(world.to(&own).why(), Reason::SpoofedSource);
    world.interface(100, INTERFACE_ENDPOINT, POD);
    assert_eq!(world.via(100, POD, &own).why(), Reason::Itself);
}

#[test]
fn the_node_is_known_by_a_socket_and_no_interface_together() {
    let mut world = World::isolated(SET_CLOSED);
    let syn = tcp("10.2.0.3:4000", "10.1.0.16:80", SYN);
    for (ingress_ifindex, has_socket, expected) in [
        (0, 1, Reason::Node),
        (0, 0, Reason::PolicyDenied),
        (7, 1, Reason::PolicyDenied),
        (7, 0, Reason::PolicyDenied),
    ] {
        let mut world = world.clone();
        let arrival = Arrival { slot: POD, ingress_ifindex, has_socket, ..Arrival::default() };
        assert_eq!(world.arrive(Direction::Ingress, &syn, arrival).why(), expected);
    }
    // Its address alone says nothing, and a pod never sends the node's packets.
    let arrival = Arrival { slot: POD, has_socket: 1, ..Arrival::default() };
    let out = world.arrive(Direction::Egress, &tcp("10.1.0.16:1", "10.2.0.3:80", SYN), arrival);
    assert_eq!(out.why(), Reason::PolicyDenied);
}

#[test]
fn the_nodes_flows_are_answered_whatever_the_policies() {
    let mut world = World::isolated(SET_CLOSED);
    assert_eq!(world.node(&tcp("10.2.0.3:4000", "10.1.0.16:80", SYN)).why(), Reason::Node);
    let answer = world.from(&tcp("10.1.0.16:80", "10.2.0.3:4000", SYN | ACK));
    assert_eq!((answer.why(), answer.reply, answer.report), (Reason::Flow, 1, 0));
    world.judge_by(POD, Direction::Ingress, SET_CLOSED);
    assert_eq!(world.from(&tcp("10.1.0.16:80", "10.2.0.3:4000", ACK)).why(), Reason::Flow);
    assert_eq!(world.node(&echo(STRANGER, OWN, true, 9)).why(), Reason::Node);
    assert_eq!(world.from(&echo(OWN, STRANGER, false, 9)).why(), Reason::Flow);
    assert_eq!(world.from(&echo(OWN, STRANGER, false, 10)).why(), Reason::PolicyDenied);
}

#[test]
fn flooded_unicast_is_dropped_without_a_report() {
    let mut world = World::new();
    let out = world.to(&tcp("10.2.0.1:1", "10.1.0.17:80", SYN));
    assert_eq!((out.why(), out.report), (Reason::NotForThisPod, 0));
    let out = world.to(&packet(UDP, "10.2.0.1:1", "224.0.0.251:5353"));
    assert_eq!(out.why(), Reason::NotIsolated);
}
