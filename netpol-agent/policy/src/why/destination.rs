//! What a destination stands for: itself, or what stands behind a Service.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    End, Unanswerable,
    escape::key_text,
    party::{self, Parties, Place},
    text,
};
use crate::{
    model::{HostPort, Protocol, Service},
    spec::{Backend, Cluster, Payload},
};

/// A Service's address, as a client uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Frontend {
    /// The Services that have it, `namespace/name`.
    pub services: Vec<String>,
    /// The address.
    pub address: IpAddr,
    /// What is sent there, such as `80/TCP`.
    pub payload: String,
    /// The port there.
    #[serde(skip)]
    pub port: u16,
}

/// One place where a flow may end, and what is sent there.
pub(super) struct Target {
    pub(super) parties: Parties,
    pub(super) payload: Payload,
    /// By which address it gets there, when that is another.
    pub(super) frontend: Option<Frontend>,
}

/// What a destination stands for.
pub(super) struct Destination {
    pub(super) name: String,
    pub(super) targets: Vec<Target>,
    pub(super) notes: Vec<String>,
}

/// What a destination stands for.
pub(super) fn resolve(cluster: &Cluster, end: &End, payload: Payload) -> Result<Destination, Unanswerable> {
    let service = match end {
        End::Named(key) if party::find_pod(cluster, key).is_none() => Some(key),
        End::Service(key) => Some(key),
        _ => None,
    };
    match service {
        None => Ok(behind_addresses(cluster, &party::resolve_source(cluster, end)?, payload)),
        Some(key) => {
            let service = cluster.services.iter().find(|service| service.key == *key);
            let service = service.ok_or_else(|| Unanswerable::Unknown(key_text(key)))?;
            Ok(behind_service(cluster, service, payload))
        }
    }
}

/// Addresses as they are, but for those of Services (and NodePorts): what counts is what stands behind.
fn behind_addresses(cluster: &Cluster, parties: &Parties, payload: Payload) -> Destination {
    let name = parties.name.clone();
    let mut destination = Destination { name, targets: Vec::new(), notes: parties.notes() };
    let mut direct = parties.clone();
    direct.places.clear();
    for place in &parties.places {
        let Place::Address(address) = *place else {
            direct.places.push(*place);
            continue;
        };
        match payload {
            Payload::Port(protocol, port) => match cluster.backends(address, protocol, port) {
                Some(backends) => destination.behind(cluster, address, protocol, port, backends),
                None if cluster.is_of_services(address) => destination.nobody(address),
                None => direct.places.push(*place),
            },
            Payload::Other(_) => direct.places.push(*place),
        }
    }
    if !direct.places.is_empty() {
        destination.targets.push(Target { parties: direct, payload, frontend: None });
    }
    destination
}

impl Destination {
    fn behind(
        &mut self,
        cluster: &Cluster,
        address: IpAddr,
        protocol: Protocol,
        port: u16,
        backends: Vec<Backend>,
    ) {
        let asked = text::payload(Payload::Port(protocol, port));
        if backends.is_empty() {
            self.notes.push(format!("nothing stands behind {address} {asked}"));
        }
        let services = services_at(cluster, address, protocol, port);
        let frontend = Frontend { services, address, payload: asked, port };
        self.targets.extend(backends.into_iter().map(|backend| Target {
            parties: Parties::of_address(cluster, backend.address),
            payload: Payload::Port(protocol, backend.port),
            frontend: Some(frontend.clone()),
        }));
    }

    fn nobody(&mut self, address: IpAddr) {
        self.notes.push(format!(
            "{address} is in the range of Services, and none has it: what isolated pods send there is dropped, and \
             nothing answers the others"
        ));
    }
}

/// The Services that have a frontend; those with the address alone, when none has the port.
fn services_at(cluster: &Cluster, address: IpAddr, protocol: Protocol, port: u16) -> Vec<String> {
    let of_node = cluster.node_port_at(address).is_some();
    let has_address = |service: &Service| {
        [&service.cluster_ips, &service.external_ips, &service.load_balancer_ips]
            .into_iter()
            .any(|addresses| addresses.contains(&address))
    };
    let has_port = |service: &Service| {
        service.ports.iter().filter(|one| one.protocol == protocol).any(|one| {
            has_address(service) && one.port == port || of_node && one.node_port == port && port != 0
        })
    };
    let named = |has: &dyn Fn(&Service) -> bool| -> Vec<String> {
        cluster.services.iter().filter(|service| has(service)).map(|service| key_text(&service.key)).collect()
    };
    let host_port = cluster.pods.iter().filter(|pod| {
        let leads = |one: &HostPort| {
            one.protocol == protocol && one.port == port && one.address.is_none_or(|only| only == address)
        };
        of_node && pod.node == cluster.node && pod.counts() && pod.host_ports.iter().any(leads)
    });
    let mut exact = named(&has_port);
    exact.extend(host_port.map(|pod| format!("{} (a host port)", key_text(&pod.key))));
    if exact.is_empty() { named(&has_address) } else { exact }
}

fn behind_service(cluster: &Cluster, service: &Service, payload: Payload) -> Destination {
    let name = format!("Service {}", key_text(&service.key));
    let mut destination = Destination { name, targets: Vec::new(), notes: Vec::new() };
    let asked = text::payload(payload);
    let Payload::Port(protocol, number) = payload else {
        destination.notes.push(format!("a Service carries TCP, UDP and SCTP only, not {asked}"));
        return destination;
    };
    let Some(port) = service.ports.iter().find(|one| one.port == number && one.protocol == protocol) else {
        let ports: Vec<String> =
            service.ports.iter().map(|one| text::payload(Payload::Port(one.protocol, one.port))).collect();
        destination.notes.push(format!("the Service has no port {asked}; it has {}", text::list(&ports)));
        return destination;
    };
    for address in &service.cluster_ips {
        let backends = cluster.backends_of(service, port, address.is_ipv4(), service.internal_local);
        destination.behind(cluster, *address, protocol, number, backends);
    }
    if service.cluster_ips.is_empty() {
        // Headless: clients find the backends by name, and nothing translates the port.
        let mut backends: Vec<Backend> = [true, false]
            .into_iter()
            .flat_map(|v4| cluster.backends_of(service, port, v4, service.internal_local))
            .map(|backend| Backend { port: number, ..backend })
            .collect();
        backends.sort_unstable();
        backends.dedup();
        if backends.is_empty() {
            destination.notes.push(format!("nothing stands behind {asked} there"));
        }
        destination.notes.push(
            "it has no ClusterIP, so clients are led to the backends' own addresses, at the port that they ask for"
                .into(),
        );
        destination.targets.extend(backends.into_iter().map(|backend| Target {
            parties: Parties::of_address(cluster, backend.address),
            payload: Payload::Port(protocol, backend.port),
            frontend: None,
        }));
    }
    destination
}
