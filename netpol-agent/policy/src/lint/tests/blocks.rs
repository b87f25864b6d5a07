use serde_json::json;

use super::*;
use crate::spec::tests::fixture::{egress, ingress};

const BROAD: &str = "block-too-broad";
const SERVICES: &str = "block-on-service-range";
const PODS: &str = "block-on-pod-range";
const FAMILY: &str = "block-one-family";

fn to(blocks: &[(&str, &[&str])]) -> Value {
    let items: Vec<Value> =
        blocks.iter().map(|(cidr, except)| json!({"ipBlock": {"cidr": cidr, "except": except}})).collect();
    egress("x", json!([{"to": items}]))
}

const PRIVATE: [&str; 3] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];

#[test]
fn a_block_of_everything_is_reported() {
    let field = "spec.egress[0].to[0].ipBlock.cidr";
    reports(&[to(&[("0.0.0.0/0", &[])])], BROAD, field, "rule 1: ipBlock 0.0.0.0/0 without exception");
    reports(&[to(&[("::/0", &[])])], BROAD, field, "::/0");
    reports(&[to(&[("128.0.0.0/1", &[])])], BROAD, field, "128.0.0.0/1");
    reports(
        &[to(&[("0.0.0.0/0", &["169.254.169.254/32"])])],
        BROAD,
        field,
        "exceptions that take out little",
    );
    for fine in [("0.0.0.0/0", &PRIVATE[..]), ("10.0.0.0/8", &[]), ("2000::/3", &[]), ("::/0", &["fc00::/7"])]
    {
        silent(&[to(&[fine])], BROAD);
    }
    let from = ingress("x", json!([{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]));
    assert!(
        reports(&[from], BROAD, "spec.ingress[0].from[0].ipBlock.cidr", "0.0.0.0/0")
            .fix
            .contains("leave `from` out")
    );
}

#[test]
fn a_block_of_cluster_ips_is_reported() {
    let field = "spec.egress[0].to[0].ipBlock.cidr";
    let api = service("x", "api", 80, json!(80));
    reports(&[api.clone(), to(&[("10.96.0.0/16", &[])])], SERVICES, field, "Service x/api (10.96.0.7)");
    reports(&[api.clone(), to(&[("10.96.0.7/32", &[])])], SERVICES, field, "10.96.0.7");
    silent(&[api.clone(), to(&[("10.97.0.0/16", &[])])], SERVICES);
    silent(&[api, to(&[("0.0.0.0/0", &[])])], SERVICES);

    let ranges = |range: &str, cidr: &str| {
        let found = outcome_with(&[to(&[(cidr, &[])])], &[range]).findings;
        found.iter().any(|one| one.id == SERVICES)
    };
    assert!(ranges("10.96.0.0/12", "10.100.0.10/32"));
    assert!(ranges("10.96.0.0/12", "10.0.0.0/8"));
    assert!(!ranges("10.96.0.0/12", "10.0.0.0/16"));
}

#[test]
fn a_block_of_pods_is_reported() {
    let field = "spec.egress[0].to[0].ipBlock.cidr";
    let api = pod("x", "api", json!({}), &["10.244.1.7"]);
    reports(&[api.clone(), to(&[("10.244.0.0/16", &[])])], PODS, field, "x/api (10.244.1.7)");
    reports(&[api.clone(), to(&[("0.0.0.0/0", &["192.168.0.0/16"])])], PODS, field, "0.0.0.0/0");
    silent(&[api.clone(), to(&[("0.0.0.0/0", &PRIVATE)])], PODS);
    silent(&[api, to(&[("10.244.0.0/16", &["10.244.1.0/24"])])], PODS);
}

#[test]
fn a_block_of_one_family_is_worth_knowing_where_pods_have_both() {
    let both = pod("x", "api", json!({}), &["10.244.1.7", "fd00::7"]);
    let field = "spec.egress[0].to[0].ipBlock.cidr";
    reports(&[both.clone(), to(&[("0.0.0.0/0", &PRIVATE)])], FAMILY, field, "x/api has IPv6 too");
    silent(&[both.clone(), to(&[("0.0.0.0/0", &PRIVATE), ("2000::/3", &[])])], FAMILY);
    silent(&[both, to(&[("192.0.2.0/24", &[])])], FAMILY);
    silent(&[pod("x", "api", json!({}), &["10.244.1.7"]), to(&[("0.0.0.0/0", &PRIVATE)])], FAMILY);
}
