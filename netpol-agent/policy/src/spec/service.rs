//! Services: what stands behind an address and port that clients use, by the rules of kube-proxy.

use std::net::IpAddr;

use super::{Answer, Cluster, Payload, Traffic, Verdict, matching};
use crate::model::{Protocol, Requirement, Selector, Service, ServicePort, SliceEndpoint, TargetPort};

/// Where translation may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Backend {
    /// The backend's address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// What the specification says when a backend is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendVerdict {
    /// The backend.
    pub backend: Backend,
    /// The verdict.
    pub verdict: Verdict,
}

/// An endpoint with the port that a Service's port leads to there.
struct Candidate {
    backend: Backend,
    ready: bool,
    serving: bool,
    terminating: bool,
    local: bool,
}

impl Cluster {
    /// What the specification says of a flow; to a Service, by its backends (row 25).
    #[must_use]
    pub fn answer(&self, traffic: &Traffic) -> Answer {
        let Payload::Port(protocol, port) = traffic.payload else {
            return Answer::Direct(self.allows(traffic));
        };
        let Some(backends) = self.backends(traffic.dst, protocol, port) else {
            return Answer::Direct(self.allows(traffic));
        };
        let judged = |backend: Backend| {
            let behind =
                Traffic { dst: backend.address, payload: Payload::Port(protocol, backend.port), ..*traffic };
            BackendVerdict { backend, verdict: self.allows(&behind) }
        };
        Answer::Backends(backends.into_iter().map(judged).collect())
    }

    /// The backends behind an address, protocol and port, sorted; `None` when it is no Service's. A ClusterIP is a
    /// Service's on every port. The address itself is among them where it is not certain that it is translated: it is a
    /// pod's at the same time, or NodePorts are translated there by some settings of kube-proxy and not by others.
    #[must_use]
    pub fn backends(&self, address: IpAddr, protocol: Protocol, port: u16) -> Option<Vec<Backend>> {
        let is_pods = self.owner(address).is_some();
        let node_port_here = self.node_port_at(address);
        let mut certain = false;
        let mut found: Option<Vec<Backend>> = None;
        for service in &self.services {
            let cluster_ip = service.cluster_ips.contains(&address);
            let external =
                service.external_ips.contains(&address) || service.load_balancer_ips.contains(&address);
            if cluster_ip && !is_pods {
                found.get_or_insert_default();
                certain = true;
            }
            for service_port in service.ports.iter().filter(|one| one.protocol == protocol) {
                let by_port = (cluster_ip || external) && service_port.port == port;
                let by_node_port =
                    node_port_here.is_some() && service_port.node_port != 0 && service_port.node_port == port;
                if by_port || by_node_port {
                    let local_only = cluster_ip && by_port && service.internal_local;
                    let backends = self.backends_of(service, service_port, address.is_ipv4(), local_only);
                    found.get_or_insert_default().extend(backends);
                    certain |= by_port || node_port_here == Some(true);
                }
            }
        }
        // A port of the host leads to its pod, wherever the host has the address.
        let on_this_node = self.pods.iter().filter(|pod| pod.node == self.node && pod.counts());
        for pod in on_this_node.filter(|_| node_port_here.is_some()) {
            let ports = pod.host_ports.iter().filter(|one| {
                one.protocol == protocol && one.port == port && one.address.is_none_or(|only| only == address)
            });
            for one in ports {
                let places = pod.addresses.iter().filter(|place| place.is_ipv4() == address.is_ipv4());
                let backends = places.map(|place| Backend { address: *place, port: one.target });
                found.get_or_insert_default().extend(backends);
                certain |= self.host_addresses.is_empty() || self.host_addresses.contains(&address);
            }
        }
        if let Some(found) = &mut found {
            if is_pods || !certain {
                found.push(Backend { address, port });
            }
            found.sort_unstable();
            found.dedup();
        }
        found
    }

