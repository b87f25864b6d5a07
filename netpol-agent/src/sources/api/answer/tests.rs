use netpol_policy::read::{self, Read};
use serde_json::{Value, json};

use super::*;
use crate::sources::api::kept::encoded::{map, number, packed, text};

fn read_object(kind: Kind, object: &Value) -> Read {
    read::read_object(kind, &object.into())
}

fn line(kind: Kind, text: &str) -> Result<Line<'_>, Unreadable> {
    Line::read(kind, Form::Json, text.as_bytes())
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
    let page = Page::read(kind, Form::Json, list.as_bytes()).unwrap();
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
    let page = |text| Page::read(Kind::Pod, Form::Json, text);
    let empty = page(br#"{"metadata":{"resourceVersion":"1"},"items":null}"#).unwrap();
    assert_eq!(empty.objects, []);
    for wrong in [r#"{"metadata":{},"items":[]}"#, r#"{"metadata":{"resourceVersion":"1"},"items":{}}"#, "[]"]
    {
        assert!(page(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let more = page(br#"{"metadata":{"resourceVersion":"1","continue":"next"},"items":[{}]}"#).unwrap();
    assert_eq!((more.rest.as_deref(), more.objects.len()), (Some("next"), 1));
}

/// An event of a watch: an object is in its envelope there.
fn event(word: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    [text(1, word), packed(2, &[packed(1, &[envelope(kind, object)])])].concat()
}

fn envelope(kind: &str, object: &[u8]) -> Vec<u8> {
    let type_meta = packed(1, &[text(1, "v1"), text(2, kind)]);
    // What says how the rest is encoded is empty.
    [b"k8s\0".to_vec(), type_meta, packed(2, &[object.to_vec()]), text(3, ""), text(4, "")].concat()
}

fn pod(name: &str, version: &str, annotations: &[(&str, &str)]) -> Vec<u8> {
    packed(1, &[text(1, name), text(3, "a"), text(6, version), map(12, annotations)])
}

fn read(event: &[u8]) -> Result<Line<'_>, Unreadable> {
    Line::read(Kind::Pod, Form::Protobuf, event)
}

#[test]
fn a_watch_says_the_same_in_protobuf() {
    let named = json!({"metadata": {"name": "x", "namespace": "a", "resourceVersion": "12"}});
    let object = pod("x", "12", &[]);
    for (word, expected) in [
        ("ADDED", Line::There(Document::from(&named))),
        ("MODIFIED", Line::There(Document::from(&named))),
        ("DELETED", Line::Gone(Document::from(&named))),
        ("BOOKMARK", Line::UpTo("12".to_owned())),
    ] {
        assert_eq!(read(&event(word, "Pod", &object)).unwrap(), expected, "{word}");
    }
    let end = event("BOOKMARK", "Pod", &pod("", "13", &[("k8s.io/initial-events-end", "true")]));
    assert_eq!(read(&end).unwrap(), Line::Listed("13".to_owned()));
    let status = [
        packed(1, &[text(2, "")]),
        text(2, "Failure"),
        text(3, "too old resource version: 1 (7)"),
        text(4, "Expired"),
        number(6, 410),
    ];
    let error = event("ERROR", "Status", &status.concat());
    assert_eq!(read(&error).unwrap(), Line::Error(410, "too old resource version: 1 (7)".to_owned()));
}

#[test]
fn half_an_event_in_protobuf_is_an_error_wherever_it_ends() {
    let whole = event("ADDED", "Pod", &pod("x", "12", &[("netpol.io/break-glass", "true")]));
    assert!(read(&whole).is_ok());
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "{end}");
    }
}

#[test]
fn what_is_not_what_was_asked_for_is_said() {
    let says = |event: &[u8]| read(event).unwrap_err().to_string();
    assert_eq!(
        says(&event("ADDED", "Service", &pod("x", "1", &[]))),
        "an object in protobuf is of the kind \"Service\", not \"Pod\""
    );
    assert_eq!(
        says(&event("ERROR", "Pod", &pod("x", "1", &[]))),
        "an object in protobuf is of the kind \"Pod\", not \"Status\""
    );
    let bare = [text(1, "ADDED"), packed(2, &[packed(1, &[pod("x", "1", &[])])])].concat();
    assert_eq!(says(&bare), "an object in protobuf does not begin with the bytes that say so");
    assert_eq!(says(&event("NEWER", "Pod", &[])), "an event has the type \"NEWER\"");
    assert_eq!(says(&event("BOOKMARK", "Pod", &[])), "a bookmark has no version");
    // Of these the numbers of fields are not known.
    let service = event("ADDED", "Service", &packed(2, &[text(3, "10.96.0.1")]));
    let read = Line::read(Kind::Service, Form::Protobuf, &service);
    assert_eq!(
        read.unwrap_err().to_string(),
        "the API server answers in protobuf, in which services were not asked for"
    );
}

#[test]
fn a_page_in_protobuf_is_read() {
    let list = |metadata: &[Vec<u8>], items: &[Vec<u8>]| {
        let items = items.iter().map(|item| packed(2, std::slice::from_ref(item)));
        let list: Vec<Vec<u8>> = [packed(1, metadata)].into_iter().chain(items).collect();
        envelope("PodList", &list.concat())
    };
    let read = |page| Page::read(Kind::Pod, Form::Protobuf, page);
    let page = list(&[text(2, "9"), text(3, "next")], &[pod("x", "1", &[]), pod("y", "2", &[])]);
    let two = read(&page).unwrap();
    let names: Vec<Key> = two.objects.iter().map(key).collect();
    assert_eq!(names, [Key::new("a", "x"), Key::new("a", "y")]);
    assert_eq!((two.version.as_str(), two.rest.as_deref()), ("9", Some("next")));
    let page = list(&[text(2, "9"), text(3, "")], &[]);
    assert_eq!(read(&page).unwrap(), Page { objects: Vec::new(), rest: None, version: "9".to_owned() });
    let unversioned = list(&[], &[]);
    assert_eq!(read(&unversioned).unwrap_err().to_string(), "a list has no version");
    for end in 0..page.len() - 4 {
        assert!(read(&page[..end]).is_err(), "{end}");
    }
}

#[test]
fn a_refusal_says_the_same_in_both_encodings() {
    let status = [text(3, "slowly"), text(4, "TooManyRequests"), packed(5, &[number(5, 7)]), number(6, 429)];
    let json = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "slowly",
        "reason": "TooManyRequests", "details": {"retryAfterSeconds": 7}, "code": 429});
    let both = [
        refusal(Form::Protobuf, 429, &envelope("Status", &status.concat())),
        refusal(Form::Json, 429, json.to_string().as_bytes()),
    ];
    for said in both {
        let wait = said.details.map(|details| details.retry_after_seconds);
        assert_eq!((said.code, said.message.as_str(), wait), (429, "slowly", Some(7)));
    }
    // Not every one who refuses is the server itself.
    for form in [Form::Protobuf, Form::Json] {
        let said = refusal(form, 502, b"Bad Gateway\n");
        assert_eq!((said.code, said.message.as_str()), (502, "Bad Gateway"));
    }
}
