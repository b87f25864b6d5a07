//! The tag and the interface: who sent a packet, and whether its egress was judged.

use super::{
    packets::{packet, tcp},
    world::{BRIDGE, EVERYTHING, FRIENDS, NEIGHBOUR, POD, TO_FRIENDS, UPLINK, World},
};
use crate::{
    Direction, Reason,
    flow::Origin,
    packet::{KIND_LATER_FRAGMENT, Packet, TCP_ACK as ACK, TCP_SYN as SYN, UDP},
    tables::{FIRST_SLOT, INTERFACE_ENDPOINT, INTERFACE_TRUSTED_BRIDGE, SET_CLOSED, SET_NONE, TAG_DEFERRED},
};

/// The neighbour's interface.
const VETH: u32 = 101;
/// The pod's own.
const OWN_VETH: u32 = 100;
/// From the neighbour, masqueraded with the node's address.
const MASQUERADED: &str = "10.5.0.1:4000";
const TO: &str = "10.1.0.16:80";

/// Everything that can be known of interfaces is known; the neighbour may send nothing.
fn world() -> World {
    let mut world = World::new();
    world.interface(OWN_VETH, INTERFACE_ENDPOINT, POD);
    world.interface(VETH, INTERFACE_ENDPOINT, NEIGHBOUR);
    world.interface(BRIDGE, INTERFACE_TRUSTED_BRIDGE, 0);
    world.judge_by(NEIGHBOUR, Direction::Egress, SET_CLOSED);
    world
}

#[test]
fn a_packet_whose_sender_has_judged_is_not_judged_for_it_again() {
    let mut world = world();
    for (ifindex, tag, expected) in [
        // The sender's classifier has said the last word.
        (VETH, NEIGHBOUR, Reason::NotIsolated),
        (BRIDGE, NEIGHBOUR, Reason::NotIsolated),
        // It left it to us.
        (VETH, NEIGHBOUR | TAG_DEFERRED, Reason::SenderDenied),
        (BRIDGE, NEIGHBOUR | TAG_DEFERRED, Reason::SenderDenied),
        // No tag, or another's: what came by the neighbour's veth is the neighbour's.
        (VETH, 0, Reason::SenderDenied),
        (VETH, POD, Reason::SenderDenied),
        (VETH, 20, Reason::SenderDenied),
        // On an interface that is not known the tag says nothing.
        (UPLINK, NEIGHBOUR | TAG_DEFERRED, Reason::NotIsolated),
        (UPLINK, POD, Reason::NotIsolated),
        // What a queueing discipline may have written is nobody's.
        (BRIDGE, FIRST_SLOT - 1, Reason::NotIsolated),
        (BRIDGE, 0, Reason::NotIsolated),
    ] {
        let out = world.clone().via(ifindex, tag, &tcp(MASQUERADED, TO, SYN));
        assert_eq!(out.why(), expected, "{ifindex} {tag:x}");
    }
    // A sender that may send everything passes in any case.
    world.judge_by(NEIGHBOUR, Direction::Egress, SET_NONE);
    assert_eq!(
        world.via(VETH, NEIGHBOUR | TAG_DEFERRED, &tcp(MASQUERADED, TO, SYN)).why(),
        Reason::NotIsolated
    );
}

#[test]
fn the_senders_egress_is_judged_by_the_class_and_port_of_the_pod_itself() {
    let mut world = world();
    world.judge_by(NEIGHBOUR, Direction::Egress, TO_FRIENDS);
    let deferred = NEIGHBOUR | TAG_DEFERRED;
    assert_eq!(world.via(VETH, deferred, &tcp(MASQUERADED, TO, SYN)).why(), Reason::SenderDenied);
    world.peer("10.1.0.16", FRIENDS, 0);
    assert_eq!(world.via(VETH, deferred, &tcp(MASQUERADED, TO, SYN)).why(), Reason::NotIsolated);
    let other_port = tcp(MASQUERADED, "10.1.0.16:81", SYN);
    assert_eq!(world.via(VETH, deferred, &other_port).why(), Reason::SenderDenied);
}

#[test]
fn the_pods_own_ingress_comes_first() {
    let mut world = world();
    world.judge_by(POD, Direction::Ingress, SET_CLOSED);
    assert_eq!(
        world.via(VETH, NEIGHBOUR | TAG_DEFERRED, &tcp(MASQUERADED, TO, SYN)).why(),
        Reason::PolicyDenied
    );
}

