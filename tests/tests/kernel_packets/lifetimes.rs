//! How long a flow is known, and what becomes of a tuple that is used again.

use netpol_common::{
    Direction,
    flow::{STATE_CLOSING, STATE_ESTABLISHED, STATE_OPENING, Timeouts},
    packet::{TCP_FIN as FIN, TCP_RST as RST},
};
use netpol_tests::kernel::craft::{at, echo, echo_reply, tcp, udp};
use netpol_tests::packet::{ACK, SYN};

use crate::scene::{BOTH, DENIED, FLOW_DENIED, POLICY, Scene, UNREPORTED, confidant};

const TIMEOUTS: Timeouts = Timeouts::DEFAULT;

impl Scene {
    /// A frame to the pod passes as long as its flow is known, and its flow has been silent for so long at most. The
    /// time goes on meanwhile, by less than a tick or two.
    fn is_known_for(&mut self, frame: &[u8], ticks: u32) {
        let pod = self.pod;
        self.tables.age_flows(&pod, ticks - 2);
        assert_eq!(self.to(frame), UNREPORTED, "it was silent for less than {ticks}");
        // The time was written, where it had lagged behind.
        self.tables.age_flows(&pod, ticks + 1);
        assert_eq!(self.to(frame), DENIED, "it was silent for more than {ticks}");
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn each_kind_of_flow_is_forgotten_after_its_own_time() {
    // Established; reset; closed from both ends.
    for (ending, ticks) in [
        (&[][..], TIMEOUTS.tcp_established),
        (&[(true, RST)], TIMEOUTS.tcp_closing),
        (&[(true, FIN | ACK), (false, FIN | ACK)], TIMEOUTS.tcp_closing),
    ] {
        let mut scene = Scene::new();
        scene.close(Direction::Ingress);
        let (own, peer) = scene.ends(true);
        scene.opened(own, peer);
        scene.ended(own, peer, ending);
        scene.is_known_for(&tcp(peer, own, ACK), ticks);
    }
    // A half-open one cannot be asked by a reply, which would complete it.
    for (ticks, seen) in [(TIMEOUTS.tcp_opening - 2, UNREPORTED), (TIMEOUTS.tcp_opening + 1, DENIED)] {
        let mut scene = Scene::new();
        scene.close(Direction::Ingress);
        let (own, peer) = scene.ends(false);
        assert_eq!(scene.from(&tcp(own, peer, SYN)), POLICY);
        let pod = scene.pod;
        scene.tables.age_flows(&pod, ticks);
        assert_eq!(scene.to(&tcp(peer, own, SYN | ACK)), seen);
    }
    for v4 in BOTH {
        let mut scene = Scene::new();
        scene.close(Direction::Ingress);
        let (own, peer) = (at(scene.own(v4), 4000), at(confidant(v4), 53));
        for (out, into) in [
            (udp(own, peer), udp(peer, own)),
            (echo(own.ip(), peer.ip(), 7), echo_reply(peer.ip(), own.ip(), 7)),
        ] {
            let pod = scene.pod;
            assert_eq!(scene.from(&out), POLICY);
            scene.tables.age_flows(&pod, TIMEOUTS.opening + 1);
            assert_eq!(scene.to(&into), DENIED);
            assert_eq!(scene.from(&out), POLICY);
            scene.tables.age_flows(&pod, TIMEOUTS.opening - 2);
            assert_eq!(scene.to(&into), UNREPORTED);
            scene.is_known_for(&into, TIMEOUTS.established);
        }
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn what_is_denied_is_remembered_as_long_as_an_end_speaks() {
    let mut scene = Scene::new();
    let (own, peer) = scene.ends(true);
    let pod = scene.pod;
    scene.opened(own, peer);
    scene.close(Direction::Egress);
    // Its ingress would allow it: as a flow of the peer's own, once the entry was forgotten.
    let all = scene.tables.set(netpol_common::tables::PORTS_ALL, &[]);
    scene.tables.judge_by(&pod, Direction::Ingress, all);
    for _ in 0..3 {
        assert_eq!(scene.to(&tcp(peer, own, ACK)), FLOW_DENIED);
        scene.tables.age_flows(&pod, TIMEOUTS.tcp_established - 10);
    }
    assert_eq!(scene.to(&tcp(peer, own, ACK)), FLOW_DENIED);
    scene.tables.age_flows(&pod, TIMEOUTS.tcp_established + 1);
    assert_eq!(scene.to(&tcp(peer, own, ACK)), POLICY);
}

#[test]
#[ignore = "needs root and BPF"]
fn data_passes_after_the_other_end_has_closed_its_own() {
    for v4 in BOTH {
        let mut scene = Scene::new();
        let pod = scene.pod;
        let (own, peer) = scene.ends(v4);
        scene.opened(own, peer);
        scene.close(Direction::Ingress);
        assert_eq!(scene.from(&tcp(own, peer, FIN | ACK)), UNREPORTED);
        scene.tables.age_flows(&pod, 10 * TIMEOUTS.tcp_closing);
        assert_eq!(scene.to(&tcp(peer, own, ACK)), UNREPORTED);
        assert_eq!(scene.tables.flows(&pod)[0].1.state, STATE_ESTABLISHED);
        assert_eq!(scene.to(&tcp(peer, own, FIN | ACK)), UNREPORTED);
        assert_eq!(scene.tables.flows(&pod)[0].1.state, STATE_CLOSING);
        scene.tables.age_flows(&pod, TIMEOUTS.tcp_closing + 1);
        assert_eq!(scene.to(&tcp(peer, own, ACK)), DENIED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_tuple_that_is_used_again_after_its_end_opens_anew() {
    for v4 in BOTH {
        let mut scene = Scene::new();
        let pod = scene.pod;
        let (own, peer) = scene.ends(v4);
        scene.opened(own, peer);
        assert_eq!(scene.to(&tcp(peer, own, RST)), UNREPORTED);
        assert_eq!(scene.from(&tcp(own, peer, SYN)), POLICY);
        let state = |scene: &Scene| {
            let flows = scene.tables.flows(&pod);
            (flows.len(), flows[0].1.state)
        };
        assert_eq!(state(&scene), (1, STATE_OPENING));
        assert_eq!(scene.to(&tcp(peer, own, SYN | ACK)), UNREPORTED);
        assert_eq!(state(&scene), (1, STATE_ESTABLISHED));
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_syn_on_a_flow_that_is_denied_is_judged_by_itself() {
    for v4 in BOTH {
        let mut scene = Scene::new();
        let (own, peer) = scene.ends(v4);
        scene.opened(own, peer);
        scene.close(Direction::Egress);
        assert_eq!(scene.from(&tcp(own, peer, ACK)), FLOW_DENIED);
        assert_eq!(scene.from(&tcp(own, peer, SYN)), DENIED);
        assert_eq!(scene.from(&tcp(own, peer, ACK)), FLOW_DENIED);
        scene.isolate();
        assert_eq!(scene.from(&tcp(own, peer, SYN)), POLICY);
        assert_eq!(scene.to(&tcp(peer, own, SYN | ACK)), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn where_both_may_open_at_once_either_answer_completes() {
    for v4 in BOTH {
        let mut scene = Scene::new();
        let pod = scene.pod;
        let all = scene.tables.set(netpol_common::tables::PORTS_ALL, &[]);
        scene.tables.judge_both_by(&pod, all);
        let (own, peer) = scene.ends(v4);
        assert_eq!(scene.from(&tcp(own, peer, SYN)), POLICY);
        assert_eq!(scene.to(&tcp(peer, own, SYN)), POLICY);
        assert_eq!(scene.to(&tcp(peer, own, SYN | ACK)), UNREPORTED);
        assert_eq!(scene.from(&tcp(own, peer, SYN | ACK)), UNREPORTED);
        let flows = scene.tables.flows(&pod);
        assert_eq!((flows.len(), flows[0].1.state), (1, STATE_ESTABLISHED));
    }
}
