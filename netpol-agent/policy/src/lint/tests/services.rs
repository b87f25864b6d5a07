use serde_json::json;

use super::*;
use crate::spec::tests::fixture::policy;

const DIFFER: &str = "service-backends-differ";

fn behind(name: &str, track: &str, address: &str) -> Value {
    pod("x", name, json!({"app": "api", "track": track}), &[address])
}

/// Lets the client into one of the two.
fn only(selector: Value) -> Value {
    let rules = json!([{"from": [of_app("web")]}]);
    policy("x", "p", json!({"podSelector": selector, "policyTypes": ["Ingress"], "ingress": rules}))
}

#[test]
fn backends_that_are_judged_differently_are_named_with_their_clients() {
    let track = |track: &str| json!({"matchLabels": {"track": track}});
    let all = |policy| {
        [
            behind("old", "stable", "10.0.0.1"),
            behind("new", "canary", "10.0.0.2"),
            app("x", "web"),
            app("y", "web"),
            service("x", "api", 80, json!(8080)),
            policy,
        ]
    };
    // Only y/web is kept out of the one and not of the other.
    let found = reports(
        &all(only(track("canary"))),
        DIFFER,
        "spec.ports[0]",
        "port 80/TCP: y/web may reach x/old (at 8080/TCP), not x/new",
    );
    assert_eq!(found.kind, Kind::Service);
    silent(&all(only(selects("api"))), DIFFER);
    silent(&all(only(selects("web"))), DIFFER);
}

#[test]
fn workloads_are_judged_like_their_pods() {
    let workload = |name: &str, track: &str| {
        let mut document = deployment("x", name);
        document["spec"]["template"]["metadata"]["labels"] = json!({"app": "api", "track": track});
        document
    };
    let documents = [
        workload("old", "stable"),
        workload("new", "canary"),
        deployment("y", "web"),
        service("x", "api", 80, json!(8080)),
        only(json!({"matchLabels": {"track": "canary"}})),
    ];
    reports(&documents, DIFFER, "spec.ports[0]", "y/deployment/web may reach x/deployment/old");
}
