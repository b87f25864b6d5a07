//! Addresses that cannot be there.

use std::net::{IpAddr, Ipv6Addr};

use netpol_agent::datapath::{Classifier, Sizes};
use netpol_common::{
    Addr, Reason,
    tables::buckets::{Key as _, WORDS},
};
use netpol_policy::engine::TableOp;
use netpol_tests::kernel::{
    Seen, Tables, UPLINK,
    craft::{at, framed, tcp, udp},
};
use netpol_tests::packet::{self, SYN};

use crate::scene::{BOTH, DENIED, NOT_ISOLATED, POLICY, Scene, UNREPORTED, confidant, friend, stranger};

const SPOOFED: Seen = Seen::Drops(Reason::SpoofedSource);
const MARTIAN: Seen = Seen::Drops(Reason::MartianAddress);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_speaks_with_its_own_addresses_only() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        let to = at(friend(v4), 80);
        assert_eq!(scene.from(&tcp(at(scene.own(v4), 4000), to, SYN)), POLICY);
        for forged in [stranger(v4), confidant(v4), friend(v4)] {
            assert_eq!(scene.from(&tcp(at(forged, 4000), at(scene.own(v4), 80), SYN)), SPOOFED, "{forged}");
            if forged != friend(v4) {
                assert_eq!(scene.from(&tcp(at(forged, 4000), to, SYN)), SPOOFED, "{forged}");
            }
        }
    }
    for forged in ["127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.1", "255.255.255.255"] {
        assert_eq!(
            scene.from(&tcp(at(address(forged), 4000), at(friend(true), 80), SYN)),
            SPOOFED,
            "{forged}"
        );
    }
    for forged in ["::1", "::", "fe80::1", "ff02::1", "fd00:1::"] {
        assert_eq!(
            scene.from(&tcp(at(address(forged), 4000), at(friend(false), 80), SYN)),
            SPOOFED,
            "{forged}"
        );
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_that_is_not_isolated_does_not_forge_either() {
    let mut scene = Scene::new();
    scene.free();
    for v4 in BOTH {
        let to = at(friend(v4), 80);
        assert_eq!(scene.from(&tcp(at(scene.own(v4), 4000), to, SYN)), NOT_ISOLATED);
        assert_eq!(scene.from(&tcp(at(stranger(v4), 4000), to, SYN)), SPOOFED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn another_pods_address_is_no_own_one() {
    let mut tables = Tables::new();
    let (one, other) = (tables.pod(), tables.pod());
    for v4 in BOTH {
        let frame = tcp(at(other.address(v4), 4000), at(friend(v4), 80), SYN);
        assert_eq!(tables.from(&other, &frame), NOT_ISOLATED);
        assert_eq!(tables.from(&one, &frame), SPOOFED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn nothing_goes_to_a_loopback_or_unspecified_address() {
    let mut scene = Scene::new();
    scene.free();
    for v4 in BOTH {
        let own = at(scene.own(v4), 4000);
        let (loopback, unspecified) = if v4 { ("127.0.0.1", "0.0.0.0") } else { ("::1", "::") };
        assert_eq!(scene.from(&tcp(own, at(address(loopback), 80), SYN)), MARTIAN);
        assert_eq!(scene.from(&tcp(own, at(address(unspecified), 80), SYN)), MARTIAN);
        assert_eq!(scene.from(&tcp(own, at(friend(v4), 80), SYN)), NOT_ISOLATED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn nothing_comes_from_a_loopback_or_multicast_address() {
    let mut scene = Scene::new();
    scene.free();
    for (v4, sources) in
        [(true, ["127.0.0.1", "224.0.0.1", "255.255.255.255"]), (false, ["::1", "ff02::1", "ff0e::1"])]
    {
        let own = at(scene.own(v4), 80);
        for source in sources {
            assert_eq!(scene.to(&udp(at(address(source), 4000), own)), MARTIAN, "{source}");
        }
        assert_eq!(scene.to(&udp(at(friend(v4), 4000), own)), NOT_ISOLATED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn an_ipv4_address_in_an_ipv6_header_is_not_taken_for_the_ipv4_one() {
    let mut scene = Scene::new();
    scene.free();
    let IpAddr::V4(own) = scene.own(true) else { panic!("not IPv4") };
    let mapped = IpAddr::V6(own.to_ipv6_mapped());
    let (friend6, own6) = (friend(false), scene.own(false));
    assert_eq!(scene.from(&tcp(at(mapped, 4000), at(friend6, 80), SYN)), MARTIAN);
    assert_eq!(scene.to(&tcp(at(friend6, 4000), at(mapped, 80), SYN)), MARTIAN);
    assert_eq!(scene.from(&tcp(at(own6, 4000), at(friend6, 80), SYN)), NOT_ISOLATED);
    assert_eq!(scene.to(&tcp(at(friend6, 4000), at(own6, 80), SYN)), NOT_ISOLATED);
}

#[test]
#[ignore = "needs root and BPF"]
fn what_a_bridge_floods_to_another_pod_is_dropped_in_silence() {
    let mut scene = Scene::new();
    scene.free();
    for v4 in BOTH {
        let from = at(friend(v4), 4000);
        assert_eq!(scene.to(&tcp(from, at(scene.own(v4), 80), SYN)), NOT_ISOLATED);
        assert_eq!(
            scene.to(&tcp(from, at(stranger(v4), 80), SYN)),
            Seen::DropsUnreported(Reason::NotForThisPod)
        );
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn multicast_is_judged_like_anything_else() {
    let mut scene = Scene::new();
    for (v4, group) in [(true, "224.0.0.251"), (false, "ff02::fb")] {
        let frame = udp(at(stranger(v4), 5353), at(address(group), 5353));
        assert_eq!(scene.to(&frame), Seen::Drops(Reason::PolicyDenied));
        scene.free();
        assert_eq!(scene.to(&frame), NOT_ISOLATED);
        scene.isolate();
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_group_that_the_pod_has_sent_to_does_not_answer() {
    let mut scene = Scene::new();
    scene.free();
    // Long enough for the short way.
    let udp = |from, to| framed(&packet::udp(from, to, &[0; 32]));
    for (v4, group) in [(true, "224.0.0.251"), (false, "ff02::fb")] {
        let (own, group) = (at(scene.own(v4), 5353), at(address(group), 5353));
        assert_eq!(scene.from(&udp(own, group)), NOT_ISOLATED);
        assert_eq!(scene.to(&udp(group, own)), MARTIAN);
        // The control: whoever else it has sent to does.
        assert_eq!(scene.from(&udp(own, at(stranger(v4), 5353))), NOT_ISOLATED);
        assert_eq!(scene.to(&udp(at(stranger(v4), 5353), own)), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_always_reaches_its_own_address_but_nobody_else_arrives_with_it() {
    let mut scene = Scene::new();
    let pod = scene.pod;
    scene.tables.interface(pod.ifindex, netpol_common::tables::INTERFACE_ENDPOINT, pod.slot);
    for v4 in BOTH {
        let frame = tcp(at(scene.own(v4), 4000), at(scene.own(v4), 81), SYN);
        assert_eq!(scene.from(&frame), UNREPORTED);
        assert_eq!(scene.tables.to_via(pod.ifindex, &pod, &frame), UNREPORTED);
        assert_eq!(scene.tables.to_via(UPLINK, &pod, &frame), SPOOFED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_slot_without_an_endpoint_is_closed() {
    let mut tables = Tables::new();
    let pod = tables.pod();
    let frame = tcp(at(pod.v4, 4000), at(friend(true), 80), SYN);
    assert_eq!(tables.run(Classifier::FromPod, pod.slot, pod.ifindex, &frame).0, NOT_ISOLATED);
    for classifier in [Classifier::FromPod, Classifier::ToPod, Classifier::SourceCheck] {
        // Another slot, one that the array does not have, and none at all.
        for slot in [netpol_common::tables::SLOTS - 1, 1 << 20, 0] {
            let (seen, _) = tables.run(classifier, slot, pod.ifindex, &frame);
            let reported = Seen::Drops(Reason::UnknownEndpoint);
            // A slot beyond the array has no cell for its rate of reports.
            let expected =
                if slot == 1 << 20 { Seen::DropsUnreported(Reason::UnknownEndpoint) } else { reported };
            assert_eq!(seen, expected, "{classifier:?} {slot}");
        }
    }
}

/// Addresses that are looked for in the same bucket.
fn neighbours(v4: bool, count: usize) -> Vec<IpAddr> {
    let bucket = |addr: IpAddr| Addr::from(addr).place(Sizes::default().peer_buckets()).bucket;
    let all = (0..u32::MAX).map(|number| {
        let [.., a, b, c] = number.to_be_bytes();
        let six = Ipv6Addr::new(0xfd00, 3, 0, 0, 0, 0, a.into(), u16::from_be_bytes([b, c]));
        if v4 { IpAddr::from([10, a + 3, b, c]) } else { six.into() }
    });
    let mut all = all.peekable();
    let first = all.peek().copied().map(bucket);
    all.filter(|addr| Some(bucket(*addr)) == first).take(count).collect()
}

#[test]
#[ignore = "needs root and BPF"]
fn addresses_that_find_no_room_in_their_bucket_are_judged_like_all_others() {
    for v4 in BOTH {
        let mut scene = Scene::new();
        // More than any bucket holds, and one that is none of them.
        let [known @ .., unknown] = &neighbours(v4, WORDS + 3)[..] else { panic!("no addresses") };
        let mut port = 4000;
        let mut meet = |scene: &mut Scene, addr: IpAddr| {
            port += 1;
            scene.to(&tcp(at(addr, port), at(scene.own(v4), 80), SYN))
        };
        for addr in known {
            assert_eq!(meet(&mut scene, *addr), DENIED, "{addr}");
            let friends = scene.friends;
            scene.tables.peer(*addr, friends, 0);
            assert_eq!(meet(&mut scene, *addr), POLICY, "{addr}");
        }
        assert_eq!(meet(&mut scene, *unknown), DENIED);
        // Wherever it stands, it becomes another one's, and goes.
        let strangers = scene.tables.class();
        for addr in known.iter().step_by(2) {
            scene.tables.peer(*addr, strangers, 0);
        }
        for (number, addr) in known.iter().enumerate() {
            let expected = if number % 2 == 0 { DENIED } else { POLICY };
            assert_eq!(meet(&mut scene, *addr), expected, "{addr}");
        }
        for addr in known {
            scene.tables.write(&TableOp::RemovePeer((*addr).into()));
            assert_eq!(meet(&mut scene, *addr), DENIED, "{addr}");
        }
    }
}
