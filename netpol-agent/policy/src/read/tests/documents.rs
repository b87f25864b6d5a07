//! Documents, lists and kinds.

use serde_json::{Value, json};

use crate::{
    model::{Key, Kind, Object, Problem},
    read::{Document, Read, read_document, read_object},
};

fn names(document: Value) -> Vec<String> {
    let name = |read: Read| match read {
        Read::Object { object, .. } => format!("{} {}", object.kind().name(), object.key()),
        Read::SelectorUnreadable { policy, .. } => format!("selector of {}", policy.key),
        Read::Template { pod, .. } => format!("template {}", pod.key),
        Read::Skipped { kind } => format!("skipped {kind}"),
        Read::Unreadable { problems } => format!("unreadable {}", problems.len()),
    };
    read_document(&document).into_iter().map(name).collect()
}

#[test]
fn a_list_as_kubectl_prints_it_is_read_item_by_item() {
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "x"}},
        {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}]},
    ]});
    assert_eq!(names(list), ["Namespace x", "skipped ConfigMap", "unreadable 1", "Service x/s", "Node n"]);
}

#[test]
fn the_items_of_a_typed_list_have_its_kind() {
    let items = json!([{"metadata": {"name": "a", "namespace": "x"}}, {"metadata": {"name": "b"}}]);
    let pods = json!({"apiVersion": "v1", "kind": "PodList", "items": items});
    assert_eq!(names(pods), ["Pod x/a", "Pod default/b"]);
    let policies = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "items": items});
    assert_eq!(names(policies), ["NetworkPolicy x/a", "NetworkPolicy default/b"]);
}

#[test]
fn other_kinds_and_the_same_names_of_other_groups_are_skipped() {
    for (version, kind) in [
        ("v1", "Secret"),
        ("crd.projectcalico.org/v1", "NetworkPolicy"),
        ("projectcalico.org/v3", "NetworkPolicy"),
        ("serving.knative.dev/v1", "Service"),
        ("example.org/v1", "Deployment"),
        ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
    ] {
        let document =
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": {"template": {}}});
        assert_eq!(names(document), [format!("skipped {kind}")], "{version}");
    }
}

#[test]
fn what_is_no_object_is_named_and_nothing_else() {
    assert_eq!(read_document(&Value::Null), []);
    for document in [json!("text"), json!([1]), json!(1), json!({}), json!({"kind": 5})] {
        assert_eq!(names(document), ["unreadable 1"]);
    }
}

#[test]
fn a_workload_is_the_pods_that_it_will_have() {
    let template = json!({
        "metadata": {"labels": {"app": "api"}},
        "spec": {"containers": [{"name": "main", "ports": [{"name": "web", "containerPort": 8080}]}]},
    });
    for (version, kind) in
        [("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("apps/v1", "DaemonSet"), ("batch/v1", "Job")]
    {
        let document = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "api", "namespace": "x"},
                              "spec": {"template": template}});
        let [Read::Template { pod, problems }] = &read_document(&document)[..] else { panic!("{document}") };
        assert_eq!(pod.key, Key::new("x", &format!("{}/api", kind.to_lowercase())));
        assert_eq!(pod.labels.get("app").map(String::as_str), Some("api"));
        assert_eq!((&*pod.named_ports[0].name, pod.named_ports[0].port), ("web", 8080));
        assert!(pod.addresses.is_empty() && problems.is_empty());
    }
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "sweep"},
                      "spec": {"jobTemplate": {"spec": {"template": template}}}});
    assert_eq!(names(cron), ["template default/cronjob/sweep"]);
}

#[test]
fn an_object_of_a_watch_needs_no_kind() {
    let read = read_object(Kind::Namespace, &Document::from(&json!({"metadata": {"name": "x"}})));
    assert!(matches!(read, Read::Object { object: Object::Namespace(_), .. }));
}

#[test]
fn row_49_an_object_without_namespace_is_in_default_and_a_namespace_has_its_label() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": ""}});
    assert_eq!(names(pod), ["Pod default/a"]);
    let document = json!({"apiVersion": "v1", "kind": "Namespace",
                          "metadata": {"name": "x", "namespace": "odd", "labels": null}});
    let [Read::Object { object: Object::Namespace(namespace), problems }] = &read_document(&document)[..]
    else {
        panic!()
    };
    assert_eq!(namespace.labels["kubernetes.io/metadata.name"], "x");
    assert!(problems.is_empty());
}

