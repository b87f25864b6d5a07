//! Fragments: the first one is judged, later ones follow it.

use netpol_common::{Direction, Reason, packet::TCP};
use netpol_tests::kernel::{
    Seen,
    craft::{Extension, at, framed, with_headers},
};
use netpol_tests::packet::{self, SYN, UDP};

use crate::scene::{BOTH, DENIED, NOT_ISOLATED, POLICY, Scene, UNREPORTED, confidant, friend, stranger};

const LATER_DENIED: Seen = Seen::Drops(Reason::FragmentDenied);
const OVERLAPS: Seen = Seen::Drops(Reason::FragmentOverlapsHeader);

/// A datagram in fragments of 16 bytes.
fn datagram(from: std::net::SocketAddr, to: std::net::SocketAddr, id: u16) -> Vec<Vec<u8>> {
    packet::fragments(&packet::udp(from, to, &[7; 40]), 16, id).iter().map(|part| framed(part)).collect()
}

#[test]
#[ignore = "needs root and BPF"]
fn later_fragments_follow_their_first_one() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let own = scene.own(v4);
        let [first, second, third] = &datagram(at(own, 4000), at(friend(v4), 53), 1)[..] else { panic!() };
        assert_eq!(
            [scene.from(first), scene.from(second), scene.from(third)],
            [POLICY, UNREPORTED, UNREPORTED]
        );
        let [first, second, third] = &datagram(at(own, 4000), at(friend(v4), 54), 2)[..] else { panic!() };
        assert_eq!(
            [scene.from(first), scene.from(second), scene.from(third)],
            [DENIED, LATER_DENIED, LATER_DENIED]
        );
        let [first, second, third] = &datagram(at(friend(v4), 4001), at(own, 53), 3)[..] else { panic!() };
        assert_eq!([scene.to(first), scene.to(second), scene.to(third)], [POLICY, UNREPORTED, UNREPORTED]);
        let [first, second, third] = &datagram(at(friend(v4), 4001), at(own, 54), 4)[..] else { panic!() };
        assert_eq!(
            [scene.to(first), scene.to(second), scene.to(third)],
            [DENIED, LATER_DENIED, LATER_DENIED]
        );
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_first_fragments_verdict_is_not_another_packets() {
    let mut scene = Scene::new();
    // Only a denied first one closes the way for its later ones; the identification tells which.
    for v4 in BOTH {
        let own = scene.own(v4);
        let denied = datagram(at(own, 4000), at(friend(v4), 54), 5);
        let other = datagram(at(own, 4000), at(friend(v4), 53), 6);
        assert_eq!(scene.from(&denied[0]), DENIED);
        assert_eq!(scene.from(&denied[1]), LATER_DENIED);
        assert_eq!(scene.from(&other[1]), UNREPORTED);
        // The other direction is another packet.
        let back = datagram(at(friend(v4), 53), at(own, 4000), 5);
        assert_eq!(scene.to(&back[1]), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_later_fragment_before_its_first_passes_only_where_something_could_be_delivered() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let own = scene.own(v4);
        // Some UDP port is allowed with the friend.
        assert_eq!(scene.from(&datagram(at(own, 4000), at(friend(v4), 54), 7)[1]), UNREPORTED);
        assert_eq!(scene.to(&datagram(at(friend(v4), 4000), at(own, 54), 7)[1]), UNREPORTED);
        assert_eq!(scene.from(&datagram(at(own, 4000), at(confidant(v4), 54), 7)[1]), UNREPORTED);
        // Nothing is allowed with the stranger.
        assert_eq!(scene.from(&datagram(at(own, 4000), at(stranger(v4), 53), 7)[1]), LATER_DENIED);
        assert_eq!(scene.to(&datagram(at(stranger(v4), 4000), at(own, 53), 7)[1]), LATER_DENIED);
        // A reply needs the other direction.
        scene.close(Direction::Ingress);
        assert_eq!(scene.to(&datagram(at(friend(v4), 53), at(own, 4000), 8)[1]), UNREPORTED);
        scene.close(Direction::Egress);
        assert_eq!(scene.to(&datagram(at(friend(v4), 53), at(own, 4000), 8)[1]), LATER_DENIED);
        assert_eq!(scene.from(&datagram(at(own, 53), at(friend(v4), 4000), 8)[1]), LATER_DENIED);
        scene.isolate();
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_later_fragment_of_a_protocol_of_which_no_port_is_allowed_is_dropped() {
    let mut scene = Scene::new();
    let ports = scene.tables.ports(&[(TCP, 80, 80)]);
    let set = scene.tables.set(ports, &[]);
    scene.tables.judge_both_by(&scene.pod, set);
    for v4 in BOTH {
        let own = scene.own(v4);
        assert_eq!(scene.from(&datagram(at(own, 4000), at(friend(v4), 53), 9)[1]), LATER_DENIED);
        let whole = packet::ip(own, friend(v4), packet::TCP, &[0; 60]);
        let parts = packet::fragments(&whole, 24, 9);
        assert_eq!(scene.from(&framed(&parts[1])), UNREPORTED);
        let icmp = packet::ip(own, friend(v4), if v4 { packet::ICMP } else { packet::ICMPV6 }, &[0; 60]);
        let parts = packet::fragments(&icmp, 24, 9);
        assert_eq!(scene.from(&framed(&parts[1])), LATER_DENIED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_first_fragment_too_short_for_its_header_is_dropped() {
    let mut scene = Scene::new();
    scene.free();
    for v4 in BOTH {
        let whole = packet::tcp(at(scene.own(v4), 4000), at(friend(v4), 80), SYN, 1, 0);
        let header = if v4 { 20 } else { 40 };
        let (head, payload) = whole.split_at(header);
        let enough = packet::ip(scene.own(v4), friend(v4), packet::TCP, &[payload, &[0; 12]].concat());
        assert_eq!(scene.from(&framed(&packet::fragments(&enough, 24, 10)[0])), NOT_ISOLATED);
        for bytes in [0, 8, 16] {
            let tiny = packet::fragment(head, &payload[..bytes], 0, true, 11);
            assert_eq!(scene.from(&padded(&tiny)), OVERLAPS, "{bytes} bytes");
        }
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn an_offset_inside_the_transport_header_is_dropped() {
    let mut scene = Scene::new();
    scene.free();
    for v4 in BOTH {
        for (protocol, inside, behind) in
            [(packet::TCP, &[8, 16][..], 24), (packet::SCTP, &[8], 16), (UDP, &[], 8)]
        {
            let whole = packet::ip(scene.own(v4), friend(v4), protocol, &[0; 40]);
            let header = if v4 { 20 } else { 40 };
            for offset in inside {
                let part = packet::fragment(&whole[..header], &[0; 16], *offset, true, 12);
                assert_eq!(scene.from(&framed(&part)), OVERLAPS, "{protocol} {offset}");
                assert_eq!(scene.from(&framed(&last(part, v4))), OVERLAPS, "{protocol} {offset}, the last");
            }
            let part = packet::fragment(&whole[..header], &[0; 16], behind, true, 12);
            assert_eq!(scene.from(&framed(&part)), UNREPORTED, "{protocol} {behind}");
        }
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn an_atomic_ipv6_fragment_is_a_whole_packet() {
    let mut scene = Scene::new();
    let own = scene.own(false);
    let atomic = |to| {
        let headers = [Extension::Fragment(0, false, 13)];
        framed(&with_headers(packet::udp(at(own, 4000), to, b"x"), &headers))
    };
    assert_eq!(scene.from(&atomic(at(friend(false), 53))), POLICY);
    // Known by now as a flow, not as a fragment.
    assert_eq!(scene.from(&atomic(at(friend(false), 53))), UNREPORTED);
    assert_eq!(scene.from(&atomic(at(friend(false), 54))), DENIED);
}

#[test]
#[ignore = "needs root and BPF"]
fn later_ipv6_fragments_are_known_by_their_identification_whatever_they_say_of_their_protocol() {
    let mut scene = Scene::new();
    let parts = datagram(at(scene.own(false), 4000), at(friend(false), 54), 14);
    assert_eq!(scene.from(&parts[0]), DENIED);
    let mut lies = parts[1].clone();
    // The next header that a later fragment names is not what the receiver reads.
    lies[14 + 40] = packet::TCP;
    assert_eq!(scene.from(&lies), OVERLAPS);
    lies[14 + 40] = packet::ICMPV6;
    assert_eq!(scene.from(&lies), LATER_DENIED);
}

#[test]
#[ignore = "needs root and BPF"]
fn fragments_behind_other_extension_headers_are_fragments() {
    let mut scene = Scene::new();
    let udp = packet::udp(at(scene.own(false), 4000), at(stranger(false), 53), &[7; 40]);
    let later = with_headers(udp.clone(), &[Extension::HopByHop(0), Extension::Fragment(16, true, 15)]);
    assert_eq!(scene.from(&framed(&later)), LATER_DENIED);
    let to_friend = packet::udp(at(scene.own(false), 4000), at(friend(false), 53), &[7; 40]);
    let later = with_headers(to_friend, &[Extension::HopByHop(0), Extension::Fragment(16, true, 15)]);
    assert_eq!(scene.from(&framed(&later)), UNREPORTED);
}

/// Makes a fragment the last one of its packet.
fn last(mut part: Vec<u8>, v4: bool) -> Vec<u8> {
    if v4 {
        part[6] &= !0x20;
    } else {
        part[43] &= !1;
    }
    part
}

/// A frame of at least the 60 bytes that Ethernet wants.
fn padded(packet: &[u8]) -> Vec<u8> {
    let mut frame = framed(packet);
    frame.resize(frame.len().max(60), 0);
    frame
}
