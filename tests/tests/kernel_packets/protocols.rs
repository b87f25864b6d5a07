//! Protocols without ports.

use netpol_common::Reason;
use netpol_tests::kernel::{Seen, craft::other};

use crate::scene::{BOTH, DENIED, POLICY, Scene, UNREPORTED, confidant, friend};

/// What the walk over IPv6 headers takes for an extension header, and what has a header of its own.
const NOT_PLAIN: [u8; 11] = [0, 1, 2, 6, 17, 43, 44, 51, 58, 60, 132];

#[test]
#[ignore = "needs root and BPF"]
fn every_other_protocol_is_allowed_by_a_rule_without_ports_only() {
    let mut scene = Scene::new();
    let pod = scene.pod;
    for protocol in 0..=255 {
        if NOT_PLAIN.contains(&protocol) {
            continue;
        }
        for v4 in BOTH {
            let own = pod.address(v4);
            assert_eq!(scene.from(&other(own, confidant(v4), protocol)), POLICY, "{protocol}");
            assert_eq!(scene.to(&other(confidant(v4), own, protocol)), UNREPORTED, "{protocol}");
            // A thousand denials of one endpoint are counted, not reported.
            for denied in
                [scene.from(&other(own, friend(v4), protocol)), scene.to(&other(friend(v4), own, protocol))]
            {
                assert!(
                    matches!(denied, DENIED | Seen::DropsUnreported(Reason::PolicyDenied)),
                    "{protocol}: {denied:?}"
                );
            }
        }
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn ipv6s_extension_headers_are_plain_protocols_of_ipv4() {
    let mut scene = Scene::new();
    for protocol in [0, 43, 44, 51, 58, 60] {
        assert_eq!(scene.from(&other(scene.own(true), confidant(true), protocol)), POLICY, "{protocol}");
        assert_eq!(scene.from(&other(scene.own(true), friend(true), protocol)), DENIED, "{protocol}");
    }
    // And IPv4's ICMP one of IPv6.
    assert_eq!(scene.from(&other(scene.own(false), confidant(false), 1)), POLICY);
    assert_eq!(scene.from(&other(scene.own(false), friend(false), 1)), DENIED);
}

#[test]
#[ignore = "needs root and BPF"]
fn tunnels_carry_nothing_past_the_rules() {
    let mut scene = Scene::new();
    for v4 in BOTH {
        // 4: IPv4 in IP, 41: IPv6 in IP, 47: GRE, 50: ESP, 55, 94, 97, 137.
        for protocol in [4, 41, 47, 50, 55, 94, 97, 137] {
            assert_eq!(scene.from(&other(scene.own(v4), friend(v4), protocol)), DENIED, "{protocol}");
            assert_eq!(scene.to(&other(friend(v4), scene.own(v4), protocol)), DENIED, "{protocol}");
        }
    }
}
