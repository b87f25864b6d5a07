use netpol_policy::{
    model::{Kind, Object},
    read::{Document, Read, read_object},
};
use serde_json::{Value, json};

use super::{
    Kept,
    encoded::{bytes, map, number, packed, tag, text},
    json, protobuf,
    wire::Malformed,
};
use crate::sources::api::served::served;

/// What is kept of a pod in protobuf.
fn kept(pod: &[u8]) -> Result<Document<'_>, Malformed> {
    protobuf::pick(served(Kind::Pod).in_protobuf().unwrap(), pod)
}

/// What is kept of a pod in JSON.
fn kept_of_json(pod: &str) -> Document<'_> {
    json::pick(Box::leak(Box::new(Kept::Of(served(Kind::Pod).in_protobuf().unwrap()))), pod.as_bytes())
        .unwrap()
}

/// The same fields with the same values, in whatever order.
fn same(one: &Document<'_>, other: &Document<'_>) {
    let value = |document| serde_json::to_value(document).unwrap();
    assert_eq!(value(one), value(other));
}

fn time(field: u32, seconds: i64) -> Vec<u8> {
    packed(field, &[number(1, seconds), number(2, 0)])
}

/// A pod as a server writes it, with more than is kept.
fn full() -> Vec<u8> {
    let metadata = [
        text(1, "api-1"),
        text(2, "api-"),
        text(3, "production"),
        text(4, ""),
        text(5, "00000000-0000-4000-8000-00000000aaaa"),
        text(6, "7"),
        number(7, 0),
        time(8, 1_767_323_045),
        time(9, 1_767_323_105),
        number(10, 60),
        map(11, &[("app", "api"), ("empty", ""), ("tier", "1")]),
        map(12, &[("kubernetes.io/config.mirror", "abc"), ("netpol.io/break-glass", "true"), ("other", "x")]),
        packed(13, &[text(1, "ReplicaSet"), text(3, "api"), number(6, 1)]),
        packed(17, &[text(1, "kubelet"), text(2, "Update"), packed(7, &[text(1, "{\"f:metadata\":{}}")])]),
    ];
    let http = [text(1, "http"), number(2, 80), number(3, 8080), text(4, "TCP"), text(5, "192.0.2.1")];
    let plain = [text(1, ""), number(2, 0), number(3, 9090), text(4, "UDP"), text(5, "")];
    let main =
        [text(1, "main"), text(2, "image"), packed(6, &http), packed(6, &plain), packed(7, &[text(1, "A")])];
    let mesh = [text(1, "mesh"), number(2, 0), number(3, 15001), text(4, "SCTP"), text(5, "")];
    let sidecar = [text(1, "sidecar"), packed(6, &mesh), text(24, "Always")];
    let spec = [
        packed(1, &[text(1, "volume")]),
        packed(2, &main),
        packed(2, &[text(1, "second")]),
        text(3, "Always"),
        number(4, 30),
        map(7, &[("zone", "a")]),
        text(10, "node-1"),
        number(11, 1),
        packed(20, &sidecar),
        packed(20, &[text(1, "setup")]),
        // A newer server may know more.
        text(99, "new"),
    ];
    let ready = [
        text(1, "Ready"),
        text(2, "True"),
        packed(3, &[]),
        time(4, 1_767_323_046),
        text(5, ""),
        number(7, 1),
    ];
    let status = [
        text(1, "Running"),
        packed(2, &ready),
        packed(2, &[text(1, "Initialized"), text(2, "")]),
        text(5, "192.0.2.7"),
        text(6, "10.0.0.7"),
        packed(8, &[text(1, "main"), number(4, 1)]),
        packed(12, &[text(1, "10.0.0.7")]),
        packed(12, &[text(1, "fd00::7")]),
    ];
    [packed(1, &metadata), packed(2, &spec), packed(3, &status)].concat()
}

fn full_in_json() -> Value {
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": "api-1", "generateName": "api-", "namespace": "production",
            "uid": "00000000-0000-4000-8000-00000000aaaa", "resourceVersion": "7",
            "creationTimestamp": "2026-01-02T03:04:05Z", "deletionTimestamp": "2026-01-02T03:05:05Z",
            "deletionGracePeriodSeconds": 60,
            "labels": {"app": "api", "empty": "", "tier": "1"},
            "annotations": {"kubernetes.io/config.mirror": "abc", "netpol.io/break-glass": "true", "other": "x"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "api", "controller": true}],
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:metadata": {}}}],
        },
        "spec": {
            "volumes": [{"name": "volume"}],
            "containers": [
                {"name": "main", "image": "image", "env": [{"name": "A"}], "ports": [
                    {"name": "http", "hostPort": 80, "containerPort": 8080, "protocol": "TCP", "hostIP": "192.0.2.1"},
                    {"containerPort": 9090, "protocol": "UDP"},
                ]},
                {"name": "second"},
            ],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "nodeSelector": {"zone": "a"},
            "nodeName": "node-1", "hostNetwork": true,
            "initContainers": [
                {"name": "sidecar", "restartPolicy": "Always",
                    "ports": [{"name": "mesh", "containerPort": 15001, "protocol": "SCTP"}]},
                {"name": "setup"},
            ],
            "newer": "new",
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": "True", "lastProbeTime": null, "observedGeneration": 1},
                {"type": "Initialized", "status": ""},
            ],
            "hostIP": "192.0.2.7", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}],
            "containerStatuses": [{"name": "main", "ready": true}],
        },
    })
}