#[test]
fn a_break_glass_switch_that_cannot_be_read_switches_nothing_and_is_reported() {
    let read = |kind: &str, value: Value| {
        let annotations = json!({"netpol.io/break-glass": value});
        let document =
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "annotations": annotations}});
        match &read_document(&document)[..] {
            [Read::Object { object: Object::Namespace(one), problems }] => {
                (one.break_glass, problems.clone())
            }
            [Read::Object { object: Object::Node(one), problems }] => (one.break_glass, problems.clone()),
            other => panic!("{other:?}"),
        }
    };
    for kind in ["Namespace", "Node"] {
        assert_eq!(read(kind, json!("true")), (true, vec![]));
        assert_eq!(read(kind, json!("false")), (false, vec![]));
        assert_eq!(read(kind, Value::Null), (false, vec![]));
        for wrong in [json!(true), json!("True"), json!("yes"), json!(""), json!(["true"])] {
            let (switched, problems) = read(kind, wrong.clone());
            assert!(!switched, "{wrong}");
            let [Problem { object, field, message, remedy, .. }] = &problems[..] else {
                panic!("{problems:?}")
            };
            assert_eq!((&*object.name, &**field), ("x", "metadata.annotations.netpol.io/break-glass"));
            assert!(
                message.contains("policies stay in force") && remedy.contains("\"true\""),
                "{message} {remedy}"
            );
        }
    }
}

#[test]
fn a_namespace_names_source_prefixes_and_bad_ones_are_reported() {
    let document = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vpn", "annotations":
        {"netpol.io/source-prefixes": "10.8.0.0/16, fd08::/64 192.0.2.1,nonsense"}}});
    let [Read::Object { object: Object::Namespace(namespace), problems }] = &read_document(&document)[..]
    else {
        panic!()
    };
    let prefixes: Vec<String> = namespace.source_prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.8.0.0/16", "192.0.2.1/32", "fd08::/64"]);
    assert_eq!(
        problems[..],
        [Problem {
            kind: "Namespace".into(),
            object: Key::new("", "vpn"),
            field: "metadata.annotations.netpol.io/source-prefixes".into(),
            message: "\"nonsense\" is no CIDR: pods may not speak with it".into(),
            remedy: "write CIDRs with commas between them".into(),
        }]
    );
}

#[test]
fn a_label_that_yaml_made_a_number_counts_as_its_text() {
    let document = json!({"apiVersion": "v1", "kind": "Pod",
                          "metadata": {"name": "a", "labels": {"version": 2, "on": true}}});
    let [Read::Object { object: Object::Pod(pod), problems }] = &read_document(&document)[..] else {
        panic!()
    };
    assert_eq!((&*pod.labels["version"], &*pod.labels["on"]), ("2", "true"));
    assert_eq!(problems.len(), 2);
}

#[test]
fn services_and_slices_are_read_with_their_defaults() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {
        "clusterIP": "None", "selector": {}, "ports": [{"port": 80}, {"port": 81, "targetPort": "web", "protocol": "UDP"},
        {"port": "bad"}]}});
    let [Read::Object { object: Object::Service(service), problems }] = &read_document(&service)[..] else {
        panic!()
    };
    assert!(service.cluster_ips.is_empty() && service.selector.is_none());
    assert_eq!(service.ports.len(), 2);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].field, "spec.ports[2].port");

    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}],
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}, {"name": "any", "port": null}]});
    let [Read::Object { object: Object::EndpointSlice(slice), problems }] = &read_document(&slice)[..] else {
        panic!()
    };
    assert_eq!(&*slice.service, "s");
    assert_eq!(
        slice.endpoints.iter().map(|one| (one.ready, one.serving)).collect::<Vec<_>>(),
        [(true, true), (false, true)]
    );
    assert_eq!(slice.ports.len(), 1);
    assert!(problems.is_empty());
}
