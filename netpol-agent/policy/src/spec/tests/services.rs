//! Services: rules speak of the backends.

use serde_json::{Value, json};

use super::fixture::{cluster, deny_all, egress, ingress, namespace, pod, traffic, with, with_ports};
use crate::spec::{Answer, Cluster};

const CLIENT: &str = "10.0.0.9";
const VIP: &str = "10.96.0.1";

fn service(ports: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "y", "name": "web"},
        "spec": {"clusterIP": VIP, "clusterIPs": [VIP, "fd96::1"], "selector": {"app": "web"}, "ports": ports},
    })
}

fn slice(endpoints: Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "metadata": {"namespace": "y", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080}],
    })
}

/// Each backend of an answer, with whether the sender's side allows it.
fn backends(cluster: &Cluster, dst: &str, what: &str) -> Vec<(String, bool)> {
    match cluster.answer(&traffic(CLIENT, dst, what)) {
        Answer::Direct(verdict) => panic!("{verdict:?}"),
        Answer::Backends(all) => all
            .into_iter()
            .map(|one| (format!("{}:{}", one.backend.address, one.backend.port), one.verdict.egress))
            .collect(),
    }
}

fn pods() -> Vec<Value> {
    vec![
        namespace("x", json!({})),
        pod("x", "client", json!({}), &[CLIENT]),
        with_ports(pod("y", "web-1", json!({"app": "web"}), &["10.0.1.1", "fd00::1"]), &["http=8080/TCP"]),
        with_ports(pod("y", "web-2", json!({"app": "web"}), &["10.0.1.2"]), &["http=9090/TCP"]),
        service(json!([{"name": "http", "port": 80, "targetPort": "http"}])),
    ]
}

fn with_rules(rules: Value) -> Cluster {
    let mut documents = pods();
    documents.push(egress("x", rules));
    cluster(&documents)
}

#[test]
fn row_25_a_rule_speaks_of_the_backends_port_and_not_of_the_services() {
    let web = json!([{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}]);
    let by_service_port = with_rules(json!([{"to": web, "ports": [{"port": 80}]}]));
    let both = |allowed: [bool; 2]| {
        [("10.0.1.1:8080".to_owned(), allowed[0]), ("10.0.1.2:9090".to_owned(), allowed[1])]
    };
    assert_eq!(backends(&by_service_port, VIP, "80/TCP"), both([false, false]));
    let by_target = with_rules(json!([{"to": web, "ports": [{"port": 8080}]}]));
    assert_eq!(backends(&by_target, VIP, "80/TCP"), both([true, false]));
    let by_name = with_rules(json!([{"to": web, "ports": [{"port": "http"}]}]));
    assert_eq!(backends(&by_name, VIP, "80/TCP"), both([true, true]));
}

#[test]
fn row_25_a_block_is_compared_with_the_backend_and_never_with_the_cluster_ip() {
    let of_vip = with_rules(json!([{"to": [{"ipBlock": {"cidr": "10.96.0.0/16"}}]}]));
    assert!(backends(&of_vip, VIP, "80/TCP").iter().all(|(_, allowed)| !allowed));
    let of_pods = with_rules(json!([{"to": [{"ipBlock": {"cidr": "10.0.1.0/24"}}]}]));
    assert!(backends(&of_pods, VIP, "80/TCP").iter().all(|(_, allowed)| *allowed));
}

#[test]
fn row_36_a_pod_reaches_itself_through_its_own_service() {
    let mut documents = pods();
    documents.push(deny_all("y"));
    let cluster = cluster(&documents);
    let Answer::Backends(all) = cluster.answer(&traffic("10.0.1.1", VIP, "80/TCP")) else { panic!() };
    let passes: Vec<bool> = all.iter().map(|one| one.verdict.passes()).collect();
    assert_eq!(passes, [true, false], "itself, but not its replica");
}

#[test]
fn a_port_that_a_cluster_ip_does_not_have_leads_nowhere() {
    assert_eq!(backends(&with_rules(json!([])), VIP, "81/TCP"), []);
    assert_eq!(backends(&with_rules(json!([])), VIP, "80/UDP"), []);
}

#[test]
fn a_frontend_of_a_family_leads_to_backends_of_that_family() {
    let mut documents = pods();
    documents.push(egress("x", json!([{}])));
    let found =
        cluster(&documents).backends("fd96::1".parse().unwrap(), crate::model::Protocol::Tcp, 80).unwrap();
    assert_eq!(found.iter().map(|one| one.address.to_string()).collect::<Vec<_>>(), ["fd00::1"]);
}

