//! Selectors of pods and namespaces as peers.

use serde_json::{Value, json};

use super::fixture::{ask, cluster, deny_all, egress, ingress, namespace, pod, with};
use crate::spec::Cluster;

/// Pods of x, y and z; the target is x/target, with an ingress rule for one list of peers.
fn from(peers: Value) -> Cluster {
    cluster(&[
        namespace("x", json!({"team": "red"})),
        namespace("y", json!({"team": "blue"})),
        namespace("z", json!({})),
        pod("x", "target", json!({"app": "target"}), &["10.0.0.1"]),
        pod("x", "a", json!({"app": "a"}), &["10.0.0.2"]),
        pod("x", "bare", json!({}), &["10.0.0.3"]),
        pod("y", "a", json!({"app": "a"}), &["10.0.1.2"]),
        pod("y", "empty", json!({"app": ""}), &["10.0.1.3"]),
        pod("z", "a", json!({"app": "a"}), &["10.0.2.2"]),
        ingress("x", json!([{"from": peers}])),
    ])
}

const ALL: [(&str, &str); 6] = [
    ("x/a", "10.0.0.2"),
    ("x/bare", "10.0.0.3"),
    ("y/a", "10.0.1.2"),
    ("y/empty", "10.0.1.3"),
    ("z/a", "10.0.2.2"),
    ("world", "192.0.2.1"),
];

/// Who of them all reaches the target.
fn who(peers: Value) -> Vec<&'static str> {
    let cluster = from(peers);
    ALL.into_iter()
        .filter(|(_, ip)| ask(&cluster, ip, "10.0.0.1", "80/TCP").passes())
        .map(|(name, _)| name)
        .collect()
}

fn expression(key: &str, operator: &str, values: Value) -> Value {
    json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
}

#[test]
fn row_5_a_selector_that_matches_no_pod_allows_nobody() {
    assert!(who(json!([{"podSelector": {"matchLabels": {"app": "nobody"}}}])).is_empty());
    assert!(who(json!([{"namespaceSelector": {"matchLabels": {"team": "green"}}}])).is_empty());
}

#[test]
fn row_13_a_pod_selector_alone_means_the_policys_namespace() {
    assert_eq!(who(json!([{"podSelector": {}}])), ["x/a", "x/bare"]);
    assert_eq!(who(json!([{"podSelector": {"matchLabels": {"app": "a"}}}])), ["x/a"]);
}

#[test]
fn row_14_a_namespace_selector_alone_means_pods_and_never_other_addresses() {
    let pods = ["x/a", "x/bare", "y/a", "y/empty", "z/a"];
    assert_eq!(who(json!([{"namespaceSelector": {}}])), pods);
    assert_eq!(who(json!([{"namespaceSelector": expression("team", "NotIn", json!(["green"]))}])), pods);
    assert_eq!(who(json!([{"namespaceSelector": {"matchLabels": {"team": "blue"}}}])), ["y/a", "y/empty"]);
    let open = cluster(&[
        pod("x", "target", json!({}), &["10.0.0.1"]),
        egress("x", json!([{"to": [{"namespaceSelector": {}}]}])),
    ]);
    assert!(!ask(&open, "10.0.0.1", "192.0.2.1", "80/TCP").egress);
}

#[test]
fn row_15_selectors_in_one_item_are_and_in_two_items_or() {
    let blue = json!({"matchLabels": {"team": "blue"}});
    let a = json!({"matchLabels": {"app": "a"}});
    assert_eq!(who(json!([{"namespaceSelector": blue, "podSelector": a}])), ["y/a"]);
    assert_eq!(who(json!([{"namespaceSelector": blue}, {"podSelector": a}])), ["x/a", "y/a", "y/empty"]);
}

