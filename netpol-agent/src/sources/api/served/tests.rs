use netpol_policy::read::{self, Read};
use serde_json::{Value, json};

use super::*;

fn read_object(kind: Kind, object: &Value) -> Read {
    read::read_object(kind, &object.into())
}

fn line(kind: Kind, text: &str) -> serde_json::Result<Line<'_>> {
    served(kind).line(text.as_bytes())
}

/// What is kept of an object that a watch tells of.
fn kept(kind: Kind, object: &Value) -> Value {
    match line(kind, &format!("{{\"type\":\"ADDED\",\"object\":{object}}}\n")) {
        Ok(Line::There(object)) => serde_json::to_value(object).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// What is read of the picked fields is what is read of the whole, in a watch and in a list.
fn reads_alike(kind: Kind, object: &Value) {
    let whole = read_object(kind, object);
    assert_eq!(read_object(kind, &kept(kind, object)), whole);
    let list = json!({"kind": "List", "metadata": {"resourceVersion": "9"}, "items": [object, object]});
    let list = list.to_string();
    let page = served(kind).page(list.as_bytes()).unwrap();
    assert_eq!((page.objects.len(), page.version.as_str(), page.rest), (2, "9", None));
    assert_eq!(read::read_object(kind, &page.objects[1]), whole);
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
                "ports": [{"name": "http", "containerPort": 8080, "hostPort": 80, "hostIP": "192.0.2.1"}]}],
            "initContainers": [{"name": "s", "restartPolicy": "Always",
                "ports": [{"name": "mesh", "containerPort": 15001, "protocol": "UDP"}]}],
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:06Z"}],
            "containerStatuses": [{"name": "c", "ready": true}],
        },
    });
    reads_alike(Kind::Pod, &pod);
    let kept = kept(Kind::Pod, &pod);
    assert_eq!(kept.pointer("/metadata/managedFields"), None);
    assert_eq!(kept.pointer("/spec/containers/0/env"), None);
    assert_eq!(kept.pointer("/metadata/annotations/other"), None);
    let kept = Document::from(&kept);
    assert_eq!((version(&kept), key(&kept)), (Some("7".to_owned()), Key::new("production", "api-1")));
}

#[test]
fn the_other_kinds_are_read_as_from_their_wholes() {
    reads_alike(
        Kind::Namespace,
        &json!({
            "metadata": {"name": "a", "labels": {"x": "y"}, "annotations":
                {"netpol.io/source-prefixes": "10.0.0.0/8", "netpol.io/break-glass": "true"}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        }),
    );
    reads_alike(
        Kind::Node,
        &json!({
            "metadata": {"name": "node-1", "annotations": {"netpol.io/break-glass": "true", "other": "x"}},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}], "images": [{"names": ["i"]}]},
        }),
    );
    reads_alike(
        Kind::Service,
        &json!({
            "metadata": {"name": "s", "namespace": "a"},
            "spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "externalIPs": ["192.0.2.9"], "selector": {"app": "x"},
                "internalTrafficPolicy": "Local",
                "ports": [{"name": "p", "port": 80, "targetPort": "http", "nodePort": 30080}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.77"}]}},
        }),
    );
    reads_alike(
        Kind::EndpointSlice,
        &json!({
            "metadata": {"name": "s-1", "namespace": "a", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.7"], "conditions": {"ready": false, "serving": true, "terminating": true},
                "nodeName": "node-1", "targetRef": {"kind": "Pod", "name": "x"}}],
            "ports": [{"name": "p", "port": 8080, "protocol": "TCP"}],
        }),
    );
    reads_alike(
        Kind::NetworkPolicy,
        &json!({
            "metadata": {"name": "p", "namespace": "a"},
            "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}, "somethingNew": 1}]}]},
        }),
    );
}

#[test]
fn what_is_not_what_it_should_be_is_left_to_the_reader() {
    for metadata in [json!(7), json!("text"), json!([1, null]), json!(null)] {
        let object = json!({"metadata": metadata, "spec": true});
        assert_eq!(kept(Kind::Pod, &object), object);
    }
}

