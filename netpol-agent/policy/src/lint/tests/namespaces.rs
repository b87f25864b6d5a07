use serde_json::json;

use super::*;
use crate::{
    lint::Severity,
    spec::tests::fixture::{deny_all, egress, ingress, namespace, policy},
};

const NO_DENY: &str = "no-default-deny";

#[test]
fn a_namespace_without_default_deny_is_reported_with_the_pods_that_are_open() {
    let spec = json!({"podSelector": selects("api"), "policyTypes": ["Ingress", "Egress"]});
    let one = policy("x", "p", spec);
    let found =
        findings(&[app("x", "api"), app("x", "web"), namespace("x", json!({})), one.clone()], NO_DENY);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].message.contains("ingress") && found[0].message.contains("open now: x/web"),
        "{found:#?}"
    );
    assert_eq!(found[0].kind, Kind::Namespace);
    silent(&[app("x", "api"), one, deny_all("x")], NO_DENY);
}

#[test]
fn a_policy_that_allows_everything_to_everybody_is_no_default_deny() {
    let open = ingress("x", json!([{}]));
    reports(&[open, egress("x", json!([{"to": [of_app("a")]}]))], NO_DENY, "", "no policy closes ingress");
}

#[test]
fn a_namespace_that_limits_ingress_only_is_half_open() {
    let id = "namespace-half-open";
    reports(&[ingress("x", json!([]))], id, "", "none of them egress");
    silent(&[ingress("x", json!([])), egress("x", json!([]))], id);
    silent(&[ingress("x", json!([])), dns()], id);
}

#[test]
fn a_namespace_with_pods_and_no_policy_is_reported() {
    let id = "namespace-without-policy";
    let found = reports(&[app("x", "api"), app("x", "web")], id, "", "x/api, x/web");
    assert_eq!((found.severity, found.kind), (Severity::Warning, Kind::Pod));
    assert_eq!(reports(&[dns()], id, "", "kube-system").severity, Severity::Info);
    silent(&[app("x", "api"), deny_all("x")], id);
}

#[test]
fn a_policy_of_a_misspelt_namespace_is_told_which_was_meant() {
    let id = "namespace-misspelt";
    let there = namespace("production", json!({}));
    reports(&[deny_all("prodution"), there.clone()], id, "metadata.namespace", "did you mean production?");
    silent(&[deny_all("staging"), there.clone()], id);
    silent(&[deny_all("prodution"), app("prodution", "api"), there], id);
    silent(&[deny_all("prodution")], id);
}
