//! Which pods are isolated in which direction, and how policies add up.

use serde_json::json;

use super::fixture::{
    ALLOWED, NO_EGRESS, NO_INGRESS, NODE, ask, cluster, deny_all, egress, ingress, pod, policy,
};
use crate::spec::Verdict;

const A: &str = "10.1.0.1";
const B: &str = "10.1.0.2";

/// Pods a and b of namespace x, with some policies.
fn x(policies: &[serde_json::Value]) -> crate::spec::Cluster {
    let mut documents =
        vec![pod("x", "a", json!({"app": "a"}), &[A]), pod("x", "b", json!({"app": "b"}), &[B])];
    documents.extend_from_slice(policies);
    cluster(&documents)
}

#[test]
fn row_1_a_pod_that_no_policy_selects_in_that_direction_may_do_all() {
    assert_eq!(ask(&x(&[]), A, B, "80/TCP"), ALLOWED);
    assert_eq!(
        ask(&x(&[deny_all("y")]), A, B, "80/TCP"),
        ALLOWED,
        "a policy selects pods of its namespace only"
    );
    let only_b = policy("x", "b", json!({"podSelector": {"matchLabels": {"app": "b"}}, "ingress": []}));
    assert_eq!(ask(&x(&[only_b]), B, A, "80/TCP"), ALLOWED);
}

#[test]
fn row_2_an_empty_or_missing_list_of_rules_denies_all() {
    for spec in [
        json!({"podSelector": {}, "ingress": []}),
        json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
        json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": null}),
    ] {
        assert_eq!(ask(&x(&[policy("x", "p", spec)]), A, B, "80/TCP"), NO_INGRESS);
    }
    assert_eq!(ask(&x(&[egress("x", json!([]))]), A, B, "80/TCP"), NO_EGRESS);
}

#[test]
fn row_3_an_empty_rule_allows_all() {
    let x = x(&[ingress("x", json!([{}])), egress("x", json!([{}]))]);
    for what in ["80/TCP", "53/UDP", "9/SCTP", "1"] {
        assert_eq!(ask(&x, A, B, what), ALLOWED);
    }
}

#[test]
fn row_4_missing_or_empty_peers_are_any_peer() {
    for rule in [json!({"ports": [{"port": 80}]}), json!({"from": [], "ports": [{"port": 80}]})] {
        let x = x(&[ingress("x", json!([rule]))]);
        assert_eq!(ask(&x, A, B, "80/TCP"), ALLOWED);
        assert_eq!(ask(&x, "192.0.2.1", B, "80/TCP"), ALLOWED);
        assert_eq!(ask(&x, "192.0.2.1", B, "81/TCP"), NO_INGRESS);
    }
}

#[test]
fn row_7_without_policy_types_ingress_is_isolated_always_and_egress_by_a_rule_only() {
    let egress_only = policy("x", "p", json!({"podSelector": {}, "egress": [{}]}));
    assert_eq!(ask(&x(&[egress_only]), A, B, "80/TCP"), NO_INGRESS);
    let no_rules = policy("x", "p", json!({"podSelector": {}, "egress": []}));
    assert_eq!(ask(&x(&[no_rules]), A, "192.0.2.1", "80/TCP"), ALLOWED);
    let closed = policy("x", "p", json!({"podSelector": {}, "egress": [{"to": [{"podSelector": {}}]}]}));
    assert_eq!(ask(&x(&[closed]), A, "192.0.2.1", "80/TCP"), NO_EGRESS);
}

#[test]
fn row_8_ingress_rules_of_an_egress_policy_are_ignored() {
    let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "ingress": [], "egress": [{}]});
    assert_eq!(ask(&x(&[policy("x", "p", spec)]), A, B, "80/TCP"), ALLOWED);
    let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}]});
    let both = x(&[policy("x", "p", spec), ingress("x", json!([]))]);
    assert_eq!(ask(&both, "192.0.2.1", B, "80/TCP"), NO_INGRESS, "nor do they grant");
}

#[test]
fn row_9_several_policies_are_their_union_in_any_order() {
    let one = policy("x", "one", json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}));
    let two = policy("x", "two", json!({"podSelector": {}, "ingress": [{"ports": [{"port": 81}]}]}));
    for policies in [[one.clone(), two.clone(), deny_all("x")], [deny_all("x"), two, one]] {
        let x = x(&policies);
        assert!(ask(&x, "192.0.2.1", B, "80/TCP").ingress);
        assert!(ask(&x, "192.0.2.1", B, "81/TCP").ingress);
        assert!(!ask(&x, "192.0.2.1", B, "82/TCP").ingress);
    }
}

#[test]
fn row_10_both_ends_must_allow() {
    let from_a = policy(
        "x",
        "to-b",
        json!({"podSelector": {"matchLabels": {"app": "b"}},
               "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]}]}),
    );
    assert_eq!(ask(&x(&[deny_all("x"), from_a.clone()]), A, B, "80/TCP"), NO_EGRESS);
    assert_eq!(ask(&x(&[deny_all("x")]), A, B, "80/TCP"), Verdict { egress: false, ingress: false });
    let to_b = egress("x", json!([{"to": [{"podSelector": {"matchLabels": {"app": "b"}}}]}]));
    assert_eq!(ask(&x(&[deny_all("x"), from_a, to_b]), A, B, "80/TCP"), ALLOWED);
}

#[test]
fn the_break_glass_switch_takes_the_policies_of_its_pods_out_of_force_and_no_others() {
    let switched = |kind: &str, name: &str, value: &str| {
        let annotations = json!({"netpol.io/break-glass": value});
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "annotations": annotations}})
    };
    let y = "10.2.0.1";
    let with = |switch| x(&[deny_all("x"), pod("y", "a", json!({}), &[y]), deny_all("y"), switch]);
    let closed = Verdict { egress: false, ingress: false };
    for off in [switched("Namespace", "x", "false"), switched("Node", "elsewhere", "true")] {
        assert_eq!(ask(&with(off), A, B, "80/TCP"), closed);
    }
    let x = with(switched("Namespace", "x", "true"));
    assert_eq!(ask(&x, A, B, "80/TCP"), ALLOWED);
    assert_eq!(ask(&x, A, y, "80/TCP"), NO_INGRESS);
    assert_eq!(ask(&x, y, A, "80/TCP"), NO_EGRESS);
    let node = with(switched("Node", NODE, "true"));
    for (source, destination) in [(A, B), (A, y), (y, A)] {
        assert_eq!(ask(&node, source, destination, "80/TCP"), ALLOWED);
    }
}

#[test]
fn row_11_ports_of_one_rule_and_peers_of_another_make_no_cross_product() {
    let x = x(&[ingress(
        "x",
        json!([
            {"from": [{"podSelector": {"matchLabels": {"app": "a"}}}], "ports": [{"port": 80}]},
            {"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 81}]},
        ]),
    )]);
    assert!(ask(&x, A, B, "80/TCP").passes());
    assert!(!ask(&x, A, B, "81/TCP").passes());
    assert!(ask(&x, "192.0.2.1", B, "81/TCP").passes());
    assert!(!ask(&x, "192.0.2.1", B, "80/TCP").passes());
}
