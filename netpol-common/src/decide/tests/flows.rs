//! Line 7 of the precedence: known flows.

use super::{
    packets::{echo, packet, tcp},
    world::{EVERYTHING, FRIEND, FRIENDS, OWN, POD, TO_FRIENDS, World},
};
use crate::{
    Direction, Reason,
    flow::{FIN_PEER, FIN_POD, Origin, STATE_CLOSING, STATE_ESTABLISHED, STATE_OPENING},
    packet::{TCP_ACK as ACK, TCP_FIN as FIN, TCP_RST as RST, TCP_SYN as SYN, UDP},
    tables::SET_CLOSED,
};

const A: &str = "10.1.0.16:4000";
const B: &str = "10.2.0.1:80";

/// The pod has opened a connection, and was answered.
fn opened() -> World {
    let mut world = World::isolated(TO_FRIENDS);
    assert_eq!(world.from(&tcp(A, B, SYN)).why(), Reason::Policy);
    assert_eq!(world.to(&tcp(B, A, SYN | ACK)).why(), Reason::Flow);
    world
}

fn states(world: &World) -> Vec<u8> {
    world.memory.all().map(|flow| flow.state).collect()
}

#[test]
fn only_allowed_packets_are_remembered() {
    let mut world = World::isolated(SET_CLOSED);
    assert!(!world.from(&tcp(A, B, SYN)).passes());
    assert!(!world.to(&tcp(B, A, SYN)).passes());
    assert_eq!(world.memory.all().count(), 0);
}

#[test]
fn a_reply_passes_and_makes_the_flow_an_established_one() {
    let mut world = World::isolated(TO_FRIENDS);
    world.judge_by(POD, Direction::Ingress, SET_CLOSED);
    assert_eq!(world.to(&tcp(B, A, SYN | ACK)).why(), Reason::PolicyDenied);
    assert_eq!(world.from(&tcp(A, B, SYN)).why(), Reason::Policy);
    assert_eq!(states(&world), [STATE_OPENING]);
    let reply = world.to(&tcp(B, A, SYN | ACK));
    assert_eq!((reply.why(), reply.reply, reply.report), (Reason::Flow, 1, 0));
    assert_eq!(states(&world), [STATE_ESTABLISHED]);
    let more = world.from(&tcp(A, B, ACK));
    assert_eq!((more.why(), more.reply), (Reason::Flow, 0));
}

#[test]
fn an_entry_says_what_it_was_judged_under_and_by_whom_it_was_opened() {
    let mut world = World::isolated(TO_FRIENDS);
    world.bump(FRIEND);
    world.from(&tcp(A, B, SYN));
    let flow = *world.memory.all().next().unwrap();
    assert_eq!((flow.revision, flow.generation, flow.last_seen), (2, 1, world.now));
    assert_eq!((flow.origin, flow.state, flow.denied), (Origin::Pod as u8, STATE_OPENING, 0));
    let mut world = World::isolated(TO_FRIENDS);
    world.to(&tcp("10.2.0.1:1", "10.1.0.16:80", SYN));
    let flow = *world.memory.all().next().unwrap();
    assert_eq!((flow.revision, flow.origin), (1, Origin::Peer as u8));
}

#[test]
fn a_syn_is_judged_anew_in_its_own_direction() {
    let mut world = opened();
    world.judge_by(POD, Direction::Ingress, SET_CLOSED);
    assert_eq!(world.to(&tcp(B, A, SYN)).why(), Reason::PolicyDenied);
    assert_eq!(world.to(&tcp(B, A, ACK)).why(), Reason::Flow);
    // The same one again by the pod renews the flow where it is.
    assert_eq!(world.from(&tcp(A, B, SYN)).why(), Reason::Policy);
    assert_eq!(states(&world), [STATE_ESTABLISHED]);
    assert_eq!(world.memory.all().next().unwrap().state, STATE_ESTABLISHED);
    world.judge_by(POD, Direction::Egress, SET_CLOSED);
    assert_eq!(world.from(&tcp(A, B, SYN)).why(), Reason::PolicyDenied);
}

#[test]
fn a_syn_of_the_other_end_that_is_allowed_takes_the_tuple_over() {
    let mut world = opened();
    world.judge_by(POD, Direction::Ingress, EVERYTHING);
    assert_eq!(world.to(&tcp(B, A, SYN)).why(), Reason::Policy);
    let flow = *world.memory.all().next().unwrap();
    assert_eq!((world.memory.all().count(), flow.origin), (1, Origin::Peer as u8));
}

#[test]
fn a_syn_with_ack_opens_nothing_but_is_judged_like_any_segment() {
    let mut world = World::isolated(TO_FRIENDS);
    assert_eq!(world.to(&tcp(B, A, SYN | ACK)).why(), Reason::PolicyDenied);
    assert_eq!(world.to(&tcp("10.2.0.1:9", "10.1.0.16:80", SYN | ACK)).why(), Reason::Policy);
}

#[test]
fn tightening_denies_both_directions_and_the_entry_stays() {
    for ingress_speaks_first in [false, true] {
        let mut world = opened();
        world.judge_by(POD, Direction::Ingress, EVERYTHING);
        assert_eq!(world.to(&tcp(B, A, ACK)).why(), Reason::Flow);
        world.judge_by(POD, Direction::Egress, SET_CLOSED);
        for _ in 0..2 {
            if ingress_speaks_first {
                assert_eq!(world.to(&tcp(B, A, ACK)).why(), Reason::FlowDenied);
            }
            assert_eq!(world.from(&tcp(A, B, ACK)).why(), Reason::FlowDenied);
            assert_eq!(world.to(&tcp(B, A, ACK)).why(), Reason::FlowDenied);
        }
        assert_eq!(world.memory.all().map(|flow| flow.denied).collect::<Vec<_>>(), [1]);
        // Loosened, it lives again, and this is worth a report; once.
        world.judge_by(POD, Direction::Egress, TO_FRIENDS);
        let again = world.to(&tcp(B, A, ACK));
        assert_eq!((again.why(), again.report), (Reason::Flow, 1));
        assert_eq!(world.from(&tcp(A, B, ACK)).report, 0);
    }
}

