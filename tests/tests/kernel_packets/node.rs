//! The node's own traffic, and what only looks like it.

use netpol_common::{Direction, Reason};
use netpol_tests::kernel::{
    NODE, Seen, UPLINK,
    craft::{at, echo, echo_reply, framed, tcp, udp},
};
use netpol_tests::packet::{self, ACK, SYN};

use crate::scene::{BOTH, DENIED, FLOW_DENIED, Scene, UNREPORTED, stranger};

const FROM_NODE: Seen = Seen::Passes(Reason::Node);

/// A pod that may do nothing at all.
fn closed() -> Scene {
    let mut scene = Scene::new();
    scene.tables.judge_both_by(&scene.pod, netpol_common::tables::SET_CLOSED);
    scene
}

#[test]
#[ignore = "needs root and BPF"]
fn the_node_always_reaches_its_pod_and_the_pod_answers() {
    let mut scene = closed();
    let pod = scene.pod;
    for v4 in BOTH {
        // Its address here is one that nothing is allowed with.
        let (node, own) = (at(stranger(v4), 40_000), at(pod.address(v4), 8080));
        assert_eq!(scene.tables.to_via(UPLINK, &pod, &tcp(node, own, SYN)), DENIED);
        assert_eq!(scene.from(&tcp(own, node, SYN | ACK)), DENIED);
        assert_eq!(scene.tables.to_via(NODE, &pod, &tcp(node, own, SYN)), FROM_NODE);
        assert_eq!(scene.from(&tcp(own, node, SYN | ACK)), UNREPORTED);
        assert_eq!(scene.tables.to_via(NODE, &pod, &tcp(node, own, ACK)), UNREPORTED);
        // The pod does not reach the node by that.
        assert_eq!(scene.from(&tcp(own, at(node.ip(), 40_001), ACK)), DENIED);
        assert_eq!(scene.from(&tcp(own, node, SYN)), DENIED);

        assert_eq!(scene.tables.to_via(NODE, &pod, &udp(node, own)), FROM_NODE);
        assert_eq!(scene.from(&udp(own, node)), UNREPORTED);
        assert_eq!(scene.tables.to_via(NODE, &pod, &echo(node.ip(), own.ip(), 5)), FROM_NODE);
        assert_eq!(scene.from(&echo_reply(own.ip(), node.ip(), 5)), UNREPORTED);
        assert_eq!(scene.from(&echo(own.ip(), node.ip(), 5)), DENIED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn the_nodes_flow_lives_through_every_change_of_policy() {
    let mut scene = Scene::new();
    let pod = scene.pod;
    for v4 in BOTH {
        let (node, own) = (at(stranger(v4), 40_000), at(pod.address(v4), 8080));
        assert_eq!(scene.tables.to_via(NODE, &pod, &tcp(node, own, SYN)), FROM_NODE);
        for direction in Direction::ALL {
            scene.close(direction);
            assert_eq!(scene.from(&tcp(own, node, ACK)), UNREPORTED);
            assert_eq!(scene.tables.to_via(NODE, &pod, &tcp(node, own, ACK)), UNREPORTED);
        }
        scene.isolate();
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn the_node_reaches_its_pod_also_on_a_flow_that_the_pod_may_not_use() {
    let mut scene = Scene::new();
    let pod = scene.pod;
    for v4 in BOTH {
        let (node, own) = (at(crate::scene::friend(v4), 80), at(pod.address(v4), 4000));
        assert_eq!(scene.from(&tcp(own, node, SYN)), crate::scene::POLICY);
        scene.close(Direction::Egress);
        assert_eq!(scene.from(&tcp(own, node, ACK)), FLOW_DENIED);
        assert!(scene.tables.to_via(NODE, &pod, &tcp(node, own, ACK)).passes());
        assert_eq!(scene.tables.to_via(UPLINK, &pod, &tcp(node, own, ACK)), FLOW_DENIED);
        scene.isolate();
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn the_nodes_fragments_pass_in_any_order() {
    let mut scene = closed();
    let pod = scene.pod;
    for v4 in BOTH {
        let whole = packet::udp(at(stranger(v4), 4000), at(pod.address(v4), 53), &[7; 40]);
        let parts = packet::fragments(&whole, 16, 21);
        assert_eq!(scene.tables.to_via(NODE, &pod, &framed(&parts[1])), UNREPORTED);
        assert_eq!(scene.tables.to_via(NODE, &pod, &framed(&parts[0])), FROM_NODE);
        assert_eq!(scene.tables.to_via(NODE, &pod, &framed(&parts[2])), UNREPORTED);
        let parts = packet::fragments(&whole, 16, 22);
        assert_eq!(
            scene.tables.to_via(UPLINK, &pod, &framed(&parts[1])),
            Seen::Drops(Reason::FragmentDenied)
        );
    }
}
