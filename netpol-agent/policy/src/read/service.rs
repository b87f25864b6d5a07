//! Services and the slices of their endpoints.

use std::net::IpAddr;

use super::{
    document::{Document, Object},
    field::{Notes, Path, address, get, list, text},
    meta::{self, Meta},
    port::{number_of_port, protocol},
    shown,
};
use crate::model::{EndpointSlice, Protocol, Service, ServicePort, SliceEndpoint, SlicePort, TargetPort};

/// The label that says whose endpoints a slice holds.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Reads a Service.
pub(super) fn service(document: &Document<'_>, meta: &Meta<'_>, notes: &mut Notes) -> Service {
    let empty = &Object::default();
    let spec = document.get("spec").and_then(Document::as_object).unwrap_or(empty);
    let path = Path::field_of_root("spec");
    let is = |name: &str, value: &str| spec.get(name).and_then(Document::as_str) == Some(value);

    let mut cluster_ips = Vec::new();
    if !is("type", "ExternalName") {
        cluster_ips = addresses(spec.get("clusterIPs"), &path.field("clusterIPs"), notes);
        let single = text(spec.get("clusterIP"), &path.field("clusterIP"), notes);
        if !matches!(single, "" | "None")
            && let Some(address) = address(single, &path.field("clusterIP"), notes)
            && !cluster_ips.contains(&address)
        {
            cluster_ips.push(address);
        }
    }
    let selector = meta::labels(get(spec, "selector"), &path.field("selector"), notes);
    let ports_path = path.field("ports");
    Service {
        key: meta.key.clone(),
        cluster_ips,
        external_ips: addresses(spec.get("externalIPs"), &path.field("externalIPs"), notes),
        load_balancer_ips: load_balancer_ips(document, notes),
        ports: list(spec.get("ports"), &ports_path, notes)
            .iter()
            .enumerate()
            .filter_map(|(index, port)| service_port(port.as_object()?, &ports_path.index(index), notes))
            .collect(),
        selector: if selector.is_empty() { None } else { Some(selector) },
        internal_local: is("internalTrafficPolicy", "Local"),
        external_local: is("externalTrafficPolicy", "Local"),
        publish_not_ready: spec
            .get("publishNotReadyAddresses")
            .and_then(Document::as_bool)
            .unwrap_or_default(),
    }
}

fn addresses(value: Option<&Document<'_>>, path: &Path<'_>, notes: &mut Notes) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for (index, entry) in list(value, path, notes).iter().enumerate() {
        let path = path.index(index);
        let text = text(Some(entry), &path, notes);
        if !matches!(text, "" | "None")
            && let Some(address) = address(text, &path, notes)
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found.shrink_to_fit();
    found
}

/// Those that are translated on this node: behind a proxy the packets never come here with that address.
fn load_balancer_ips(document: &Document<'_>, notes: &mut Notes) -> Vec<IpAddr> {
    let status = Path::field_of_root("status");
    let balancer = status.field("loadBalancer");
    let path = balancer.field("ingress");
    let mut found = Vec::new();
    for (index, entry) in
        list(document.at(&["status", "loadBalancer", "ingress"]), &path, notes).iter().enumerate()
    {
        let path = path.index(index);
        let text = text(entry.get("ip"), &path.field("ip"), notes);
        if !text.is_empty()
            && entry.get("ipMode").and_then(Document::as_str) != Some("Proxy")
            && let Some(address) = address(text, &path.field("ip"), notes)
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

fn service_port(port: &Object<'_>, path: &Path<'_>, notes: &mut Notes) -> Option<ServicePort> {
    let number = read_number(port, "port", path, notes)?;
    let target = match get(port, "targetPort") {
        None => TargetPort::Number(number),
        Some(Document::String(name)) if name.is_empty() => TargetPort::Number(number),
        Some(Document::String(name)) => TargetPort::Name((**name).into()),
        Some(value) if value.as_i64() == Some(0) => TargetPort::Number(number),
        Some(_) => TargetPort::Number(read_number(port, "targetPort", path, notes)?),
    };
    Some(ServicePort {
        name: text(port.get("name"), &path.field("name"), notes).into(),
        protocol: read_protocol(port, path, notes)?,
        port: number,
        target,
        node_port: port
            .get("nodePort")
            .and_then(Document::as_i64)
            .and_then(number_of_port)
            .unwrap_or_default(),
    })
}

fn read_number(port: &Object<'_>, name: &str, path: &Path<'_>, notes: &mut Notes) -> Option<u16> {
    let value = port.get(name).unwrap_or(&Document::Null);
    let number = value.as_i64().and_then(number_of_port);
    if number.is_none() {
        let message = format!("{} is no port: nothing is reached by it", shown(value));
        notes.add(&path.field(name), message, "use a port from 1 to 65535");
    }
    number
}

fn read_protocol(port: &Object<'_>, path: &Path<'_>, notes: &mut Notes) -> Option<Protocol> {
    let Some(value) = get(port, "protocol") else { return Some(Protocol::Tcp) };
    let known = value.as_str().and_then(protocol);
    if known.is_none() {
        let message = format!("{} is no protocol: nothing is reached by it", shown(value));
        notes.add(&path.field("protocol"), message, "use TCP, UDP or SCTP");
    }
    known
}

/// Reads a slice. Endpoints that are names, and ports without a number, are nothing that a packet can be judged by.
pub(super) fn slice(document: &Document<'_>, meta: &Meta<'_>, notes: &mut Notes) -> EndpointSlice {
    let by_name = document.get("addressType").and_then(Document::as_str) == Some("FQDN");
    let path = Path::field_of_root("endpoints");
    let endpoints = if by_name { &[][..] } else { list(document.get("endpoints"), &path, notes) };
    let endpoints = endpoints.iter().enumerate();
    let endpoints =
        endpoints.map(|(index, entry)| slice_endpoint(entry, &path.index(index), notes)).collect();
    let path = Path::field_of_root("ports");
    let ports = list(document.get("ports"), &path, notes)
        .iter()
        .enumerate()
        .filter_map(|(index, port)| {
            let port = port.as_object().filter(|port| get(port, "port").is_some())?;
            let path = path.index(index);
            Some(SlicePort {
                name: text(port.get("name"), &path.field("name"), notes).into(),
                protocol: read_protocol(port, &path, notes)?,
                port: read_number(port, "port", &path, notes)?,
            })
        })
        .collect();
    EndpointSlice {
        key: meta.key.clone(),
        service: meta.labels.get(SERVICE_LABEL).map_or("", String::as_str).into(),
        endpoints,
        ports,
    }
}

fn slice_endpoint(entry: &Document<'_>, path: &Path<'_>, notes: &mut Notes) -> SliceEndpoint {
    let condition =
        |name: &str| entry.get("conditions").and_then(|all| all.get(name)).and_then(Document::as_bool);
    let ready = condition("ready").unwrap_or(true);
    SliceEndpoint {
        addresses: addresses(entry.get("addresses"), &path.field("addresses"), notes),
        ready,
        // As kube-proxy reads it, which would use the endpoint: not as `ready`.
        serving: condition("serving").unwrap_or(true),
        terminating: condition("terminating").unwrap_or(false),
        node: text(entry.get("nodeName"), &path.field("nodeName"), notes).into(),
    }
}
