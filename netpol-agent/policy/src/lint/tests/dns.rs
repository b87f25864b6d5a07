use serde_json::json;

use super::*;
use crate::{
    lint::Severity,
    spec::tests::fixture::{deny_all, egress, policy, with},
};

const FORGOTTEN: &str = "egress-without-dns";
const NODE_LOCAL: &str = "dns-node-local";

fn to_api() -> Value {
    json!({"to": [of_app("api")], "ports": [{"port": 80}]})
}

fn ports() -> Value {
    json!([{"port": 53, "protocol": "UDP"}, {"port": 53}])
}

fn to_dns() -> Value {
    json!({
        "to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
        "ports": ports(),
    })
}

#[test]
fn pods_that_may_send_but_not_ask_for_names_are_reported() {
    let pods = [app("x", "web"), app("x", "api"), dns()];
    let all = |rules: Value| [pods[0].clone(), pods[1].clone(), pods[2].clone(), egress("x", rules)];
    reports(&all(json!([to_api()])), FORGOTTEN, "spec.egress", "x/api, x/web may send what x/egress allows");
    for fine in [
        json!([to_api(), to_dns()]),
        json!([to_api(), {"ports": ports()}]),
        json!([{}]),
        json!([to_api(), {"to": [{"ipBlock": {"cidr": "10.0.0.2/32"}}], "ports": ports()}]),
        json!([to_api(), {"to": [{"namespaceSelector": {}}]}]),
    ] {
        silent(&all(fine), FORGOTTEN);
    }
    let wrong = json!([to_api(), {"to": [of_app("api")], "ports": ports()}]);
    reports(&all(wrong), FORGOTTEN, "spec.egress", "not ask for names");
}

#[test]
fn pods_that_may_send_nothing_need_no_names() {
    silent(&[app("x", "web"), dns(), deny_all("x")], FORGOTTEN);
}

#[test]
fn another_policy_may_allow_dns() {
    let rules = json!([to_dns()]);
    let names = policy("x", "dns", json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": rules}));
    silent(&[app("x", "web"), dns(), egress("x", json!([to_api()])), names.clone()], FORGOTTEN);
    // Without any pod known, one may be selected by both.
    silent(&[egress("x", json!([to_api()])), names], FORGOTTEN);
    reports(&[egress("x", json!([to_api()]))], FORGOTTEN, "spec.egress", "pods of namespace x");
}

#[test]
fn names_over_udp_alone_are_worth_knowing() {
    let id = "dns-without-tcp";
    let udp = json!([{"ports": [{"port": 53, "protocol": "UDP"}]}]);
    reports(&[app("x", "web"), egress("x", udp)], id, "spec.egress[0]", "over UDP, not over TCP");
    silent(&[app("x", "web"), egress("x", json!([{"ports": ports()}]))], id);
}

#[test]
fn a_cache_on_the_node_is_no_pod() {
    let given = |more: &[Value], rules: Value| {
        let mut all = vec![app("x", "web"), egress("x", rules)];
        all.extend_from_slice(more);
        all
    };
    let found = reports(&given(&[], json!([to_dns()])), NODE_LOCAL, "spec.egress[0]", "169.254.20.10");
    assert_eq!(found.severity, Severity::Info);
    let cache = with(
        pod("kube-system", "c", json!({"k8s-app": "node-local-dns"}), &[]),
        "/spec/hostNetwork",
        json!(true),
    );
    let found =
        reports(&given(&[dns(), cache.clone()], json!([to_dns()])), NODE_LOCAL, "spec.egress[0]", "rule 1");
    assert_eq!(found.severity, Severity::Warning);
    silent(&given(&[dns()], json!([to_dns()])), NODE_LOCAL);
    let allowed = json!({"to": [{"ipBlock": {"cidr": "169.254.20.10/32"}}], "ports": ports()});
    silent(&given(&[dns(), cache.clone()], json!([to_dns(), allowed])), NODE_LOCAL);
    silent(&given(&[dns(), cache], json!([{"ports": ports()}])), NODE_LOCAL);
}