#[test]
fn a_field_of_a_policy_that_a_newer_server_knows_is_seen() {
    let policy = json!({"metadata": {"name": "p", "namespace": "a"},
        "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}], "onlyOnSundays": true}], "newer": {}}});
    let read = read_object(Kind::NetworkPolicy, &kept(Kind::NetworkPolicy, &policy));
    let fields: Vec<&str> = read.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["spec.newer", "spec.ingress[0].onlyOnSundays"]);
}

#[test]
fn a_watch_says_what_is_gone_how_far_it_is_and_why_it_cannot_go_on() {
    let gone = line(
        Kind::Pod,
        r#"{"type":"DELETED","object":{"kind":"Pod","metadata":{"name":"x","namespace":"a","resourceVersion":"12"}}}"#,
    );
    let Ok(Line::Gone(object)) = gone else { panic!("{gone:?}") };
    assert_eq!((key(&object), version(&object)), (Key::new("a", "x"), Some("12".to_owned())));

    let bookmark = |annotations: &str, expected: Line<'_>| {
        let metadata = format!(r#"{{"resourceVersion":"13","creationTimestamp":null{annotations}}}"#);
        let object = format!(
            r#"{{"kind":"Pod","apiVersion":"v1","metadata":{metadata},"spec":{{"containers":null}}}}"#
        );
        let text = format!(r#"{{"type":"BOOKMARK","object":{object}}}"#);
        assert_eq!(line(Kind::Pod, &text).unwrap(), expected);
    };
    bookmark("", Line::UpTo("13".to_owned()));
    let end = r#","annotations":{"k8s.io/initial-events-end":"true"}"#;
    bookmark(end, Line::Listed("13".to_owned()));

    let error = line(
        Kind::Pod,
        r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
            "message":"too old resource version: 1 (7)","reason":"Expired","code":410}}"#,
    );
    assert_eq!(error.unwrap(), Line::Error(410, "too old resource version: 1 (7)".to_owned()));
}

#[test]
fn half_an_answer_and_what_is_none_is_an_error() {
    let whole = r#"{"type":"ADDED","object":{"metadata":{"name":"x"}}}"#;
    assert!(line(Kind::Pod, whole).is_ok());
    for end in [1, 10, 30, whole.len() - 1] {
        assert!(line(Kind::Pod, &whole[..end]).is_err(), "{end}");
    }
    for wrong in ["", "{}", "7", "{\"type\":\"NEWER\"}", "{\"type\":\"BOOKMARK\",\"object\":{}}"] {
        assert!(line(Kind::Pod, wrong).is_err(), "{wrong}");
    }
    fn page(text: &str) -> serde_json::Result<Page<'_>> {
        served(Kind::Pod).page(text.as_bytes())
    }
    let empty = page(r#"{"metadata":{"resourceVersion":"1"},"items":null}"#).unwrap();
    assert_eq!(empty.objects, []);
    for wrong in [r#"{"metadata":{},"items":[]}"#, r#"{"metadata":{"resourceVersion":"1"},"items":{}}"#, "[]"]
    {
        assert!(page(wrong).is_err(), "{wrong}");
    }
    let more = page(r#"{"metadata":{"resourceVersion":"1","continue":"next"},"items":[{}]}"#).unwrap();
    assert_eq!((more.rest.as_deref(), more.objects.len()), (Some("next"), 1));
}

#[test]
fn questions_ask_for_streams_pages_and_the_own_node() {
    let uri = |question: Question| question.unwrap().uri().to_string();
    let list = uri(watch_of(Kind::NetworkPolicy, None, None));
    assert!(list.starts_with("/apis/networking.k8s.io/v1/networkpolicies?"), "{list}");
    for part in [
        "watch=true",
        "sendInitialEvents=true",
        "resourceVersionMatch=NotOlderThan",
        "allowWatchBookmarks=true",
    ] {
        assert!(list.contains(part), "{list}");
    }
    // As new as when it is asked: a version would allow what the server has in memory, however old.
    assert!(list.ends_with("resourceVersion="), "{list}");
    let on = uri(watch_of(Kind::Node, Some("metadata.name=n1"), Some("17")));
    assert!(on.starts_with("/api/v1/nodes?") && on.contains("fieldSelector=metadata.name%3Dn1"), "{on}");
    assert!(on.ends_with("resourceVersion=17") && !on.contains("sendInitialEvents"), "{on}");
    let page = uri(page_of(Kind::Pod, None, Some("a+b=")));
    assert!(page.contains("limit=500") && page.contains("continue=a%2Bb%3D"), "{page}");
    assert!(!page.contains("resourceVersion"), "{page}");
}
