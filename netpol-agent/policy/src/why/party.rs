//! What the ends of a question stand for in a cluster.

use std::net::IpAddr;

use super::{
    End, Unanswerable,
    escape::{escaped, key_text},
    world,
};
use crate::{
    model::{Key, Labels, Node, Pod},
    spec::Cluster,
};

/// The name of what is outside.
pub(super) const WORLD: &str = "world";

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
    /// A pod that is known by its labels alone.
    pub(super) hypothetical: bool,
}

impl Party {
    /// Its address; for the world one that stands for it.
    pub(super) fn address(&self, cluster: &Cluster) -> Option<IpAddr> {
        match self.place {
            Place::Address(address) => Some(address),
            Place::World { v4 } => world::representative(cluster, v4),
            Place::Unknown => None,
        }
    }

    /// Whether it is a pod that policies know.
    pub(super) fn counts(&self) -> bool {
        self.pod.as_ref().is_some_and(Pod::counts)
    }

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
#[derive(Clone, Debug)]
pub(super) struct Parties {
    pub(super) name: String,
    pub(super) pod: Option<Pod>,
    pub(super) places: Vec<Place>,
    own_node: bool,
    hypothetical: bool,
}

impl Parties {
    /// A pod at all of its addresses. What a pod of the node's network sends is the node's.
    pub(super) fn of_pod(cluster: &Cluster, name: String, pod: Pod) -> Self {
        let own_node = pod.host_network && pod.node == cluster.node;
        let mut places: Vec<Place> = pod.addresses.iter().copied().map(Place::Address).collect();
        if places.is_empty() {
            places.push(Place::Unknown);
        }
        Self { name, pod: Some(pod), places, own_node, hypothetical: false }
    }

    pub(super) fn of_address(cluster: &Cluster, address: IpAddr) -> Self {
        let Party { name, pod, place, own_node, hypothetical } = party_of_address(cluster, address);
        Self { name, pod, places: vec![place], own_node, hypothetical }
    }

    /// The world outside, in both families.
    pub(super) fn world() -> Self {
        let places = vec![Place::World { v4: true }, Place::World { v4: false }];
        Self { name: WORLD.into(), pod: None, places, own_node: false, hypothetical: false }
    }

    /// The node itself.
    pub(super) fn own_node(cluster: &Cluster) -> Self {
        let known = cluster.nodes.iter().find(|node| node.name == cluster.node);
        Self { own_node: true, ..Self::node(&cluster.node, known) }
    }

    fn node(name: &str, node: Option<&Node>) -> Self {
        let mut places: Vec<Place> =
            node.into_iter().flat_map(|node| &node.addresses).copied().map(Place::Address).collect();
        if places.is_empty() {
            places.push(Place::Unknown);
        }
        let name = format!("node {}", escaped(name)).trim_end().to_owned();
        Self { name, pod: None, places, own_node: false, hypothetical: false }
    }

    /// A pod that is known by its labels alone.
    fn hypothetical(cluster: &Cluster, namespace: &str, labels: &Labels) -> Self {
        let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let name = format!("{namespace}/{}", pairs.join(","));
        let pod = Pod {
            key: Key::new(namespace, &pairs.join(",")),
            uid: "".into(),
            mirror_of: None,
            labels: labels.clone().into(),
            node: "".into(),
            addresses: Vec::new(),
            named_ports: [].into(),
            host_ports: Vec::new(),
            host_network: false,
            finished: false,
            terminating: false,
            ready: true,
            created: 0,
        };
        Self { hypothetical: true, ..Self::of_pod(cluster, format!("a pod {}", escaped(&name)), pod) }
    }

    /// What there is to say of an end before anything is judged.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let Some(pod) = &self.pod else { return notes };
        if pod.finished {
            notes.push(format!("{} is finished: policies ignore it, and its address is nobody's", self.name));
        } else if !self.hypothetical && pod.addresses.is_empty() {
            notes.push(format!("{} has no address (yet): no ipBlock matches it", self.name));
        }
        notes
    }
}

/// The places of two ends that can speak with each other.
pub(super) fn pairs(from: &Parties, to: &Parties) -> Vec<(Party, Party)> {
    let party = |end: &Parties, place: Place| Party {
        name: end.name.clone(),
        pod: end.pod.clone(),
        place,
        own_node: end.own_node,
        hypothetical: end.hypothetical,
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
    Party { name, pod, place: Place::Address(address), own_node: false, hypothetical: false }
}

/// A pod, at its address of a family.
pub(super) fn party_of_pod(cluster: &Cluster, key: &Key, v4: bool) -> Option<Party> {
    let pod = cluster.pods.iter().find(|pod| pod.key == *key)?.clone();
    let place = pod.addresses.iter().find(|address| address.is_ipv4() == v4);
    let place = place.map_or(Place::Unknown, |address| Place::Address(*address));
    Some(Party { name: key_text(key), pod: Some(pod), place, own_node: false, hypothetical: false })
}

pub(super) fn find_pod<'c>(cluster: &'c Cluster, key: &Key) -> Option<&'c Pod> {
    cluster.pods.iter().chain(&cluster.templates).find(|pod| pod.key == *key)
}

/// What an end stands for that is no Service.
pub(super) fn resolve_source(cluster: &Cluster, end: &End) -> Result<Parties, Unanswerable> {
    match end {
        End::Named(key) => match find_pod(cluster, key) {
            Some(pod) => Ok(Parties::of_pod(cluster, key_text(key), pod.clone())),
            None if cluster.services.iter().any(|service| service.key == *key) => {
                Err(Unanswerable::ServiceAsSource(key_text(key)))
            }
            None => Err(Unanswerable::Unknown(key_text(key))),
        },
        End::Service(key) => Err(Unanswerable::ServiceAsSource(key_text(key))),
        End::Labelled { namespace, labels } => Ok(Parties::hypothetical(cluster, namespace, labels)),
        End::Address(address) => Ok(Parties::of_address(cluster, *address)),
        End::Node => Ok(Parties::own_node(cluster)),
        End::OtherNode(name) => match cluster.nodes.iter().find(|node| *node.name == **name) {
            Some(node) if node.name == cluster.node => Ok(Parties::own_node(cluster)),
            Some(node) => Ok(Parties::node(name, Some(node))),
            None => Err(Unanswerable::UnknownNode(escaped(name))),
        },
        End::World => Ok(Parties::world()),
    }
}