#[test]
fn row_16_not_in_and_does_not_exist_match_where_the_key_is_missing() {
    let not_a = expression("app", "NotIn", json!(["a"]));
    assert_eq!(who(json!([{"namespaceSelector": {}, "podSelector": not_a}])), ["x/bare", "y/empty"]);
    let none = expression("app", "DoesNotExist", Value::Null);
    assert_eq!(who(json!([{"namespaceSelector": {}, "podSelector": none}])), ["x/bare"]);
    let not_red = expression("team", "NotIn", json!(["red"]));
    assert_eq!(who(json!([{"namespaceSelector": not_red}])), ["y/a", "y/empty", "z/a"]);
    let exists = expression("app", "Exists", json!([]));
    assert_eq!(
        who(json!([{"namespaceSelector": {}, "podSelector": exists}])),
        ["x/a", "y/a", "y/empty", "z/a"]
    );
}

#[test]
fn row_17_an_empty_value_wants_the_key_with_the_empty_value() {
    assert_eq!(
        who(json!([{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": ""}}}])),
        ["y/empty"]
    );
}

#[test]
fn row_18_the_name_label_of_a_namespace_is_always_there_and_immutable() {
    let named =
        |name: &str| json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]);
    assert_eq!(who(named("z")), ["z/a"]);
    let lied = cluster(&[
        namespace("y", json!({"kubernetes.io/metadata.name": "z"})),
        pod("x", "target", json!({}), &["10.0.0.1"]),
        pod("y", "a", json!({}), &["10.0.1.2"]),
        ingress("x", json!([{"from": named("z")}])),
    ]);
    assert!(!ask(&lied, "10.0.1.2", "10.0.0.1", "80/TCP").passes());
}

#[test]
fn row_19_what_another_label_another_namespace_or_another_owner_means_is_judged_anew() {
    let rule = json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "blue"}},
                                  "podSelector": {"matchLabels": {"app": "a"}}}]}]);
    let target = pod("x", "target", json!({}), &["10.0.0.1"]);
    let blue = namespace("y", json!({"team": "blue"}));
    let peer = pod("y", "a", json!({"app": "a"}), &["10.0.1.2"]);
    let reaches = |documents: &[Value]| {
        let mut documents = documents.to_vec();
        documents.extend([target.clone(), ingress("x", rule.clone())]);
        ask(&cluster(&documents), "10.0.1.2", "10.0.0.1", "80/TCP").passes()
    };
    assert!(reaches(&[blue.clone(), peer.clone()]));
    assert!(!reaches(&[blue.clone(), with(peer.clone(), "/metadata/labels/app", json!("b"))]));
    assert!(!reaches(&[with(blue.clone(), "/metadata/labels/team", json!("red")), peer.clone()]));
    assert!(!reaches(std::slice::from_ref(&peer)), "the namespace went");
    assert!(!reaches(&[blue, pod("z", "other", json!({"app": "a"}), &["10.0.1.2"])]), "another pod's now");
}

#[test]
fn row_47_an_empty_or_unknown_peer_and_a_block_with_a_selector_match_nothing() {
    assert!(who(json!([{}])).is_empty());
    assert!(who(json!([{"serviceSelector": {}}])).is_empty());
    assert!(who(json!([{"ipBlock": {"cidr": "0.0.0.0/0"}, "podSelector": {}}])).is_empty());
    assert_eq!(
        who(json!([{}, {"podSelector": {"matchLabels": {"app": "a"}}}])),
        ["x/a"],
        "another item still does"
    );
}

#[test]
fn row_49_what_names_no_namespace_is_in_default_which_has_its_label() {
    let named = json!({"matchLabels": {"kubernetes.io/metadata.name": "default"}});
    let mut peer = pod("default", "a", json!({}), &["10.0.1.2"]);
    peer["metadata"].as_object_mut().unwrap().remove("namespace");
    let cluster = cluster(&[
        peer,
        pod("x", "target", json!({}), &["10.0.0.1"]),
        ingress("x", json!([{"from": [{"namespaceSelector": named}]}])),
    ]);
    assert!(ask(&cluster, "10.0.1.2", "10.0.0.1", "80/TCP").passes());
}

#[test]
fn a_policy_of_another_namespace_says_nothing() {
    let cluster = cluster(&[pod("x", "a", json!({}), &["10.0.0.1"]), deny_all("y")]);
    assert!(ask(&cluster, "192.0.2.1", "10.0.0.1", "80/TCP").passes());
}
