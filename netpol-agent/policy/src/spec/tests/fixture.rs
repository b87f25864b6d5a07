//! Small clusters as manifests, and questions to them in one line.

use serde_json::{Value, json};

use crate::{
    model::{Object, Protocol},
    read::{Read, read_document},
    spec::{Cluster, Payload, Sender, Traffic, Verdict},
};

/// The node of every pod that does not say another.
pub(crate) const NODE: &str = "here";

pub(crate) const ALLOWED: Verdict = Verdict { egress: true, ingress: true };
pub(crate) const NO_INGRESS: Verdict = Verdict { egress: true, ingress: false };
pub(crate) const NO_EGRESS: Verdict = Verdict { egress: false, ingress: true };

pub(crate) fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

pub(crate) fn pod(namespace: &str, name: &str, labels: Value, addresses: &[&str]) -> Value {
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"nodeName": NODE, "containers": []},
        "status": {"phase": "Running", "podIPs": ips},
    })
}

/// The same pod with something else in one place of its manifest.
pub(crate) fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[field] = value;
    document
}

/// The same pod with named ports, each as `name=8080/TCP`.
pub(crate) fn with_ports(document: Value, ports: &[&str]) -> Value {
    let port = |text: &&str| {
        let (name, port) = text.split_once('=').unwrap();
        let (number, protocol) = port.split_once('/').unwrap();
        json!({"name": name, "containerPort": number.parse::<u16>().unwrap(), "protocol": protocol})
    };
    let ports: Vec<Value> = ports.iter().map(port).collect();
    with(document, "/spec/containers", json!([{"name": "main", "ports": ports}]))
}

pub(crate) fn policy(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    })
}

/// A policy that selects all pods of its namespace and has these ingress rules.
pub(crate) fn ingress(namespace: &str, rules: Value) -> Value {
    policy(namespace, "ingress", json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules}))
}

/// A policy that selects all pods of its namespace and has these egress rules.
pub(crate) fn egress(namespace: &str, rules: Value) -> Value {
    policy(namespace, "egress", json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": rules}))
}

/// A policy that selects all pods of its namespace and allows them nothing in either direction.
pub(crate) fn deny_all(namespace: &str) -> Value {
    policy(namespace, "deny-all", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))
}

/// The objects of documents, whatever problems they have.
pub(crate) fn objects(documents: &[Value]) -> Vec<Object> {
    let one = |read: Read| match read {
        Read::Object { object, .. } => object,
        Read::SelectorUnreadable { policy, .. } => Object::Policy(policy),
        other => panic!("{other:?}"),
    };
    documents.iter().flat_map(read_document).map(one).collect()
}

pub(crate) fn cluster(documents: &[Value]) -> Cluster {
    Cluster::new(&objects(documents), NODE)
}

/// `80/TCP`, or the number of another protocol.
pub(crate) fn payload(text: &str) -> Payload {
    match text.split_once('/') {
        Some((port, protocol)) => {
            let protocol = Protocol::ALL.into_iter().find(|one| one.name() == protocol).unwrap();
            Payload::Port(protocol, port.parse().unwrap())
        }
        None => Payload::Other(text.parse().unwrap()),
    }
}

/// From an address, or from an address of the node as `node 10.0.0.1`.
pub(crate) fn traffic(src: &str, dst: &str, what: &str) -> Traffic {
    let src = match src.strip_prefix("node ") {
        Some(address) => Sender::Node(address.parse().unwrap()),
        None => Sender::Address(src.parse().unwrap()),
    };
    Traffic { src, dst: dst.parse().unwrap(), payload: payload(what) }
}

pub(crate) fn ask(cluster: &Cluster, src: &str, dst: &str, what: &str) -> Verdict {
    cluster.allows(&traffic(src, dst, what))
}
