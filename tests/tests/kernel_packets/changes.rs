//! Changes of policies, labels and addresses under open flows.

use netpol_common::{Direction, Reason, packet::TCP_RST as RST};
use netpol_tests::kernel::{
    Seen,
    craft::{at, tcp},
};
use netpol_tests::packet::{ACK, SYN};

use crate::scene::{BOTH, FLOW_DENIED, NOT_ISOLATED, POLICY, Scene, UNREPORTED, confidant, friend, stranger};

/// A change of policy that lets a flow live again is reported.
const LIVES_AGAIN: Seen = Seen::Passes(Reason::Flow);

#[test]
#[ignore = "needs root and BPF"]
fn a_tightened_policy_stops_an_open_connection_in_both_directions() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let (own, peer) = scene.ends(v4);
        scene.opened(own, peer);
        scene.close(Direction::Egress);
        assert_eq!(scene.from(&tcp(own, peer, ACK)), FLOW_DENIED);
        // Ingress would still allow the peer; its next segment does not open the flow anew as its own.
        assert_eq!(scene.to(&tcp(peer, own, ACK)), FLOW_DENIED);
        assert_eq!(scene.to(&tcp(peer, own, RST)), FLOW_DENIED);
        assert_eq!(scene.from(&tcp(own, peer, ACK)), FLOW_DENIED);
        scene.isolate();
        assert_eq!(scene.to(&tcp(peer, own, ACK)), LIVES_AGAIN);
        assert_eq!(scene.from(&tcp(own, peer, ACK)), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn tightening_is_noticed_by_whichever_end_speaks_first() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let (own, peer) = scene.ends(v4);
        scene.opened(own, peer);
        scene.close(Direction::Egress);
        assert_eq!(scene.to(&tcp(peer, own, ACK)), FLOW_DENIED);
        assert_eq!(scene.from(&tcp(own, peer, ACK)), FLOW_DENIED);
        scene.isolate();
        // And one that the peer opened, by ingress.
        let (own, peer) = (at(own.ip(), 80), at(peer.ip(), 4001));
        assert_eq!(scene.to(&tcp(peer, own, SYN)), POLICY);
        assert_eq!(scene.from(&tcp(own, peer, SYN | ACK)), UNREPORTED);
        scene.close(Direction::Egress);
        assert_eq!(scene.from(&tcp(own, peer, ACK)), UNREPORTED);
        scene.close(Direction::Ingress);
        assert_eq!(scene.from(&tcp(own, peer, ACK)), FLOW_DENIED);
        assert_eq!(scene.to(&tcp(peer, own, ACK)), FLOW_DENIED);
        scene.isolate();
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn what_is_still_allowed_lives_on_without_a_word() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let (own, peer) = scene.ends(v4);
        scene.opened(own, peer);
        scene.isolate();
        assert_eq!(scene.to(&tcp(peer, own, ACK)), UNREPORTED);
        scene.free();
        assert_eq!(scene.from(&tcp(own, peer, ACK)), UNREPORTED);
        scene.close(Direction::Ingress);
        assert_eq!(scene.to(&tcp(peer, own, ACK)), UNREPORTED);
        scene.isolate();
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_that_becomes_isolated_keeps_what_is_allowed_and_loses_the_rest() {
    let mut scene = Scene::new();
    scene.free();
    for v4 in BOTH {
        let own = at(scene.own(v4), 4000);
        for peer in [friend(v4), stranger(v4)] {
            assert_eq!(scene.from(&tcp(own, at(peer, 80), SYN)), NOT_ISOLATED);
            assert_eq!(scene.to(&tcp(at(peer, 80), own, SYN | ACK)), UNREPORTED);
        }
    }
    scene.isolate();
    for v4 in BOTH {
        let own = at(scene.own(v4), 4000);
        assert_eq!(scene.to(&tcp(at(friend(v4), 80), own, ACK)), UNREPORTED);
        assert_eq!(scene.to(&tcp(at(stranger(v4), 80), own, ACK)), FLOW_DENIED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_flow_is_judged_again_when_its_peer_changes_and_not_before() {
    let mut scene = Scene::new();
    let nobody = scene.tables.class();
    for v4 in BOTH {
        let (own, peer) = scene.ends(v4);
        scene.opened(own, peer);
        // The order of writes: first the class, then the generation.
        scene.tables.peer(peer.ip(), nobody, 0);
        assert_eq!(scene.to(&tcp(peer, own, ACK)), UNREPORTED);
        scene.tables.bump(peer.ip());
        assert_eq!(scene.to(&tcp(peer, own, ACK)), FLOW_DENIED);
        assert_eq!(scene.from(&tcp(own, peer, ACK)), FLOW_DENIED);
        let friends = scene.friends;
        scene.tables.peer(peer.ip(), friends, 0);
        scene.tables.bump(peer.ip());
        assert_eq!(scene.from(&tcp(own, peer, ACK)), LIVES_AGAIN);
        // All of them, as when a prefix moves.
        scene.tables.peer(peer.ip(), nobody, 0);
        scene.tables.write(&netpol_policy::engine::TableOp::AllGenerations);
        assert_eq!(scene.from(&tcp(own, peer, ACK)), FLOW_DENIED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn another_addresss_generation_changes_nothing() {
    let mut scene = Scene::new();
    let nobody = scene.tables.class();
    for v4 in BOTH {
        let (own, peer) = scene.ends(v4);
        scene.opened(own, peer);
        scene.tables.peer(peer.ip(), nobody, 0);
        scene.tables.bump(confidant(v4));
        assert_eq!(scene.to(&tcp(peer, own, ACK)), UNREPORTED);
        scene.tables.bump(peer.ip());
        assert_eq!(scene.to(&tcp(peer, own, ACK)), FLOW_DENIED);
    }
}
