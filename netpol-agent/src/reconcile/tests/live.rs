//! What the live tables say beside what the objects say.

use serde_json::Value;
use std::net::IpAddr;

use super::*;
use crate::control::protocol::{Explanation, MatrixQuestion, Question, Request, Response};

impl Given {
    pub(super) fn explains(&self, source: &str, destination: &str, port: &str) -> Explanation {
        let question = Question { source: source.into(), destination: destination.into(), port: port.into() };
        match self.reconciler.answer(&Request::Explain(question), Duration::ZERO) {
            Response::Explanation(explanation) => *explanation,
            other => panic!("{other:?}"),
        }
    }

    /// The kernel's tables change behind the agent's back.
    fn tampers(&self, operation: &TableOp) {
        assert!(self.kernel.0.borrow_mut().tables.apply(operation), "{operation:?}");
    }
}

fn allow_b() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "allow-b", "namespace": "n"},
        "spec": {"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 80}]},
            {"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}], "ports": [{"port": 443}]}]}
    })
}

pub(super) fn node() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}]}
    })
}

fn service(target: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"},
        "spec": {"clusterIP": "10.96.0.1", "selector": {"in": "s"}, "ports": [{"port": 80, "targetPort": target}]}
    })
}

fn three() -> Given {
    let mut given = Given::fresh();
    given
        .lists(objects(&[pod("a", 5), pod("b", 6), pod("c", 7), allow_b(), node()]))
        .finds(&[("a", 5), ("b", 6), ("c", 7)])
        .settles();
    given
}

fn differs(explanation: &Explanation) -> bool {
    assert_eq!(
        explanation.explanation["liveDiffers"] == Value::Bool(true),
        explanation.text.contains("differs: "),
        "{}",
        explanation.text
    );
    explanation.explanation["liveDiffers"] == Value::Bool(true)
}

#[test]
fn what_is_written_is_what_is_explained() {
    let given = three();
    for (source, destination, port, passes) in [
        ("n/b", "n/a", "80/TCP", true),
        ("n/b", "n/a", "81/TCP", false),
        ("n/b", "n/a", "icmp", false),
        ("n/c", "n/a", "80/TCP", false),
        ("n/a", "n/c", "80/TCP", true),
        ("n/a", "n/a", "1/TCP", true),
        ("node", "n/a", "1/TCP", true),
        ("world", "n/a", "443/TCP", true),
        ("world", "n/a", "444/TCP", false),
        ("192.0.2.1", "n/a", "443/TCP", true),
        ("10.0.0.99", "n/a", "443/TCP", false),
        ("n/a", "world", "443/TCP", true),
    ] {
        let explanation = given.explains(source, destination, port);
        assert_eq!(explanation.passes, passes, "{}", explanation.text);
        assert!(!differs(&explanation), "{}", explanation.text);
        assert!(explanation.text.contains("(live: the same)"), "{}", explanation.text);
    }
    assert_eq!(
        given.explains("n/c", "n/a", "80/TCP").text,
        "n/c -> n/a 80/TCP: denied (live: the same)\n  \
           1 egress of n/c: not isolated\n      \
               live: passes (not-isolated): no policy isolates the pod in this direction\n  \
           2 ingress of n/a: denied by the policy that isolates it\n      \
               rule 1 of n/allow-b matches the port, not the peer: of n/c label app is \"c\", not \"b\" \
               (spec.ingress[0].from[0].podSelector)\n      \
               live: dropped (policy-denied): no rule allows it; n/allow-b allows no port with one that policies do not \
               name\n"
    );
}

#[test]
fn an_entry_that_somebody_has_removed_is_found_and_named() {
    let given = three();
    given.tampers(&TableOp::RemovePeer("10.0.0.6".parse::<IpAddr>().unwrap().into()));
    let explanation = given.explains("n/b", "n/a", "80/TCP");
    assert!(differs(&explanation) && !explanation.passes, "{}", explanation.text);
    assert!(
        explanation.text.contains("differs: ingress of n/a: the policies allow it, and it is dropped")
            && explanation.text.contains("PEER_BUCKETS")
            && explanation.text.contains("somebody else has changed it"),
        "{}",
        explanation.text
    );
    let other = given.explains("n/c", "n/a", "80/TCP");
    assert!(!differs(&other), "another flow is as it was: {}", other.text);

    let question = MatrixQuestion { namespace: "n".into(), port: Some("80/TCP".into()) };
    let Response::Explanation(matrix) = given.reconciler.answer(&Request::Matrix(question), Duration::ZERO)
    else {
        panic!()
    };
    let row = |name: &str| matrix.text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert_eq!(row("n/b").split_whitespace().collect::<Vec<_>>(), ["n/b", "+!", ".", "+"], "{}", matrix.text);
    assert_eq!(row("n/c").split_whitespace().collect::<Vec<_>>(), ["n/c", "i", "+", "."], "{}", matrix.text);
}

