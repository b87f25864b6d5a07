//! Line 3 and 4 of `judge`: flows to Services.

use super::{
    packets::{echo, packet, tcp},
    world::{EVERYTHING, FRIENDS, OWN, POD, TO_FRIENDS, World},
};
use crate::{
    Direction, Reason,
    packet::{TCP_ACK as ACK, TCP_SYN as SYN, UDP},
    tables::{
        BACKEND_JUDGES_SENDER, BACKENDS_OVERFLOW, ENDPOINT_TAG_TRUSTED, PEER_FRONTEND, PEER_SERVICE_ONLY,
        SET_NONE,
    },
};

const A: &str = "10.1.0.16:4000";
const IP: &str = "10.96.0.1";
const SERVICE: &str = "10.96.0.1:8000";
const STRANGERS: u32 = 9;
const LOCAL: u16 = BACKEND_JUDGES_SENDER;

/// The Service leads to these backends.
fn world(backends: &[(u32, u16, u16)]) -> World {
    let mut world = World::isolated(TO_FRIENDS);
    world.peer(IP, 0, PEER_FRONTEND | PEER_SERVICE_ONLY);
    world.frontend((IP, 8000), 1, backends);
    world
}

fn why(world: &mut World) -> Reason {
    world.from(&tcp(A, SERVICE, SYN)).why()
}

#[test]
fn backends_are_judged_at_their_own_port_and_all_must_agree() {
    for (backends, expected) in [
        (&[(FRIENDS, 80, 0)][..], Reason::Policy),
        (&[(FRIENDS, 8000, 0)], Reason::PolicyDenied),
        (&[(STRANGERS, 80, 0)], Reason::PolicyDenied),
        (&[(FRIENDS, 80, 0), (FRIENDS, 80, LOCAL)], Reason::Policy),
        (&[(STRANGERS, 80, 0), (0, 80, 0)], Reason::PolicyDenied),
        (&[(FRIENDS, 80, 0), (STRANGERS, 80, 0)], Reason::BackendsDiffer),
        (&[(FRIENDS, 80, 0), (FRIENDS, 81, 0)], Reason::BackendsDiffer),
        (&[], Reason::NoBackend),
    ] {
        assert_eq!(why(&mut world(backends)), expected, "{backends:?}");
    }
}

#[test]
fn what_differs_is_left_to_those_who_can_tell() {
    for (backends, member, trusted, untrusted) in [
        (&[(FRIENDS, 80, 0), (STRANGERS, 80, LOCAL)][..], false, Reason::Deferred, Reason::BackendsDiffer),
        (&[(FRIENDS, 80, 0), (STRANGERS, 80, 0)], false, Reason::BackendsDiffer, Reason::BackendsDiffer),
        (
            &[(FRIENDS, 80, LOCAL), (STRANGERS, 80, LOCAL), (0, 80, 0)],
            false,
            Reason::BackendsDiffer,
            Reason::BackendsDiffer,
        ),
        (&[(STRANGERS, 80, LOCAL)], false, Reason::PolicyDenied, Reason::PolicyDenied),
        // It is one of them, and always reaches itself.
        (&[(STRANGERS, 80, LOCAL)], true, Reason::Deferred, Reason::PolicyDenied),
        (&[(STRANGERS, 80, LOCAL), (STRANGERS, 81, 0)], true, Reason::PolicyDenied, Reason::PolicyDenied),
    ] {
        for (flag, expected) in [(ENDPOINT_TAG_TRUSTED, trusted), (0, untrusted)] {
            let mut world = world(backends);
            world.endpoint(POD).flags |= flag;
            if member {
                world.tables.members.insert((1, POD));
            }
            assert_eq!(why(&mut world), expected, "{backends:?} {member} {flag}");
        }
    }
}

/// Nothing but a raw socket sends such a packet out of the pod.
#[test]
fn what_a_pod_sends_to_its_own_address_is_judged_where_a_service_has_it() {
    let mut world = world(&[]);
    world.peer(OWN, 0, PEER_FRONTEND);
    world.frontend((OWN, 8000), 2, &[(STRANGERS, 80, 0)]);
    let to_itself = |world: &mut World, port: u16| world.from(&tcp(A, &format!("{OWN}:{port}"), SYN)).why();
    assert_eq!(to_itself(&mut world, 8000), Reason::PolicyDenied);
    assert_eq!(to_itself(&mut world, 8001), Reason::Itself);
}

#[test]
fn what_does_not_fit_or_is_not_there_is_closed() {
    let mut one = world(&[(FRIENDS, 80, 0)]);
    one.tables.backends.get_mut(&1).unwrap().flags = BACKENDS_OVERFLOW;
    assert_eq!(why(&mut one), Reason::BackendsDiffer);
    one.tables.backends.clear();
    assert_eq!(why(&mut one), Reason::TableInconsistent);
}

