//! Pods, and the templates that workloads make them from.

use std::net::IpAddr;

use super::{
    document::{Document, Object},
    field::{Notes, Path, address, get, list, text},
    meta::{self, Meta},
    port::{number_of_port, protocol},
    shown,
};
use crate::model::{HostPort, Key, NamedPort, Pod, Protocol};

/// On the mirror pod that a kubelet makes for a static one: the static pod's own UID (a hash of its manifest).
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Reads a pod.
pub(super) fn read(document: &Document<'_>, meta: Meta<'_>, notes: &mut Notes) -> Pod {
    let empty = &Object::default();
    let part = |name: &str| document.get(name).and_then(Document::as_object).unwrap_or(empty);
    let (spec, status) = (part("spec"), part("status"));
    let path = Path::field_of_root("spec");
    let node = text(spec.get("nodeName"), &path.field("nodeName"), notes).into();
    let phase = status.get("phase").and_then(Document::as_str).unwrap_or_default();
    let mirror_of = meta.annotations.and_then(|all| all.get(MIRROR_ANNOTATION)).and_then(Document::as_str);
    Pod {
        key: meta.key,
        uid: meta.uid,
        mirror_of: mirror_of.filter(|uid| !uid.is_empty()).map(Into::into),
        labels: meta.labels.into(),
        node,
        addresses: addresses(status, notes),
        named_ports: named_ports(spec, &path, notes).into(),
        host_ports: host_ports(spec, &path, notes),
        host_network: spec.get("hostNetwork").and_then(Document::as_bool).unwrap_or_default(),
        finished: matches!(phase, "Succeeded" | "Failed"),
        terminating: meta.terminating,
        ready: ready(status, phase),
        created: meta.created,
    }
}

/// The pods that a template makes.
pub(super) fn template(template: &Template<'_>, key: Key, notes: &mut Notes) -> Pod {
    let empty = &Object::default();
    let Template { value: template, field } = *template;
    let path = Path::field_of_root(field);
    let spec = template.get("spec").and_then(Document::as_object).unwrap_or(empty);
    let metadata = path.field("metadata");
    let labels = template.at(&["metadata", "labels"]).filter(|labels| !labels.is_null());
    Pod {
        key,
        uid: "".into(),
        mirror_of: None,
        labels: meta::labels(labels, &metadata.field("labels"), notes).into(),
        node: "".into(),
        addresses: Vec::new(),
        named_ports: named_ports(spec, &path.field("spec"), notes).into(),
        host_ports: Vec::new(),
        host_network: spec.get("hostNetwork").and_then(Document::as_bool).unwrap_or_default(),
        finished: false,
        terminating: false,
        ready: true,
        created: 0,
    }
}

/// A pod template, and the path of its field.
pub(super) struct Template<'v> {
    value: &'v Document<'v>,
    field: &'static str,
}

/// The pod template of a workload; `None` for a kind that has none.
pub(super) fn template_of<'v>(kind: &str, version: &str, document: &'v Document<'v>) -> Option<Template<'v>> {
    let (group, field, path) = match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => {
            ("apps", "spec.template", &["spec", "template"][..])
        }
        "Job" => ("batch", "spec.template", &["spec", "template"][..]),
        "CronJob" => {
            ("batch", "spec.jobTemplate.spec.template", &["spec", "jobTemplate", "spec", "template"][..])
        }
        _ => return None,
    };
    let fits =
        version.is_empty() || version.split_once('/').is_some_and(|(of_document, _)| of_document == group);
    if fits { document.at(path).map(|value| Template { value, field }) } else { None }
}

/// `status.podIPs`, and `status.podIP` where an old object has nothing else. Addresses that no pod can have are left
/// out: they would make it a peer for traffic that is not its own.
fn addresses(status: &Object<'_>, notes: &mut Notes) -> Vec<IpAddr> {
    let status_path = Path::field_of_root("status");
    let list_path = status_path.field("podIPs");
    let mut found = Vec::new();
    let mut keep = |value: Option<&Document<'_>>, path: &Path<'_>, notes: &mut Notes| {
        let text = text(value, path, notes);
        if text.is_empty() {
            return;
        }
        let Some(address) = address(text, path, notes) else { return };
        if no_pod_address(address) {
            let message = format!("{address} cannot be the address of a pod: it is not used");
            notes.add(path, message, "see why the network gave it to the pod");
        } else if !found.contains(&address) {
            found.push(address);
        }
    };
    for (index, entry) in list(status.get("podIPs"), &list_path, notes).iter().enumerate() {
        let path = list_path.index(index);
        keep(entry.get("ip"), &path.field("ip"), notes);
    }
    keep(status.get("podIP"), &status_path.field("podIP"), notes);
    found.shrink_to_fit();
    found
}