#[test]
fn a_full_pod_is_the_same_in_both_encodings() {
    let (encoded, text) = (full(), full_in_json().to_string());
    let kept = kept(&encoded).unwrap();
    same(&kept, &kept_of_json(&text));
    let read = read_object(Kind::Pod, &kept);
    assert_eq!(read, read_object(Kind::Pod, &(&full_in_json()).into()));
    let Read::Object { object: Object::Pod(pod), problems } = read else { panic!("{read:?}") };
    assert_eq!(problems, []);
    assert_eq!((pod.created, pod.terminating, pod.host_network), (1_767_323_045, true, true));
    let ports: Vec<&str> = pod.named_ports.iter().map(|port| &*port.name).collect();
    assert_eq!(ports, ["http", "mesh"]);
}

#[test]
fn zero_values_are_left_out_where_json_leaves_them_out() {
    let empty_port = [text(1, ""), number(2, 0), number(3, 0), text(4, ""), text(5, "")];
    let metadata = [text(1, ""), text(3, ""), text(5, ""), text(6, ""), packed(8, &[]), packed(9, &[])];
    let spec = [text(10, ""), number(11, 0), packed(2, &[packed(6, &empty_port)]), text(16, "")];
    let status =
        [text(1, ""), text(6, ""), packed(12, &[text(1, "")]), packed(2, &[text(1, ""), text(2, "")])];
    let encoded = [packed(1, &metadata), packed(2, &spec), packed(3, &status)].concat();
    let json = json!({
        "metadata": {},
        "spec": {"containers": [{"ports": [{"containerPort": 0}]}]},
        "status": {"podIPs": [{"ip": ""}], "conditions": [{"type": "", "status": ""}]},
    });
    same(&kept(&encoded).unwrap(), &kept_of_json(&json.to_string()));
    same(&kept(&[]).unwrap(), &kept_of_json("{}"));
}

#[test]
fn numbers_and_times_out_of_the_ordinary_are_left_to_the_reader() {
    let port = packed(2, &[packed(6, &[number(3, -1)])]);
    let encoded = [packed(1, &[time(8, 0), time(9, i64::MAX)]), packed(2, &[port])].concat();
    let expected = json!({
        "metadata": {"creationTimestamp": "1970-01-01T00:00:00Z", "deletionTimestamp": i64::MAX},
        "spec": {"containers": [{"ports": [{"containerPort": -1}]}]},
    });
    same(&kept(&encoded).unwrap(), &(&expected).into());
}

#[test]
fn a_text_that_is_no_utf_8_makes_no_list_unreadable() {
    let pair = packed(11, &[text(1, "app"), bytes(2, b"a\xffb")]);
    let encoded = packed(1, &[pair]);
    same(&kept(&encoded).unwrap(), &(&json!({"metadata": {"labels": {"app": "a\u{fffd}b"}}})).into());
}

#[test]
fn what_is_not_kept_is_passed_over_whatever_it_is() {
    let expected = json!({"metadata": {"name": "x"}});
    let name = text(1, "x");
    let group = [tag(7, 3), number(1, 5), tag(8, 3), text(2, "in two"), tag(8, 4), tag(7, 4)].concat();
    let fixed = [[tag(50, 1), vec![1; 8]].concat(), [tag(51, 5), vec![2; 4]].concat()].concat();
    for other in [group, fixed, number(536_870_911, -1), bytes(15, b"\xff\xfe")] {
        let inside = packed(1, &[other.clone(), name.clone(), other.clone()]);
        let encoded = [other.clone(), inside, other].concat();
        same(&kept(&encoded).unwrap(), &(&expected).into());
    }
}

#[test]
fn what_is_no_message_is_an_error() {
    use Malformed::{Group, GroupEnd, Half, Number, Short, Type, Varint, WireType};
    let long = |bytes: &[u8]| [tag(1, 2), bytes.to_vec()].concat();
    for (wrong, expected) in [
        (vec![0x80], Half),
        (tag(1, 2), Half),
        (long(&[5, 1]), Short { said: 5, left: 1 }),
        // The longest length there is.
        (long(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Short { said: u64::MAX, left: 0 }),
        (vec![0x80; 11], Varint),
        (vec![0], Number(0)),
        (tag((1 << 29) - 1, 0), Half),
        ([0x80, 0x80, 0x80, 0x80, 0x10].to_vec(), Number(1 << 29)),
        (tag(3, 6), WireType(6)),
        (tag(3, 7), WireType(7)),
        (tag(3, 4), GroupEnd),
        (tag(3, 3), Group),
        ([tag(3, 3), tag(1, 5), vec![0; 3]].concat(), Short { said: 4, left: 3 }),
        (number(1, 5), Type(1)),
        (packed(1, &[number(1, 5)]), Type(1)),
        (packed(2, &[text(11, "true")]), Type(11)),
        (packed(1, &[number(8, 1_767_323_045)]), Type(8)),
    ] {
        assert_eq!(kept(&wrong), Err(expected), "{wrong:?}");
    }
}

/// What is cut off between two fields is a message, too: its length is what would tell.
#[test]
fn no_beginning_of_a_pod_is_read_beyond_its_end() {
    let whole = full();
    let ends = (0..whole.len()).filter(|end| kept(&whole[..*end]).is_ok()).count();
    assert_eq!(ends, 3, "before the metadata, the spec and the status");
}
