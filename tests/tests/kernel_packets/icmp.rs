//! ICMP: queries by their identifier, errors by the flow that they quote.

use netpol_common::{Direction, flow::STATE_OPENING};
use netpol_tests::kernel::craft::{at, echo, echo_reply, framed, icmp, tcp, too_big};
use netpol_tests::packet::{self, ACK, SYN};

use crate::scene::{
    BOTH, DENIED, FLOW_DENIED, NOT_ISOLATED, POLICY, Scene, UNREPORTED, confidant, friend, stranger,
};

#[test]
#[ignore = "needs root and BPF"]
fn an_echo_is_allowed_by_a_rule_without_ports_only() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let own = scene.own(v4);
        assert_eq!(scene.from(&echo(own, confidant(v4), 1)), POLICY);
        assert_eq!(scene.from(&echo(own, friend(v4), 1)), DENIED);
        assert_eq!(scene.to(&echo(confidant(v4), own, 2)), POLICY);
        assert_eq!(scene.to(&echo(friend(v4), own, 2)), DENIED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn the_reply_of_an_echo_passes_by_its_identifier_both_ways() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let (own, peer) = (scene.own(v4), confidant(v4));
        scene.close(Direction::Ingress);
        assert_eq!(scene.to(&echo_reply(peer, own, 7)), DENIED);
        assert_eq!(scene.from(&echo(own, peer, 7)), POLICY);
        assert_eq!(scene.to(&echo_reply(peer, own, 7)), UNREPORTED);
        assert_eq!(scene.to(&echo_reply(peer, own, 8)), DENIED);
        assert_eq!(scene.to(&echo_reply(stranger(v4), own, 7)), DENIED);
        // The peer's own question with the same identifier is another flow.
        assert_eq!(scene.to(&echo(peer, own, 7)), DENIED);
        scene.isolate();
        scene.close(Direction::Egress);
        assert_eq!(scene.from(&echo_reply(own, peer, 9)), DENIED);
        assert_eq!(scene.to(&echo(peer, own, 9)), POLICY);
        assert_eq!(scene.from(&echo_reply(own, peer, 9)), UNREPORTED);
        assert_eq!(scene.from(&echo_reply(own, peer, 10)), DENIED);
        scene.isolate();
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_reply_that_nobody_asked_for_opens_no_flow() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        assert_eq!(scene.to(&echo_reply(confidant(v4), scene.own(v4), 7)), POLICY);
    }
    assert_eq!(scene.tables.flows(&scene.pod), []);
}

#[test]
#[ignore = "needs root and BPF"]
fn an_error_that_quotes_a_known_flow_passes_and_any_other_does_not() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let (own, peer) = (at(scene.own(v4), 4000), at(friend(v4), 80));
        // From a router on the way: all rules that allow something name ports.
        let quoted = packet::tcp(own, peer, ACK, 1, 0);
        let error = too_big(stranger(v4), own.ip(), &quoted);
        assert_eq!(scene.to(&error), DENIED);
        assert_eq!(scene.from(&tcp(own, peer, SYN)), POLICY);
        assert_eq!(scene.to(&error), UNREPORTED);
        let other = packet::tcp(at(own.ip(), 4001), peer, ACK, 1, 0);
        assert_eq!(scene.to(&too_big(stranger(v4), own.ip(), &other)), DENIED);
        // One that quotes what the peer sent is not about what the pod sent.
        let backwards = packet::tcp(peer, own, ACK, 1, 0);
        assert_eq!(scene.to(&too_big(stranger(v4), own.ip(), &backwards)), DENIED);
        // Only the header and eight bytes behind it are there, as old routers quote.
        let header = if v4 { 20 } else { 40 };
        assert_eq!(scene.to(&too_big(stranger(v4), own.ip(), &quoted[..header + 8])), UNREPORTED);
        assert_eq!(scene.to(&too_big(stranger(v4), own.ip(), &quoted[..header + 7])), DENIED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn errors_of_every_kind_and_of_every_protocol_pass_with_their_flow() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let own = scene.own(v4);
        let kinds: &[u8] = if v4 { &[3, 11, 12] } else { &[1, 2, 3, 4] };
        let flows = [
            packet::udp(at(own, 4000), at(friend(v4), 53), b"x"),
            packet::sctp(at(own, 4000), at(friend(v4), 9), packet::INIT),
            packet::echo(own, confidant(v4), 77, 1),
            packet::ip(own, confidant(v4), 47, &[0; 16]),
        ];
        for flow in flows {
            for kind in kinds {
                assert_eq!(scene.to(&framed(&icmp(stranger(v4), own, *kind, 0, [0; 4], &flow))), DENIED);
            }
            assert_eq!(scene.from(&framed(&flow)), POLICY);
            for kind in kinds {
                let error = framed(&icmp(stranger(v4), own, *kind, 0, [0; 4], &flow));
                assert_eq!(scene.to(&error), UNREPORTED, "{kind}");
            }
        }
        // Other types never quote.
        let quoted = packet::udp(at(own, 4000), at(friend(v4), 53), b"x");
        for kind in if v4 { [4, 5] } else { [100, 137] } {
            assert_eq!(scene.to(&framed(&icmp(stranger(v4), own, kind, 0, [0; 4], &quoted))), DENIED);
        }
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn the_pods_own_errors_about_what_it_was_sent_pass() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let own = scene.own(v4);
        let quoted = packet::udp(at(friend(v4), 4000), at(own, 53), b"x");
        let unreachable =
            framed(&icmp(own, friend(v4), if v4 { 3 } else { 1 }, if v4 { 3 } else { 4 }, [0; 4], &quoted));
        assert_eq!(scene.from(&unreachable), DENIED);
        assert_eq!(scene.to(&framed(&quoted)), POLICY);
        assert_eq!(scene.from(&unreachable), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn an_error_of_a_flow_that_is_denied_now_stops_with_it() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let own = scene.own(v4);
        let quoted = packet::udp(at(own, 4000), at(friend(v4), 53), b"x");
        assert_eq!(scene.from(&framed(&quoted)), POLICY);
        assert_eq!(scene.to(&too_big(stranger(v4), own, &quoted)), UNREPORTED);
        scene.close(Direction::Egress);
        assert_eq!(scene.to(&too_big(stranger(v4), own, &quoted)), FLOW_DENIED);
        scene.isolate();
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn an_error_opens_no_flow_and_keeps_none_alive() {
    let mut scene = Scene::new();
    scene.free();
    for v4 in BOTH {
        let own = scene.own(v4);
        let quoted = packet::udp(at(own, 4000), at(friend(v4), 53), b"x");
        assert_eq!(scene.to(&too_big(stranger(v4), own, &quoted)), NOT_ISOLATED);
        assert_eq!(scene.tables.flows(&scene.pod).len(), usize::from(!v4));
        assert_eq!(scene.from(&framed(&quoted)), NOT_ISOLATED);
        assert_eq!(scene.to(&too_big(stranger(v4), own, &quoted)), UNREPORTED);
        // It has not answered: the flow is still half open.
        let flows = scene.tables.flows(&scene.pod);
        assert!(flows.iter().all(|(_, flow)| flow.state == STATE_OPENING), "{flows:?}");
    }
}
