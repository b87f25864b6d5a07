//! Line 7 to the letter: who opens, who answers, who ends, and what becomes of a tuple that is used again.

use super::{
    packets::{packet, tcp},
    world::{EVERYTHING, FRIENDS, NEIGHBOUR, OWN, POD, TO_FRIENDS, World, addr},
};
use crate::{
    Direction, Reason,
    decide::Arrival,
    flow::{FIN_PEER, FIN_POD, Flow, Origin, STATE_CLOSING, STATE_ESTABLISHED, STATE_OPENING, Timeouts},
    packet::{SCTP, TCP_ACK as ACK, TCP_FIN as FIN, TCP_RST as RST, TCP_SYN as SYN, UDP},
    tables::{ENDPOINT_MORE_SOURCES, INTERFACE_ENDPOINT, SET_CLOSED},
};

const A: &str = "10.1.0.16:4000";
const B: &str = "10.2.0.1:80";
const CLOSING: u32 = Timeouts::DEFAULT.tcp_closing;

/// The only flow there is, and whether both ends have spoken on it.
fn only(world: &World) -> (bool, Flow) {
    let all: Vec<_> = world.memory.all().collect();
    let [one] = *all else { panic!("not one flow: {all:?}") };
    (one.state != STATE_OPENING, *one)
}

/// The pod has opened a connection to a friend, and was answered.
fn opened() -> World {
    let mut world = World::isolated(TO_FRIENDS);
    world.from(&tcp(A, B, SYN));
    world.to(&tcp(B, A, SYN | ACK));
    assert_eq!(only(&world).1.state, STATE_ESTABLISHED);
    world
}

#[test]
fn only_the_other_ends_segment_is_an_answer() {
    let mut world = World::isolated(TO_FRIENDS);
    for flags in [SYN, SYN, ACK, FIN | ACK] {
        assert!(world.from(&tcp(A, B, flags)).passes());
        let (established, flow) = only(&world);
        assert_eq!((established, flow.state), (false, STATE_OPENING), "{flags:x}");
    }
    // Whatever it is: a handshake, a mere acknowledgement, a refusal.
    for (flags, state) in
        [(SYN | ACK, STATE_ESTABLISHED), (ACK, STATE_ESTABLISHED), (RST | ACK, STATE_CLOSING)]
    {
        let mut world = World::isolated(TO_FRIENDS);
        world.from(&tcp(A, B, SYN));
        assert_eq!(world.to(&tcp(B, A, flags)).why(), Reason::Flow);
        let (established, flow) = only(&world);
        assert_eq!((established, flow.state), (true, state), "{flags:x}");
    }
}

#[test]
fn where_both_may_open_at_once_the_last_syn_counts_and_either_answer_completes() {
    for peer_completes in [false, true] {
        let mut world = World::isolated(EVERYTHING);
        assert_eq!(world.from(&tcp(A, B, SYN)).why(), Reason::Policy);
        assert_eq!(world.to(&tcp(B, A, SYN)).why(), Reason::Policy);
        let (established, flow) = only(&world);
        assert_eq!((established, flow.origin), (false, Origin::Peer as u8));
        if peer_completes {
            assert_eq!(world.to(&tcp(B, A, SYN | ACK)).why(), Reason::Flow);
            assert!(!only(&world).0, "the opener of the flow has not been answered");
        }
        assert_eq!(world.from(&tcp(A, B, SYN | ACK)).why(), Reason::Flow);
        assert_eq!((only(&world).0, only(&world).1.state), (true, STATE_ESTABLISHED));
    }
}

#[test]
fn where_one_may_not_open_its_syn_leaves_the_others_as_it_is() {
    let mut world = World::isolated(TO_FRIENDS);
    world.judge_by(POD, Direction::Ingress, SET_CLOSED);
    world.from(&tcp(A, B, SYN));
    let before = only(&world);
    assert_eq!(world.to(&tcp(B, A, SYN)).why(), Reason::PolicyDenied);
    assert_eq!(only(&world), before);
    assert_eq!(world.to(&tcp(B, A, SYN | ACK)).why(), Reason::Flow);
    assert!(only(&world).0);
}

