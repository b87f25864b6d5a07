//! Which pod an address is, and what is special about pods and nodes.

use serde_json::{Value, json};

use super::fixture::{ALLOWED, NO_EGRESS, NO_INGRESS, ask, cluster, deny_all, egress, ingress, pod, with};
use crate::model::Key;

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";

/// Pods of x reach pods of x.
fn among_themselves() -> Value {
    ingress("x", json!([{"from": [{"podSelector": {}}]}]))
}

#[test]
fn row_32_pods_of_the_nodes_network_are_never_selected() {
    let host = |document: Value| with(document, "/spec/hostNetwork", json!(true));
    let peer = host(pod("x", "agent", json!({}), &["192.168.0.1"]));
    let cluster =
        cluster(&[pod("x", "a", json!({}), &[A]), peer, among_themselves(), egress("x", json!([]))]);
    assert_eq!(ask(&cluster, "192.168.0.1", A, "80/TCP"), NO_INGRESS, "not as a peer");
    assert_eq!(ask(&cluster, "192.0.2.1", "192.168.0.1", "80/TCP"), ALLOWED, "not as a target");
    assert_eq!(ask(&cluster, "192.168.0.1", "192.0.2.1", "80/TCP"), ALLOWED);
    assert_eq!(ask(&cluster, "node 192.168.0.1", A, "80/TCP"), ALLOWED, "its traffic is the node's");
}

#[test]
fn row_33_the_own_node_reaches_its_pods_and_other_nodes_by_block_only() {
    let by_block = ingress("x", json!([{"from": [{"ipBlock": {"cidr": "192.168.0.2/32"}}]}]));
    let elsewhere = with(pod("x", "b", json!({}), &[B]), "/spec/nodeName", json!("elsewhere"));
    let cluster = cluster(&[pod("x", "a", json!({}), &[A]), elsewhere, by_block]);
    assert_eq!(ask(&cluster, "node 192.168.0.1", A, "80/TCP"), ALLOWED);
    assert_eq!(ask(&cluster, "192.168.0.3", A, "80/TCP"), NO_INGRESS);
    assert_eq!(ask(&cluster, "192.168.0.2", A, "80/TCP"), ALLOWED);
    assert_eq!(ask(&cluster, "node 192.168.0.1", B, "80/TCP"), NO_INGRESS, "for that pod it is another node");
}

#[test]
fn row_34_a_pod_reaches_its_node_as_egress_rules_say() {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"},
                      "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}]}});
    let asked = |rules: Value| {
        let cluster = cluster(&[node.clone(), pod("x", "a", json!({}), &[A]), egress("x", rules)]);
        ask(&cluster, A, "192.168.0.1", "10250/TCP")
    };
    assert_eq!(asked(json!([])), NO_EGRESS);
    assert_eq!(asked(json!([{"to": [{"namespaceSelector": {}}]}])), NO_EGRESS);
    assert_eq!(asked(json!([{"to": [{"ipBlock": {"cidr": "192.168.0.0/24"}}]}])), ALLOWED);
}

#[test]
fn row_35_a_pod_always_reaches_itself() {
    let cluster = cluster(&[pod("x", "a", json!({}), &[A, "fd00::1"]), deny_all("x")]);
    assert_eq!(ask(&cluster, A, A, "80/TCP"), ALLOWED);
    assert_eq!(ask(&cluster, "fd00::1", "fd00::1", "80/TCP"), ALLOWED);
}

