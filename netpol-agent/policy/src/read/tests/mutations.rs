//! Every place of a policy with something wrong in it: access never widens.

use serde_json::{Value, json};

use crate::{
    read::read_document,
    spec::tests::fixture::{NODE, ask, namespace, objects, pod, policy, with_ports},
    spec::{Cluster, Verdict},
};

/// Every place of a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                places(value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn all_verdicts(policies: &[Value]) -> Vec<Verdict> {
    let mut documents = vec![
        namespace("x", json!({})),
        namespace("y", json!({"team": "blue"})),
        with_ports(pod("x", "a", json!({"app": "a"}), &["10.0.0.1"]), &["web=80/TCP"]),
        with_ports(pod("x", "b", json!({"app": "b"}), &["10.0.0.2"]), &["web=8080/TCP"]),
        pod("y", "c", json!({"app": "c"}), &["10.0.1.3"]),
    ];
    documents.extend_from_slice(policies);
    let cluster = Cluster::new(&objects(&documents), NODE);
    let ends = ["10.0.0.1", "10.0.0.2", "10.0.1.3", "192.0.2.1", "192.0.2.200", "10.9.0.1"];
    let mut verdicts = Vec::new();
    for src in ends {
        for dst in ends {
            for what in ["80/TCP", "85/TCP", "8080/TCP", "53/UDP", "1"] {
                verdicts.push(ask(&cluster, src, dst, what));
            }
        }
    }
    verdicts
}

#[test]
fn rows_44_to_47_no_wrong_value_and_no_unknown_field_anywhere_ever_widens() {
    let rule = |peers: &str| {
        json!({
            peers: [
                {"podSelector": {"matchLabels": {"app": "b"}}},
                {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["red", "green"]}]},
                 "podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}},
                {"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}},
            ],
            "ports": [{"port": 80, "endPort": 85}, {"port": "web"}, {"protocol": "UDP", "port": 53}],
        })
    };
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "app", "operator": "In", "values": ["a"]}]},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [rule("from"), {"from": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]}],
        "egress": [rule("to")],
    });
    let another = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "another", "namespace": "x"},
        "spec": {"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Ingress", "Egress"]}});
    let original = all_verdicts(&[policy("x", "p", spec.clone()), another.clone()]);

    let mut pointers = Vec::new();
    places(&spec, "", &mut pointers);
    let mut tried = 0;
    for pointer in &pointers {
        for wrong in
            [json!(1.5), json!(true), json!({"bogus": 1.5}), json!(["bogus", {}]), json!("\u{0}bogus")]
        {
            let mut mutated = spec.clone();
            let place = mutated.pointer_mut(pointer).unwrap();
            if std::mem::discriminant(place) == std::mem::discriminant(&wrong) {
                match place {
                    // A field of its own that nobody knows.
                    Value::Object(map) => drop(map.insert("bogus".into(), json!(1.5))),
                    // Another text or number may be right.
                    _ => continue,
                }
            } else {
                *place = wrong;
            }
            let document = policy("x", "p", mutated);
            let problems = read_document(&document).remove(0);
            assert_ne!(problems.problems(), [], "{document}");
            let verdicts = all_verdicts(&[document.clone(), another.clone()]);
            for (verdict, original) in verdicts.iter().zip(&original) {
                let widened = verdict.egress && !original.egress || verdict.ingress && !original.ingress;
                assert!(!widened, "{pointer}: {document}");
            }
            tried += 1;
        }
    }
    assert!(tried > 150, "{tried}");
}
