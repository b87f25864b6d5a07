//! Policies: what is wrong isolates, grants nothing, and is reported.

use netpol_common::Direction;
use serde_json::{Value, json};

use crate::{
    model::{Key, Object, Policy, PolicyPeer, Problem, Requirement, Selector},
    read::{Read, block, read_document},
};

fn document(spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
           "metadata": {"name": "p", "namespace": "x"}, "spec": spec})
}

fn read(spec: Value) -> (Policy, Vec<Problem>) {
    match read_document(&document(spec)).remove(0) {
        Read::Object { object: Object::Policy(policy), problems } => (policy, problems),
        other => panic!("{other:?}"),
    }
}

fn fields(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.field.as_str()).collect()
}

/// By direction: how many rules grant something, `None` where it does not isolate.
fn granting(policy: &Policy) -> [Option<usize>; 2] {
    Direction::ALL
        .map(|direction| policy.rules(direction).map(|rules| rules.iter().filter(|rule| !rule.void).count()))
}

#[test]
fn rows_7_and_8_policy_types_say_which_rules_count() {
    for (types, ingress, egress, expected) in [
        (json!(null), json!(null), json!(null), [Some(0), None]),
        (json!([]), json!(null), json!([]), [Some(0), None]),
        (json!(null), json!(null), json!([{}]), [Some(0), Some(1)]),
        (json!(["Egress"]), json!([{}]), json!(null), [None, Some(0)]),
        (json!(["Ingress"]), json!([{}]), json!([{}]), [Some(1), None]),
        (json!(["Egress", "Ingress", "Egress"]), json!(null), json!(null), [Some(0), Some(0)]),
    ] {
        let (policy, problems) = read(json!({"policyTypes": types, "ingress": ingress, "egress": egress}));
        assert_eq!(granting(&policy), expected);
        assert!(problems.is_empty());
    }
}

#[test]
fn row_44_a_policy_type_that_is_not_known_closes_the_directions_that_are_not_named() {
    for (types, expected) in [
        (json!(["Ingres"]), [Some(0), Some(0)]),
        (json!(["ingress"]), [Some(0), Some(0)]),
        (json!(["Ingress", "egress"]), [Some(1), Some(0)]),
        (json!(["Egress", 5]), [Some(0), Some(1)]),
        (json!("Ingress"), [Some(0), Some(0)]),
    ] {
        let (policy, problems) = read(json!({"policyTypes": types, "ingress": [{}], "egress": [{}]}));
        assert_eq!(granting(&policy), expected, "{types}");
        assert_eq!(problems.len(), 1);
    }
}

#[test]
fn row_44_a_problem_names_object_field_meaning_and_remedy() {
    let (_, problems) = read(json!({"ingress": [{}, {"from": [
        {"podSelector": {}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}},
    ]}]}));
    assert_eq!(
        problems,
        [Problem {
            kind: "NetworkPolicy".into(),
            object: Key::new("x", "p"),
            field: "spec.ingress[1].from[1].ipBlock.except[0]".into(),
            message: "11.0.0.0/8 is not inside of 10.0.0.0/8: the whole ipBlock matches nothing".into(),
            remedy: "an except names a part of its own cidr".into(),
        }]
    );
    let (_, problems) = read(json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1"}}]}]}));
    assert_eq!(problems[0].remedy, "write \"10.0.0.1/32\"");
}

#[test]
fn row_44_bad_selectors_of_peers_match_nothing() {
    let expression = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    for bad in [
        expression("app", "Equals", json!(["a"])),
        expression("app", "in", json!(["a"])),
        expression("app", "In", json!([])),
        expression("app", "NotIn", Value::Null),
        expression("app", "Exists", json!(["a"])),
        expression("", "Exists", json!([])),
        expression("app", "In", json!([1])),
        json!({"matchExpressions": [{"key": "app"}]}),
        json!({"matchExpressions": {"key": "app"}}),
        json!({"matchLabels": ["app"]}),
        json!({"matchLabels": {"app": 1}}),
        json!({"matchLabels": {"app": null}}),
        json!("app=a"),
        json!([]),
    ] {
        for name in ["podSelector", "namespaceSelector"] {
            let (policy, problems) = read(json!({"ingress": [{"from": [{name: bad}]}]}));
            let rule = &policy.rules[0].as_ref().unwrap()[0];
            assert_eq!(rule.peers, Some(vec![PolicyPeer::Nobody]), "{bad}");
            assert!(!rule.void);
            assert_eq!(problems.len(), 1);
            assert!(problems[0].field.starts_with(&format!("spec.ingress[0].from[0].{name}")));
        }
    }
}

#[test]
fn labels_with_a_syntax_that_the_api_refuses_are_taken_as_they_are() {
    let (policy, problems) = read(json!({"podSelector": {"matchLabels": {"-bad-": "no spaces please"}}}));
    assert!(problems.is_empty());
    let wanted = Requirement::In("-bad-".into(), ["no spaces please".to_owned()].into());
    assert_eq!(policy.pod_selector, Selector(vec![wanted]));
}