#[test]
fn row_37_a_finished_pod_is_ignored_and_the_running_one_owns_its_address() {
    for phase in ["Succeeded", "Failed"] {
        let finished = with(pod("y", "job", json!({}), &[B]), "/status/phase", json!(phase));
        let a = pod("x", "a", json!({}), &[A]);
        let alone = cluster(&[a.clone(), finished.clone(), deny_all("y")]);
        assert_eq!(ask(&alone, "192.0.2.1", B, "80/TCP"), ALLOWED, "no target");
        let by_peer = ingress("x", json!([{"from": [{"namespaceSelector": {}}]}]));
        assert_eq!(
            ask(&cluster(&[a.clone(), finished.clone(), by_peer]), B, A, "80/TCP"),
            NO_INGRESS,
            "no peer"
        );
        let reused = cluster(&[a, finished, pod("x", "b", json!({}), &[B]), among_themselves()]);
        assert_eq!(ask(&reused, B, A, "80/TCP"), ALLOWED);
    }
}

#[test]
fn row_38_a_terminating_pod_is_target_and_peer_until_it_is_gone() {
    let leaving =
        with(pod("x", "b", json!({}), &[B]), "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    let cluster = cluster(&[pod("x", "a", json!({}), &[A]), leaving, among_themselves()]);
    assert_eq!(ask(&cluster, B, A, "80/TCP"), ALLOWED);
    assert_eq!(ask(&cluster, "192.0.2.1", B, "80/TCP"), NO_INGRESS);
}

#[test]
fn row_39_every_address_of_a_pod_is_the_pod() {
    let cluster = cluster(&[
        pod("x", "a", json!({}), &[A, "fd00::1"]),
        pod("x", "b", json!({}), &[B, "fd00::2"]),
        pod("y", "c", json!({}), &["10.0.0.3", "fd00::3"]),
        among_themselves(),
    ]);
    assert_eq!(ask(&cluster, B, A, "80/TCP"), ALLOWED);
    assert_eq!(ask(&cluster, "fd00::2", "fd00::1", "80/TCP"), ALLOWED);
    assert_eq!(ask(&cluster, "10.0.0.3", A, "80/TCP"), NO_INGRESS);
    assert_eq!(ask(&cluster, "fd00::3", "fd00::1", "80/TCP"), NO_INGRESS);
}

#[test]
fn row_48_of_two_live_pods_with_one_address_the_staying_then_the_newest_owns_it() {
    let claim = |namespace: &str, created: &str| {
        with(pod(namespace, "claim", json!({}), &[B]), "/metadata/creationTimestamp", json!(created))
    };
    let leaving =
        |document: Value| with(document, "/metadata/deletionTimestamp", json!("2026-01-03T00:00:00Z"));
    let reaches = |claims: [Value; 2]| {
        let [one, two] = claims;
        let mut verdicts = Vec::new();
        for claims in [[one.clone(), two.clone()], [two, one]] {
            let mut documents = vec![pod("x", "a", json!({}), &[A]), among_themselves()];
            documents.extend(claims);
            verdicts.push(ask(&cluster(&documents), B, A, "80/TCP").passes());
        }
        assert_eq!(verdicts[0], verdicts[1], "the order says nothing");
        verdicts[0]
    };
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    assert!(reaches([claim("x", new), claim("y", old)]));
    assert!(!reaches([claim("x", old), claim("y", new)]), "never the union");
    assert!(reaches([claim("x", old), leaving(claim("y", new))]));
}

#[test]
fn row_48_what_an_interface_was_given_is_its_pods_whatever_statuses_say() {
    let documents = [
        pod("x", "a", json!({}), &[A]),
        pod("x", "there", json!({}), &["10.0.0.3"]),
        with(
            pod("y", "newer", json!({}), &[B]),
            "/metadata/creationTimestamp",
            json!("2026-01-02T00:00:00Z"),
        ),
        among_themselves(),
    ];
    let given = [(Key::new("x", "there"), vec![B.parse().unwrap()])];
    assert_eq!(ask(&cluster(&documents), B, A, "80/TCP"), NO_INGRESS);
    let found = cluster(&documents).with_given_addresses(given);
    assert_eq!(ask(&found, B, A, "80/TCP"), ALLOWED);
    assert_eq!(ask(&found, "10.0.0.3", A, "80/TCP"), NO_INGRESS, "it has no other");
}
