use serde_json::json;

use super::*;
use crate::spec::tests::fixture::{policy, with_ports};

const HALF: &str = "half-open-pair";

fn sends(to: Value) -> Value {
    policy("x", "sends", json!({"podSelector": selects("web"), "policyTypes": ["Egress"], "egress": [to]}))
}

fn takes(from: Value) -> Value {
    policy(
        "x",
        "takes",
        json!({"podSelector": selects("api"), "policyTypes": ["Ingress"], "ingress": [from]}),
    )
}

#[test]
fn what_one_end_allows_and_the_other_denies_is_reported() {
    let pods = [app("x", "web"), app("x", "api")];
    let all = |a: &Value, b: &Value| [pods[0].clone(), pods[1].clone(), a.clone(), b.clone()];
    let to_api = |port: u16| sends(json!({"to": [of_app("api")], "ports": [{"port": port}]}));
    let from_web = takes(json!({"from": [of_app("web")], "ports": [{"port": 80}]}));
    let found = findings(&all(&to_api(81), &from_web), HALF);
    assert_eq!(found.len(), 2, "each end allows what the other denies: {found:#?}");
    assert_eq!(found[0].field, "spec.egress[0].to[0]");
    assert!(found[0].message.contains("x/web may send 81/TCP to x/api"), "{}", found[0].message);
    assert!(found[0].why.contains("x/takes"), "{}", found[0].why);
    silent(&all(&to_api(80), &from_web), HALF);

    let to_other = sends(json!({"to": [of_app("db")]}));
    reports(&all(&to_other, &from_web), HALF, "spec.ingress[0].from[0]", "x/api takes 80/TCP from x/web");
}

#[test]
fn an_item_that_reaches_one_of_its_pods_is_left_alone() {
    let two = pod("x", "other", json!({"app": "api", "version": "2"}), &[]);
    let closed = policy(
        "x",
        "q",
        json!({"podSelector": {"matchLabels": {"version": "2"}}, "policyTypes": ["Ingress"]}),
    );
    let to_api = sends(json!({"to": [of_app("api")]}));
    silent(&[app("x", "web"), app("x", "api"), two.clone(), closed.clone(), to_api.clone()], HALF);
    reports(&[app("x", "web"), two, closed, to_api], HALF, "spec.egress[0].to[0]", "everything");
}

#[test]
fn a_block_may_contain_a_pod_whose_address_is_not_known() {
    let to_api = sends(json!({"to": [of_app("api")]}));
    let from_block = takes(json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/24"}}]}));
    silent(&[deployment("x", "web"), deployment("x", "api"), to_api.clone(), from_block.clone()], HALF);
    let web = pod("x", "web", json!({"app": "web"}), &["10.0.1.1"]);
    reports(&[web, app("x", "api"), to_api, from_block], HALF, "spec.egress[0].to[0]", "everything");
}

#[test]
fn names_of_ports_are_looked_up_on_the_receiver() {
    let to_api = sends(json!({"to": [of_app("api")], "ports": [{"port": "http"}]}));
    let from_web = takes(json!({"from": [of_app("web")], "ports": [{"port": 8080}]}));
    let api = |port: &str| with_ports(app("x", "api"), &[port]);
    silent(&[app("x", "web"), api("http=8080/TCP"), to_api.clone(), from_web.clone()], HALF);
    let found = findings(&[app("x", "web"), api("http=80/TCP"), to_api, from_web], HALF);
    assert_eq!(found.len(), 2, "each end allows what the other denies: {found:#?}");
}
