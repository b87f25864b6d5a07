//! The explanation and the evaluator look at rules by different code: they say the same of every flow.

use serde_json::json;

use crate::{
    spec::{
        Cluster, Sender, Traffic,
        tests::fixture::{
            NODE, deny_all, egress, ingress, namespace, objects, payload, pod, policy, with, with_ports,
        },
    },
    why::{End, Question, explain},
};

#[test]
fn what_is_explained_is_what_is_judged() {
    let everything = json!([
        {"podSelector": {"matchLabels": {"app": "b"}}},
        {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["red"]}]},
         "podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}},
        {"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}},
        {"ipBlock": {"cidr": "fd00:1::/64"}},
        {},
    ]);
    let ports =
        json!([{"port": 80, "endPort": 85}, {"port": "web"}, {"protocol": "UDP", "port": 53}, {"port": 0}]);
    let documents = [
        namespace("x", json!({"team": "red"})),
        namespace("y", json!({"team": "blue"})),
        with_ports(pod("x", "a", json!({"app": "a"}), &["10.0.0.1", "fd00::1"]), &["web=8080/TCP"]),
        with_ports(pod("x", "b", json!({"app": "b"}), &["10.0.0.2", "fd00::2"]), &["web=9090/TCP"]),
        pod("y", "c", json!({"app": "c"}), &["10.0.1.3", "fd00:1::3"]),
        pod("z", "d", json!({}), &["10.0.2.4"]),
        with(pod("y", "host", json!({"app": "c"}), &["192.168.0.1"]), "/spec/hostNetwork", json!(true)),
        with(pod("x", "done", json!({"app": "b"}), &["10.0.0.9"]), "/status/phase", json!("Succeeded")),
        ingress(
            "x",
            json!([{"from": everything, "ports": ports}, {"ports": [{"port": 443}]}, {"unless": []}]),
        ),
        egress("x", json!([{"to": everything, "ports": ports}, {"to": [{"ipBlock": {"cidr": "::/0"}}]}])),
        policy(
            "x",
            "icmp",
            json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{"from": [everything[0]]}]}),
        ),
        deny_all("z"),
    ];
    let cluster = Cluster::new(&objects(&documents), NODE);
    let ends = [
        "10.0.0.1",
        "10.0.0.2",
        "10.0.1.3",
        "10.0.2.4",
        "192.168.0.1",
        "10.0.0.9",
        "192.0.2.1",
        "192.0.2.200",
        "fd00::1",
        "fd00::2",
        "fd00:1::3",
        "fd00:1::9",
        "2001:db8::1",
    ];
    let (mut compared, mut denied) = (0, 0);
    for src in ends {
        for dst in ends {
            for what in ["80/TCP", "85/TCP", "443/TCP", "8080/TCP", "9090/TCP", "53/UDP", "80/SCTP", "1"] {
                if src.contains(':') != dst.contains(':') {
                    continue;
                }
                let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
                let payload = payload(what);
                let verdict = cluster.allows(&Traffic { src: Sender::Address(src), dst, payload });
                let question =
                    Question { source: End::Address(src), destination: End::Address(dst), payload };
                let flow = explain(&cluster, &question).unwrap().flows.remove(0);
                assert_eq!(
                    (flow.egress.allows(), flow.ingress.allows()),
                    (verdict.egress, verdict.ingress),
                    "{flow:?}"
                );
                compared += 1;
                denied += usize::from(!verdict.passes());
            }
        }
    }
    assert!(compared > 500 && denied > 200 && denied < compared - 200, "{compared} {denied}");
}
