//! Line 5 of the precedence: fragments.

use super::{
    packets::packet,
    world::{EVERYTHING, POD, TO_FRIENDS, World},
};
use crate::{
    Direction, Reason,
    flow::FRAGMENT_TIMEOUT,
    packet::{ICMP, KIND_FIRST_FRAGMENT, KIND_LATER_FRAGMENT, Packet, TCP, UDP},
    tables::{PEER_FRONTEND, SET_CLOSED, SET_NONE},
};

fn first(proto: u8, from: &str, to: &str, fragment_id: u32) -> Packet {
    Packet { kind: KIND_FIRST_FRAGMENT, fragment_id, ..packet(proto, from, to) }
}

fn later(proto: u8, from: &str, to: &str, fragment_id: u32) -> Packet {
    Packet { kind: KIND_LATER_FRAGMENT, fragment_id, ..packet(proto, from, to) }
}

#[test]
fn later_fragments_follow_their_first_one_for_a_while() {
    let mut world = World::isolated(TO_FRIENDS);
    assert_eq!(world.from(&first(TCP, "10.1.0.16:1", "10.2.0.1:80", 1)).why(), Reason::Policy);
    assert_eq!(world.from(&first(TCP, "10.1.0.16:1", "10.2.0.1:81", 2)).why(), Reason::PolicyDenied);
    let (one, two) = (later(TCP, "10.1.0.16", "10.2.0.1", 1), later(TCP, "10.1.0.16", "10.2.0.1", 2));
    let both = |world: &mut World| [world.from(&one).why(), world.from(&two).why()];
    assert_eq!(both(&mut world), [Reason::Fragment, Reason::FragmentDenied]);
    world.now += FRAGMENT_TIMEOUT;
    assert_eq!(both(&mut world), [Reason::Fragment, Reason::FragmentDenied]);
    // Nobody waits for the rest any more: as if the first had not come.
    world.now += 1;
    assert_eq!(both(&mut world), [Reason::Fragment, Reason::Fragment]);
}

#[test]
fn a_fragment_is_known_by_its_ends_its_identification_and_its_direction() {
    let mut world = World::isolated(TO_FRIENDS);
    world.from(&first(TCP, "10.1.0.16:1", "10.2.0.1:81", 1));
    assert_eq!(world.from(&later(TCP, "10.1.0.16", "10.2.0.1", 1)).why(), Reason::FragmentDenied);
    assert_eq!(world.from(&later(TCP, "10.1.0.16", "10.2.0.1", 2)).why(), Reason::Fragment);
    assert_eq!(world.to(&later(TCP, "10.2.0.1", "10.1.0.16", 1)).why(), Reason::Fragment);
    // IPv4 reassembles each protocol for itself, IPv6 by identification alone.
    world.judge_by(POD, Direction::Egress, EVERYTHING);
    assert_eq!(world.from(&later(UDP, "10.1.0.16", "10.2.0.1", 1)).why(), Reason::Fragment);
    world.judge_by(POD, Direction::Egress, TO_FRIENDS);
    world.from(&first(TCP, "[fd01::16]:1", "[fd02::1]:81", 7));
    assert_eq!(world.from(&later(UDP, "fd01::16", "fd02::1", 7)).why(), Reason::FragmentDenied);
}

#[test]
fn a_lone_one_passes_where_a_first_one_could_in_either_direction() {
    let lone = |proto| later(proto, "10.1.0.16", "10.2.0.1", 1);
    for (egress, ingress, proto, expected) in [
        (SET_CLOSED, SET_CLOSED, TCP, false),
        (TO_FRIENDS, SET_CLOSED, TCP, true),
        (SET_CLOSED, TO_FRIENDS, TCP, true),
        (TO_FRIENDS, TO_FRIENDS, UDP, false),
        (TO_FRIENDS, TO_FRIENDS, ICMP, false),
        (SET_CLOSED, EVERYTHING, ICMP, true),
        (SET_CLOSED, SET_NONE, UDP, true),
    ] {
        let mut world = World::new();
        world.judge_by(POD, Direction::Egress, egress);
        world.judge_by(POD, Direction::Ingress, ingress);
        assert_eq!(world.from(&lone(proto)).passes(), expected, "{egress} {ingress} {proto}");
    }
    let mut world = World::isolated(TO_FRIENDS);
    assert_eq!(world.from(&later(TCP, "10.1.0.16", "10.2.0.3", 1)).why(), Reason::FragmentDenied);
}

#[test]
fn behind_a_service_any_port_may_be_the_one() {
    let mut world = World::isolated(TO_FRIENDS);
    world.peer("10.96.0.1", 0, PEER_FRONTEND);
    assert_eq!(world.from(&later(TCP, "10.1.0.16", "10.96.0.1", 1)).why(), Reason::Fragment);
    assert_eq!(world.from(&later(ICMP, "10.1.0.16", "10.96.0.1", 1)).why(), Reason::FragmentDenied);
}

#[test]
fn later_fragments_do_not_belong_to_flows_and_make_none() {
    let mut world = World::isolated(EVERYTHING);
    world.from(&later(UDP, "10.1.0.16", "10.2.0.1", 1));
    assert_eq!(world.memory.all().count(), 0);
}

#[test]
fn the_first_fragment_of_a_known_flow_speaks_for_its_others_too() {
    let mut world = World::isolated(TO_FRIENDS);
    world.judge_by(POD, Direction::Ingress, SET_CLOSED);
    let reply = first(TCP, "10.2.0.1:80", "10.1.0.16:1", 3);
    assert_eq!(world.clone().to(&reply).why(), Reason::PolicyDenied);
    world.from(&packet(TCP, "10.1.0.16:1", "10.2.0.1:80"));
    assert_eq!(world.to(&reply).why(), Reason::Flow);
    assert_eq!(world.to(&later(TCP, "10.2.0.1", "10.1.0.16", 3)).why(), Reason::Fragment);
    world.judge_by(POD, Direction::Egress, SET_CLOSED);
    let reply = Packet { fragment_id: 4, ..reply };
    assert_eq!(world.to(&reply).why(), Reason::FlowDenied);
    assert_eq!(world.to(&later(TCP, "10.2.0.1", "10.1.0.16", 4)).why(), Reason::FragmentDenied);
}
