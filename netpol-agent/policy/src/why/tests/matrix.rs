//! The matrix of a namespace.

use serde_json::{Value, json};

use crate::{
    engine::tests::{
        build::NODE as HERE,
        random::{Dice, NAMESPACES, beginning, random_policy},
    },
    spec::{
        Cluster,
        tests::fixture::{NODE, egress, ingress, objects, payload, pod, with_ports},
    },
    why::{CellVerdict, Matrix, Outcome, Question, Unanswerable, escape::key_text, explain, matrix},
};

fn cluster(documents: &[Value]) -> Cluster {
    Cluster::new(&objects(documents), NODE)
}

fn of(cluster: &Cluster, port: Option<&str>) -> Matrix {
    matrix(cluster, "x", port.map(payload), &mut |_| false).unwrap()
}

fn small() -> Vec<Value> {
    let mut documents = vec![
        with_ports(pod("x", "api-1", json!({"app": "api"}), &["10.0.0.1"]), &["web=8080/TCP", "dns=53/UDP"]),
        with_ports(pod("x", "api-2", json!({"app": "api"}), &["10.0.0.2"]), &["web=8080/TCP", "dns=53/UDP"]),
        pod("x", "client", json!({"app": "client"}), &["10.0.0.3"]),
        pod("y", "a", json!({}), &["10.0.1.1"]),
        pod("z", "a", json!({}), &["10.0.1.2"]),
    ];
    let rules =
        json!([{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": "web"}]}]);
    documents.push(ingress("x", rules));
    documents.push(egress("z", json!([])));
    documents
}

#[test]
fn replicas_are_one_row_and_their_ports_are_columns() {
    let text = of(&cluster(&small()), None).to_string();
    assert_eq!(
        text,
        "who may begin a flow with the pods of x\n\
         \n\
         \x20                       A  B  C\n\
         x/api-1 and 1 like it   i  i  i\n\
         x/client                +  i  .\n\
         world                   i  i  i\n\
         node here               +  +  +\n\
         pods of y               i  i  i\n\
         pods of z               b  b  b\n\
         \n  \
           A   x/api-1 and 1 like it 8080/TCP\n  \
           B   x/api-1 and 1 like it 53/UDP\n  \
           C   x/client 80/TCP\n\
         \n  \
           +   allowed\n  \
           i   denied by ingress of the receiver\n  \
           b   denied by both\n  \
           .   the pod itself\n"
    );
    let asked = of(&cluster(&small()), Some("8080/TCP"));
    assert!(asked.columns.iter().all(|column| column.payload == "8080/TCP"));
    assert_eq!(asked.columns.len(), 2);
}

#[test]
fn a_replica_that_a_block_tells_from_the_others_is_a_row_of_its_own() {
    let mut documents = small();
    documents.push(ingress("y", json!([{"from": [{"ipBlock": {"cidr": "10.0.0.2/32"}}]}])));
    let rows: Vec<String> = of(&cluster(&documents), None).rows.into_iter().map(|row| row.name).collect();
    assert_eq!(rows[..3], ["x/api-1", "x/api-2", "x/client"]);
}

#[test]
fn a_namespace_without_pods_is_said_to_have_none() {
    let none = matrix(&cluster(&small()), "nobody\u{1b}", None, &mut |_| false);
    assert_eq!(none, Err(Unanswerable::NoPods("nobody\\u{1b}".into())));
}

#[test]
fn what_differs_is_marked() {
    let matrix = matrix(&cluster(&small()), "x", None, &mut |flow| flow.source == "x/client").unwrap();
    let text = matrix.to_string();
    assert!(text.contains("x/client                +! i! ."), "{text}");
    assert!(text.contains("!   the live tables differ"), "{text}");
}

#[test]
fn every_cell_is_what_is_explained_of_each_of_its_pods() {
    let mut compared = 0;
    for seed in 1..=16u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut objects = beginning(&mut dice);
        objects.extend((4..8).map(|i| random_policy(&mut dice, i)));
        let cluster = Cluster::new(&objects, HERE);
        let port = payload("80/TCP");
        for namespace in NAMESPACES {
            let Ok(matrix) = matrix(&cluster, namespace, Some(port), &mut |_| false) else { continue };
            for (row, cells) in matrix.rows.iter().map(|row| (row, &row.cells)) {
                for (column, cell) in matrix.columns.iter().zip(cells) {
                    // Every sender of the row is asked about every receiver of the column.
                    let senders = cluster.pods.iter().filter(|pod| row.pods.contains(&key_text(&pod.key)));
                    for sender in senders.filter(|_| !row.name.starts_with("pods of")) {
                        for receiver in
                            cluster.pods.iter().filter(|pod| column.pods.contains(&key_text(&pod.key)))
                        {
                            if receiver.key == sender.key {
                                continue;
                            }
                            let end = |pod: &crate::model::Pod| crate::why::End::Named(pod.key.clone());
                            let question =
                                Question { source: end(sender), destination: end(receiver), payload: port };
                            let outcome = explain(&cluster, &question).unwrap().outcome;
                            let expected = match cell.verdict {
                                CellVerdict::Allowed | CellVerdict::Itself => vec![Outcome::Allowed],
                                CellVerdict::Differs => vec![Outcome::Differs, Outcome::Denied],
                                CellVerdict::Nowhere => vec![Outcome::Nowhere],
                                _ => vec![Outcome::Denied],
                            };
                            assert!(expected.contains(&outcome), "{matrix} {question:?} {outcome}");
                            compared += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(compared > 500, "{compared}");
}

#[test]
fn many_namespaces_that_are_treated_alike_are_listed_below() {
    let mut documents = small();
    documents.extend((0..5).map(|n| pod(&format!("m{n}"), "a", json!({}), &[&format!("10.0.2.{n}")])));
    let text = of(&cluster(&documents), None).to_string();
    assert!(text.contains("pods of m0 and 5 other namespaces (6 pods)"), "{text}");
    assert!(text.contains("\n  pods of m0 and 5 other namespaces: m0, m1, m2, m3, m4, y\n"), "{text}");
}
