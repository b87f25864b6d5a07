//! What the ends of a question stand for in a cluster.

use std::net::IpAddr;

use super::{
    End, Unanswerable,
    escape::{escaped, key_text},
    text,
};
use crate::{
    model::{Key, Labels, Pod, Service},
    spec::{Backend, Cluster, Payload},
};

/// Where an end is, for blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Address(IpAddr),
    World {
        v4: bool,
    },
    /// A pod that has no address yet: no block speaks of it.
    Unknown,
}

impl Place {
    const fn is_of_family(self, v4: bool) -> bool {
        match self {
            Self::Address(address) => address.is_ipv4() == v4,
            Self::World { v4: of_world } => of_world == v4,
            Self::Unknown => true,
        }
    }
}

/// An end at one place.
#[derive(Clone, Debug)]
pub(super) struct Party {
    pub(super) name: String,
    pub(super) pod: Option<Pod>,
    pub(super) place: Place,
    /// The node's own traffic.
    pub(super) own_node: bool,
}

impl Party {
    /// The name, with the address or family where that is not in the name.
    pub(super) fn name_and_place(&self) -> String {
        let place = match self.place {
            Place::Address(address) => address.to_string(),
            Place::World { v4: true } => "IPv4".to_owned(),
            Place::World { v4: false } => "IPv6".to_owned(),
            Place::Unknown => return self.name.clone(),
        };
        if self.name.contains(&place) { self.name.clone() } else { format!("{} ({place})", self.name) }
    }
}

/// An end at all of its places.
pub(super) struct Parties {
    pub(super) name: String,
    pod: Option<Pod>,
    places: Vec<Place>,
    own_node: bool,
}

impl Parties {
    fn of_pod(name: String, pod: Pod) -> Self {
        let mut places: Vec<Place> = pod.addresses.iter().copied().map(Place::Address).collect();
        if places.is_empty() {
            places.push(Place::Unknown);
        }
        Self { name, pod: Some(pod), places, own_node: false }
    }

    fn of_address(cluster: &Cluster, address: IpAddr) -> Self {
        let Party { name, pod, place, own_node } = party_of_address(cluster, address);
        Self { name, pod, places: vec![place], own_node }
    }
}

/// What a destination stands for: parties, each with what is sent there.
pub(super) struct Destination {
    pub(super) name: String,
    pub(super) parties: Vec<(Parties, Payload)>,
    pub(super) notes: Vec<String>,
}

impl Destination {
    fn single(parties: Parties, payload: Payload) -> Self {
        Self { name: parties.name.clone(), parties: vec![(parties, payload)], notes: Vec::new() }
    }
}

/// The places of two ends that can speak with each other.
pub(super) fn pairs(from: &Parties, to: &Parties) -> Vec<(Party, Party)> {
    let party = |end: &Parties, place: Place| Party {
        name: end.name.clone(),
        pod: end.pod.clone(),
        place,
        own_node: end.own_node,
    };
    let mut pairs = Vec::new();
    for a in &from.places {
        for b in &to.places {
            let fits = [true, false].into_iter().any(|v4| a.is_of_family(v4) && b.is_of_family(v4));
            if fits {
                pairs.push((party(from, *a), party(to, *b)));
            }
        }
    }
    pairs
}

/// Whoever has an address.
pub(super) fn party_of_address(cluster: &Cluster, address: IpAddr) -> Party {
    let pod = cluster.owner(address).cloned();
    let name =
        pod.as_ref().map_or_else(|| address.to_string(), |pod| format!("{} ({address})", key_text(&pod.key)));
    Party { name, pod, place: Place::Address(address), own_node: false }
}

/// A pod, at its address of a family.
pub(super) fn party_of_pod(cluster: &Cluster, key: &Key, v4: bool) -> Option<Party> {
    let pod = cluster.pods.iter().find(|pod| pod.key == *key)?.clone();
    let place = pod.addresses.iter().find(|address| address.is_ipv4() == v4);
    let place = place.map_or(Place::Unknown, |address| Place::Address(*address));
    Some(Party { name: key_text(key), pod: Some(pod), place, own_node: false })
}

fn find_pod<'c>(cluster: &'c Cluster, key: &Key) -> Option<&'c Pod> {
    cluster.pods.iter().chain(&cluster.templates).find(|pod| pod.key == *key)
}

