use serde_json::json;

use super::*;
use crate::{
    lint::Severity,
    spec::tests::fixture::{ingress, namespace, policy, with},
};

const NOTHING: &str = "selector-matches-nothing";

fn select(labels: Value) -> Value {
    policy("x", "p", json!({"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"]}))
}

#[test]
fn a_pod_selector_that_matches_no_pod_of_its_namespace_is_reported_with_what_is_there() {
    let pods = [app("x", "api"), app("y", "ap")];
    let all = |labels| [pods[0].clone(), pods[1].clone(), select(labels)];
    reports(
        &all(json!({"app": "web"})),
        NOTHING,
        "spec.podSelector",
        "no pod of namespace x has app=web; there is app=api",
    );
    reports(
        &all(json!({"role": "web"})),
        NOTHING,
        "spec.podSelector",
        "no pod of namespace x has the label role",
    );
    silent(&all(json!({"app": "api"})), NOTHING);
    silent(&all(json!({})), NOTHING);
}

#[test]
fn a_slip_of_the_pen_is_named() {
    let pods = [app("x", "frontend"), app("x", "api")];
    let all = |labels| [pods[0].clone(), pods[1].clone(), select(labels)];
    for (labels, meant) in [
        (json!({"app": "fronted"}), "did you mean app=frontend?"),
        (json!({"app": "Frontend"}), "did you mean app=frontend?"),
        (json!({"app": "api "}), "did you mean app=api?"),
        (json!({"App": "api"}), "did you mean the label app?"),
    ] {
        reports(&all(labels), NOTHING, "spec.podSelector", meant);
    }
    let parts = pod("x", "db", json!({"tier": "data"}), &[]);
    let both = [pods[0].clone(), parts, select(json!({"app": "frontend", "tier": "data"}))];
    reports(&both, NOTHING, "spec.podSelector", "all together for none");
}

#[test]
fn the_pods_of_a_workload_count() {
    silent(&[deployment("x", "api"), select(json!({"app": "api"}))], NOTHING);
    reports(&[deployment("x", "api"), select(json!({"app": "web"}))], NOTHING, "spec.podSelector", "web");
}

#[test]
fn where_no_pod_is_known_nothing_is_said_of_selectors_but_a_note() {
    let found = outcome(&[select(json!({"app": "web"})), app("y", "api")]);
    assert!(!found.findings.iter().any(|one| one.id == NOTHING), "{found:#?}");
    assert_eq!(found.notes.len(), 1, "{found:#?}");
    assert!(found.notes[0].contains("namespace x"), "{found:#?}");
    // With the pods of kube-system it is a whole cluster, and x has none.
    reports(&[select(json!({"app": "web"})), dns()], NOTHING, "spec.podSelector", "none is there");
}

#[test]
fn a_policy_without_namespace_is_told_where_it_would_match() {
    let mut lost = select(json!({"app": "api"}));
    lost["metadata"].as_object_mut().unwrap().remove("namespace");
    let found =
        reports(&[lost, app("x", "api")], NOTHING, "spec.podSelector", "elsewhere it would match x/api");
    assert_eq!(found.fix, "write metadata.namespace");
}

#[test]
fn a_peer_that_matches_nobody_is_reported_only_where_everything_about_it_is_known() {
    let peer = |peer| ingress("x", json!([{"from": [of_app("api"), peer]}]));
    let pods = [app("x", "api"), app("y", "web")];
    let all = |item| {
        [
            pods[0].clone(),
            pods[1].clone(),
            namespace("x", json!({})),
            namespace("y", json!({"team": "red"})),
            namespace("kube-system", json!({})),
            peer(item),
        ]
    };
    let from = "spec.ingress[0].from[1]";
    reports(
        &all(of_app("web")),
        NOTHING,
        &format!("{from}.podSelector"),
        "rule 1: podSelector app=web matches no pod of namespace x",
    );
    let of =
        |namespaces, pods| json!({"namespaceSelector": {"matchLabels": namespaces}, "podSelector": pods});
    reports(
        &all(of(json!({"team": "blue"}), json!({}))),
        NOTHING,
        &format!("{from}.namespaceSelector"),
        "there is team=red",
    );
    reports(
        &all(of(json!({"team": "red"}), selects("api"))),
        NOTHING,
        &format!("{from}.podSelector"),
        "namespace y",
    );
    silent(&all(of(json!({"team": "red"}), selects("web"))), NOTHING);
    // kube-system is always there, and nothing is known of its pods.
    silent(&all(of(json!({}), json!({"matchLabels": {"k8s-app": "kube-dns"}}))), NOTHING);
    silent(&all(of(json!({"kubernetes.io/metadata.name": "kube-system"}), selects("any"))), NOTHING);
}

