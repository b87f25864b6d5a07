//! The cases of a published suite, when they lie beside the project (see their README): each policy is read as a
//! manifest, and each probe asked of the evaluator.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    model::{Object, Protocol},
    read::{Read, read_document},
    spec::{Cluster, Payload, Sender, Traffic, Verdict},
    why::{End, Question, explain},
};

/// The variable that names the folder with the cases.
const FOLDER: &str = "NETPOL_CONFORMANCE";

fn cases() -> Option<Value> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/conformance");
    let folder = std::env::var_os(FOLDER).map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let text = std::fs::read_to_string(folder.join("cyclonus-cases.json")).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

fn object(document: &Value) -> Object {
    match read_document(document).remove(0) {
        Read::Object { object, problems } => {
            assert_eq!(problems, [], "{document}");
            object
        }
        other => panic!("{other:?}"),
    }
}

/// The state of a step as objects; its policies are those of the actions so far.
fn objects(state: &Value, policies: &[Value]) -> Vec<Object> {
    let mut objects: Vec<Object> = policies.iter().map(object).collect();
    for (name, labels) in state["namespaces"].as_object().unwrap() {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        objects.push(object(&namespace));
    }
    for pod in state["pods"].as_array().unwrap() {
        let port = |one: &Value| {
            json!({"name": one["name"], "ports": [
                {"containerPort": one["port"], "name": one["portName"], "protocol": one["protocol"]}]})
        };
        let containers: Vec<Value> = pod["containers"].as_array().unwrap().iter().map(port).collect();
        objects.push(object(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": pod["namespace"], "name": pod["name"], "labels": pod["labels"]},
            "spec": {"containers": containers, "nodeName": "elsewhere"},
            "status": {"podIPs": [{"ip": pod["ip"]}]},
        })));
    }
    objects
}

fn apply(action: &Value, policies: &mut Vec<Value>) {
    let same = |policy: &Value| {
        policy["metadata"]["name"] == action["name"] && policy["metadata"]["namespace"] == action["namespace"]
    };
    match action["type"].as_str().unwrap() {
        "createPolicy" | "updatePolicy" => {
            policies.retain(|policy| !same(policy));
            policies.push(action["policy"].clone());
        }
        "deletePolicy" => policies.retain(|policy| !same(policy)),
        "deleteNamespace" => policies.retain(|policy| policy["metadata"]["namespace"] != action["namespace"]),
        // The state after the step says what became of pods and namespaces.
        "createNamespace" | "createPod" | "deletePod" | "setPodLabels" | "setNamespaceLabels" => {}
        other => panic!("{other}"),
    }
}

fn payload(name: &str) -> Payload {
    let (protocol, port) = name.split_once('/').unwrap();
    let protocol = Protocol::ALL.into_iter().find(|one| one.name() == protocol).unwrap();
    Payload::Port(protocol, port.parse().unwrap())
}

/// One port of each step is explained too, which takes longer than judging it.
const EXPLAINED: &str = "UDP/81";

fn explained(cluster: &Cluster, traffic: &Traffic, verdict: Verdict) {
    let Traffic { src, dst, payload } = *traffic;
    let question = Question { source: End::Address(src.address()), destination: End::Address(dst), payload };
    let flow = explain(cluster, &question).unwrap().flows.remove(0);
    assert_eq!((flow.egress.allows(), flow.ingress.allows()), (verdict.egress, verdict.ingress), "{flow:?}");
}

#[test]
fn every_probe_of_the_published_suite_is_answered_as_its_oracle_expects() {
    let Some(suite) = cases() else {
        println!("NOT RUN: there are no conformance cases beside the project, and {FOLDER} names none");
        return;
    };
    let (mut probes, mut steps, mut blocked) = (0, 0, 0);
    for case in suite["cases"].as_array().unwrap() {
        let mut policies = Vec::new();
        for step in case["steps"].as_array().unwrap() {
            for action in step["actions"].as_array().unwrap() {
                apply(action, &mut policies);
            }
            let cluster = Cluster::new(&objects(&step["state"], &policies), "here");
            let order: Vec<&str> =
                step["order"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
            let address = |key: &str| {
                let pods = step["state"]["pods"].as_array().unwrap();
                let pod = pods.iter().find(|pod| pod["key"] == key).unwrap();
                pod["ip"].as_str().unwrap().parse().unwrap()
            };
            for (name, rows) in step["matrix"].as_object().unwrap() {
                for (source, row) in order.iter().zip(rows.as_array().unwrap()) {
                    for (destination, expected) in order.iter().zip(row.as_str().unwrap().chars()) {
                        if source == destination {
                            continue;
                        }
                        let src = Sender::Address(address(source));
                        let traffic = Traffic { src, dst: address(destination), payload: payload(name) };
                        let verdict = cluster.allows(&traffic);
                        if name == EXPLAINED {
                            explained(&cluster, &traffic, verdict);
                        }
                        let wanted = match expected {
                            '.' => Verdict { egress: true, ingress: true },
                            'i' => Verdict { egress: true, ingress: false },
                            'e' => Verdict { egress: false, ingress: true },
                            'b' => Verdict { egress: false, ingress: false },
                            other => panic!("{other}"),
                        };
                        assert_eq!(verdict, wanted, "case {}: {source} to {destination} {name}", case["id"]);
                        probes += 1;
                        blocked += usize::from(!verdict.passes());
                    }
                }
            }
            steps += 1;
        }
    }
    println!("{probes} probes of {steps} steps, {blocked} of them blocked");
    assert_ne!(probes, 0, "a suite that ran nothing fails");
}