#[test]
fn slices_win_over_selectors_and_terminating_backends_serve_when_none_is_ready() {
    let endpoint =
        |address: &str, conditions: Value| json!({"addresses": [address], "conditions": conditions});
    let found = |endpoints: Value| -> Vec<String> {
        let mut documents = pods();
        documents.push(slice(endpoints));
        backends(&cluster(&documents), VIP, "80/TCP").into_iter().map(|(name, _)| name).collect()
    };
    let leaving = endpoint("10.0.1.2", json!({"ready": false, "serving": true, "terminating": true}));
    let unready = endpoint("10.0.1.3", json!({"ready": false}));
    assert_eq!(found(json!([endpoint("10.0.1.1", json!({})), leaving, unready])), ["10.0.1.1:8080"]);
    assert_eq!(found(json!([endpoint("10.0.1.1", json!({"ready": null}))])), ["10.0.1.1:8080"]);
    assert_eq!(found(json!([leaving, unready])), ["10.0.1.2:8080"]);
    // Missing conditions as kube-proxy reads them.
    let silent = endpoint("10.0.1.4", json!({"ready": false, "terminating": true}));
    assert_eq!(found(json!([silent, unready])), ["10.0.1.4:8080"]);
    assert!(found(json!([unready])).is_empty());
}

#[test]
fn internal_traffic_policy_local_leaves_the_backends_of_this_node() {
    let mut documents = pods();
    let there = json!({"addresses": ["10.0.1.1"], "nodeName": "elsewhere"});
    let here = json!({"addresses": ["10.0.1.2"], "nodeName": "here"});
    documents.push(slice(json!([there, here])));
    let service = documents.iter_mut().find(|document| document["kind"] == "Service").unwrap();
    *service = with(service.clone(), "/spec/internalTrafficPolicy", json!("Local"));
    let found = backends(&cluster(&documents), VIP, "80/TCP");
    assert_eq!(found.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["10.0.1.2:8080"]);
}

#[test]
fn external_addresses_and_node_ports_are_frontends_and_other_ports_of_the_node_are_not() {
    let mut documents = pods();
    documents.push(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"},
                          "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}]}}));
    documents.push(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "y", "name": "edge"},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.2", "selector": {"app": "web"},
                 "externalIPs": ["203.0.113.1"], "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.2"}, {"ip": "203.0.113.3", "ipMode": "Proxy"}]}},
    }));
    documents.push(ingress("x", json!([])));
    let cluster = cluster(&documents);
    for (dst, what) in [("203.0.113.1", "80/TCP"), ("203.0.113.2", "80/TCP"), ("192.168.0.1", "30080/TCP")] {
        assert_eq!(backends(&cluster, dst, what).len(), 2, "{dst}");
    }
    for (dst, what) in [("203.0.113.3", "80/TCP"), ("203.0.113.1", "81/TCP"), ("192.168.0.1", "80/TCP")] {
        assert!(matches!(cluster.answer(&traffic(CLIENT, dst, what)), Answer::Direct(_)), "{dst}");
    }
}

#[test]
fn the_address_itself_is_one_more_backend_where_translation_is_not_certain() {
    let mut documents = pods();
    documents.push(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"}, "status": {"addresses": [
        {"type": "InternalIP", "address": "192.168.0.1"}, {"type": "ExternalIP", "address": "203.0.113.9"}]}}));
    documents.push(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "y", "name": "edge"},
        "spec": {"type": "NodePort", "clusterIP": "10.96.0.2", "selector": {"app": "web"}, "externalIPs": ["10.0.1.2"],
                 "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]},
    }));
    documents.push(egress("x", json!([{}])));
    let host = ["192.168.0.1", "10.0.0.254"].map(|address| address.parse().unwrap()).to_vec();
    let cluster = cluster(&documents).with_host_addresses(host);
    let itself = |dst: &str, what: &str, port: u16| {
        backends(&cluster, dst, what).iter().any(|(name, _)| *name == format!("{dst}:{port}"))
    };
    assert!(!itself("192.168.0.1", "30080/TCP", 30080));
    assert!(itself("10.0.0.254", "30080/TCP", 30080) && itself("203.0.113.9", "30080/TCP", 30080));
    assert!(itself("10.0.1.2", "80/TCP", 80), "a pod's address that a Service names");
}