#[test]
fn data_passes_after_the_other_end_has_closed_its_own() {
    for pod_closes in [true, false] {
        let mut world = opened();
        world.judge_by(POD, Direction::Ingress, SET_CLOSED);
        let (first, rest) = if pod_closes { (FIN_POD, FIN_PEER) } else { (FIN_PEER, FIN_POD) };
        let say = |world: &mut World, pod: bool, flags| {
            if pod { world.from(&tcp(A, B, flags)) } else { world.to(&tcp(B, A, flags)) }
        };
        assert!(say(&mut world, pod_closes, FIN | ACK).passes());
        // For as long as it takes: half closed is not closing.
        for _ in 0..5 {
            world.now += 100 * CLOSING;
            assert_eq!(say(&mut world, !pod_closes, ACK).why(), Reason::Flow);
            let (_, flow) = only(&world);
            assert_eq!((flow.state, flow.fins), (STATE_ESTABLISHED, first));
        }
        assert!(say(&mut world, !pod_closes, FIN | ACK).passes());
        assert_eq!((only(&world).1.state, only(&world).1.fins), (STATE_CLOSING, first | rest));
        world.now += CLOSING;
        assert!(say(&mut world, pod_closes, ACK).passes(), "the last acknowledgement");
        world.now += CLOSING + 1;
        assert_eq!(world.to(&tcp(B, A, ACK)).why(), Reason::PolicyDenied);
    }
}

#[test]
fn a_tuple_that_is_used_again_after_its_end_opens_anew() {
    for ending in [&[(true, RST)][..], &[(false, RST)], &[(true, FIN | ACK), (false, FIN | ACK)]] {
        let mut world = opened();
        for (out, flags) in ending {
            if *out {
                world.from(&tcp(A, B, *flags))
            } else {
                world.to(&tcp(B, A, *flags))
            };
        }
        assert_eq!(world.from(&tcp(A, B, SYN)).why(), Reason::Policy);
        let (established, flow) = only(&world);
        assert_eq!((established, flow.state, flow.fins), (false, STATE_OPENING, 0), "{ending:?}");
        world.to(&tcp(B, A, SYN | ACK));
        assert_eq!((only(&world).0, only(&world).1.state), (true, STATE_ESTABLISHED));
    }
}

#[test]
fn a_syn_on_a_flow_that_is_denied_is_judged_by_itself() {
    let denied = || {
        let mut world = opened();
        world.judge_by(POD, Direction::Egress, SET_CLOSED);
        assert_eq!(world.from(&tcp(A, B, ACK)).why(), Reason::FlowDenied);
        world
    };
    // Allowed again, for the same end.
    let mut world = denied();
    world.judge_by(POD, Direction::Egress, TO_FRIENDS);
    assert_eq!(world.from(&tcp(A, B, SYN)).why(), Reason::Policy);
    let (established, flow) = only(&world);
    assert_eq!((established, flow.denied, flow.origin), (false, 0, Origin::Pod as u8));
    // Allowed for the other end, whose connection it is from then on.
    let mut world = denied();
    world.judge_by(POD, Direction::Ingress, EVERYTHING);
    assert_eq!(world.to(&tcp(B, A, SYN)).why(), Reason::Policy);
    let (established, flow) = only(&world);
    assert_eq!((established, flow.denied, flow.origin), (false, 0, Origin::Peer as u8));
    assert_eq!(world.from(&tcp(A, B, SYN | ACK)).why(), Reason::Flow);
    // And a denied one changes nothing.
    let mut world = denied();
    let before = only(&world);
    assert_eq!(world.from(&tcp(A, B, SYN)).why(), Reason::PolicyDenied);
    assert_eq!(only(&world), before);
}

#[test]
fn the_same_tuple_at_another_endpoint_is_another_flow() {
    let mut world = opened();
    world.judge_by(NEIGHBOUR, Direction::Ingress, SET_CLOSED);
    // Both may speak with the address.
    world.endpoint(NEIGHBOUR).flags |= ENDPOINT_MORE_SOURCES;
    world.tables.sources.insert((NEIGHBOUR, addr(OWN)));
    let arrival = Arrival { slot: NEIGHBOUR, ingress_ifindex: 7, ..Arrival::default() };
    let out = world.arrive(Direction::Ingress, &tcp(B, A, ACK), arrival);
    assert_eq!(out.why(), Reason::PolicyDenied);
    assert_eq!(world.to(&tcp(B, A, ACK)).why(), Reason::Flow);
}

