//! Below IP: tags, ethertypes, ARP, frames that end too early.

use std::net::IpAddr;

use netpol_common::{Reason, tables::ENDPOINT_TAGS_ALLOWED};
use netpol_tests::kernel::{
    Seen,
    craft::{Arp, HARDWARE, OTHER_HARDWARE, at, framed, of_type, tagged, tcp},
};
use netpol_tests::packet::{self, SYN};

use crate::scene::{BOTH, DENIED, NOT_ISOLATED, POLICY, Scene, UNREPORTED, friend, stranger};

const TAGGED: Seen = Seen::Drops(Reason::Tagged);
const MALFORMED: Seen = Seen::Drops(Reason::Malformed);
const SPOOFED: Seen = Seen::Drops(Reason::SpoofedNeighbour);

#[test]
#[ignore = "needs root and BPF"]
fn tagged_frames_are_dropped_unless_switched_on() {
    for switched_on in [false, true] {
        let mut scene = Scene::with(if switched_on { ENDPOINT_TAGS_ALLOWED } else { 0 }, [0; 6]);
        for v4 in BOTH {
            let allowed = tcp(at(scene.own(v4), 4000), at(friend(v4), 80), SYN);
            let arriving = tcp(at(friend(v4), 4000), at(scene.own(v4), 80), SYN);
            assert_eq!(scene.from(&allowed), POLICY);
            // 802.1Q, 802.1ad, and the priority tag.
            for (kind, tag) in [(0x8100, 5), (0x88a8, 5), (0x8100, 0xe000)] {
                let expected = if switched_on { POLICY } else { TAGGED };
                assert_eq!(scene.from(&tagged(allowed.clone(), kind, tag)), expected, "{kind:x} {tag:x}");
                assert_eq!(scene.to(&tagged(arriving.clone(), kind, tag)), expected, "{kind:x} {tag:x}");
            }
            // A tag never hides a packet.
            let denied = tcp(at(scene.own(v4), 4000), at(stranger(v4), 80), SYN);
            assert_eq!(scene.from(&tagged(denied, 0x8100, 5)), if switched_on { DENIED } else { TAGGED });
            let stacked = tagged(tagged(allowed, 0x8100, 5), 0x88a8, 6);
            assert_eq!(scene.from(&stacked), TAGGED);
        }
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn an_isolated_pod_speaks_arp_ipv4_and_ipv6_only() {
    let mut scene = Scene::new();
    // SNAP (a length), MPLS, PPPoE, LLDP, 802.1X, an experiment, IPX, jumbo LLC.
    for kind in [0x0040, 0x8847, 0x8848, 0x8864, 0x88cc, 0x888e, 0x88b5, 0x8137, 0x8870] {
        let inner = packet::tcp(at(scene.own(true), 4000), at(friend(true), 80), SYN, 1, 0);
        assert_eq!(scene.from(&of_type(kind, &inner)), Seen::Drops(Reason::UnknownEthertype), "{kind:x}");
        assert_eq!(scene.to(&of_type(kind, &inner)), Seen::Drops(Reason::UnknownEthertype), "{kind:x}");
    }
    let inner = packet::tcp(at(scene.own(true), 4000), at(friend(true), 80), SYN, 1, 0);
    assert_eq!(scene.from(&of_type(0x0800, &inner)), POLICY);
}

#[test]
#[ignore = "needs root and BPF"]
fn arp_passes_when_it_speaks_for_the_pod_itself() {
    let mut scene = Scene::new();
    let IpAddr::V4(own) = scene.own(true) else { panic!("not IPv4") };
    let other = [10, 2, 0, 1].into();
    for operation in [1, 2] {
        let arp = |sender, hardware| Arp { operation, hardware, sender, target: other }.frame();
        assert_eq!(scene.from(&arp(own, HARDWARE)), UNREPORTED);
        assert_eq!(scene.from(&arp(other, HARDWARE)), SPOOFED);
        assert_eq!(scene.from(&arp(own, OTHER_HARDWARE)), SPOOFED);
        // To the pod, all of it.
        assert_eq!(scene.to(&arp(other, HARDWARE)), UNREPORTED);
    }
    // A probe asks for an address that nobody has yet: the sender is none.
    let probe = Arp { operation: 1, hardware: HARDWARE, sender: [0; 4].into(), target: own };
    assert_eq!(scene.from(&probe.frame()), UNREPORTED);
    // ARP that is not about IPv4 over Ethernet.
    let mut strange = Arp { operation: 1, hardware: HARDWARE, sender: own, target: other }.frame();
    strange[14 + 3] = 1;
    assert_eq!(scene.from(&strange), SPOOFED);
    let mut short = Arp { operation: 1, hardware: HARDWARE, sender: own, target: other }.frame();
    short.truncate(30);
    assert_eq!(scene.from(&short), MALFORMED);
}

#[test]
#[ignore = "needs root and BPF"]
fn headers_that_cannot_be_are_dropped() {
    let mut scene = Scene::new();
    scene.free();
    for v4 in BOTH {
        let good = packet::tcp(at(scene.own(v4), 4000), at(friend(v4), 80), SYN, 1, 0);
        assert_eq!(scene.from(&framed(&good)), NOT_ISOLATED);
        // The other family's version below this ethertype.
        let mut version = framed(&good);
        version[14] ^= 0x20;
        assert_eq!(scene.from(&version), MALFORMED);
        // The transport header is cut off, in the bytes and in what the header says.
        let header = if v4 { 20 } else { 40 };
        assert_eq!(scene.from(&framed(&good[..header + 12])), MALFORMED);
        let mut says_less = framed(&good);
        let at = 14 + if v4 { 2 } else { 4 };
        let length: u16 = if v4 { 20 + 19 } else { 19 };
        says_less[at..at + 2].copy_from_slice(&length.to_be_bytes());
        assert_eq!(scene.from(&says_less), MALFORMED);
    }
    let good = framed(&packet::tcp(at(scene.own(true), 4000), at(friend(true), 80), SYN, 1, 0));
    for words in [0, 1, 4] {
        let mut header = good.clone();
        header[14] = 0x40 | words;
        assert_eq!(scene.from(&header), MALFORMED, "a header of {words} words");
    }
    // A header that is longer than the packet says to be.
    let mut header = good.clone();
    header[14] = 0x4f;
    header[16..18].copy_from_slice(&40_u16.to_be_bytes());
    assert_eq!(scene.from(&header), MALFORMED);
    // UDP and ICMP below eight bytes.
    for protocol in [packet::UDP, packet::ICMP] {
        let whole = framed(&packet::ip(scene.own(true), friend(true), protocol, &[8; 8]));
        assert_eq!(scene.from(&whole), NOT_ISOLATED);
        let cut = framed(&packet::ip(scene.own(true), friend(true), protocol, &[8; 7]));
        assert_eq!(scene.from(&cut), MALFORMED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn large_segments_say_that_their_length_is_0_and_pass_by_their_content() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let at_length = 14 + if v4 { 2 } else { 4 };
        let large = |from, to| {
            let mut frame = tcp(from, to, packet::ACK);
            frame.resize(frame.len() + 2000, 0);
            frame[at_length..at_length + 2].fill(0);
            frame
        };
        let own = at(scene.own(v4), 4000);
        assert_eq!(scene.from(&large(own, at(friend(v4), 80))), POLICY);
        assert_eq!(scene.from(&large(own, at(stranger(v4), 80))), DENIED);
        assert_eq!(scene.to(&large(at(friend(v4), 4001), at(scene.own(v4), 80))), POLICY);
        assert_eq!(scene.to(&large(at(stranger(v4), 4001), at(scene.own(v4), 80))), DENIED);
    }
}
