//! Link control: without it there is no network; with too much of it a pod would be the network's router.

use std::net::IpAddr;

use netpol_common::Reason;
use netpol_tests::kernel::{
    Seen,
    craft::{Extension, at, framed, icmp, neighbour, other, udp, with_headers, with_hops},
};
use netpol_tests::packet;

use crate::scene::{DENIED, NOT_ISOLATED, Scene, UNREPORTED, friend, stranger};

const ROUTER: Seen = Seen::Drops(Reason::RouterFromPod);
const SPOOFED: Seen = Seen::Drops(Reason::SpoofedSource);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A pod that may do nothing at all.
fn closed() -> Scene {
    let mut scene = Scene::new();
    scene.tables.judge_both_by(&scene.pod, netpol_common::tables::SET_CLOSED);
    scene
}

#[test]
#[ignore = "needs root and BPF"]
fn neighbour_discovery_passes_with_hop_limit_255_only() {
    let mut scene = closed();
    let (local, own, all) = (address("fe80::1"), scene.own(false), address("ff02::1"));
    let own_target = Some(own);
    let from_pod = [
        neighbour(local, address("ff02::2"), 133, None),
        neighbour(address("::"), address("ff02::1:ff00:1"), 135, own_target),
        neighbour(local, address("ff02::1:ff00:1"), 135, Some(friend(false))),
        neighbour(own, address("ff02::1:ff00:1"), 135, Some(friend(false))),
        neighbour(own, friend(false), 136, own_target),
        neighbour(local, all, 136, own_target),
        neighbour(local, all, 136, Some(local)),
    ];
    for packet in from_pod {
        assert_eq!(scene.from(&framed(&packet)), UNREPORTED);
        let forwarded = scene.from(&framed(&with_hops(packet, 254)));
        assert!(matches!(forwarded, DENIED | SPOOFED), "{forwarded:?}");
    }
    let to_pod = [
        neighbour(address("fe80::2"), all, 134, None),
        neighbour(friend(false), address("ff02::1:ff00:1"), 135, own_target),
        neighbour(friend(false), own, 136, Some(friend(false))),
        neighbour(address("fe80::2"), own, 137, Some(friend(false))),
    ];
    for packet in to_pod {
        assert_eq!(scene.to(&framed(&packet)), UNREPORTED);
        assert_eq!(scene.to(&framed(&with_hops(packet, 64))), DENIED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn an_advertisement_speaks_for_the_pods_own_addresses() {
    let mut scene = closed();
    let (own, all) = (scene.own(false), address("ff02::1"));
    assert_eq!(scene.from(&framed(&neighbour(own, all, 136, Some(own)))), UNREPORTED);
    for stolen in [friend(false), stranger(false), address("fd00::1")] {
        let packet = neighbour(own, all, 136, Some(stolen));
        assert_eq!(scene.from(&framed(&packet)), Seen::Drops(Reason::SpoofedNeighbour), "{stolen}");
        let hidden = with_headers(packet, &[Extension::Destination(0)]);
        assert_eq!(scene.from(&framed(&hidden)), Seen::Drops(Reason::SpoofedNeighbour), "{stolen}");
    }
    // Nor with the address itself as the source.
    let forged = neighbour(friend(false), all, 136, Some(friend(false)));
    assert_eq!(scene.from(&framed(&forged)), SPOOFED);
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_is_no_router() {
    let mut scene = Scene::new();
    scene.free();
    let (own6, own4) = (scene.own(false), scene.own(true));
    for source in [own6, address("fe80::1")] {
        for kind in [134, 137] {
            let packet = neighbour(source, address("ff02::1"), kind, Some(friend(false)));
            assert_eq!(scene.from(&framed(&packet)), ROUTER);
            assert_eq!(scene.from(&framed(&with_hops(packet.clone(), 64))), ROUTER);
            let hidden = with_headers(packet, &[Extension::HopByHop(0)]);
            assert_eq!(scene.from(&framed(&hidden)), ROUTER);
        }
    }
    for kind in [5, 9] {
        let packet =
            icmp(own4, friend(true), kind, 1, [10, 2, 0, 3], &packet::ip(friend(true), own4, 17, &[0; 8]));
        assert_eq!(scene.from(&framed(&packet)), ROUTER);
    }
    // The same types of ICMP mean something else in the other family.
    let packet = icmp(own4, friend(true), 134, 0, [0; 4], &[0; 8]);
    assert_eq!(scene.from(&framed(&packet)), NOT_ISOLATED);
}

#[test]
#[ignore = "needs root and BPF"]
fn multicast_listeners_are_heard() {
    let mut scene = closed();
    let (local, routers) = (address("fe80::1"), address("ff02::16"));
    for kind in [130, 131, 132, 143] {
        for source in [local, address("::")] {
            let report = with_hops(icmp(source, routers, kind, 0, [0; 4], &[0; 20]), 1);
            // As they are sent: behind a hop-by-hop header with router alert.
            let report = with_headers(report, &[Extension::HopByHop(0)]);
            assert_eq!(scene.from(&framed(&report)), UNREPORTED, "{kind} {source}");
            if source == local {
                assert_eq!(scene.to(&framed(&report)), UNREPORTED);
            }
        }
        let forged = icmp(stranger(false), routers, kind, 0, [0; 4], &[0; 20]);
        assert_eq!(scene.from(&framed(&forged)), SPOOFED);
    }
    let group = address("224.0.0.22");
    assert_eq!(scene.from(&other(scene.own(true), group, 2)), UNREPORTED);
    assert_eq!(scene.to(&other(address("10.2.0.254"), address("224.0.0.1"), 2)), UNREPORTED);
    assert_eq!(scene.from(&other(scene.own(true), friend(true), 2)), DENIED);
    assert_eq!(scene.to(&other(friend(true), scene.own(true), 2)), DENIED);
}

#[test]
#[ignore = "needs root and BPF"]
fn dhcp_passes_between_a_client_and_everybody_only() {
    let mut scene = closed();
    let own = scene.own(true);
    let broadcast = at(address("255.255.255.255"), 67);
    assert_eq!(scene.from(&udp(at(address("0.0.0.0"), 68), broadcast)), UNREPORTED);
    assert_eq!(scene.from(&udp(at(own, 68), broadcast)), UNREPORTED);
    assert_eq!(scene.to(&udp(at(address("10.2.0.254"), 67), at(address("255.255.255.255"), 68))), UNREPORTED);
    // Not as a way out to a server of one's choice, and not on other ports.
    assert_eq!(scene.from(&udp(at(own, 68), at(stranger(true), 67))), DENIED);
    assert_eq!(scene.from(&udp(at(own, 4000), broadcast)), DENIED);
    assert_eq!(scene.from(&udp(at(own, 68), at(address("255.255.255.255"), 53))), DENIED);
    assert_eq!(scene.from(&udp(at(address("0.0.0.0"), 4000), broadcast)), SPOOFED);

    let (local, servers) = (address("fe80::1"), address("ff02::1:2"));
    assert_eq!(scene.from(&udp(at(local, 546), at(servers, 547))), UNREPORTED);
    assert_eq!(scene.to(&udp(at(address("fe80::2"), 547), at(local, 546))), UNREPORTED);
    assert_eq!(scene.from(&udp(at(scene.own(false), 546), at(stranger(false), 547))), DENIED);
    assert_eq!(scene.from(&udp(at(local, 546), at(stranger(false), 547))), SPOOFED);
    assert_eq!(scene.from(&udp(at(local, 4000), at(servers, 547))), SPOOFED);
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_serves_no_dhcp() {
    let mut scene = closed();
    // From its own address: an offer to everybody is not a client's.
    let offer = udp(at(scene.own(true), 67), at(address("255.255.255.255"), 68));
    assert_eq!(scene.from(&offer), DENIED);
    scene.free();
    assert_eq!(scene.from(&offer), NOT_ISOLATED);
}
