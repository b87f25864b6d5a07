//! The Services of a large cluster with the slices that say what is behind each, as the controllers write them.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{NAMESPACES, NODES, address, app, fields_of, namespace, pod_name, uid};

/// Services; each has one port and one slice.
const SERVICES: u32 = 1000;
/// Pods behind each: together they are as many as the pods of the smaller cluster.
const ENDPOINTS: u32 = 10;
/// The first one's address, within the range that the laboratory's API server has.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 96, 4, 1);

/// All of them.
pub(super) fn all() -> impl Iterator<Item = Value> {
    (0..SERVICES).flat_map(|number| [service(number), slice(number)])
}

/// The pods behind a Service: those of its namespace, in turn.
fn pods(service: u32) -> impl Iterator<Item = u32> {
    let (turn, namespace) = (service / NAMESPACES, service % NAMESPACES);
    (0..ENDPOINTS).map(move |number| namespace + NAMESPACES * (turn * ENDPOINTS + number))
}

fn name(number: u32) -> String {
    format!("service-{number:04}")
}

fn service(number: u32) -> Value {
    let address = Ipv4Addr::from_bits(FIRST.to_bits() + number);
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": namespace(number % NAMESPACES),
            "name": name(number),
            "uid": uid(5, number),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": app(number)},
            "managedFields": [fields_of("kubectl", &json!({"f:spec": {"f:ports": {}, "f:selector": {}}}))],
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "selector": {"app": app(number)},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"}],
        },
        "status": {"loadBalancer": {}},
    })
}

fn slice(number: u32) -> Value {
    let space = namespace(number % NAMESPACES);
    let endpoints = pods(number).map(|pod| {
        json!({
            "addresses": [address(pod)],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": format!("node-{}", 100 + pod % NODES),
            "targetRef": {"kind": "Pod", "namespace": space, "name": pod_name(pod), "uid": uid(3, pod)},
            "zone": "zone-a",
        })
    });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": space,
            "name": format!("{}-x7k2p", name(number)),
            "generateName": format!("{}-", name(number)),
            "uid": uid(6, number),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {
                "kubernetes.io/service-name": name(number),
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": name(number), "uid": uid(5, number),
                "controller": true, "blockOwnerDeletion": true,
            }],
            "managedFields": [fields_of(
                "kube-controller-manager",
                &json!({"f:addressType": {}, "f:endpoints": {}, "f:ports": {}}),
            )],
        },
        "addressType": "IPv4",
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    })
}
