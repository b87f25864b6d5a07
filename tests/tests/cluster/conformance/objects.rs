//! The suite's objects, as a real cluster takes them.

use std::net::IpAddr;

use netpol_tests::conformance::PlacedPod;
use serde_json::{Value, json};

/// The label by which a pod's own Service knows it; no policy speaks of it.
const OWN: &str = "probed-as";
/// What the suite's policies with blocks speak of: where it expects the pods of y and z.
const BLOCK: &str = "10.244.2.0/24";
/// Those that are taken out of the block, where some are.
pub(super) const EXCEPTED: [&str; 2] = ["z/b", "z/c"];

/// A pod with a prober on a node, and its Service.
pub(super) fn of_pod(placed: &PlacedPod, node: &str) -> [Value; 2] {
    let (namespace, name, key) = (&placed.spec.namespace, &placed.spec.name, placed.key());
    let own = key.replace('/', "-");
    let mut labels: serde_json::Map<_, _> =
        placed.spec.labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    labels.insert(OWN.to_owned(), own.clone().into());
    let ports: Vec<Value> = placed
        .spec
        .ports
        .iter()
        .map(|(name, protocol, port)| json!({"name": name, "protocol": protocol, "containerPort": port}))
        .collect();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "prober",
                "image": "localhost/netpol-test:1",
                "command": ["/prober", "serve", "--name", key, "--tcp", "80,81", "--udp", "80,81"],
                "ports": ports,
            }],
        },
    });
    let ports = [("tcp", 80), ("tcp", 81), ("udp", 80), ("udp", 81)].map(|(protocol, port)| {
        let name = format!("{protocol}-{port}");
        json!({"name": name, "protocol": protocol.to_uppercase(), "port": port, "targetPort": port})
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": service_of(namespace, name)},
        "spec": {"ipFamilyPolicy": "PreferDualStack", "selector": {OWN: own}, "ports": ports},
    });
    [pod, service]
}

/// The name of a pod's Service.
pub(super) fn service_of(namespace: &str, name: &str) -> String {
    format!("s-{namespace}-{name}")
}

/// A policy that selects nobody. Written after all others, it tells by its version when they have been heard.
pub(super) fn marker(namespace: &str, turn: u64) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": "marker", "annotations": {"turn": turn.to_string()}},
        "spec": {"podSelector": {"matchLabels": {"nobody": "has-it"}}},
    })
}

/// Whether a document has the suite's block.
pub(super) fn has_block(document: &Value) -> bool {
    document.to_string().contains(BLOCK)
}

/// Replaces the suite's block by one that has the same pods here, wherever it stands. `excepted` are those addresses of
/// it that are taken out where the suite takes some out.
pub(super) fn replace_blocks(value: &mut Value, block: &str, excepted: &[IpAddr]) {
    match value {
        Value::Object(fields) => {
            if fields.get("cidr").is_some_and(|cidr| cidr == BLOCK) {
                fields.insert("cidr".to_owned(), block.into());
                if let Some(except) = fields.get_mut("except") {
                    *except = excepted.iter().map(|address| format!("{address}/32")).collect();
                }
            }
            fields.values_mut().for_each(|field| replace_blocks(field, block, excepted));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace_blocks(item, block, excepted)),
        _ => {}
    }
}

/// Kind, namespace and name.
pub(super) fn id(document: &Value) -> [&str; 3] {
    let metadata = &document["metadata"];
    [&document["kind"], &metadata["namespace"], &metadata["name"]].map(|one| one.as_str().unwrap_or_default())
}
