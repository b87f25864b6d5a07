//! What is said of rules.

use netpol_common::Direction;
use serde_json::{Value, json};

use crate::{
    model::Key,
    spec::{
        Cluster,
        tests::fixture::{NODE, egress, ingress, namespace, objects, payload, pod, policy, with_ports},
    },
    why::{Granted, Miss, NearestRule, Question, Side, attribute, explain},
};

/// Pods of two namespaces; the target is production/api-1.
fn cluster(policies: &[Value]) -> Cluster {
    let mut documents = vec![
        namespace("production", json!({"stage": "production"})),
        namespace("staging", json!({"stage": "staging"})),
        with_ports(pod("production", "api-1", json!({"app": "api"}), &["10.0.0.1"]), &["web=8080/TCP"]),
        pod("production", "frontend-1", json!({"app": "frontend"}), &["10.0.0.2"]),
        pod("staging", "frontend-1", json!({"app": "frontend"}), &["10.0.1.2"]),
    ];
    documents.extend_from_slice(policies);
    Cluster::new(&objects(&documents), NODE)
}

fn ingress_of(cluster: &Cluster, source: &str, what: &str) -> Side {
    let question = Question {
        source: source.parse().unwrap(),
        destination: "production/api-1".parse().unwrap(),
        payload: payload(what),
    };
    explain(cluster, &question).unwrap().flows.remove(0).ingress
}

/// The nearest rule of the only policy that denies.
fn nearest(rules: Value, source: &str, what: &str) -> NearestRule {
    match ingress_of(&cluster(&[ingress("production", rules)]), source, what) {
        Side::Denied { mut policies } => policies.remove(0).nearest.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn row_1_a_pod_that_nothing_selects_is_not_isolated() {
    assert_eq!(ingress_of(&cluster(&[]), "production/frontend-1", "80/TCP"), Side::NotIsolated);
    let question = Question {
        source: "world".parse().unwrap(),
        destination: "production/api-1".parse().unwrap(),
        payload: payload("80/TCP"),
    };
    assert_eq!(explain(&cluster(&[]), &question).unwrap().flows[0].egress, Side::NoPod);
}

#[test]
fn what_the_break_glass_switch_keeps_from_being_enforced_is_named_with_the_object_that_carries_it() {
    let switched = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "annotations": {"netpol.io/break-glass": "true"}}});
    let of = |policies: &[Value]| ingress_of(&cluster(policies), "production/frontend-1", "80/TCP");
    let side = of(&[ingress("production", json!([])), switched.clone()]);
    let by = format!("Node {NODE}");
    assert_eq!(side, Side::BreakGlass { by, policies: vec!["production/ingress".into()] });
    assert!(side.allows());
    let text = "NOT ENFORCED: netpol.io/break-glass is set on Node here, against production/ingress";
    assert_eq!(side.to_string(), text);
    assert_eq!(
        of(&[switched]),
        Side::NotIsolated,
        "where there is nothing to enforce there is nothing to say"
    );
}

#[test]
fn row_9_every_rule_that_allows_is_named_by_policy() {
    let rule = json!({"from": [{"podSelector": {}}]});
    let cluster = cluster(&[
        ingress("production", json!([{"ports": [{"port": 1}]}, rule])),
        policy("production", "another", json!({"podSelector": {}, "ingress": [rule]})),
    ]);
    let granted =
        |policy: &str, rule: usize, field: &str| Granted { policy: policy.into(), rule, field: field.into() };
    let by = vec![
        granted("production/another", 1, "spec.ingress[0]"),
        granted("production/ingress", 2, "spec.ingress[1]"),
    ];
    assert_eq!(ingress_of(&cluster, "production/frontend-1", "80/TCP"), Side::Allowed { by });
}

#[test]
fn row_2_a_policy_without_rules_is_named_without_one() {
    let Side::Denied { policies } =
        ingress_of(&cluster(&[ingress("production", json!([]))]), "world", "80/TCP")
    else {
        panic!()
    };
    assert_eq!(policies[0].nearest, None);
    assert_eq!(policies[0].to_string(), "production/ingress has no rule in this direction");
}

