use netpol_policy::read::{Read, read_object};
use serde_json::{Value, json};

use super::{EndpointSlice, Kept, Namespace, NetworkPolicy, Node, Pod, Served, Service};

/// What is read of the picked fields is what is read of the whole.
fn reads_alike<S: Served>(object: &Value) {
    let kept: Kept<S> = serde_json::from_str(&object.to_string()).unwrap();
    let whole = read_object(S::KIND, object);
    assert_eq!(read_object(S::KIND, &kept.value), whole);
    assert!(matches!(whole, Read::Object { .. }), "{whole:?}");
}

#[test]
fn a_pod_is_read_as_from_its_whole() {
    let pod = json!({
        "metadata": {
            "name": "api-1", "namespace": "production", "uid": "u1", "resourceVersion": "7",
            "labels": {"app": "api", "tier": "1"},
            "annotations": {"kubernetes.io/config.mirror": "abc", "other": "x".repeat(1000)},
            "creationTimestamp": "2026-01-02T03:04:05Z", "deletionTimestamp": "2026-01-02T03:05:05Z",
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:metadata": {}}}],
        },
        "spec": {
            "nodeName": "node-1", "hostNetwork": false, "volumes": [{"name": "v"}],
            "containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "b"}],
                "ports": [{"name": "http", "containerPort": 8080, "hostPort": 1}]}],
            "initContainers": [{"name": "s", "restartPolicy": "Always",
                "ports": [{"name": "mesh", "containerPort": 15001, "protocol": "UDP"}]}],
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:06Z"}],
            "containerStatuses": [{"name": "c", "ready": true}],
        },
    });
    reads_alike::<Pod>(&pod);
    let kept: Kept<Pod> = serde_json::from_value(pod).unwrap();
    assert_eq!(kept.value.pointer("/metadata/managedFields"), None);
    assert_eq!(kept.value.pointer("/spec/containers/0/env"), None);
    assert_eq!(kept.value.pointer("/metadata/annotations/other"), None);
    assert_eq!(kept.meta.resource_version.as_deref(), Some("7"));
}

#[test]
fn the_other_kinds_are_read_as_from_their_wholes() {
    reads_alike::<Namespace>(&json!({
        "metadata": {"name": "a", "labels": {"x": "y"}, "annotations": {"netpol.io/source-prefixes": "10.0.0.0/8"}},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
    }));
    reads_alike::<Node>(&json!({
        "metadata": {"name": "node-1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}], "images": [{"names": ["i"]}]},
    }));
    reads_alike::<Service>(&json!({
        "metadata": {"name": "s", "namespace": "a"},
        "spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "externalIPs": ["192.0.2.9"], "selector": {"app": "x"},
            "internalTrafficPolicy": "Local",
            "ports": [{"name": "p", "port": 80, "targetPort": "http", "nodePort": 30080}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.77"}]}},
    }));
    reads_alike::<EndpointSlice>(&json!({
        "metadata": {"name": "s-1", "namespace": "a", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.7"], "conditions": {"ready": false, "serving": true, "terminating": true},
            "nodeName": "node-1", "targetRef": {"kind": "Pod", "name": "x"}}],
        "ports": [{"name": "p", "port": 8080, "protocol": "TCP"}],
    }));
    reads_alike::<NetworkPolicy>(&json!({
        "metadata": {"name": "p", "namespace": "a"},
        "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}, "somethingNew": 1}]}]},
    }));
}

#[test]
fn what_is_not_what_it_should_be_is_left_to_the_reader() {
    for metadata in [json!(7), json!("text"), json!([1, null]), json!(null)] {
        let object = json!({"metadata": metadata, "spec": true});
        let kept: Kept<Pod> = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(kept.value, object);
    }
}
