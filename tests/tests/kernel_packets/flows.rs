//! Known flows: replies, states, closing.

use std::net::SocketAddr;

use netpol_common::{
    Direction,
    flow::{STATE_CLOSING, STATE_ESTABLISHED, STATE_OPENING},
    packet::{TCP_FIN as FIN, TCP_RST as RST},
    tables::PORTS_NONE,
};
use netpol_tests::kernel::{
    Tables,
    craft::{at, sctp, tcp, udp},
};
use netpol_tests::packet::{ACK, SYN};

use crate::scene::{BOTH, DENIED, POLICY, Scene, UNREPORTED, confidant, friend, stranger};

impl Scene {
    /// The pod has opened a connection, and both ends have spoken.
    pub(crate) fn opened(&mut self, own: SocketAddr, peer: SocketAddr) {
        assert_eq!(self.from(&tcp(own, peer, SYN)), POLICY);
        assert_eq!(self.to(&tcp(peer, own, SYN | ACK)), UNREPORTED);
        assert_eq!(self.from(&tcp(own, peer, ACK)), UNREPORTED);
    }

    /// Its ends close it: whether it is the pod's, and with which flags.
    pub(crate) fn ended(&mut self, own: SocketAddr, peer: SocketAddr, ending: &[(bool, u8)]) {
        for (out, flags) in ending {
            if *out {
                self.from(&tcp(own, peer, *flags))
            } else {
                self.to(&tcp(peer, own, *flags))
            };
        }
    }