#[test]
fn the_first_word_after_a_change_is_reported_and_what_stays_allowed_is_not() {
    let mut world = opened();
    world.judge_by(POD, Direction::Egress, EVERYTHING);
    let out = world.from(&tcp(A, B, ACK));
    assert_eq!((out.why(), out.report), (Reason::Flow, 0));
    assert_eq!(world.memory.all().next().unwrap().revision, 3);
}

#[test]
fn a_flow_is_judged_by_the_direction_of_its_origin() {
    let mut world = World::isolated(TO_FRIENDS);
    let (peer, own) = ("10.2.0.1:4000", "10.1.0.16:80");
    assert_eq!(world.to(&tcp(peer, own, SYN)).why(), Reason::Policy);
    world.judge_by(POD, Direction::Egress, SET_CLOSED);
    assert_eq!(world.from(&tcp(own, peer, SYN | ACK)).why(), Reason::Flow);
    world.judge_by(POD, Direction::Ingress, SET_CLOSED);
    assert_eq!(world.from(&tcp(own, peer, ACK)).why(), Reason::FlowDenied);
}

#[test]
fn a_generation_that_moved_makes_a_second_look() {
    let mut world = opened();
    world.peer(FRIEND, FRIENDS + 1, 0);
    assert_eq!(world.from(&tcp(A, B, ACK)).why(), Reason::Flow);
    world.bump(FRIEND);
    assert_eq!(world.from(&tcp(A, B, ACK)).why(), Reason::FlowDenied);
    world.peer(FRIEND, FRIENDS, 0);
    assert_eq!(world.from(&tcp(A, B, ACK)).why(), Reason::FlowDenied);
    world.bump(FRIEND);
    assert_eq!(world.from(&tcp(A, B, ACK)).why(), Reason::Flow);
}

#[test]
fn a_reset_closes_at_once_and_fins_from_both_ends() {
    for (segments, state, fins) in [
        (&[(true, RST)][..], STATE_CLOSING, FIN_POD),
        (&[(false, RST | ACK)], STATE_CLOSING, FIN_PEER),
        (&[(true, FIN | ACK)], STATE_ESTABLISHED, FIN_POD),
        (&[(true, FIN | ACK), (true, FIN | ACK)], STATE_ESTABLISHED, FIN_POD),
        (&[(true, FIN | ACK), (false, FIN | ACK)], STATE_CLOSING, FIN_POD | FIN_PEER),
    ] {
        let mut world = opened();
        for (out, flags) in segments {
            let decision = if *out { world.from(&tcp(A, B, *flags)) } else { world.to(&tcp(B, A, *flags)) };
            assert_eq!(decision.why(), Reason::Flow);
        }
        let flow = world.memory.all().next().unwrap();
        assert_eq!((flow.state, flow.fins), (state, fins), "{segments:?}");
    }
}

#[test]
fn udp_and_echoes_have_flows_too() {
    let mut world = World::isolated(EVERYTHING);
    world.judge_by(POD, Direction::Ingress, SET_CLOSED);
    assert_eq!(world.from(&packet(UDP, A, "10.2.0.1:53")).why(), Reason::Policy);
    assert_eq!(world.to(&packet(UDP, "10.2.0.1:53", A)).why(), Reason::Flow);
    assert_eq!(world.to(&packet(UDP, "10.2.0.1:54", A)).why(), Reason::PolicyDenied);
    assert_eq!(world.from(&echo(OWN, FRIEND, true, 7)).why(), Reason::Policy);
    assert_eq!(world.to(&echo(FRIEND, OWN, false, 7)).why(), Reason::Flow);
    assert_eq!(world.to(&echo(FRIEND, OWN, false, 8)).why(), Reason::PolicyDenied);
    assert_eq!(world.to(&echo(FRIEND, OWN, true, 7)).why(), Reason::PolicyDenied);
    // A protocol without ports is one flow per peer.
    assert_eq!(world.from(&packet(47, OWN, FRIEND)).why(), Reason::Policy);
    assert_eq!(world.to(&packet(47, FRIEND, OWN)).why(), Reason::Flow);
    assert_eq!(world.to(&packet(50, FRIEND, OWN)).why(), Reason::PolicyDenied);
}

#[test]
fn a_reply_to_nothing_opens_nothing() {
    let mut world = World::isolated(EVERYTHING);
    assert_eq!(world.to(&echo(FRIEND, OWN, false, 7)).why(), Reason::Policy);
    assert_eq!(world.memory.all().count(), 0);
}

#[test]
fn the_node_reaches_its_pod_on_a_flow_that_is_denied_now() {
    let mut world = opened();
    world.judge_by(POD, Direction::Egress, SET_CLOSED);
    assert_eq!(world.to(&tcp(B, A, ACK)).why(), Reason::FlowDenied);
    let out = world.node(&tcp(B, A, ACK));
    assert_eq!((out.why(), out.report), (Reason::Node, 0));
    assert_eq!(world.to(&tcp(B, A, ACK)).why(), Reason::FlowDenied);
}