#[test]
fn row_11_the_rule_that_matches_the_peer_is_nearest() {
    let rules = json!([
        {"from": [{"namespaceSelector": {"matchLabels": {"stage": "staging"}}}], "ports": [{"port": 8081}]},
        {"from": [{"podSelector": {"matchLabels": {"app": "frontend"}}}],
         "ports": [{"port": 8080}, {"port": 9000, "endPort": 9100}, {"protocol": "UDP"}]},
    ]);
    let nearest = nearest(rules, "production/frontend-1", "8081/TCP");
    assert_eq!(nearest.rule, 2);
    assert_eq!(nearest.field, "spec.ingress[1].ports");
    assert_eq!(nearest.miss, Miss::Port);
    assert_eq!(
        nearest.text,
        "matches the peer, not the port: 8080/TCP, 9000-9100/TCP, every port of UDP allowed, 8081/TCP asked"
    );
}

#[test]
fn row_13_a_pod_of_another_namespace_is_told_which_one_was_meant() {
    let rules = json!([{"from": [{"podSelector": {"matchLabels": {"app": "frontend"}}}]}]);
    let nearest = nearest(rules, "staging/frontend-1", "80/TCP");
    assert_eq!((nearest.miss, &*nearest.field), (Miss::Peer, "spec.ingress[0].from[0].podSelector"));
    assert_eq!(
        nearest.text,
        "matches the port, not the peer: a podSelector alone means pods of production, and staging/frontend-1 is in staging"
    );
}

#[test]
fn row_15_the_item_that_comes_nearest_names_its_first_requirement() {
    let rules = json!([{"from": [
        {"ipBlock": {"cidr": "192.0.2.0/24"}},
        {"namespaceSelector": {"matchLabels": {"stage": "staging"}}, "podSelector": {"matchLabels": {"app": "prober"}}},
        {"namespaceSelector": {"matchLabels": {"stage": "test"}}},
    ]}]);
    let nearest = nearest(rules, "staging/frontend-1", "80/TCP");
    assert_eq!(nearest.field, "spec.ingress[0].from[1].podSelector");
    assert_eq!(
        nearest.text,
        "matches the port, not the peer: of staging/frontend-1 label app is \"frontend\", not \"prober\", nor do 2 other \
         peers match"
    );
}

#[test]
fn row_16_each_operator_says_what_it_wants() {
    let missing = |expression: Value| {
        let rules = json!([{"from": [{"podSelector": {"matchExpressions": [expression]}}]}]);
        let text = nearest(rules, "production/frontend-1", "80/TCP").text;
        text.strip_prefix("matches the port, not the peer: of production/frontend-1 ").unwrap().to_owned()
    };
    let expression = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
    assert_eq!(
        missing(expression("tier", "In", &["a", "b"])),
        "label tier is missing, \"a\" or \"b\" wanted"
    );
    assert_eq!(
        missing(expression("app", "NotIn", &["frontend"])),
        "label app is \"frontend\", which is ruled out"
    );
    assert_eq!(missing(expression("tier", "Exists", &[])), "label tier is missing");
    assert_eq!(missing(expression("app", "DoesNotExist", &[])), "label app is there, and must not be");
}

