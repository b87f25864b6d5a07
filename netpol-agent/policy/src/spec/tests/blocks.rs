//! Blocks of addresses.

use serde_json::{Value, json};

use super::fixture::{ask, cluster, ingress, pod};

const V4: &str = "10.0.0.1";
const V6: &str = "fd00::1";

/// Which addresses reach a pod whose ingress has these rules.
fn who<'a>(rules: Value, addresses: &[&'a str]) -> Vec<&'a str> {
    let cluster = cluster(&[
        pod("x", "target", json!({}), &[V4, V6]),
        pod("y", "peer", json!({"app": "peer"}), &["10.0.1.1", "fd00:1::1"]),
        ingress("x", rules),
    ]);
    let reaches = |address: &&str| {
        let target = if address.contains(':') { V6 } else { V4 };
        ask(&cluster, address, target, "80/TCP").passes()
    };
    addresses.iter().copied().filter(reaches).collect()
}

fn block(cidr: &str, except: &[&str]) -> Value {
    json!({"ipBlock": {"cidr": cidr, "except": except}})
}

#[test]
fn row_26_except_subtracts_from_its_own_cidr_only() {
    let narrow = block("192.0.2.0/24", &["192.0.2.128/25"]);
    assert_eq!(who(json!([{"from": [narrow]}]), &["192.0.2.1", "192.0.2.129"]), ["192.0.2.1"]);
    for rules in [
        json!([{"from": [narrow, block("192.0.2.129/32", &[])]}]),
        json!([{"from": [narrow]}, {"from": [block("192.0.2.0/24", &["192.0.2.0/25"])]}]),
    ] {
        assert!(who(rules, &["192.0.2.129"]) == ["192.0.2.129"]);
    }
}

#[test]
fn row_27_overlapping_blocks_with_different_ports_are_their_union() {
    let rules = json!([
        {"from": [block("192.0.0.0/16", &[])], "ports": [{"port": 80}]},
        {"from": [block("192.0.2.0/24", &[])], "ports": [{"port": 81}]},
    ]);
    let cluster = cluster(&[pod("x", "target", json!({}), &[V4]), ingress("x", rules)]);
    let reached = |from: &str, what: &str| ask(&cluster, from, V4, what).passes();
    assert!(reached("192.0.2.1", "80/TCP") && reached("192.0.2.1", "81/TCP"));
    assert!(reached("192.0.3.1", "80/TCP") && !reached("192.0.3.1", "81/TCP"));
}

#[test]
fn row_28_host_bits_are_masked() {
    let rules = json!([{"from": [block("192.0.2.77/24", &["192.0.2.200/25"])]}]);
    assert_eq!(who(rules, &["192.0.2.1", "192.0.2.129", "192.0.3.1"]), ["192.0.2.1"]);
}

#[test]
fn row_29_a_block_matches_the_addresses_of_pods() {
    assert_eq!(who(json!([{"from": [block("10.0.0.0/8", &[])]}]), &["10.0.1.1", "192.0.2.1"]), ["10.0.1.1"]);
}

#[test]
fn row_30_each_family_has_its_own_whole() {
    let addresses = ["192.0.2.1", "2001:db8::1", "10.0.1.1", "fd00:1::1"];
    assert_eq!(who(json!([{"from": [block("0.0.0.0/0", &[])]}]), &addresses), ["192.0.2.1", "10.0.1.1"]);
    assert_eq!(who(json!([{"from": [block("::/0", &[])]}]), &addresses), ["2001:db8::1", "fd00:1::1"]);
}

#[test]
fn row_31_an_ipv4_mapped_block_is_its_ipv4() {
    let rules = json!([{"from": [block("::ffff:192.0.2.0/120", &["::ffff:192.0.2.128/121"])]}]);
    assert_eq!(who(rules, &["192.0.2.1", "192.0.2.129", "192.0.3.1", "2001:db8::1"]), ["192.0.2.1"]);
    assert_eq!(
        who(json!([{"from": [block("::ffff:0:0/96", &[])]}]), &["192.0.2.1", "2001:db8::1"]),
        ["192.0.2.1"]
    );
    assert!(
        who(json!([{"from": [block("::ffff:300.0.2.0/120", &[])]}]), &["192.0.2.1", "2001:db8::1"])
            .is_empty()
    );
}

#[test]
fn row_44_a_bad_block_or_except_voids_the_block_only() {
    for bad in [
        block("192.0.2.0", &[]),
        block("192.0.2.0/33", &[]),
        block("192.0.2.0/24", &["192.0.2.1"]),
        block("192.0.2.0/24", &["192.0.3.0/25"]),
        block("192.0.2.0/24", &["192.0.0.0/16"]),
        block("192.0.2.0/24", &["fd00::/64"]),
        json!({"ipBlock": {"cidr": "192.0.2.0/24", "except": "192.0.2.0/25"}}),
        json!({"ipBlock": {}}),
        json!({"ipBlock": "192.0.2.0/24"}),
    ] {
        let rules = json!([{"from": [bad, block("198.51.100.0/24", &[])]}]);
        assert_eq!(who(rules, &["192.0.2.1", "198.51.100.1"]), ["198.51.100.1"], "{bad}");
    }
}

#[test]
fn row_50_multicast_broadcast_and_link_local_addresses_are_a_blocks_and_never_a_pods() {
    let cluster = |rule: Value| {
        cluster(&[
            pod("x", "client", json!({}), &[V4, V6, "fe80::1", "169.254.0.9"]),
            pod(
                "x",
                "odd",
                json!({}),
                &["224.0.0.9", "ff02::9", "255.255.255.255", "fe80::9", "169.254.0.10"],
            ),
            super::fixture::egress("x", json!([{"to": [rule]}])),
        ])
    };
    let by_selector = cluster(json!({"namespaceSelector": {}}));
    let by_v4 = cluster(block("0.0.0.0/0", &[]));
    let by_v6 = cluster(block("::/0", &[]));
    for to in ["224.0.0.9", "255.255.255.255", "169.254.0.10"] {
        assert!(!ask(&by_selector, V4, to, "80/UDP").passes(), "{to}");
        assert!(ask(&by_v4, V4, to, "80/UDP").passes(), "{to}");
    }
    for to in ["ff02::9", "fe80::9"] {
        assert!(!ask(&by_selector, V6, to, "80/UDP").passes(), "{to}");
        assert!(ask(&by_v6, V6, to, "80/UDP").passes(), "{to}");
    }
}
