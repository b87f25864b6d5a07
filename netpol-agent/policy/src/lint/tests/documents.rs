use serde_json::json;

use super::*;
use crate::{
    lint::CHECKS,
    spec::tests::fixture::{deny_all, ingress, with},
};

fn annotated(key: &str, value: &str) -> Value {
    with(deny_all("x"), "/metadata/annotations", json!({key: value}))
}

#[test]
fn a_policy_that_nobody_documented_is_reported() {
    let id = "undocumented-policy";
    reports(&[deny_all("x")], id, "metadata.annotations", "what the policy is for");
    reports(&[annotated("example.com/owner", "a team")], id, "metadata.annotations", "");
    reports(&[annotated("description", " ")], id, "metadata.annotations", "");
    for key in ["kubernetes.io/description", "description", "netpol.io/description", "example.com/docs"] {
        silent(&[annotated(key, "closes everything")], id);
    }
}

#[test]
fn a_policy_without_a_namespace_is_worth_knowing() {
    let mut lost = deny_all("x");
    lost["metadata"].as_object_mut().unwrap().remove("namespace");
    reports(&[lost], "policy-without-namespace", "metadata.namespace", "namespace default");
    silent(&[deny_all("x")], "policy-without-namespace");
}

#[test]
fn an_annotation_keeps_findings_of_its_object_back_and_they_are_counted() {
    let ignoring = annotated("netpol.io/lint-ignore", "undocumented-policy, no-default-deny");
    let found = outcome(&[ignoring, ingress("x", json!([]))]);
    assert_eq!(found.suppressed, 1);
    let left: Vec<&str> = found
        .findings
        .iter()
        .filter(|one| one.id == "undocumented-policy")
        .map(|one| &*one.key.name)
        .collect();
    assert_eq!(left, ["ingress"]);
}

#[test]
fn an_annotation_with_an_id_that_is_not_there_is_reported() {
    let id = "unknown-lint-id";
    let field = "metadata.annotations.netpol.io/lint-ignore";
    reports(
        &[annotated("netpol.io/lint-ignore", "undocumented-polcy")],
        id,
        field,
        "did you mean undocumented-policy?",
    );
    silent(&[annotated("netpol.io/lint-ignore", "rule-covered")], id);
}

#[test]
fn names_with_control_characters_are_escaped() {
    let hostile = with(deny_all("x"), "/metadata/namespace", json!("x\u{1b}[2J"));
    let found = outcome(&[hostile, app("x\u{1b}[2J", "a\u{202e}b")]);
    assert_ne!(found.findings, []);
    for one in found.findings {
        let all = [one.message, one.why, one.fix, one.field].concat();
        assert!(!all.contains(['\u{1b}', '\u{202e}']), "{all:?}");
    }
}

#[test]
fn every_check_has_its_own_id_and_says_what_it_is() {
    for (index, check) in CHECKS.iter().enumerate() {
        assert!(check.id.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", check.id);
        assert!(CHECKS[..index].iter().all(|other| other.id != check.id), "{}", check.id);
        assert!(check.title.len() > 20 && check.explanation.len() > 50, "{}", check.id);
        assert!(!check.title.ends_with('.') && check.explanation.ends_with('.'), "{}", check.id);
    }
}
