use serde_json::json;

use super::*;
use crate::{
    lint::Severity,
    spec::tests::fixture::{egress, ingress, policy},
};

const COVERED: &str = "rule-covered";

#[test]
fn a_rule_that_allows_nothing_is_reported() {
    let id = "rule-never-matches";
    for (rule, field) in [
        (json!({"from": [{"bogus": 1}]}), "spec.ingress[0].from"),
        (json!({"ports": [{"port": 0}]}), "spec.ingress[0].ports"),
        (json!({"bogus": []}), "spec.ingress[0]"),
        (
            json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/9", "10.128.0.0/9"]}}]}),
            "spec.ingress[0].from[0].ipBlock.except",
        ),
    ] {
        reports(&[ingress("x", json!([rule]))], id, field, "rule 1");
    }
    silent(&[ingress("x", json!([{"from": [{"bogus": 1}, of_app("a")]}]))], id);
    let most = json!({"cidr": "10.0.0.0/8", "except": ["10.0.0.0/9"]});
    silent(&[ingress("x", json!([{"from": [{"ipBlock": most}]}]))], id);
}

#[test]
fn rules_of_a_direction_that_is_not_named_are_reported() {
    let id = "rules-ignored";
    let spec =
        |types: Value| json!({"podSelector": {}, "policyTypes": types, "ingress": [{"from": [of_app("a")]}]});
    reports(&[policy("x", "p", spec(json!(["Egress"])))], id, "spec.ingress", "policyTypes does not name");
    silent(&[policy("x", "p", spec(json!(["Ingress"])))], id);
    silent(&[policy("x", "p", spec(json!([])))], id);
}

#[test]
fn an_egress_policy_without_types_denies_ingress_and_that_is_said() {
    let id = "ingress-denied-by-default-types";
    let rules = json!([{"to": [of_app("a")]}]);
    reports(
        &[policy("x", "p", json!({"podSelector": {}, "egress": rules}))],
        id,
        "spec",
        "denies all ingress",
    );
    silent(&[policy("x", "p", json!({"podSelector": {}, "egress": rules, "ingress": [{}]}))], id);
    silent(&[egress("x", rules)], id);
}

#[test]
fn a_rule_that_another_of_its_policy_covers_is_reported_once() {
    let port = |port: u16| json!([{"port": port}]);
    let both = json!([{"from": [of_app("a")], "ports": port(80)}, {"from": [of_app("a"), of_app("b")]}]);
    let found = reports(
        &[ingress("x", both)],
        COVERED,
        "spec.ingress[0]",
        "rule 1 allows nothing that rule 2 does not",
    );
    assert_eq!(found.severity, Severity::Warning);
    let equal = json!([{"from": [of_app("a")]}, {"from": [of_app("a")]}]);
    reports(&[ingress("x", equal)], COVERED, "spec.ingress[1]", "rule 2");
    let everything = json!([{}, {"from": [of_app("a")]}]);
    reports(&[ingress("x", everything)], COVERED, "spec.ingress[1]", "rule 1");
    let different =
        json!([{"from": [of_app("a")], "ports": port(80)}, {"from": [of_app("a")], "ports": port(81)}]);
    silent(&[ingress("x", different)], COVERED);
    let crossed = json!([{"from": [of_app("a")], "ports": port(80)}, {"from": [of_app("b")]}]);
    silent(&[ingress("x", crossed)], COVERED);
}

#[test]
fn a_rule_that_another_policy_covers_is_worth_knowing() {
    let rule = json!([{"from": [of_app("a")], "ports": [{"port": 80}]}]);
    let narrow = policy(
        "x",
        "narrow",
        json!({"podSelector": selects("b"), "policyTypes": ["Ingress"], "ingress": rule}),
    );
    let wide = ingress("x", json!([{"from": [of_app("a")]}]));
    let found = reports(&[narrow.clone(), wide.clone()], COVERED, "spec.ingress[0]", "rule 1 of x/ingress");
    assert_eq!((found.severity, &*found.key.name), (Severity::Info, "narrow"));
    let elsewhere = ingress("y", json!([{"from": [of_app("a")]}]));
    silent(&[narrow, elsewhere], COVERED);
    let narrower =
        policy("x", "q", json!({"podSelector": selects("c"), "policyTypes": ["Ingress"], "ingress": [{}]}));
    silent(&[wide, narrower], COVERED);
}

#[test]
fn items_that_other_items_cover_are_reported() {
    let blocks =
        json!([{"from": [{"ipBlock": {"cidr": "10.1.0.0/16"}}, {"ipBlock": {"cidr": "10.0.0.0/9"}}]}]);
    reports(&[ingress("x", blocks)], COVERED, "spec.ingress[0].from[0]", "item 1 of from is in item 2");
    let ports = json!([{"from": [of_app("a")], "ports": [{"port": 80, "endPort": 90}, {"port": 85}]}]);
    reports(&[ingress("x", ports)], COVERED, "spec.ingress[0].ports[1]", "item 2 of ports is in item 1");
    let apart = json!([{"from": [of_app("a")], "ports": [{"port": 80}, {"port": 80, "protocol": "UDP"}, {"port": "web"}]}]);
    silent(&[ingress("x", apart)], COVERED);
}

#[test]
fn policies_that_say_the_same_are_reported_as_a_whole() {
    let id = "policy-duplicates-another";
    let spec =
        |rules: Value| json!({"podSelector": selects("b"), "policyTypes": ["Ingress"], "ingress": rules});
    let one = policy("x", "one", spec(json!([{"from": [of_app("a"), of_app("b")]}])));
    let two = policy("x", "two", spec(json!([{"from": [of_app("b"), of_app("a")]}])));
    let found = reports(&[one.clone(), two.clone()], id, "", "the same pods as x/one");
    assert_eq!(&*found.key.name, "two");
    silent(&[one.clone(), two], COVERED);
    silent(&[one, policy("x", "two", spec(json!([{"from": [of_app("a")]}])))], id);
}
