//! Ends that are not simply a pod with an address: what they stand for is said.

use serde_json::{Value, json};

use crate::{
    spec::{
        Cluster,
        tests::fixture::{NODE, deny_all, egress, ingress, objects, payload, pod, with, with_ports},
    },
    why::{End, Explanation, Outcome, Question, Side, Unanswerable, explain},
};

fn cluster(documents: &[Value]) -> Cluster {
    Cluster::new(&objects(documents), NODE)
}

fn ask(cluster: &Cluster, source: &str, destination: &str, what: &str) -> Explanation {
    let question = Question {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        payload: payload(what),
    };
    explain(cluster, &question).unwrap()
}

fn node(name: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
           "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
}

#[test]
fn a_pod_that_is_known_by_its_labels_alone_has_no_port_names() {
    let cluster = cluster(&[
        pod("x", "a", json!({}), &["10.0.0.1"]),
        egress("x", json!([{"to": [{"podSelector": {}}], "ports": [{"port": "web"}]}])),
    ]);
    let text = ask(&cluster, "x/a", "x/app=b", "80/TCP").to_string();
    assert!(
        text.contains("web/TCP (a name, and only labels are known of that pod) allowed, 80/TCP asked"),
        "{text}"
    );
}

#[test]
fn a_finished_pod_is_said_to_be_finished() {
    let done = with(pod("x", "done", json!({}), &["10.0.0.1"]), "/status/phase", json!("Succeeded"));
    let answer = ask(&cluster(&[done, deny_all("x")]), "192.0.2.1", "x/done", "80/TCP");
    assert_eq!(answer.flows[0].ingress, Side::Finished);
    assert_eq!(answer.notes, ["x/done is finished: policies ignore it, and its address is nobody's"]);
}

#[test]
fn a_pod_without_an_address_is_said_to_have_none() {
    let cluster = cluster(&[
        pod("x", "new", json!({}), &[]),
        pod("x", "a", json!({}), &["10.0.0.1"]),
        ingress("x", json!([{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}])),
    ]);
    let answer = ask(&cluster, "x/new", "x/a", "80/TCP");
    assert_eq!(answer.outcome, Outcome::Denied);
    assert_eq!(answer.notes, ["x/new has no address (yet): no ipBlock matches it"]);
}

#[test]
fn a_node_is_its_addresses_and_its_own_pods_are_open_to_it() {
    let agent = with(pod("x", "agent", json!({}), &["192.168.0.1"]), "/spec/hostNetwork", json!(true));
    let cluster = cluster(&[
        node(NODE, "192.168.0.1"),
        node("n2", "192.168.0.2"),
        agent,
        pod("x", "a", json!({}), &["10.0.0.1"]),
        ingress("x", json!([{"from": [{"ipBlock": {"cidr": "192.168.0.3/32"}}]}])),
    ]);
    assert_eq!(ask(&cluster, "node", "x/a", "80/TCP").outcome, Outcome::Allowed);
    assert_eq!(ask(&cluster, "x/agent", "x/a", "80/TCP").outcome, Outcome::Allowed, "it is the node");
    assert_eq!(
        ask(&cluster, "node/n2", "x/a", "80/TCP").outcome,
        Outcome::Denied,
        "another node is an address"
    );
    let question = Question {
        source: End::OtherNode("n3".into()),
        destination: "x/a".parse().unwrap(),
        payload: payload("80/TCP"),
    };
    assert_eq!(explain(&cluster, &question), Err(Unanswerable::UnknownNode("n3".into())));
}

#[test]
fn every_address_of_a_service_is_named_with_what_it_leads_to() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "y", "name": "web"},
        "spec": {"type": "NodePort", "clusterIP": "10.96.0.1", "externalIPs": ["203.0.113.9"],
                 "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]}});
    let cluster = cluster(&[
        node(NODE, "192.168.0.1"),
        pod("x", "client", json!({}), &["10.0.0.9"]),
        pod("y", "web-1", json!({"app": "web"}), &["10.0.1.1"]),
        service,
    ])
    .with_service_ranges(vec!["10.96.0.0/16".parse().unwrap()]);
    for (destination, what, address) in [
        ("svc/y/web", "80/TCP", "10.96.0.1"),
        ("10.96.0.1", "80/TCP", "10.96.0.1"),
        ("203.0.113.9", "80/TCP", "203.0.113.9"),
        ("192.168.0.1", "30080/TCP", "192.168.0.1"),
        ("node", "30080/TCP", "192.168.0.1"),
    ] {
        let answer = ask(&cluster, "x/client", destination, what);
        let step = format!("2 {address} {what} of Service y/web leads to y/web-1 (10.0.1.1) 8080/TCP");
        assert!(answer.to_string().contains(&step), "{answer}");
        assert_eq!(answer.outcome, Outcome::Allowed);
    }
    let direct = ask(&cluster, "x/client", "node", "22/TCP");
    assert!(direct.flows[0].frontend.is_none() && direct.notes.is_empty(), "{direct}");
    let nobody = ask(&cluster, "x/client", "10.96.0.7", "80/TCP");
    assert_eq!(nobody.outcome, Outcome::Nowhere);
    assert!(
        nobody.notes[0].starts_with("10.96.0.7 is in the range of Services, and none has it"),
        "{nobody}"
    );
}

#[test]
fn the_world_is_asked_about_by_an_address_that_no_narrower_block_names() {
    let rules = json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["223.0.0.0/8"]}}]},
                       {"to": [{"ipBlock": {"cidr": "222.254.0.0/16"}}], "ports": [{"port": 25}]}]);
    let documents = [pod("x", "a", json!({}), &["10.0.0.1"]), egress("x", rules)];
    let answer = ask(&cluster(&documents), "x/a", "world", "25/TCP");
    let address = answer.flows[0].paths[0].destination.unwrap();
    assert_eq!(address.to_string(), "221.254.254.254");
    let halves = json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/1"}}, {"ipBlock": {"cidr": "128.0.0.0/1"}}]}]);
    let documents = [pod("x", "a", json!({}), &["10.0.0.1"]), egress("x", halves)];
    let answer = ask(&cluster(&documents), "x/a", "world", "25/TCP");
    assert_eq!(answer.flows[0].paths[0].destination, None, "no address is left that no block names");
}

#[test]
fn a_workloads_port_names_are_known() {
    let template = with_ports(pod("x", "deployment/api", json!({"app": "api"}), &[]), &["web=8080/TCP"]);
    let crate::model::Object::Pod(template) = objects(&[template]).remove(0) else { panic!() };
    let cluster =
        cluster(&[ingress("x", json!([{"ports": [{"port": "web"}]}]))]).with_templates(vec![template]);
    let answer = ask(&cluster, "192.0.2.1", "x/deployment/api", "8080/TCP");
    assert_eq!(answer.outcome, Outcome::Allowed);
    assert_eq!(answer.notes, ["x/deployment/api has no address (yet): no ipBlock matches it"]);
}