    pub(crate) fn ends(&self, v4: bool) -> (SocketAddr, SocketAddr) {
        (at(self.own(v4), 4000), at(friend(v4), 80))
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_reply_passes_where_its_direction_allows_nothing() {
    let mut scene = Scene::new();
    scene.close(Direction::Ingress);
    for v4 in BOTH {
        let (own, peer) = scene.ends(v4);
        assert_eq!(scene.to(&tcp(peer, own, SYN | ACK)), DENIED);
        scene.opened(own, peer);
        let (own, peer) = (at(own.ip(), 4001), at(peer.ip(), 53));
        assert_eq!(scene.to(&udp(peer, own)), DENIED);
        assert_eq!(scene.from(&udp(own, peer)), POLICY);
        assert_eq!(scene.to(&udp(peer, own)), UNREPORTED);
        let peer = at(peer.ip(), 9);
        assert_eq!(scene.to(&sctp(peer, own)), DENIED);
        assert_eq!(scene.from(&sctp(own, peer)), POLICY);
        assert_eq!(scene.to(&sctp(peer, own)), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_flow_between_two_isolated_pods_of_the_node_is_known_to_both() {
    let mut tables = Tables::new();
    let (client, server) = (tables.pod(), tables.pod());
    let everything = tables.set(netpol_common::tables::PORTS_ALL, &[]);
    tables.judge_both_by(&client, netpol_common::tables::SET_CLOSED);
    tables.judge_both_by(&server, netpol_common::tables::SET_CLOSED);
    for v4 in BOTH {
        let (from, to) = (at(client.address(v4), 4000), at(server.address(v4), 80));
        let syn = tcp(from, to, SYN);
        assert_eq!(tables.from(&client, &syn), DENIED);
        tables.judge_by(&client, Direction::Egress, everything);
        assert_eq!(tables.from(&client, &syn), POLICY);
        assert_eq!(tables.to(&server, &syn), DENIED);
        tables.judge_by(&server, Direction::Ingress, everything);
        assert_eq!(tables.to(&server, &syn), POLICY);
        let answer = tcp(to, from, SYN | ACK);
        assert_eq!(tables.from(&server, &answer), UNREPORTED);
        assert_eq!(tables.to(&client, &answer), UNREPORTED);
        // The server opens nothing of its own.
        assert_eq!(tables.from(&server, &tcp(at(to.ip(), 81), from, SYN)), DENIED);
        tables.judge_by(&client, Direction::Egress, netpol_common::tables::SET_CLOSED);
        tables.judge_by(&server, Direction::Ingress, netpol_common::tables::SET_CLOSED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_syn_is_always_judged_anew_and_the_flow_lives_on() {
    let mut scene = Scene::new();
    scene.close(Direction::Ingress);
    for v4 in BOTH {
        let (own, peer) = scene.ends(v4);
        scene.opened(own, peer);
        // The peer may answer, but not open the same tuple from its side.
        assert_eq!(scene.to(&tcp(peer, own, SYN)), DENIED);
        assert_eq!(scene.to(&tcp(peer, own, ACK)), UNREPORTED);
        assert_eq!(scene.from(&tcp(own, peer, SYN)), POLICY);
        assert_eq!(scene.to(&tcp(peer, own, ACK)), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn simultaneous_open_is_two_judgements() {
    let mut scene = Scene::new();
    scene.close(Direction::Ingress);
    for v4 in BOTH {
        let (own, peer) = scene.ends(v4);
        assert_eq!(scene.from(&tcp(own, peer, SYN)), POLICY);
        assert_eq!(scene.to(&tcp(peer, own, SYN)), DENIED);
        assert_eq!(scene.to(&tcp(peer, own, SYN | ACK)), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn mid_stream_without_a_flow_is_new_in_its_own_direction() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let (own, peer) = scene.ends(v4);
        for flags in [ACK, FIN | ACK, RST, SYN | ACK, 0] {
            let own = at(own.ip(), 5000 + u16::from(flags));
            assert_eq!(scene.from(&tcp(own, at(stranger(v4), 80), flags)), DENIED);
            assert_eq!(scene.to(&tcp(peer, own, flags)), DENIED, "{flags:x}");
            assert_eq!(scene.from(&tcp(own, peer, flags)), POLICY, "{flags:x}");
        }
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_denied_packet_leaves_no_flow() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let own = at(scene.own(v4), 4000);
        assert_eq!(scene.from(&tcp(own, at(stranger(v4), 80), SYN)), DENIED);
        assert_eq!(scene.to(&tcp(at(stranger(v4), 80), own, SYN | ACK)), DENIED);
    }
    assert_eq!(scene.tables.flows(&scene.pod), []);
}

#[test]
#[ignore = "needs root and BPF"]
fn a_flow_is_established_with_its_first_reply() {
    let mut scene = Scene::new();
    let (own, peer) = scene.ends(true);
    let pod = scene.pod;
    assert_eq!(scene.from(&tcp(own, peer, SYN)), POLICY);
    let states =
        |scene: &Scene| -> Vec<u8> { scene.tables.flows(&pod).iter().map(|(_, flow)| flow.state).collect() };
    assert_eq!(states(&scene), [STATE_OPENING]);
    // The same end again is no reply.
    assert_eq!(scene.from(&tcp(own, peer, ACK)), UNREPORTED);
    assert_eq!(states(&scene), [STATE_OPENING]);
    assert_eq!(scene.to(&tcp(peer, own, SYN | ACK)), UNREPORTED);
    assert_eq!(states(&scene), [STATE_ESTABLISHED]);
}

#[test]
#[ignore = "needs root and BPF"]
fn flows_outlive_their_agent_also_when_the_next_one_wants_another_size() {
    let mut scene = Scene::new();
    let (own, peer) = scene.ends(true);
    let pod = scene.pod;
    scene.opened(own, peer);
    scene.close(Direction::Ingress);
    let known = |scene: &Scene| -> Vec<_> {
        let flows = scene.tables.flows(&pod).into_iter();
        flows.map(|(key, flow)| (key, flow.revision, flow.origin, flow.state)).collect()
    };
    let before = known(&scene);
    assert_eq!(before.len(), 1);
    for flows_per_pod in [64, 1 << 16] {
        scene.tables.reopen(flows_per_pod);
        assert_eq!(known(&scene), before);
        assert_eq!(scene.to(&tcp(peer, own, ACK)), UNREPORTED);
        assert_eq!(scene.to(&tcp(at(stranger(true), 80), own, ACK)), DENIED, "the control");
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_reset_or_two_fins_close_a_flow_soon() {
    for ending in [&[(true, RST)][..], &[(false, RST)], &[(true, FIN | ACK), (false, FIN | ACK)]] {
        let mut scene = Scene::new();
        let (own, peer) = scene.ends(false);
        let pod = scene.pod;
        scene.opened(own, peer);
        for (n, (out, flags)) in ending.iter().enumerate() {
            let state = scene.tables.flows(&pod)[0].1.state;
            assert_eq!(state, STATE_ESTABLISHED, "before the end, {n}");
            let seen =
                if *out { scene.from(&tcp(own, peer, *flags)) } else { scene.to(&tcp(peer, own, *flags)) };
            assert_eq!(seen, UNREPORTED);
        }
        assert_eq!(scene.tables.flows(&pod)[0].1.state, STATE_CLOSING);
        // The last segments still pass.
        assert_eq!(scene.from(&tcp(own, peer, ACK)), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn flows_are_scoped_to_their_endpoint() {
    let mut scene = Scene::new();
    let other = scene.tables.pod();
    scene.tables.judge_both_by(&other, netpol_common::tables::SET_CLOSED);
    let (own, peer) = scene.ends(true);
    scene.opened(own, peer);
    assert_eq!(scene.tables.flows(&other), []);
    // The same ports at another pod are another flow.
    assert_eq!(scene.tables.to(&other, &tcp(peer, at(other.v4, 4000), ACK)), DENIED);
    assert_eq!(scene.to(&tcp(peer, own, ACK)), UNREPORTED);
}

#[test]
#[ignore = "needs root and BPF"]
fn the_ports_of_a_flow_count_all() {
    let mut scene = Scene::new();
    let none = scene.tables.set(PORTS_NONE, &[]);
    scene.tables.judge_by(&scene.pod, Direction::Ingress, none);
    for v4 in BOTH {
        let (own, peer) = scene.ends(v4);
        scene.opened(own, peer);
        assert_eq!(scene.to(&tcp(at(peer.ip(), 81), own, ACK)), DENIED);
        assert_eq!(scene.to(&tcp(peer, at(own.ip(), 4001), ACK)), DENIED);
        assert_eq!(scene.to(&tcp(at(confidant(v4), 80), own, ACK)), DENIED);
        assert_eq!(scene.to(&udp(peer, own)), DENIED);
        assert_eq!(scene.to(&tcp(peer, own, ACK)), UNREPORTED);
    }
}