#[test]
fn row_45_an_unreadable_selector_isolates_the_namespace_and_grants_nothing() {
    for selector in [
        json!("app=a"),
        json!({"matchLabels": {"app": 1}}),
        json!({"matchExpressions": [{"key": "app", "operator": "Like", "values": ["a"]}]}),
        json!({"matchFields": {}}),
    ] {
        let document = document(json!({"podSelector": selector, "ingress": [{}]}));
        let [Read::SelectorUnreadable { policy, problems }] = &read_document(&document)[..] else {
            panic!("{document}")
        };
        assert_eq!(policy.pod_selector, Selector::default());
        assert_eq!(granting(policy), [Some(0), None]);
        assert!(problems[0].field.starts_with("spec.podSelector"));
        assert!(problems[0].message.contains("last good version"));
    }
    let [Read::SelectorUnreadable { policy, .. }] = &read_document(&document(json!("nothing")))[..] else {
        panic!()
    };
    assert_eq!(granting(policy), [Some(0), Some(0)]);
}

#[test]
fn row_46_the_rule_that_holds_an_unknown_field_grants_nothing() {
    for (rule, field) in [
        (json!({"unless": []}), "unless"),
        (json!({"to": [{"podSelector": {}}]}), "to"),
        (json!({"from": [{"podSelector": {}, "nodeSelector": {}}]}), "from[0].nodeSelector"),
        (json!({"from": [{"podSelector": {"matchFields": {}}}]}), "from[0].podSelector.matchFields"),
        (json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "only": []}}]}), "from[0].ipBlock.only"),
        (json!({"ports": [{"port": 80, "icmp": 8}]}), "ports[0].icmp"),
        (
            json!({"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "not": true}]}}]}),
            "from[0].podSelector.matchExpressions[0].not",
        ),
    ] {
        let (policy, problems) = read(json!({"ingress": [rule, {"ports": [{"port": 443}]}]}));
        let void: Vec<bool> = policy.rules[0].as_ref().unwrap().iter().map(|rule| rule.void).collect();
        assert_eq!(void, [true, false], "{rule}");
        assert_eq!(fields(&problems), [format!("spec.ingress[0].{field}")]);
    }
}

#[test]
fn row_46_with_an_unknown_field_in_the_spec_no_rule_grants_anything() {
    let (policy, problems) = read(json!({"tier": 3, "ingress": [{}], "egress": [{}]}));
    assert_eq!(granting(&policy), [Some(0), Some(0)]);
    assert_eq!(fields(&problems), ["spec.tier"]);
}

#[test]
fn row_47_peers_that_are_empty_unknown_or_both_match_nothing_and_void_no_neighbour() {
    for peer in [
        json!({}),
        json!({"nodeSelector": {}}),
        json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "namespaceSelector": {}}),
    ] {
        let (policy, problems) = read(json!({"ingress": [{"from": [peer, {"podSelector": {}}]}]}));
        let rule = &policy.rules[0].as_ref().unwrap()[0];
        let peers = rule.peers.as_ref().unwrap();
        assert_eq!(peers[0], PolicyPeer::Nobody);
        assert_ne!(peers[1], PolicyPeer::Nobody);
        assert!(!rule.void);
        assert_eq!(problems.len(), 1, "{peer}");
    }
}

#[test]
fn rows_28_and_31_cidrs_are_masked_and_mapped_ones_are_ipv4() {
    for (text, expected) in [
        ("10.1.2.3/8", Some("10.0.0.0/8")),
        ("fd00::1/64", Some("fd00::/64")),
        ("::ffff:10.1.2.3/104", Some("10.0.0.0/8")),
        ("::ffff:10.1.2.3/128", Some("10.1.2.3/32")),
        ("::ffff:0:0/96", Some("0.0.0.0/0")),
        ("::/0", Some("::/0")),
        ("0.0.0.0/0", Some("0.0.0.0/0")),
        ("10.0.0.0", None),
        ("10.0.0/8", None),
        ("010.0.0.0/8", None),
        ("10.0.0.0/08", None),
        ("10.0.0.0/+8", None),
        ("fe80::1%eth0/64", None),
        ("10.0.0.0/-1", None),
        ("10.0.0.0/33", None),
        ("::/129", None),
        (" 10.0.0.0/8", None),
        ("", None),
    ] {
        assert_eq!(block::cidr(text).map(|net| net.to_string()).as_deref(), expected, "{text}");
    }
}

#[test]
fn a_policy_without_name_version_or_spec_still_isolates() {
    let nameless =
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {}, "spec": {}});
    let other =
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"ingress": [{}]}});
    let name = |document: &Value| match &read_document(document)[..] {
        [Read::Object { object, problems }] => {
            assert_eq!(fields(problems), ["metadata.name"]);
            object.key()
        }
        other => panic!("{other:?}"),
    };
    assert_ne!(name(&nameless), name(&other));

    for (version, granted) in [("networking.k8s.io/v2", 0), ("extensions/v1beta1", 0), ("", 1)] {
        let mut document = document(json!({"ingress": [{}]}));
        document["apiVersion"] = json!(version);
        let [Read::Object { object: Object::Policy(policy), problems }] = &read_document(&document)[..]
        else {
            panic!()
        };
        assert_eq!(granting(policy), [Some(granted), None], "{version}");
        assert_eq!(fields(problems), ["apiVersion"]);
    }
    let (policy, problems) = read(Value::Null);
    assert_eq!(granting(&policy), [Some(0), None]);
    assert_eq!(fields(&problems), ["spec"]);
}
