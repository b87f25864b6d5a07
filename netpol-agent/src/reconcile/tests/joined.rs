//! A flow between two nodes, explained by the agents of both.

use serde_json::Value;

use super::{live::node, *};
use crate::{control::protocol::Explanation, nodes::explain::Account};

/// b is on n1, a and its policy's pods on n2.
struct Two {
    first: Given,
    second: Given,
}

fn of_node(name: &str, ifindex: u32, node: &str) -> Value {
    let mut pod = pod(name, ifindex);
    pod["spec"]["nodeName"] = node.into();
    pod
}

impl Two {
    fn fresh() -> Self {
        let allow_b = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "allow-b", "namespace": "n"},
            "spec": {"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 80}]}]}
        });
        let all = [of_node("b", 6, "n1"), of_node("a", 5, "n2"), allow_b, node()];
        let on = |node: &str, pods: &[(&str, u32)]| {
            let mut given = Given::on(node, Fake::default(), Recovered::default(), TrustTag::Auto);
            given.lists(objects(&all)).finds(pods).settles();
            given
        };
        Self { first: on("n1", &[("b", 6)]), second: on("n2", &[("a", 5)]) }
    }
}

fn account(explanation: &Explanation) -> Account {
    Account::read(explanation).unwrap()
}

#[test]
fn each_side_is_what_its_own_node_says() {
    let two = Two::fresh();
    for (port, passes) in [("80/TCP", true), ("81/TCP", false)] {
        let first = two.first.explains("n/b", "n/a", port);
        assert!(first.text.contains("not judged here"), "{}", first.text);
        let first = account(&first);
        assert_eq!(first.elsewhere().into_iter().collect::<Vec<_>>(), ["n2"]);
        let joined = first.joined(&[account(&two.second.explains("n/b", "n/a", port))]).unwrap();
        assert_eq!(joined.passes, passes, "{}", joined.text);
        assert!(joined.text.contains("(live: the same)"), "{}", joined.text);
        assert!(!joined.text.contains("not judged here"), "{}", joined.text);
        assert!(account(&joined).elsewhere().is_empty());
    }
}

#[test]
fn alone_an_agent_says_what_it_does_not_know() {
    let first = Two::fresh().first.explains("n/b", "n/a", "80/TCP");
    let joined = account(&first).joined(&[]).unwrap();
    assert_eq!(joined, first);
}

#[test]
fn a_table_that_was_changed_on_the_other_node_shows_in_the_answer() {
    let two = Two::fresh();
    let peer = TableOp::RemovePeer("10.0.0.6".parse::<std::net::IpAddr>().unwrap().into());
    assert!(two.second.kernel.0.borrow_mut().tables.apply(&peer));
    let [first, second] = [&two.first, &two.second].map(|node| node.explains("n/b", "n/a", "80/TCP"));
    assert!(first.passes && !second.passes);
    let joined = account(&first).joined(&[account(&second)]).unwrap();
    assert!(!joined.passes && joined.text.contains("differs: ingress of n/a"), "{}", joined.text);
    assert_eq!(joined.explanation["liveDiffers"], Value::Bool(true));
}

#[test]
fn a_node_that_reaches_its_own_pod_is_told_by_itself() {
    let two = Two::fresh();
    let mut own = objects(&[of_node("c", 7, "n1"), node()]);
    own.extend(objects(&[json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "c", "namespace": "n"},
        "spec": {"podSelector": {"matchLabels": {"app": "c"}}, "policyTypes": ["Ingress"]}
    })]));
    let Two { mut first, mut second } = two;
    first.lists(own.clone()).finds(&[("c", 7)]).settles();
    second.lists(own).finds(&[]).settles();
    let [first, second] = [&first, &second].map(|node| node.explains("node/n1", "n/c", "80/TCP"));
    assert!(first.passes && !second.passes, "{}{}", first.text, second.text);
    let joined = account(&second).joined(&[account(&first)]).unwrap();
    assert!(joined.passes, "{}", joined.text);
    assert!(joined.text.contains("a node always reaches its own pods"), "{}", joined.text);
}
