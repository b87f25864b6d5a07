//! Flows that somebody else has tracked: they come without a revision, and are judged with their first packet.

use super::{
    packets::tcp,
    world::{EVERYTHING, FRIENDS, NEIGHBOUR, POD, TO_FRIENDS, World, addr},
};
use crate::{
    Direction, Reason,
    flow::{Flow, FlowKey, Origin, STATE_ESTABLISHED},
    packet::{TCP, TCP_ACK as ACK},
    tables::{PEER_FRONTEND, PEER_SERVICE_ONLY, SET_CLOSED, SET_NONE},
};

/// The pod's end and the peer's.
const OWN: (&str, u16) = ("10.1.0.16", 4000);
const PEER: (&str, u16) = ("10.2.0.1", 80);

fn text((address, port): (&str, u16)) -> String {
    format!("{address}:{port}")
}

impl World {
    fn takes_over(&mut self, peer: (&str, u16), origin: Origin, sender: u32) {
        let key = FlowKey {
            pod: addr(OWN.0),
            peer: addr(peer.0),
            pod_port: OWN.1,
            peer_port: peer.1,
            proto: TCP,
            reserved: [0; 3],
        };
        let flow = Flow {
            revision: 0,
            generation: 0,
            backends: 0,
            last_seen: self.now,
            sender_revision: 0,
            sender: sender as u16,
            origin: origin as u8,
            state: STATE_ESTABLISHED,
            denied: 0,
            fins: 0,
        };
        self.memory.flows.insert((POD, key), flow);
    }

    /// One end speaks, then the other.
    fn both(&mut self, peer: (&str, u16), pod_first: bool) -> [Reason; 2] {
        let (own, peer) = (text(OWN), text(peer));
        let mut say = |pod: bool| {
            if pod { self.from(&tcp(&own, &peer, ACK)) } else { self.to(&tcp(&peer, &own, ACK)) }.why()
        };
        [say(pod_first), say(!pod_first)]
    }
}

#[test]
fn it_is_judged_by_who_opened_it_whoever_speaks_first() {
    for (origin, by, other) in [
        (Origin::Peer, Direction::Ingress, Direction::Egress),
        (Origin::Pod, Direction::Egress, Direction::Ingress),
    ] {
        for pod_first in [true, false] {
            for (set, expected) in [(SET_CLOSED, Reason::FlowDenied), (EVERYTHING, Reason::Flow)] {
                for free in [SET_NONE, SET_CLOSED] {
                    let mut world = World::new();
                    world.judge_by(POD, by, set);
                    world.judge_by(POD, other, free);
                    world.takes_over(PEER, origin, 0);
                    assert_eq!(world.both(PEER, pod_first), [expected; 2], "{origin:?} {pod_first} {set}");
                }
            }
        }
    }
}

#[test]
fn to_a_service_it_is_judged_by_what_stands_behind_it_now() {
    let service = ("10.96.0.1", 8000);
    for (class, expected) in [(FRIENDS, Reason::Flow), (FRIENDS + 1, Reason::FlowDenied)] {
        for pod_first in [true, false] {
            let mut world = World::isolated(TO_FRIENDS);
            world.peer(service.0, 0, PEER_FRONTEND | PEER_SERVICE_ONLY);
            world.frontend(service, 1, &[(class, 80, 0)]);
            world.takes_over(service, Origin::Pod, 0);
            assert_eq!(world.both(service, pod_first), [expected; 2]);
            // What it was judged by is remembered as of any other flow.
            let flow = world.memory.all().next().unwrap();
            assert_eq!(flow.backends, 1);
        }
    }
}

#[test]
fn the_egress_of_a_local_sender_is_judged_at_its_destination_too() {
    for (set, expected) in [(SET_CLOSED, Reason::FlowDenied), (EVERYTHING, Reason::Flow)] {
        for pod_first in [true, false] {
            let mut world = World::new();
            world.judge_by(POD, Direction::Ingress, EVERYTHING);
            world.judge_by(NEIGHBOUR, Direction::Egress, set);
            world.takes_over(PEER, Origin::Peer, NEIGHBOUR);
            assert_eq!(world.both(PEER, pod_first), [expected; 2]);
        }
    }
}

#[test]
fn the_nodes_and_the_pods_own_always_pass() {
    for origin in [Origin::Node, Origin::Itself] {
        let mut world = World::isolated(SET_CLOSED);
        world.takes_over(PEER, origin, 0);
        assert_eq!(world.both(PEER, true), [Reason::Flow; 2]);
    }
}
