//! Further sources, hardware addresses, and the small program for pods that no policy selects.

use netpol_common::{
    Reason,
    tables::{ENDPOINT_HARDWARE_KNOWN, ENDPOINT_MORE_SOURCES},
};
use netpol_tests::kernel::{
    Seen, Tables,
    craft::{Arp, HARDWARE, OTHER_HARDWARE, at, framed, neighbour, of_type, tagged, tcp},
};
use netpol_tests::packet::SYN;

use crate::scene::{BOTH, NOT_ISOLATED, Scene, UNREPORTED, friend, stranger};

const SPOOFED: Seen = Seen::Drops(Reason::SpoofedSource);

#[test]
#[ignore = "needs root and BPF"]
fn further_prefixes_are_those_of_the_slot_and_only_with_the_flag() {
    let mut tables = Tables::new();
    let gateway = tables.pod_with(ENDPOINT_MORE_SOURCES, [0; 6]);
    let other = tables.pod_with(ENDPOINT_MORE_SOURCES, [0; 6]);
    let plain = tables.pod();
    for pod in [&gateway, &plain] {
        tables.source(pod, "10.9.0.0/16");
        tables.source(pod, "fd09::/64");
    }
    for (v4, inside, outside) in [(true, "10.9.255.1", "10.10.0.0"), (false, "fd09::ffff", "fd09:0:0:1::")] {
        let frame = |source: &str| tcp(at(source.parse().unwrap(), 4000), at(friend(v4), 80), SYN);
        assert_eq!(tables.from(&gateway, &frame(inside)), NOT_ISOLATED);
        assert_eq!(tables.checked(&gateway, &frame(inside)), UNREPORTED);
        assert_eq!(tables.from(&gateway, &frame(outside)), SPOOFED);
        assert_eq!(tables.from(&other, &frame(inside)), SPOOFED);
        assert_eq!(tables.from(&plain, &frame(inside)), SPOOFED);
        assert_eq!(tables.checked(&plain, &frame(inside)), SPOOFED);
        // What it may speak with, it is spoken to by.
        let back = tcp(at(friend(v4), 4000), at(inside.parse().unwrap(), 80), SYN);
        assert_eq!(tables.to(&gateway, &back), NOT_ISOLATED);
        assert_eq!(tables.to(&other, &back), Seen::DropsUnreported(Reason::NotForThisPod));
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_hardware_address_that_is_known_is_checked() {
    // One at a time, as each holds the kernel.
    check_hardware(&mut Scene::with(ENDPOINT_HARDWARE_KNOWN, HARDWARE), true);
    check_hardware(&mut Scene::with(ENDPOINT_HARDWARE_KNOWN, OTHER_HARDWARE), false);
    // Without the flag the bytes mean nothing.
    check_hardware(&mut Scene::with(0, OTHER_HARDWARE), true);
}

fn check_hardware(scene: &mut Scene, passes: bool) {
    let forged = Seen::Drops(Reason::SpoofedHardware);
    scene.free();
    for v4 in BOTH {
        let frame = tcp(at(scene.own(v4), 4000), at(friend(v4), 80), SYN);
        assert_eq!(scene.from(&frame), if passes { NOT_ISOLATED } else { forged });
        // What arrives carries the gateway's.
        let back = tcp(at(friend(v4), 4000), at(scene.own(v4), 80), SYN);
        assert_eq!(scene.to(&back), NOT_ISOLATED);
    }
    let std::net::IpAddr::V4(own) = scene.own(true) else { panic!("not IPv4") };
    let arp = Arp { operation: 1, hardware: HARDWARE, sender: own, target: [10, 2, 0, 9].into() }.frame();
    assert_eq!(scene.from(&arp), if passes { UNREPORTED } else { forged });
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_that_no_policy_selects_forges_nothing() {
    let mut tables = Tables::new();
    let pod = tables.pod();
    for v4 in BOTH {
        let frame = |source| tcp(at(source, 4000), at(friend(v4), 80), SYN);
        assert_eq!(tables.checked(&pod, &frame(pod.address(v4))), UNREPORTED);
        assert_eq!(tables.checked(&pod, &frame(stranger(v4))), SPOOFED);
        // Also not below a tag.
        assert_eq!(tables.checked(&pod, &tagged(frame(stranger(v4)), 0x8100, 5)), SPOOFED);
        assert_eq!(tables.checked(&pod, &tagged(frame(pod.address(v4)), 0x8100, 5)), UNREPORTED);
    }
    let std::net::IpAddr::V4(own) = pod.v4 else { panic!("not IPv4") };
    let arp = |sender| Arp { operation: 2, hardware: HARDWARE, sender, target: [10, 2, 0, 9].into() }.frame();
    assert_eq!(tables.checked(&pod, &arp(own)), UNREPORTED);
    assert_eq!(tables.checked(&pod, &arp([10, 2, 0, 1].into())), Seen::Drops(Reason::SpoofedNeighbour));
    // It is not isolated: other protocols than IP are its own affair.
    assert_eq!(tables.checked(&pod, &of_type(0x88cc, &[0; 46])), UNREPORTED);
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_that_no_policy_selects_has_link_control() {
    let mut tables = Tables::new();
    let pod = tables.pod();
    let local = "fe80::1".parse().unwrap();
    let all = "ff02::2".parse().unwrap();
    assert_eq!(tables.checked(&pod, &framed(&neighbour(local, all, 133, None))), UNREPORTED);
    assert_eq!(
        tables.checked(&pod, &framed(&neighbour("::".parse().unwrap(), all, 135, Some(pod.v6)))),
        UNREPORTED
    );
    let data = tcp(at(local, 4000), at(friend(false), 80), SYN);
    assert_eq!(tables.checked(&pod, &data), SPOOFED);
}