#[test]
fn a_namespace_of_others_is_noted_and_not_judged() {
    let rule = |name: &str| {
        let by_name = json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
        let item = json!({"namespaceSelector": by_name, "podSelector": selects("prometheus")});
        [app("x", "api"), namespace("monitoring", json!({})), ingress("x", json!([{"from": [item]}]))]
    };
    silent(&rule("observability"), NOTHING);
    assert!(outcome(&rule("observability")).notes.iter().any(|note| note.contains("observability")));
    silent(&rule("monitoring"), NOTHING);
    let field = "spec.ingress[0].from[0].namespaceSelector";
    reports(&rule("monitorng"), NOTHING, field, "did you mean kubernetes.io/metadata.name=monitoring?");
}

#[test]
fn names_that_count_are_no_slips_of_each_other() {
    let pods = |name: &str| [pod("x", "p", json!({"app": name}), &[]), select(json!({"app": "team-a"}))];
    reports(&pods("team-b"), NOTHING, "spec.podSelector", "there is app=team-b");
    reports(&pods("team-a2"), NOTHING, "spec.podSelector", "there is app=team-a2");
    reports(&pods("tam-a"), NOTHING, "spec.podSelector", "did you mean app=tam-a?");
}

#[test]
fn labels_of_namespaces_are_not_judged_without_any_namespace() {
    let item = json!({"namespaceSelector": {"matchLabels": {"team": "blue"}}});
    silent(&[app("x", "api"), ingress("x", json!([{"from": [item]}]))], NOTHING);
}

#[test]
fn requirements_that_exclude_each_other_are_reported_without_any_pod() {
    let expressions = |list: Value| json!({"matchExpressions": list});
    let one = |operator: &str, values: Value| json!({"key": "app", "operator": operator, "values": values});
    let contradictions = [
        [one("In", json!(["a"])), one("In", json!(["b"]))],
        [one("In", json!(["a"])), one("NotIn", json!(["a", "b"]))],
        [one("Exists", json!([])), one("DoesNotExist", json!([]))],
        [one("In", json!(["a"])), one("DoesNotExist", json!([]))],
    ];
    let id = "selector-contradicts-itself";
    for pair in contradictions {
        let spec = json!({"podSelector": expressions(json!(pair)), "policyTypes": ["Ingress"]});
        reports(&[policy("x", "p", spec)], id, "spec.podSelector", "never hold together");
        let item = json!({"podSelector": expressions(json!(pair))});
        reports(
            &[ingress("x", json!([{"from": [item]}]))],
            id,
            "spec.ingress[0].from[0].podSelector",
            "rule 1",
        );
    }
    let fine = [one("In", json!(["a", "b"])), one("NotIn", json!(["a"]))];
    silent(&[ingress("x", json!([{"from": [{"podSelector": expressions(json!(fine))}]}]))], id);
}

#[test]
fn the_label_name_of_namespaces_is_no_label_of_kubernetes() {
    let id = "namespace-name-label";
    let rule = ingress("x", json!([{"from": [{"namespaceSelector": {"matchLabels": {"name": "y"}}}]}]));
    let field = "spec.ingress[0].from[0].namespaceSelector";
    let found =
        reports(&[rule.clone(), namespace("y", json!({}))], id, field, "though there is one of that name");
    assert_eq!(found.severity, Severity::Warning);
    assert!(found.fix.contains("kubernetes.io/metadata.name: y"), "{}", found.fix);
    assert_eq!(reports(std::slice::from_ref(&rule), id, field, "the label name").severity, Severity::Info);
    silent(&[rule, namespace("y", json!({"name": "y"}))], id);
}

#[test]
fn a_policy_for_a_pod_of_the_nodes_network_protects_nothing() {
    let id = "host-network-pod-selected";
    let on_host = with(app("x", "proxy"), "/spec/hostNetwork", json!(true));
    let found =
        reports(&[on_host.clone(), select(json!({"app": "proxy"}))], id, "spec.podSelector", "x/proxy");
    assert!(found.why.contains("stays open"), "{}", found.why);
    silent(&[on_host.clone(), select(json!({"app": "proxy"}))], NOTHING);
    silent(&[on_host, select(json!({}))], id);
    silent(&[app("x", "proxy"), select(json!({"app": "proxy"}))], id);
}
