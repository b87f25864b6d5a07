//! Pods.

use serde_json::{Value, json};

use crate::{
    model::{HostPort, Object, Pod, Problem, Protocol},
    read::{Read, read_document},
};

fn pod(spec: Value, status: Value) -> (Pod, Vec<Problem>) {
    let document = json!({"apiVersion": "v1", "kind": "Pod",
                          "metadata": {"name": "a", "creationTimestamp": "1970-01-02T00:00:00Z"},
                          "spec": spec, "status": status});
    match read_document(&document).remove(0) {
        Read::Object { object: Object::Pod(pod), problems } => (pod, problems),
        other => panic!("{other:?}"),
    }
}

#[test]
fn row_39_every_entry_of_pod_ips_counts_once() {
    let status = json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "::ffff:10.0.0.1"}]});
    let (pod, problems) = pod(json!({}), status);
    assert_eq!(pod.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1", "fd00::1"]);
    assert!(problems.is_empty());
}

#[test]
fn row_50_addresses_that_no_pod_can_have_are_reported_and_left_out() {
    for bad in [
        "169.254.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "127.0.0.1",
        "0.0.0.0",
        "fe80::1",
        "ff02::1",
        "::1",
        "::",
        "x",
    ] {
        let (pod, problems) = pod(json!({}), json!({"podIPs": [{"ip": bad}, {"ip": "10.0.0.1"}]}));
        assert_eq!(pod.addresses.len(), 1, "{bad}");
        assert_eq!(problems[0].field, "status.podIPs[0].ip");
    }
}

#[test]
fn row_37_succeeded_and_failed_pods_are_finished() {
    for (phase, finished) in
        [("Running", false), ("Pending", false), ("Unknown", false), ("Succeeded", true), ("Failed", true)]
    {
        assert_eq!(pod(json!({}), json!({"phase": phase})).0.finished, finished, "{phase}");
    }
}

#[test]
fn row_38_a_deletion_timestamp_makes_it_terminating() {
    let document = json!({"apiVersion": "v1", "kind": "Pod",
                          "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let [Read::Object { object: Object::Pod(pod), .. }] = &read_document(&document)[..] else { panic!() };
    assert!(pod.terminating && pod.counts());
}

#[test]
fn the_mirror_of_a_static_pod_is_known_by_the_static_pods_uid_too() {
    let document = |annotations: Value| {
        json!({"apiVersion": "v1", "kind": "Pod",
                          "metadata": {"name": "a", "uid": "u1", "annotations": annotations}})
    };
    let read = |annotations| {
        let [Read::Object { object: Object::Pod(pod), .. }] = &read_document(&document(annotations))[..]
        else {
            panic!()
        };
        pod.clone()
    };
    let mirror = read(json!({"kubernetes.io/config.mirror": "f3c0", "kubernetes.io/config.hash": "f3c0"}));
    assert!(mirror.has_uid("u1") && mirror.has_uid("f3c0") && mirror.has_uid("") && !mirror.has_uid("f3c1"));
    let other = read(json!({"kubernetes.io/config.hash": "f3c0"}));
    assert!(other.has_uid("u1") && !other.has_uid("f3c0"), "only a mirror stands for another pod");
}

#[test]
fn readiness_is_the_condition_or_what_a_manifest_leaves_open() {
    let condition =
        |status: &str| json!({"phase": "Running", "conditions": [{"type": "Ready", "status": status}]});
    for (status, ready) in [
        (json!(null), true),
        (json!({"phase": "Running"}), true),
        (json!({"phase": "Pending"}), false),
        (condition("True"), true),
        (condition("False"), false),
        (condition("Unknown"), false),
    ] {
        assert_eq!(pod(json!({}), status.clone()).0.ready, ready, "{status}");
    }
}

#[test]
fn row_22_named_ports_are_those_of_containers_and_of_init_containers_that_go_on() {
    let ports = |name: &str, number: u16| json!([{"name": name, "containerPort": number}]);
    let spec = json!({
        "containers": [
            {"ports": [{"containerPort": 1}, {"name": "web", "containerPort": 80},
                       {"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
            {"ports": [{"name": "bad", "containerPort": 0}, {"name": "odd", "containerPort": 1, "protocol": "tcp"}]},
        ],
        "initContainers": [
            {"ports": ports("once", 2)},
            {"restartPolicy": "Always", "ports": ports("side", 3)},
        ],
        "ephemeralContainers": [{"ports": ports("debug", 4)}],
    });
    let (pod, problems) = pod(spec, json!({}));
    assert_eq!(pod.named_ports.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["dns", "side", "web"]);
    let fields: Vec<&str> = problems.iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["spec.containers[1].ports[0].containerPort", "spec.containers[1].ports[1].protocol"]);
}

#[test]
fn the_time_of_creation_is_in_seconds() {
    assert_eq!(pod(json!({}), json!({})).0.created, 86_400);
}

#[test]
fn ports_of_the_host_are_those_of_pods_that_are_not_on_its_network() {
    let pod = |on_host: bool| {
        let read = read_document(
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
            "hostNetwork": on_host, "containers": [{"ports": [
                {"containerPort": 80, "hostPort": 8080}, {"containerPort": 53, "hostPort": 5353, "protocol": "UDP",
                "hostIP": "172.16.0.1"}, {"containerPort": 81}, {"containerPort": 82, "hostPort": 82, "hostIP": "::"},
                {"containerPort": 83, "hostPort": 83, "hostIP": "here"}]}]}}),
        );
        let [Read::Object { object: Object::Pod(pod), problems }] = &read[..] else { panic!() };
        (pod.host_ports.clone(), problems.len())
    };
    let port = |address: Option<&str>, protocol, port, target| HostPort {
        address: address.map(|text| text.parse().unwrap()),
        protocol,
        port,
        target,
    };
    let all = [
        port(None, Protocol::Tcp, 82, 82),
        port(None, Protocol::Tcp, 8080, 80),
        port(Some("172.16.0.1"), Protocol::Udp, 5353, 53),
    ];
    assert_eq!(pod(false), (all.to_vec(), 1));
    assert_eq!(pod(true), (Vec::new(), 0));
}
