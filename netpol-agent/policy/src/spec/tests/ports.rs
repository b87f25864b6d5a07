//! Ports of rules.

use serde_json::{Value, json};

use super::fixture::{ask, cluster, egress, ingress, pod, with, with_ports};

const TARGET: &str = "10.0.0.1";

/// Whether each of these reaches a pod whose ingress has these ports.
fn reached(ports: Value, what: &[&str]) -> Vec<bool> {
    let cluster =
        cluster(&[pod("x", "target", json!({}), &[TARGET]), ingress("x", json!([{"ports": ports}]))]);
    what.iter().map(|what| ask(&cluster, "192.0.2.1", TARGET, what).passes()).collect()
}

#[test]
fn row_6_missing_or_empty_ports_are_every_port_and_protocol() {
    for rule in [
        json!({"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}),
        json!({"ports": []}),
        json!({"ports": null}),
    ] {
        let cluster = cluster(&[pod("x", "target", json!({}), &[TARGET]), ingress("x", json!([rule]))]);
        for what in ["1/TCP", "65535/UDP", "80/SCTP", "1", "47"] {
            assert!(ask(&cluster, "192.0.2.1", TARGET, what).passes(), "{what}");
        }
    }
}

#[test]
fn row_20_a_missing_protocol_is_tcp() {
    assert_eq!(reached(json!([{"port": 80}]), &["80/TCP", "80/UDP", "80/SCTP"]), [true, false, false]);
    assert_eq!(reached(json!([{}]), &["80/TCP", "81/TCP", "80/UDP"]), [true, true, false]);
}

#[test]
fn row_21_a_protocol_without_port_is_every_port_of_it() {
    assert_eq!(reached(json!([{"protocol": "UDP"}]), &["1/UDP", "65535/UDP", "80/TCP"]), [true, true, false]);
}

#[test]
fn row_22_a_named_port_means_what_each_destination_pod_declares_with_that_protocol() {
    let cluster = cluster(&[
        with_ports(pod("x", "one", json!({}), &["10.0.0.1"]), &["web=80/TCP", "dns=53/UDP"]),
        with_ports(pod("x", "two", json!({}), &["10.0.0.2"]), &["web=8080/TCP", "dns=53/TCP"]),
        ingress("x", json!([{"ports": [{"port": "web"}, {"port": "dns", "protocol": "UDP"}]}])),
    ]);
    let reached = |to: &str, what: &str| ask(&cluster, "192.0.2.1", to, what).passes();
    assert!(reached("10.0.0.1", "80/TCP") && !reached("10.0.0.1", "8080/TCP"));
    assert!(reached("10.0.0.2", "8080/TCP") && !reached("10.0.0.2", "80/TCP"));
    assert!(reached("10.0.0.1", "53/UDP") && !reached("10.0.0.2", "53/UDP"));
}

#[test]
fn row_22_restartable_init_containers_count() {
    let init = |policy: Value| json!([{"name": "side", "restartPolicy": policy, "ports": [{"name": "web", "containerPort": 80}]}]);
    let with_init = |policy: Value| {
        let target = with(pod("x", "a", json!({}), &[TARGET]), "/spec/initContainers", init(policy));
        let cluster = cluster(&[target, ingress("x", json!([{"ports": [{"port": "web"}]}]))]);
        ask(&cluster, "192.0.2.1", TARGET, "80/TCP").passes()
    };
    assert!(with_init(json!("Always")));
    assert!(!with_init(Value::Null));
}

#[test]
fn row_23_a_name_is_looked_up_on_the_destination_with_any_form_of_peer() {
    let block = json!({"ipBlock": {"cidr": "0.0.0.0/0"}});
    let documents = |peers: Value| {
        vec![
            pod("x", "client", json!({}), &["10.0.0.9"]),
            with_ports(pod("y", "server", json!({"app": "server"}), &["10.0.0.1"]), &["web=80/TCP"]),
            pod("y", "nameless", json!({"app": "server"}), &["10.0.0.2"]),
            egress("x", json!([{"to": peers, "ports": [{"port": "web"}]}])),
        ]
    };
    for peers in [json!([block]), json!([{"namespaceSelector": {}}]), json!([])] {
        let cluster = cluster(&documents(peers));
        assert!(ask(&cluster, "10.0.0.9", "10.0.0.1", "80/TCP").egress);
        assert!(!ask(&cluster, "10.0.0.9", "10.0.0.1", "81/TCP").egress);
        assert!(!ask(&cluster, "10.0.0.9", "10.0.0.2", "80/TCP").egress, "it does not declare the name");
        assert!(!ask(&cluster, "10.0.0.9", "192.0.2.1", "80/TCP").egress, "it is no pod");
    }
    let selected = cluster(&[
        with_ports(pod("x", "target", json!({}), &[TARGET]), &["web=80/TCP"]),
        ingress("x", json!([{"from": [block], "ports": [{"port": "web"}]}])),
    ]);
    assert!(ask(&selected, "192.0.2.1", TARGET, "80/TCP").passes());
}

#[test]
fn row_24_both_ends_of_a_range_are_in_it() {
    let what = ["79/TCP", "80/TCP", "85/TCP", "90/TCP", "91/TCP", "85/UDP"];
    let range = json!([{"protocol": "TCP", "port": 80, "endPort": 90}]);
    assert_eq!(reached(range, &what), [false, true, true, true, false, false]);
    let single = json!([{"protocol": "TCP", "port": 80, "endPort": 80}]);
    assert_eq!(reached(single, &what), [false, true, false, false, false, false]);
}

#[test]
fn row_40_a_rule_with_ports_never_allows_icmp_or_other_protocols() {
    let all = json!([{"protocol": "TCP"}, {"protocol": "UDP"}, {"protocol": "SCTP"}]);
    assert_eq!(reached(all, &["1", "58", "50", "80/TCP"]), [false, false, false, true]);
}

#[test]
fn row_44_a_bad_port_allows_nothing_while_its_neighbours_do() {
    for bad in [
        json!({"port": 0}),
        json!({"port": 65536}),
        json!({"port": "80"}),
        json!({"port": 80, "protocol": "ICMP"}),
        json!({"port": 90, "endPort": 80}),
        json!({"endPort": 80}),
        json!({"port": "web", "endPort": 90}),
        json!({"port": [80]}),
        json!(80),
    ] {
        let ports = json!([bad, {"port": 443}]);
        assert_eq!(reached(ports, &["80/TCP", "85/TCP", "443/TCP"]), [false, false, true], "{bad}");
    }
}
