//! Who sent a packet, as the destination sees it: by the interface that it came in by, and by the tag where it can be
//! believed.
//!
//! Without a tag no classifier of the sender has said the last word.

use std::net::IpAddr;

use netpol_common::{
    Direction, Reason,
    packet::TCP,
    tables::{
        FIRST_SLOT, INTERFACE_ENDPOINT, INTERFACE_TRUSTED_BRIDGE, PORTS_ALL, PORTS_NONE, SET_CLOSED,
        SET_NONE, TAG_DEFERRED,
    },
};
use netpol_tests::kernel::{
    Came, Pod, Seen, Tables, UPLINK,
    craft::{at, framed, tcp},
};
use netpol_tests::packet::{self, ACK, SYN};

use crate::scene::{BOTH, DENIED, FLOW_DENIED, NOT_ISOLATED, POLICY, UNREPORTED};

/// A bridge on which tags are believed.
const BRIDGE: u32 = 500;
const ITSELF: Seen = Seen::Passes(Reason::Itself);
const SENDER_DENIED: Seen = Seen::Drops(Reason::SenderDenied);

/// Two local pods whose interfaces are known.
fn two() -> (Tables, Pod, Pod) {
    let mut tables = Tables::new();
    let (sender, receiver) = (tables.pod(), tables.pod());
    for pod in [&sender, &receiver] {
        tables.interface(pod.ifindex, INTERFACE_ENDPOINT, pod.slot);
    }
    (tables, sender, receiver)
}

/// The address of the node, which masqueraded packets carry.
fn node(v4: bool) -> IpAddr {
    if v4 { "10.5.0.1".parse().unwrap() } else { "fd05::1".parse().unwrap() }
}