#[test]
fn a_flow_remembers_the_sender_that_was_judged_here_and_follows_its_policy() {
    let mut world = world();
    world.judge_by(NEIGHBOUR, Direction::Egress, EVERYTHING);
    let deferred = NEIGHBOUR | TAG_DEFERRED;
    assert_eq!(world.via(VETH, deferred, &tcp(MASQUERADED, TO, SYN)).why(), Reason::NotIsolated);
    let flow = *world.memory.all().next().unwrap();
    assert_eq!((u32::from(flow.sender), flow.origin), (NEIGHBOUR, Origin::Peer as u8));
    assert_eq!(world.from(&tcp(TO, MASQUERADED, SYN | ACK)).why(), Reason::Flow);
    world.judge_by(NEIGHBOUR, Direction::Egress, SET_CLOSED);
    assert_eq!(world.from(&tcp(TO, MASQUERADED, ACK)).why(), Reason::FlowDenied);
    assert_eq!(world.via(VETH, deferred, &tcp(MASQUERADED, TO, ACK)).why(), Reason::FlowDenied);
    world.judge_by(NEIGHBOUR, Direction::Egress, EVERYTHING);
    assert_eq!(world.via(VETH, deferred, &tcp(MASQUERADED, TO, ACK)).why(), Reason::Flow);
}

#[test]
fn a_sender_that_judged_itself_is_not_followed() {
    let mut world = world();
    assert_eq!(world.via(VETH, NEIGHBOUR, &tcp(MASQUERADED, TO, SYN)).why(), Reason::NotIsolated);
    assert_eq!(world.memory.all().next().unwrap().sender, 0);
    world.judge_by(NEIGHBOUR, Direction::Egress, SET_CLOSED);
    assert_eq!(world.via(VETH, NEIGHBOUR, &tcp(MASQUERADED, TO, ACK)).why(), Reason::Flow);
}

#[test]
fn a_pod_that_comes_back_to_itself_through_a_service_is_let_in_and_may_answer() {
    for (ifindex, tag) in
        [(OWN_VETH, POD), (OWN_VETH, 0), (BRIDGE, POD), (BRIDGE, POD | TAG_DEFERRED), (OWN_VETH, NEIGHBOUR)]
    {
        let mut world = world();
        for direction in Direction::ALL {
            world.judge_by(POD, direction, SET_CLOSED);
        }
        let syn = tcp(MASQUERADED, TO, SYN);
        assert_eq!(world.clone().via(UPLINK, tag, &syn).why(), Reason::PolicyDenied);
        assert_eq!(world.clone().via(VETH, tag, &syn).why(), Reason::PolicyDenied);
        assert_eq!(world.via(ifindex, tag, &syn).why(), Reason::Itself, "{ifindex} {tag:x}");
        assert_eq!(world.from(&tcp(TO, MASQUERADED, SYN | ACK)).why(), Reason::Flow);
        world.judge_by(POD, Direction::Egress, SET_CLOSED);
        assert_eq!(world.from(&tcp(TO, MASQUERADED, ACK)).why(), Reason::Flow);
    }
}

#[test]
fn its_later_fragments_come_back_too() {
    let mut world = world();
    for direction in Direction::ALL {
        world.judge_by(POD, direction, SET_CLOSED);
    }
    let later = Packet { kind: KIND_LATER_FRAGMENT, ..packet(UDP, "10.5.0.1", "10.1.0.16") };
    assert_eq!(world.via(OWN_VETH, POD, &later).why(), Reason::Itself);
    assert!(!world.via(VETH, NEIGHBOUR, &later).passes());
}

#[test]
fn a_pods_own_address_from_elsewhere_is_forged() {
    let mut world = world();
    let own = tcp("10.1.0.16:4000", TO, SYN);
    for (ifindex, tag) in [(UPLINK, POD), (VETH, POD), (VETH, NEIGHBOUR), (BRIDGE, NEIGHBOUR), (0, 0)] {
        assert_eq!(world.via(ifindex, tag, &own).why(), Reason::SpoofedSource, "{ifindex} {tag:x}");
    }
    assert_eq!(world.via(BRIDGE, POD, &own).why(), Reason::Itself);
}

#[test]
fn what_leaves_a_pod_says_whether_it_was_judged() {
    let mut world = World::isolated(EVERYTHING);
    let out = world.from(&tcp("10.1.0.16:1", "10.2.0.1:80", SYN));
    assert_eq!((out.deferred, out.tag(POD)), (0, POD));
    let mut world = World::isolated(TO_FRIENDS);
    world.peer("10.96.0.1", 0, crate::tables::PEER_FRONTEND);
    world.frontend(("10.96.0.1", 80), 1, &[(FRIENDS, 80, 0)]);
    // Where translation chooses, the destination looks again, on every packet of the flow.
    for flags in [SYN, ACK] {
        let out = world.from(&tcp("10.1.0.16:1", "10.96.0.1:80", flags));
        assert!(out.passes());
        assert_eq!((out.deferred, out.tag(POD)), (1, POD | TAG_DEFERRED));
    }
}