fn no_pod_address(address: IpAddr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        }
}

/// Ports declared by name: of containers, and of init containers that keep running beside them.
fn named_ports(spec: &Object<'_>, path: &Path<'_>, notes: &mut Notes) -> Vec<NamedPort> {
    ports_of(spec, path, notes, named_port)
}

/// Ports of the host that lead to containers. On the host's network the API server writes one for each port, and nothing
/// is translated.
fn host_ports(spec: &Object<'_>, path: &Path<'_>, notes: &mut Notes) -> Vec<HostPort> {
    if spec.get("hostNetwork").and_then(Document::as_bool).unwrap_or_default() {
        return Vec::new();
    }
    ports_of(spec, path, notes, host_port)
}

fn ports_of<T: Ord>(
    spec: &Object<'_>,
    path: &Path<'_>,
    notes: &mut Notes,
    read: fn(&Object<'_>, &Path<'_>, &mut Notes) -> Option<T>,
) -> Vec<T> {
    let mut ports = Vec::new();
    for field in ["containers", "initContainers"] {
        let containers_path = path.field(field);
        for (index, container) in list(spec.get(field), &containers_path, notes).iter().enumerate() {
            let restarts = container.get("restartPolicy").and_then(Document::as_str) == Some("Always");
            if field == "initContainers" && !restarts {
                continue;
            }
            let container_path = containers_path.index(index);
            let ports_path = container_path.field("ports");
            for (index, port) in list(container.get("ports"), &ports_path, notes).iter().enumerate() {
                ports.extend(port.as_object().and_then(|port| read(port, &ports_path.index(index), notes)));
            }
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn named_port(port: &Object<'_>, path: &Path<'_>, notes: &mut Notes) -> Option<NamedPort> {
    let name = get(port, "name").and_then(Document::as_str).filter(|name| !name.is_empty())?;
    let number = get(port, "containerPort")?;
    let Some(number) = number.as_i64().and_then(number_of_port) else {
        let message = format!("{} is no port: the name leads nowhere", shown(number));
        notes.add(&path.field("containerPort"), message, "use a port from 1 to 65535");
        return None;
    };
    Some(NamedPort { name: name.into(), protocol: protocol_of(port, path, notes)?, port: number })
}

fn host_port(port: &Object<'_>, path: &Path<'_>, notes: &mut Notes) -> Option<HostPort> {
    let number = |name: &str| get(port, name).and_then(Document::as_i64).and_then(number_of_port);
    let (host, target) = (number("hostPort")?, number("containerPort")?);
    let ip = text(port.get("hostIP"), &path.field("hostIP"), notes);
    let ip = if ip.is_empty() { None } else { Some(address(ip, &path.field("hostIP"), notes)?) };
    // The unspecified address stands for all.
    let address = ip.filter(|ip| !ip.is_unspecified());
    Some(HostPort { address, protocol: protocol_of(port, path, notes)?, port: host, target })
}

fn protocol_of(port: &Object<'_>, path: &Path<'_>, notes: &mut Notes) -> Option<Protocol> {
    let Some(value) = get(port, "protocol") else { return Some(Protocol::Tcp) };
    let known = value.as_str().and_then(protocol);
    if known.is_none() {
        let message = format!("{} is no protocol: the port leads nowhere", shown(value));
        notes.add(&path.field("protocol"), message, "use TCP, UDP or SCTP");
    }
    known
}

/// The condition Ready. A manifest without conditions says nothing against it, unless the pod is still pending.
fn ready(status: &Object<'_>, phase: &str) -> bool {
    let conditions = status.get("conditions").and_then(Document::as_array).unwrap_or_default();
    let condition = conditions.iter().find(|one| one.get("type").and_then(Document::as_str) == Some("Ready"));
    condition.map_or(matches!(phase, "" | "Running"), |ready| {
        ready.get("status").and_then(Document::as_str) == Some("True")
    })
}