#[test]
fn a_table_that_refuses_closes_the_pod_and_that_is_the_difference() {
    let mut given = three();
    given.kernel.0.borrow_mut().refuses = Some(|op| matches!(op, TableOp::PolicySet { .. }));
    given.says(SourceEvent::Apply(objects(&[deny()]).remove(0))).settles();
    let explanation = given.explains("n/b", "n/a", "80/TCP");
    assert!(differs(&explanation) && !explanation.passes, "{}", explanation.text);
    assert!(
        explanation.text.contains("is closed, as its policies could not be written"),
        "{}",
        explanation.text
    );
}

#[test]
fn a_hook_that_failed_lets_through_what_the_policies_deny() {
    let mut given = Given::fresh();
    given.kernel.0.borrow_mut().refuses =
        Some(|op| matches!(op, TableOp::Hook { level: HookLevel::Full, .. }));
    given.lists(objects(&[pod("a", 5), pod("b", 6), allow_b()])).finds(&[("a", 5), ("b", 6)]).settles();
    let explanation = given.explains("n/b", "n/a", "81/TCP");
    assert!(differs(&explanation) && !explanation.passes, "{}", explanation.text);
    assert!(explanation.text.contains("could not be hooked: the table is full"), "{}", explanation.text);
}

#[test]
fn backends_that_are_judged_differently_are_closed_and_that_is_said() {
    let labelled = |name: &str, ifindex: u32| {
        let mut pod = pod(name, ifindex);
        pod["metadata"]["labels"]["in"] = json!("s");
        pod
    };
    let elsewhere = |name: &str, ifindex: u32| {
        let mut pod = labelled(name, ifindex);
        pod["spec"]["nodeName"] = json!("n2");
        pod
    };
    let only_b = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "only-b", "namespace": "n"},
        "spec": {"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"],
                 "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "b"}}}]}]}
    });
    // The denied one is of this node, and judges again.
    let mut given = Given::fresh();
    given
        .lists(objects(&[
            pod("a", 5),
            labelled("b", 6),
            labelled("c", 7),
            only_b.clone(),
            service(8080),
            deny_c(),
        ]))
        .finds(&[("a", 5), ("b", 6), ("c", 7)])
        .settles();
    let explanation = given.explains("n/a", "n/s", "80/TCP");
    assert!(!differs(&explanation), "{}", explanation.text);
    assert!(explanation.text.contains("deferred"), "{}", explanation.text);
    assert!(
        explanation.text.contains("2 10.96.0.1 80/TCP of Service n/s leads to n/b (10.0.0.6) 8080/TCP"),
        "{}",
        explanation.text
    );

    // It is not, so which one it will be cannot be known.
    let mut given = Given::fresh();
    given
        .lists(objects(&[pod("a", 5), labelled("b", 6), elsewhere("c", 7), only_b, service(8080)]))
        .finds(&[("a", 5), ("b", 6)])
        .settles();
    let explanation = given.explains("n/a", "n/s", "80/TCP");
    assert!(differs(&explanation) && !explanation.passes, "{}", explanation.text);
    assert!(explanation.text.contains("backends-differ"), "{}", explanation.text);
    assert!(explanation.text.contains("judged on its own node, n2"), "{}", explanation.text);
}

/// Isolates c, so that it carries the classifier that judges senders.
fn deny_c() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "c", "namespace": "n"},
        "spec": {"podSelector": {"matchLabels": {"app": "c"}}, "ingress": [{}]}
    })
}

#[test]
fn nothing_is_asked_of_tables_that_are_not_written_yet() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), pod("b", 6), deny()]));
    let explanation = given.explains("n/b", "n/a", "80/TCP");
    assert!(!differs(&explanation), "{}", explanation.text);
    assert!(
        explanation.text.contains("not judged here: no interface of the pod is known"),
        "{}",
        explanation.text
    );
}