    /// Whether NodePorts are translated at an address: `None` if they are not; true if they are by all means, at the
    /// address that the Node names first of its family, when the host has it.
    pub(crate) fn node_port_at(&self, address: IpAddr) -> Option<bool> {
        let node = self.nodes.iter().find(|node| node.name == self.node);
        let named = node.map_or(&[][..], |node| &node.addresses);
        let of_host = self.host_addresses.contains(&address)
            && !self.service_ranges.iter().any(|range| range.contains(&address));
        if !named.contains(&address) && !of_host {
            return None;
        }
        let first = named.iter().find(|one| one.is_ipv4() == address.is_ipv4()) == Some(&address);
        Some(first && (self.host_addresses.is_empty() || self.host_addresses.contains(&address)))
    }

    /// The backends of a port of a Service that kube-proxy may choose: those that are ready, and when there is none,
    /// those that still serve while they terminate.
    #[must_use]
    pub fn backends_of(
        &self,
        service: &Service,
        port: &ServicePort,
        v4: bool,
        local_only: bool,
    ) -> Vec<Backend> {
        let mut candidates = self.candidates(service, port);
        candidates.retain(|one| one.backend.address.is_ipv4() == v4 && (one.local || !local_only));
        if candidates.iter().any(|one| one.ready) {
            candidates.retain(|one| one.ready);
        } else {
            candidates.retain(|one| one.serving && one.terminating);
        }
        candidates.into_iter().map(|one| one.backend).collect()
    }

    fn candidates(&self, service: &Service, port: &ServicePort) -> Vec<Candidate> {
        let slices = self.slices.iter().filter(|slice| {
            slice.key.namespace == service.key.namespace && slice.service == service.key.name
        });
        let mut candidates = Vec::new();
        let mut any_slice = false;
        for slice in slices {
            any_slice = true;
            for to in slice.ports.iter().filter(|one| one.name == port.name && one.protocol == port.protocol)
            {
                for endpoint in &slice.endpoints {
                    candidates.extend(self.slice_candidates(endpoint, to.port));
                }
            }
        }
        if !any_slice {
            self.derive_candidates(service, port, &mut candidates);
        }
        candidates
    }

    fn slice_candidates(&self, endpoint: &SliceEndpoint, port: u16) -> impl Iterator<Item = Candidate> {
        let SliceEndpoint { addresses, ready, serving, terminating, node } = endpoint;
        let local = *node == self.node;
        addresses.iter().map(move |address| Candidate {
            backend: Backend { address: *address, port },
            ready: *ready,
            serving: *serving,
            terminating: *terminating,
            local,
        })
    }

    /// Without slices, as in a folder of manifests: the pods that the Service selects.
    fn derive_candidates(&self, service: &Service, port: &ServicePort, candidates: &mut Vec<Candidate>) {
        let Some(labels) = &service.selector else { return };
        let wanted = labels.iter().map(|(key, value)| Requirement::In(key.clone(), [value.clone()].into()));
        let selector = Selector(wanted.collect());
        for pod in &self.pods {
            let of_service =
                pod.key.namespace == service.key.namespace && matching::selects(&selector, &pod.labels);
            if !of_service || pod.finished {
                continue;
            }
            // A name that a pod declares twice may mean either.
            let numbers: Vec<u16> = match &port.target {
                TargetPort::Number(number) => vec![*number],
                TargetPort::Name(name) => pod
                    .named_ports
                    .iter()
                    .filter(|one| one.name == *name && one.protocol == port.protocol)
                    .map(|one| one.port)
                    .collect(),
            };
            let places =
                pod.addresses.iter().flat_map(|address| numbers.iter().map(|port| (*address, *port)));
            for (address, port) in places {
                candidates.push(Candidate {
                    backend: Backend { address, port },
                    ready: service.publish_not_ready || pod.ready && !pod.terminating,
                    serving: pod.ready,
                    terminating: pod.terminating,
                    local: pod.node == self.node,
                });
            }
        }
    }
}