#[test]
fn a_service_address_is_nobody_elses() {
    let mut one = world(&[(FRIENDS, 80, 0)]);
    // A block of a policy contains it; that is about backends, never about the ClusterIP.
    one.peer(IP, FRIENDS, PEER_FRONTEND | PEER_SERVICE_ONLY);
    assert_eq!(one.from(&tcp(A, "10.96.0.1:80", SYN)).why(), Reason::UnknownFrontend);
    assert_eq!(one.from(&packet(UDP, A, SERVICE)).why(), Reason::UnknownFrontend);
    assert_eq!(one.from(&echo("10.1.0.16", IP, true, 1)).why(), Reason::UnknownFrontend);
    // One that others use too, as a node's with a NodePort, is itself on other ports.
    one.peer(IP, FRIENDS, PEER_FRONTEND);
    assert_eq!(one.from(&tcp(A, "10.96.0.1:80", SYN)).why(), Reason::Policy);
    assert_eq!(one.from(&tcp(A, SERVICE, SYN)).why(), Reason::Policy);
}

#[test]
fn who_is_not_isolated_or_may_do_everything_is_not_asked() {
    for (set, expected) in [(SET_NONE, Reason::NotIsolated), (EVERYTHING, Reason::Policy)] {
        let mut world = world(&[]);
        world.judge_by(POD, Direction::Egress, set);
        assert_eq!(why(&mut world), expected);
        assert_eq!(world.from(&tcp(A, "10.96.0.1:9", SYN)).why(), expected);
    }
}

#[test]
fn a_flow_stays_with_the_set_that_it_was_judged_by() {
    let mut one = world(&[(FRIENDS, 80, 0)]);
    assert_eq!(why(&mut one), Reason::Policy);
    assert_eq!(one.memory.all().next().unwrap().backends, 1);
    // New connections are led elsewhere.
    one.frontend((IP, 8000), 2, &[(STRANGERS, 80, 0)]);
    one.bump(IP);
    assert_eq!(one.from(&tcp(A, SERVICE, ACK)).why(), Reason::Flow);
    assert_eq!(one.from(&tcp("10.1.0.16:4001", SERVICE, SYN)).why(), Reason::PolicyDenied);
    // The frontend goes altogether: translation still knows the open one.
    one.tables.frontends.clear();
    one.bump(IP);
    assert_eq!(one.from(&tcp(A, SERVICE, ACK)).why(), Reason::Flow);
    // Its own backends change: the same set with another content.
    one.frontend((IP, 8000), 1, &[(STRANGERS, 80, 0)]);
    one.bump(IP);
    assert_eq!(one.from(&tcp(A, SERVICE, ACK)).why(), Reason::FlowDenied);
}

#[test]
fn ingress_never_looks_at_frontends() {
    let mut one = world(&[(STRANGERS, 80, 0)]);
    one.peer(IP, FRIENDS, PEER_FRONTEND | PEER_SERVICE_ONLY);
    assert_eq!(one.to(&tcp("10.96.0.1:8000", "10.1.0.16:80", SYN)).why(), Reason::Policy);
}

/// Translation has pinned it to one of them.
#[test]
fn a_flow_keeps_its_backends_while_nothing_asks_for_them_and_while_it_is_denied() {
    let follows = |world: &mut World| world.from(&tcp(A, SERVICE, ACK)).why();
    let mut world = world(&[(FRIENDS, 80, 0)]);
    assert_eq!(why(&mut world), Reason::Policy);
    // Nothing isolates the pod for a while, and the Service leads to others meanwhile.
    world.judge_by(POD, Direction::Egress, SET_NONE);
    assert_eq!(follows(&mut world), Reason::Flow);
    world.frontend((IP, 8000), 2, &[(STRANGERS, 80, 0)]);
    world.judge_by(POD, Direction::Egress, TO_FRIENDS);
    assert_eq!(follows(&mut world), Reason::Flow);

    // One that is judged by its backends for the first time, and denied.
    world.judge_by(POD, Direction::Egress, EVERYTHING);
    assert_eq!(why(&mut world), Reason::Policy);
    world.judge_by(POD, Direction::Egress, TO_FRIENDS);
    assert_eq!(follows(&mut world), Reason::FlowDenied);
    world.frontend((IP, 8000), 3, &[(FRIENDS, 80, 0)]);
    world.judge_by(POD, Direction::Egress, TO_FRIENDS);
    assert_eq!(follows(&mut world), Reason::FlowDenied);
}
