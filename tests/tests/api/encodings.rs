//! Pods come in protobuf from a server that knows it, and in JSON from one that does not: what is read is the same.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use netpol_agent::sources::api::{Access, Api};
use netpol_agent::sources::{Source, SourceUpdate};
use netpol_policy::model::{Key, Kind, Object, Pod, SourceEvent};
use netpol_policy::read::{Read, read_object};
use netpol_tests::cluster::ControlPlane;
use netpol_tests::cluster::plain::{JSON, PROTOBUF, Plain, Seen};
use netpol_tests::counted;
use netpol_tests::etcd::Etcd;
use serde_json::{Value, json};

/// Ports in the control plane's namespace: of a server that knows protobuf, and of one that does not.
const BOTH: u16 = 8002;
const ONLY_JSON: u16 = 8003;
/// A page, as the agent asks for it: there are more pods than that.
const PAGE: u32 = 500;

/// A pod in which everything is set that is kept of one, and much that is not.
fn full() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "full", "namespace": "shop", "generateName": "fu", "generation": 3,
            "uid": "00000000-0000-4000-8000-00000000aaaa",
            "labels": {"app": "web", "empty": "", "tier": "1"},
            "annotations": {
                "kubernetes.io/config.mirror": "0123456789abcdef0123456789abcdef",
                "netpol.io/break-glass": "true",
                "other": "x".repeat(2000),
            },
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "deletionTimestamp": "2026-01-02T03:05:05Z",
            "deletionGracePeriodSeconds": 60,
            "finalizers": ["example.org/held"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "u", "controller": true}],
            "managedFields": [{"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:labels": {}}}, "time": "2026-01-02T03:04:05Z"}],
        },
        "spec": {
            "nodeName": "node-1",
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "containers": [{
                "name": "main", "image": "none",
                "env": [{"name": "A", "value": "b"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                "ports": [
                    {"name": "http", "containerPort": 8080, "protocol": "TCP", "hostPort": 80, "hostIP": "192.0.2.1"},
                    {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                    {"containerPort": 9090, "protocol": "SCTP"},
                ],
            }],
            "initContainers": [
                {"name": "sidecar", "image": "none", "restartPolicy": "Always",
                    "ports": [{"name": "mesh", "containerPort": 15001, "protocol": "TCP"}]},
                {"name": "setup", "image": "none", "ports": [{"name": "gone", "containerPort": 1, "protocol": "TCP"}]},
            ],
        },
        "status": {
            "phase": "Running", "hostIP": "192.0.2.7",
            "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}],
            "startTime": "2026-01-02T03:04:05Z",
            "conditions": [
                {"type": "Initialized", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"},
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:06Z"},
            ],
            "containerStatuses": [{"name": "main", "ready": true, "restartCount": 0, "image": "none", "imageID": ""}],
        },
    })
}

/// Pods of all sorts: on the host's network, ended, without addresses, with hardly anything.
fn pods() -> impl Iterator<Item = Value> {
    let others = (0..=PAGE).map(|number| {
        let mut pod = full();
        let name = format!("pod-{number}");
        pod["metadata"] = json!({"namespace": "shop", "name": name, "uid": format!("uid-{number}"),
            "labels": {"number": number.to_string()}});
        pod["spec"]["hostNetwork"] = (number % 3 == 0).into();
        if number % 5 == 0 {
            let phase = ["Pending", "Succeeded", "Failed"][number as usize % 3];
            pod["status"] = json!({"phase": phase});
        }
        if number % 7 == 0 {
            pod["spec"] = json!({"containers": [{"name": "main", "image": "none"}]});
        }
        pod
    });
    [full()].into_iter().chain(others)
}

/// What a source says of pods until everything is listed, over this port of the control plane.
fn listed(plane: &ControlPlane, port: u16) -> Result<BTreeMap<Key, Pod>> {
    let file = plane.folder()?.join(format!("{port}.kubeconfig"));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "plain",
        "clusters": [{"name": "plain", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "users": [{"name": "plain", "user": {}}],
        "contexts": [{"name": "plain", "context": {"cluster": "plain", "user": "plain"}}],
    });
    std::fs::write(&file, config.to_string()).context("cannot write a kubeconfig")?;
    let mut pods = BTreeMap::new();
    let mut take = |update: SourceUpdate| {
        for event in update.events {
            if let SourceEvent::Apply(Object::Pod(pod)) = event {
                pods.insert(pod.key.clone(), pod);
            }
        }
        !update.synced
    };
    plane.network().run(|| -> Result<()> {
        let source = Api::new(&Access::Kubeconfig { file, context: None }, "node-1")?;
        Box::new(source).run(&mut take)
    })??;
    Ok(pods)
}

/// What is read of the whole objects.
fn whole(plain: &Plain<'_>) -> Result<BTreeMap<Key, Pod>> {
    let list: Value =
        serde_json::from_slice(&plain.get("/api/v1/pods", JSON)?).context("a list is no JSON")?;
    let items = list["items"].as_array().context("a list has no items")?;
    let read = |item: &Value| match read_object(Kind::Pod, &item.into()) {
        Read::Object { object: Object::Pod(pod), .. } => Some((pod.key.clone(), pod)),
        _ => None,
    };
    Ok(items.iter().filter_map(read).collect())
}

/// Lists over both ports: answers with pods in protobuf and in JSON are the same, and each server answers in its own way.
fn same_over_both(flags: &[&str], stream: &str) -> Result<()> {
    let plane = ControlPlane::with(flags)?;
    Etcd::new(plane.network()).fill(pods())?;
    let plain = Plain::start(&plane)?;
    let protobuf = format!("{PROTOBUF}{stream}");
    let expected = whole(&plain)?;
    ensure!(expected.len() == PAGE as usize + 2, "{} pods were read", expected.len());
    let by = |port, knows| -> Result<(BTreeMap<Key, Pod>, Seen)> {
        let seen = plain.seen(port, knows)?;
        Ok((listed(&plane, port)?, seen))
    };
    let (pods, seen) = by(BOTH, true)?;
    ensure!(seen.answers(&protobuf) > 0, "pods did not come in protobuf");
    ensure!(seen.answers(JSON) > 0, "nothing came in JSON: policies must");
    ensure!(
        pods == expected,
        "another pod: {:?}",
        pods.iter().find(|(key, pod)| expected.get(key) != Some(pod))
    );
    let full = pods.get(&Key::new("shop", "full")).context("the full pod is missing")?;
    ensure!(
        full.terminating && full.ready && full.mirror_of.is_some() && full.created == 1_767_323_045,
        "{full:?}"
    );
    ensure!(
        full.named_ports.len() == 3 && full.host_ports.len() == 1 && full.addresses.len() == 2,
        "{full:?}"
    );
    let (pods, seen) = by(ONLY_JSON, false)?;
    ensure!(seen.answers(PROTOBUF) == 0, "a server that knows no protobuf has answered in it");
    ensure!(
        pods == expected,
        "another pod: {:?}",
        pods.iter().find(|(key, pod)| expected.get(key) != Some(pod))
    );
    counted(&[(2 * pods.len() as u64, "pods read alike in both encodings")]);
    Ok(())
}

#[test]
#[ignore = "needs root and Kubernetes' programs"]
fn a_streamed_list_of_pods_reads_the_same_in_protobuf_and_in_json() -> Result<()> {
    same_over_both(&[], ";stream=watch")
}

#[test]
#[ignore = "needs root and Kubernetes' programs"]
fn pages_of_pods_read_the_same_in_protobuf_and_in_json() -> Result<()> {
    same_over_both(&["--feature-gates=WatchList=false"], "\r\n")
}