#[test]
#[ignore = "needs root and BPF"]
fn the_destination_judges_the_senders_egress_that_was_left_to_it() {
    let (mut tables, sender, receiver) = two();
    let class = tables.class();
    let ports = tables.ports(&[(TCP, 80, 80)]);
    let set = tables.set(PORTS_NONE, &[(class, ports)]);
    tables.judge_by(&sender, Direction::Egress, set);
    for v4 in BOTH {
        tables.peer(receiver.address(v4), class, 0);
        let frame = |port| tcp(at(sender.address(v4), 4000), at(receiver.address(v4), port), SYN);
        assert_eq!(tables.to_via(sender.ifindex, &receiver, &frame(80)), NOT_ISOLATED);
        assert_eq!(tables.to_via(sender.ifindex, &receiver, &frame(81)), SENDER_DENIED);
        // From the uplink it is not the sender's.
        assert_eq!(tables.to_via(UPLINK, &receiver, &frame(81)), NOT_ISOLATED);
        // Masqueraded, as behind a Service, it still is.
        let masqueraded = tcp(at(node(v4), 4000), at(receiver.address(v4), 82), SYN);
        assert_eq!(tables.to_via(sender.ifindex, &receiver, &masqueraded), SENDER_DENIED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn the_destination_judges_its_own_ingress_first() {
    let (mut tables, sender, receiver) = two();
    tables.judge_by(&receiver, Direction::Ingress, SET_CLOSED);
    tables.judge_by(&sender, Direction::Egress, SET_CLOSED);
    let frame = tcp(at(sender.v4, 4000), at(receiver.v4, 80), SYN);
    assert_eq!(tables.to_via(sender.ifindex, &receiver, &frame), DENIED);
    tables.judge_by(&receiver, Direction::Ingress, SET_NONE);
    assert_eq!(tables.to_via(sender.ifindex, &receiver, &frame), SENDER_DENIED);
    tables.judge_by(&sender, Direction::Egress, SET_NONE);
    assert_eq!(tables.to_via(sender.ifindex, &receiver, &frame), NOT_ISOLATED);
}

#[test]
#[ignore = "needs root and BPF"]
fn a_flow_stops_at_its_destination_when_the_senders_policy_tightens() {
    let (mut tables, sender, receiver) = two();
    let everything = tables.set(PORTS_ALL, &[]);
    tables.judge_by(&sender, Direction::Egress, everything);
    for v4 in BOTH {
        let (from, to) = (at(sender.address(v4), 4000), at(receiver.address(v4), 80));
        assert_eq!(tables.to_via(sender.ifindex, &receiver, &tcp(from, to, SYN)), NOT_ISOLATED);
        assert_eq!(tables.from(&receiver, &tcp(to, from, SYN | ACK)), UNREPORTED);
        tables.judge_by(&sender, Direction::Egress, SET_CLOSED);
        assert_eq!(tables.to_via(sender.ifindex, &receiver, &tcp(from, to, ACK)), FLOW_DENIED);
        assert_eq!(tables.from(&receiver, &tcp(to, from, ACK)), FLOW_DENIED);
        tables.judge_by(&sender, Direction::Egress, everything);
        assert!(tables.from(&receiver, &tcp(to, from, ACK)).passes());
        assert_eq!(tables.to_via(sender.ifindex, &receiver, &tcp(from, to, ACK)), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn the_interface_counts_first_and_the_tag_where_it_can_be_believed() {
    let (mut tables, sender, receiver) = two();
    tables.judge_by(&sender, Direction::Egress, SET_CLOSED);
    tables.interface(BRIDGE, INTERFACE_TRUSTED_BRIDGE, 0);
    let (slot, veth) = (sender.slot, sender.ifindex);
    let mut port = 4000;
    for (by, tag, expected) in [
        // The sender's classifier has said the last word.
        (veth, slot, NOT_ISOLATED),
        (BRIDGE, slot, NOT_ISOLATED),
        // It left it to us.
        (veth, slot | TAG_DEFERRED, SENDER_DENIED),
        (BRIDGE, slot | TAG_DEFERRED, SENDER_DENIED),
        // No tag, or another's.
        (veth, 0, SENDER_DENIED),
        (veth, receiver.slot, SENDER_DENIED),
        // Where nothing is known of the interface the tag says nothing.
        (UPLINK, slot | TAG_DEFERRED, NOT_ISOLATED),
        (UPLINK, receiver.slot, NOT_ISOLATED),
        // What a queueing discipline may have written.
        (BRIDGE, FIRST_SLOT - 1, NOT_ISOLATED),
        (BRIDGE, 0, NOT_ISOLATED),
        // The pod itself, through its Service.
        (BRIDGE, receiver.slot, ITSELF),
        (BRIDGE, receiver.slot | TAG_DEFERRED, ITSELF),
    ] {
        port += 1;
        let frame = tcp(at(node(true), port), at(receiver.v4, 80), SYN);
        assert_eq!(tables.to_via(Came { by, tag }, &receiver, &frame), expected, "{by} {tag:x}");
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_reaches_itself_through_its_own_service() {
    let (mut tables, other, pod) = two();
    tables.judge_both_by(&pod, SET_CLOSED);
    for v4 in BOTH {
        // Translated and masqueraded: it arrives with the node's address.
        let (from, to) = (at(node(v4), 40_000), at(pod.address(v4), 8080));
        let syn = tcp(from, to, SYN);
        assert_eq!(tables.to_via(UPLINK, &pod, &syn), DENIED);
        assert_eq!(tables.to_via(other.ifindex, &pod, &syn), DENIED);
        assert_eq!(tables.from(&pod, &tcp(to, from, SYN | ACK)), DENIED);
        assert_eq!(tables.to_via(pod.ifindex, &pod, &syn), ITSELF);
        // And so does the answer, under whatever policy comes.
        assert_eq!(tables.from(&pod, &tcp(to, from, SYN | ACK)), UNREPORTED);
        tables.judge_both_by(&pod, SET_CLOSED);
        assert_eq!(tables.from(&pod, &tcp(to, from, ACK)), UNREPORTED);
        assert_eq!(tables.to_via(pod.ifindex, &pod, &tcp(from, to, ACK)), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pods_fragments_to_itself_pass() {
    let (mut tables, other, pod) = two();
    tables.judge_both_by(&pod, SET_CLOSED);
    for v4 in BOTH {
        let whole = packet::udp(at(node(v4), 40_000), at(pod.address(v4), 8080), &[7; 40]);
        let later = framed(&packet::fragments(&whole, 16, 31)[1]);
        assert_eq!(tables.to_via(pod.ifindex, &pod, &later), UNREPORTED);
        assert_eq!(tables.to_via(other.ifindex, &pod, &later), Seen::Drops(Reason::FragmentDenied));
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn allowed_by_ingress_alone_where_the_sender_is_not_local() {
    let (mut tables, sender, receiver) = two();
    let everything = tables.set(PORTS_ALL, &[]);
    tables.judge_by(&receiver, Direction::Ingress, everything);
    tables.judge_by(&sender, Direction::Egress, SET_CLOSED);
    let frame = tcp(at(node(true), 4000), at(receiver.v4, 80), SYN);
    assert_eq!(tables.to_via(UPLINK, &receiver, &frame), POLICY);
}
