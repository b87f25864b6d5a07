//! Time is an input.

use super::{
    packets::{packet, tcp},
    world::{EVERYTHING, POD, TO_FRIENDS, World},
};
use crate::{
    Direction, Reason,
    flow::{REFRESH, Timeouts},
    packet::{TCP_ACK as ACK, TCP_FIN as FIN, TCP_RST as RST, TCP_SYN as SYN, UDP},
    tables::SET_CLOSED,
};

const A: &str = "10.1.0.16:4000";
const B: &str = "10.2.0.1:80";
const TIMEOUTS: Timeouts = Timeouts::DEFAULT;

/// The pod may send, nobody else: a reply shows whether the flow is known.
fn world() -> World {
    let mut world = World::isolated(EVERYTHING);
    world.judge_by(POD, Direction::Ingress, SET_CLOSED);
    world
}

/// After how many ticks a reply is no longer one.
fn forgotten_after(world: &World, reply: &crate::packet::Packet, most: u32) -> u32 {
    let passes = |ticks: u32| {
        let mut later = world.clone();
        later.now += ticks;
        later.to(reply).passes()
    };
    assert!(passes(0), "it is known at first");
    (1..most + 10).find(|ticks| !passes(*ticks)).expect("it is forgotten")
}

#[test]
fn flows_are_forgotten_by_what_they_are() {
    let mut one = world();
    one.from(&tcp(A, B, SYN));
    assert_eq!(forgotten_after(&one, &tcp(B, A, ACK), TIMEOUTS.tcp_opening), TIMEOUTS.tcp_opening + 1);
    one.to(&tcp(B, A, SYN | ACK));
    assert_eq!(
        forgotten_after(&one, &tcp(B, A, ACK), TIMEOUTS.tcp_established),
        TIMEOUTS.tcp_established + 1
    );
    let mut reset = one.clone();
    reset.from(&tcp(A, B, RST));
    assert_eq!(forgotten_after(&reset, &tcp(B, A, ACK), TIMEOUTS.tcp_closing), TIMEOUTS.tcp_closing + 1);
    one.from(&tcp(A, B, FIN | ACK));
    assert!(forgotten_after(&one, &tcp(B, A, ACK), TIMEOUTS.tcp_established) > TIMEOUTS.tcp_closing + 1);
    one.to(&tcp(B, A, FIN | ACK));
    assert_eq!(forgotten_after(&one, &tcp(B, A, ACK), TIMEOUTS.tcp_closing), TIMEOUTS.tcp_closing + 1);

    let mut udp = world();
    udp.from(&packet(UDP, A, B));
    assert_eq!(forgotten_after(&udp, &packet(UDP, B, A), TIMEOUTS.opening), TIMEOUTS.opening + 1);
    udp.to(&packet(UDP, B, A));
    assert_eq!(forgotten_after(&udp, &packet(UDP, B, A), TIMEOUTS.established), TIMEOUTS.established + 1);
}

#[test]
fn a_flow_that_is_used_is_not_forgotten_and_its_time_is_written_coarsely() {
    let mut world = world();
    world.from(&packet(UDP, A, B));
    world.to(&packet(UDP, B, A));
    world.memory.touched = 0;
    for _ in 0..1000 {
        world.now += 1;
        assert_eq!(world.to(&packet(UDP, B, A)).why(), Reason::Flow);
    }
    assert_eq!(world.memory.touched, 1000 / REFRESH);
}

#[test]
fn what_was_forgotten_is_new() {
    let mut world = world();
    world.from(&packet(UDP, A, B));
    world.to(&packet(UDP, B, A));
    world.now += TIMEOUTS.established + 1;
    assert_eq!(world.to(&packet(UDP, B, A)).why(), Reason::PolicyDenied);
    let new = world.from(&packet(UDP, A, B));
    assert_eq!((new.why(), new.report), (Reason::Policy, 1));
    assert_eq!(world.to(&packet(UDP, B, A)).why(), Reason::Flow);
}

#[test]
fn a_clock_that_is_a_little_ahead_on_another_cpu_forgets_nothing() {
    let mut world = world();
    world.from(&packet(UDP, A, B));
    world.now -= REFRESH;
    assert_eq!(world.to(&packet(UDP, B, A)).why(), Reason::Flow);
    world.now -= 1;
    assert_eq!(world.from(&packet(UDP, A, B)).why(), Reason::Flow, "it was seen a moment ago");
}

#[test]
fn the_clock_may_wrap() {
    let mut world = world();
    world.now = u32::MAX - 2;
    world.from(&packet(UDP, A, B));
    world.now = world.now.wrapping_add(10);
    assert_eq!(world.to(&packet(UDP, B, A)).why(), Reason::Flow);
    world.now = world.now.wrapping_add(TIMEOUTS.established + 1);
    assert_eq!(world.to(&packet(UDP, B, A)).why(), Reason::PolicyDenied);
}

#[test]
fn a_denied_flow_stays_denied_as_long_as_an_end_speaks() {
    let mut world = World::isolated(TO_FRIENDS);
    world.judge_by(POD, Direction::Egress, EVERYTHING);
    world.judge_by(POD, Direction::Ingress, EVERYTHING);
    world.from(&packet(UDP, A, B));
    world.to(&packet(UDP, B, A));
    world.judge_by(POD, Direction::Egress, SET_CLOSED);
    // What the peer goes on to send must not open the flow anew as its own, only because time has passed.
    for _ in 0..3 * TIMEOUTS.established {
        world.now += 1;
        assert_eq!(world.to(&packet(UDP, B, A)).why(), Reason::FlowDenied);
    }
    // When it has been silent for long enough, it is new.
    world.now += TIMEOUTS.established + 1;
    assert_eq!(world.to(&packet(UDP, B, A)).why(), Reason::Policy);
}