#[test]
fn row_26_an_address_in_an_except_is_told_so() {
    let rules = json!([{"from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}}]}]);
    let within = nearest(rules.clone(), "192.0.2.200", "80/TCP");
    assert_eq!(
        within.text,
        "matches the port, not the peer: 192.0.2.200 is in 192.0.2.0/24, but in its except 192.0.2.128/25"
    );
    let outside = nearest(rules.clone(), "198.51.100.1", "80/TCP");
    assert_eq!(outside.text, "matches the port, not the peer: 198.51.100.1 is not in 192.0.2.0/24");
    let world = nearest(rules, "world", "80/TCP");
    assert_eq!(world.text, "matches the port, not the peer: 192.0.2.0/24 is not the whole world of IPv4");
}

#[test]
fn row_14_an_address_that_is_no_pod_is_told_so() {
    let nearest = nearest(json!([{"from": [{"namespaceSelector": {}}]}]), "192.0.2.1", "80/TCP");
    assert_eq!(nearest.text, "matches the port, not the peer: 192.0.2.1 is no pod");
}

#[test]
fn row_22_a_named_port_says_what_it_means_there() {
    let rules = json!([{"ports": [{"port": "web"}, {"port": "metrics"}]}]);
    assert_eq!(
        nearest(rules, "world", "80/TCP").text,
        "matches the peer, not the port: web/TCP (8080 there), metrics/TCP (which production/api-1 does not declare) \
         allowed, 80/TCP asked"
    );
}

#[test]
fn row_40_a_rule_with_ports_says_that_it_never_allows_icmp() {
    let nearest = nearest(json!([{"ports": [{"protocol": "TCP"}]}]), "world", "1");
    assert_eq!(nearest.text, "matches the peer, not the port: a rule with ports never allows ICMP");
}

#[test]
fn row_46_a_void_rule_says_that_it_could_not_be_read() {
    let nearest = nearest(json!([{"unless": []}]), "world", "80/TCP");
    assert_eq!((nearest.miss, &*nearest.field), (Miss::Void, "spec.ingress[0]"));
}

#[test]
fn a_rule_that_misses_both_names_both() {
    let rules = json!([{"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}]);
    let nearest = nearest(rules, "10.9.9.9", "80/TCP");
    assert_eq!(nearest.miss, Miss::PeerAndPort);
    assert_eq!(
        nearest.text,
        "matches neither the peer (10.9.9.9 is not in 192.0.2.0/24) nor the port (443/TCP allowed, 80/TCP asked)"
    );
}

#[test]
fn an_answer_reads_well_on_a_terminal() {
    let cluster = cluster(&[
        policy(
            "production",
            "api-ingress",
            json!({"podSelector": {"matchLabels": {"app": "api"}},
                   "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "frontend"}}}], "ports": [{"port": 8080}]}]}),
        ),
        egress("production", json!([{}])),
    ]);
    let question = |what: &str| Question {
        source: "production/frontend-1".parse().unwrap(),
        destination: "production/api-1".parse().unwrap(),
        payload: payload(what),
    };
    assert_eq!(
        explain(&cluster, &question("8081/TCP")).unwrap().to_string(),
        "production/frontend-1 -> production/api-1 8081/TCP: denied\n  \
           1 egress of production/frontend-1: allowed by rule 1 of production/egress (spec.egress[0])\n  \
           2 ingress of production/api-1: denied by the policy that isolates it\n      \
               rule 1 of production/api-ingress matches the peer, not the port: 8080/TCP allowed, 8081/TCP asked \
               (spec.ingress[0].ports)\n"
    );
    let json = serde_json::to_value(explain(&cluster, &question("8080/TCP")).unwrap()).unwrap();
    assert_eq!(json["outcome"], "allowed");
    assert_eq!(json["flows"][0]["ingress"]["verdict"], "allowed");
    assert_eq!(json["flows"][0]["ingress"]["by"][0]["policy"], "production/api-ingress");
}

#[test]
fn a_flow_that_was_seen_is_attributed_on_one_side() {
    let cluster = cluster(&[ingress("production", json!([{"from": [{"podSelector": {}}]}]))]);
    let api = Key::new("production", "api-1");
    let seen =
        |peer: &str| attribute(&cluster, &api, Direction::Ingress, peer.parse().unwrap(), payload("80/TCP"));
    let [allowed] = &seen("10.0.0.2")[..] else { panic!() };
    assert_eq!(allowed.peer, "production/frontend-1 (10.0.0.2)");
    assert!(matches!(&allowed.side, Side::Allowed { by } if by[0].policy == "production/ingress"));
    assert!(!seen("192.0.2.1")[0].side.allows());
    let gone = Key::new("production", "gone");
    assert_eq!(
        attribute(&cluster, &gone, Direction::Ingress, "10.0.0.2".parse().unwrap(), payload("80/TCP")),
        []
    );
}
