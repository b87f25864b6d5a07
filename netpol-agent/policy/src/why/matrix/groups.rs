//! Pods that no policy can tell from one another.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use crate::{
    model::{IpBlock, Labels, NamedPort, Pod, Protocol},
    spec::{Cluster, Payload, matching},
    why::{escape::key_text, party::Parties, world},
};

/// Pods that no policy can tell from one another.
pub(super) struct Group {
    /// The first by name, and another one.
    pub(super) first: Parties,
    pub(super) second: Option<Parties>,
    /// All of them, by name.
    pub(super) pods: Vec<String>,
    /// The ports that they are known to have.
    ports: BTreeSet<(Protocol, u16)>,
}

/// What policies can see of a pod.
#[derive(PartialEq, Eq, Hash)]
struct Seen<'c> {
    labels: &'c Labels,
    named_ports: &'c [NamedPort],
    host_network: bool,
    local: bool,
    /// The break-glass switch is set for it.
    switched: bool,
    ports: BTreeSet<(Protocol, u16)>,
    /// By address, in order: its family, and the blocks that hold it.
    addresses: Vec<(bool, Vec<usize>)>,
}

impl Group {
    /// The ports that its pods are known to have, or else that one.
    pub(super) fn payloads(&self, default: Payload) -> Vec<Payload> {
        let known: Vec<Payload> =
            self.ports.iter().map(|(protocol, port)| Payload::Port(*protocol, *port)).collect();
        if known.is_empty() { vec![default] } else { known }
    }
}

/// The pods that count, and those of workloads that have none, in groups by namespace. Pods of a node's network are
/// the node.
pub(super) fn groups(cluster: &Cluster) -> BTreeMap<String, Vec<Group>> {
    let blocks: Vec<&IpBlock> = cluster.policies.iter().flat_map(world::blocks).collect();
    let led_to = led_to(cluster);
    let has_pods = |template: &Pod| {
        cluster.pods.iter().any(|pod| {
            pod.key.namespace == template.key.namespace
                && template.labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
        })
    };
    let templates = cluster.templates.iter().filter(|template| !has_pods(template));
    let mut pods: Vec<&Pod> = cluster.pods.iter().chain(templates).filter(|pod| pod.counts()).collect();
    pods.sort_by(|a, b| a.key.cmp(&b.key));

    let mut of: HashMap<(&str, Seen<'_>), usize> = HashMap::new();
    let mut all: BTreeMap<String, Vec<Group>> = BTreeMap::new();
    for pod in pods {
        let of_services = pod.addresses.iter().filter_map(|address| led_to.get(address)).flatten();
        let named = pod.named_ports.iter().map(|named| (named.protocol, named.port));
        let ports: BTreeSet<(Protocol, u16)> = named.chain(of_services.copied()).collect();
        let held = |address: &IpAddr| {
            let held =
                blocks.iter().enumerate().filter(|(_, block)| matching::block_contains(block, *address));
            (address.is_ipv4(), held.map(|(index, _)| index).collect())
        };
        let seen = Seen {
            labels: &pod.labels,
            named_ports: &pod.named_ports,
            host_network: pod.host_network,
            local: pod.node == cluster.node || pod.node.is_empty(),
            switched: cluster.break_glass(pod).is_some(),
            ports: ports.clone(),
            addresses: pod.addresses.iter().map(held).collect(),
        };
        let groups = all.entry(pod.key.namespace.to_string()).or_default();
        let name = key_text(&pod.key);
        let parties = Parties::of_pod(cluster, name.clone(), pod.clone());
        let index = *of.entry((&pod.key.namespace, seen)).or_insert(groups.len());
        match groups.get_mut(index) {
            Some(group) => {
                group.second.get_or_insert(parties);
                group.pods.push(name);
            }
            None => groups.push(Group { first: parties, second: None, pods: vec![name], ports }),
        }
    }
    all
}

/// Where the ports of Services lead.
fn led_to(cluster: &Cluster) -> HashMap<IpAddr, BTreeSet<(Protocol, u16)>> {
    let mut found: HashMap<IpAddr, BTreeSet<(Protocol, u16)>> = HashMap::new();
    for service in &cluster.services {
        for port in &service.ports {
            for v4 in [true, false] {
                for backend in cluster.backends_of(service, port, v4, false) {
                    found.entry(backend.address).or_default().insert((port.protocol, backend.port));
                }
            }
        }
    }
    found
}