#[test]
fn an_exchange_of_datagrams_belongs_to_the_end_that_began() {
    for proto in [UDP, SCTP, 47] {
        let (own, peer) = if proto == 47 { (OWN, "10.2.0.1") } else { (A, B) };
        let (out, into) = (packet(proto, own, peer), packet(proto, peer, own));
        for pod_begins in [true, false] {
            let mut world = World::isolated(EVERYTHING);
            let (first, second) = (Direction::Egress, Direction::Ingress);
            let (begins, answers) = if pod_begins { (first, second) } else { (second, first) };
            world.judge_by(POD, answers, SET_CLOSED);
            let say = |world: &mut World, pod| if pod { world.from(&out) } else { world.to(&into) };
            assert_eq!(say(&mut world, !pod_begins).why(), Reason::PolicyDenied);
            assert_eq!(say(&mut world, pod_begins).why(), Reason::Policy);
            assert_eq!(only(&world).1.state, STATE_OPENING);
            for pod in [!pod_begins, pod_begins, !pod_begins] {
                assert_eq!(say(&mut world, pod).why(), Reason::Flow);
                assert_eq!(only(&world).1.state, STATE_ESTABLISHED);
            }
            world.judge_by(POD, begins, SET_CLOSED);
            for pod in [!pod_begins, pod_begins] {
                assert_eq!(say(&mut world, pod).why(), Reason::FlowDenied);
            }
        }
    }
}

#[test]
fn what_a_flow_is_judged_by_follows_from_its_origin() {
    /// The pod's own interface.
    const VETH: u32 = 100;
    for origin in [Origin::Pod, Origin::Peer, Origin::Node, Origin::Itself] {
        let mut world = World::isolated(EVERYTHING);
        world.interface(VETH, INTERFACE_ENDPOINT, POD);
        let opening = match origin {
            Origin::Pod => world.from(&tcp(A, B, SYN)),
            Origin::Peer => world.to(&tcp(B, A, SYN)),
            Origin::Node => world.node(&tcp(B, A, SYN)),
            Origin::Itself => world.via(VETH, POD, &tcp(B, A, SYN)),
        };
        assert!(opening.passes());
        assert_eq!(only(&world).1.origin, origin as u8);
        let after = |closed: &[Direction], world: &World| {
            let mut world = world.clone();
            for direction in closed {
                world.judge_by(POD, *direction, SET_CLOSED);
            }
            [world.from(&tcp(A, B, ACK)).passes(), world.to(&tcp(B, A, ACK)).passes()]
        };
        let by_egress = after(&[Direction::Egress], &world);
        let by_ingress = after(&[Direction::Ingress], &world);
        let by_both = after(&Direction::ALL, &world);
        let expected = match origin {
            Origin::Pod => [[false; 2], [true; 2], [false; 2]],
            Origin::Peer => [[true; 2], [false; 2], [false; 2]],
            Origin::Node | Origin::Itself => [[true; 2]; 3],
        };
        assert_eq!([by_egress, by_ingress, by_both], expected, "{origin:?}");
    }
}

#[test]
fn what_moved_several_times_is_judged_by_what_is_there_now() {
    let mut world = opened();
    world.judge_by(POD, Direction::Egress, SET_CLOSED);
    world.peer("10.2.0.1", FRIENDS + 1, 0);
    world.bump("10.2.0.1");
    world.judge_by(POD, Direction::Egress, EVERYTHING);
    assert_eq!(world.to(&tcp(B, A, ACK)).why(), Reason::Flow, "nobody spoke while it was denied");
    world.judge_by(POD, Direction::Egress, TO_FRIENDS);
    assert_eq!(world.to(&tcp(B, A, ACK)).why(), Reason::FlowDenied);
}