/// What a source stands for.
pub(super) fn resolve_source(cluster: &Cluster, end: &End) -> Result<Parties, Unanswerable> {
    match end {
        End::Named(key) => match find_pod(cluster, key) {
            Some(pod) => Ok(Parties::of_pod(key_text(key), pod.clone())),
            None if cluster.services.iter().any(|service| service.key == *key) => {
                Err(Unanswerable::ServiceAsSource(key_text(key)))
            }
            None => Err(Unanswerable::Unknown(key_text(key))),
        },
        End::Service(key) => Err(Unanswerable::ServiceAsSource(key_text(key))),
        End::Labelled { namespace, labels } => Ok(hypothetical(namespace, labels)),
        End::Address(address) => Ok(Parties::of_address(cluster, *address)),
        End::Node => Ok(node(cluster)),
        End::World => Ok(Parties {
            name: "world".into(),
            pod: None,
            places: vec![Place::World { v4: true }, Place::World { v4: false }],
            own_node: false,
        }),
    }
}

/// What a destination stands for.
pub(super) fn resolve_destination(
    cluster: &Cluster,
    end: &End,
    payload: Payload,
) -> Result<Destination, Unanswerable> {
    let service = match end {
        End::Named(key) if find_pod(cluster, key).is_none() => Some(key),
        End::Service(key) => Some(key),
        End::Named(_) | End::Labelled { .. } | End::Address(_) | End::Node | End::World => None,
    };
    match service {
        None => {
            let parties = resolve_source(cluster, end)?;
            // A Service's address, or a NodePort: what counts is what stands behind it.
            for place in &parties.places {
                if let (Place::Address(address), Payload::Port(protocol, port)) = (place, payload)
                    && let Some(backends) = cluster.backends(*address, protocol, port)
                {
                    return Ok(behind(cluster, parties.name, payload, backends));
                }
            }
            Ok(Destination::single(parties, payload))
        }
        Some(key) => {
            let service = cluster.services.iter().find(|service| service.key == *key);
            let service = service.ok_or_else(|| Unanswerable::Unknown(key_text(key)))?;
            Ok(behind_service(cluster, service, payload))
        }
    }
}

fn hypothetical(namespace: &str, labels: &Labels) -> Parties {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let name = format!("{namespace}/{}", pairs.join(","));
    let pod = Pod {
        key: Key::new(namespace, &pairs.join(",")),
        uid: "".into(),
        labels: labels.clone(),
        node: "".into(),
        addresses: Vec::new(),
        named_ports: Vec::new(),
        host_network: false,
        finished: false,
        terminating: false,
        ready: true,
        created: 0,
    };
    Parties::of_pod(format!("a pod {}", escaped(&name)), pod)
}

fn node(cluster: &Cluster) -> Parties {
    let known = cluster.nodes.iter().find(|node| node.name == cluster.node);
    let mut places: Vec<Place> =
        known.into_iter().flat_map(|node| &node.addresses).copied().map(Place::Address).collect();
    if places.is_empty() {
        places.push(Place::Unknown);
    }
    Parties {
        name: format!("node {}", escaped(&cluster.node)).trim_end().to_owned(),
        pod: None,
        places,
        own_node: true,
    }
}

fn behind(cluster: &Cluster, name: String, payload: Payload, backends: Vec<Backend>) -> Destination {
    let mut notes = Vec::new();
    if backends.is_empty() {
        notes.push(format!("nothing stands behind {} there", text::payload(payload)));
    }
    let party = |backend: Backend| {
        let payload = match payload {
            Payload::Port(protocol, _) => Payload::Port(protocol, backend.port),
            other @ Payload::Other(_) => other,
        };
        (Parties::of_address(cluster, backend.address), payload)
    };
    let parties = backends.into_iter().map(party).collect();
    Destination { name, parties, notes }
}

fn behind_service(cluster: &Cluster, service: &Service, payload: Payload) -> Destination {
    let name = format!("Service {}", key_text(&service.key));
    let Payload::Port(protocol, number) = payload else {
        let notes = vec![format!("a Service carries TCP, UDP and SCTP only, not {}", text::payload(payload))];
        return Destination { name, parties: Vec::new(), notes };
    };
    let Some(port) = service.ports.iter().find(|one| one.port == number && one.protocol == protocol) else {
        let ports: Vec<String> =
            service.ports.iter().map(|one| text::payload(Payload::Port(one.protocol, one.port))).collect();
        let notes = vec![format!(
            "the Service has no port {}; it has {}",
            text::payload(payload),
            text::list(&ports)
        )];
        return Destination { name, parties: Vec::new(), notes };
    };
    let mut backends = Vec::new();
    for v4 in [true, false] {
        backends.extend(cluster.backends_of(service, port, v4, service.internal_local));
    }
    if service.cluster_ips.is_empty() {
        // Headless: clients find the backends by name, and nothing translates the port.
        for backend in &mut backends {
            backend.port = number;
        }
    }
    backends.sort_unstable();
    backends.dedup();
    behind(cluster, name, payload, backends)
}
