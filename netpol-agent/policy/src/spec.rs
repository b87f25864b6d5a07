//! A literal evaluator of the specification: what the text of the NetworkPolicy API says of one flow, found by
//! looking at every policy, rule and peer each time.
//!
//! It is what the [engine](crate::engine)'s tables are compared with, so it shares no code with them, keeps no index, and
//! prefers the plain loop. It speaks of new flows only: not of replies, fragments, link control or forged addresses,
//! which are the [decision function](netpol_common::decide)'s.

pub mod matching;
mod service;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use netpol_common::Direction;

use crate::model::{
    EndpointSlice, Key, Kind, Namespace, NamespaceScope, Node, Object, Pod, Policy, PolicyPeer, PolicyPort,
    Protocol, Rule, Service,
};

pub use service::{Backend, BackendVerdict};

/// All objects, as seen from one node.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The node whose own traffic and addresses are meant.
    pub(crate) node: Arc<str>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) pods: Vec<Pod>,
    /// Pods of workloads that may have none yet: no traffic is theirs, they are only asked about by name.
    pub(crate) templates: Vec<Pod>,
    pub(crate) services: Vec<Service>,
    pub(crate) slices: Vec<EndpointSlice>,
    pub(crate) policies: Vec<Policy>,
    /// Ranges in which only Services have addresses, as far as they are known.
    pub(crate) service_ranges: Vec<IpNet>,
    /// What the interfaces of the node have; empty when nobody has looked.
    pub(crate) host_addresses: Vec<IpAddr>,
    /// What the interfaces of pods of the node were given, where somebody has looked.
    pub(crate) given: BTreeMap<Key, Vec<IpAddr>>,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// Whoever has this address.
    Address(IpAddr),
    /// The node itself, or a pod of its network, from this address of it.
    Node(IpAddr),
}

impl Sender {
    /// The source address of its packets.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        match self {
            Self::Address(address) | Self::Node(address) => address,
        }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// To a port of a protocol that has ports.
    Port(Protocol, u16),
    /// Any other IP protocol, by its number; ICMP among them.
    Other(u8),
}

/// A new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Traffic {
    /// Who sends.
    pub src: Sender,
    /// Where to.
    pub dst: IpAddr,
    /// What.
    pub payload: Payload,
}

/// What the specification says: traffic passes when both sides allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// What the policies of the source say; true when the source is no pod.
    pub egress: bool,
    /// What the policies of the destination say; true when the destination is no pod.
    pub ingress: bool,
}

impl Verdict {
    const ALLOWED: Self = Self { egress: true, ingress: true };

    /// Whether it passes (row 10: both must allow).
    #[must_use]
    pub const fn passes(self) -> bool {
        self.egress && self.ingress
    }
}

/// What the specification says of a flow whose destination may be a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The destination is what it says.
    Direct(Verdict),
    /// The destination is a Service's: each backend that may be chosen, at its own port. Without any it leads
    /// nowhere.
    Backends(Vec<BackendVerdict>),
}

impl Cluster {
    /// A cluster of these objects, seen from the node of this name.
    #[must_use]
    pub fn new(objects: &[Object], node: &str) -> Self {
        let mut cluster = Self { node: node.into(), ..Self::default() };
        for object in objects {
            match object.clone() {
                Object::Namespace(object) => cluster.namespaces.push(object),
                Object::Node(object) => cluster.nodes.push(object),
                Object::Pod(object) => cluster.pods.push(object),
                Object::Service(object) => cluster.services.push(object),
                Object::EndpointSlice(object) => cluster.slices.push(object),
                Object::Policy(object) => cluster.policies.push(object),
            }
        }
        cluster
    }

    /// Adds the pods of workloads' templates, for [`why`](crate::why): they have no addresses, and decide nothing.
    #[must_use]
    pub fn with_templates(mut self, templates: Vec<Pod>) -> Self {
        self.templates = templates;
        self
    }

    /// Says which addresses the interfaces of the node have: NodePorts may be translated at each.
    #[must_use]
    pub fn with_host_addresses(mut self, addresses: Vec<IpAddr>) -> Self {
        self.host_addresses = addresses;
        self
    }

    /// Says which addresses interfaces of the node were given, each by its pod: that is all that such a pod has, and nobody
    /// else has them. A status can be of an earlier sandbox.
    #[must_use]
    pub fn with_given_addresses(mut self, given: impl IntoIterator<Item = (Key, Vec<IpAddr>)>) -> Self {
        for (pod, addresses) in given.into_iter().filter(|(_, addresses)| !addresses.is_empty()) {
            self.given.entry(pod).or_default().extend(addresses);
        }
        self
    }

    /// Says in which ranges only Services have addresses, for [`why`](crate::why): what no Service has there is nobody's.
    #[must_use]
    pub fn with_service_ranges(mut self, ranges: Vec<IpNet>) -> Self {
        self.service_ranges = ranges;
        self
    }

    /// Whether an address is in a range in which only Services have addresses.
    pub(crate) fn is_of_services(&self, address: IpAddr) -> bool {
        self.owner(address).is_none() && self.service_ranges.iter().any(|range| range.contains(&address))
    }

    /// What the specification says of a flow, its destination taken as it is: where it is a Service's, ask
    /// [`answer`](Self::answer).
    #[must_use]
    pub fn allows(&self, traffic: &Traffic) -> Verdict {
        let Traffic { src, dst, payload } = *traffic;
        let source = match src {
            Sender::Address(address) => self.owner(address),
            Sender::Node(_) => None,
        };
        let destination = self.owner(dst);

        // Row 35: a pod always reaches itself.
        if let (Some(source), Some(destination)) = (source, destination)
            && source.key == destination.key
        {
            return Verdict::ALLOWED;
        }
        let egress = source
            .is_none_or(|pod| self.side(pod, Direction::Egress, dst, destination, destination, payload));
        let ingress = destination.is_none_or(|pod| {
            // Row 33: the own node always reaches its pods.
            let own_node = matches!(src, Sender::Node(_)) && (pod.node == self.node || pod.node.is_empty());
            own_node || self.side(pod, Direction::Ingress, src.address(), source, destination, payload)
        });
        Verdict { egress, ingress }
    }

    /// The pod that has an address (row 48): of those that are alive the one at whose interface it was found, then the one
    /// that is not terminating, then the one created last, then the first by name. Rows 32, 37 and 50: pods of the node's
    /// network and finished ones have none, and some addresses are never a pod's.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<&Pod> {
        if matching::never_a_pods(address) {
            return None;
        }
        let mut owner: Option<&Pod> = None;
        for pod in &self.pods {
            let given = self.given.get(&pod.key);
            if pod.host_network || pod.finished || !given.unwrap_or(&pod.addresses).contains(&address) {
                continue;
            }
            let better = match owner {
                None => true,
                Some(other) if given.is_some() != self.given.contains_key(&other.key) => given.is_some(),
                Some(other) if pod.terminating != other.terminating => other.terminating,
                Some(other) if pod.created != other.created => pod.created > other.created,
                Some(other) => pod.key < other.key,
            };
            if better {
                owner = Some(pod);
            }
        }
        owner
    }

    /// The policies that isolate a pod in a direction: those that select it, unless the break-glass switch is set.
    pub(crate) fn isolating(
        &self,
        pod: &Pod,
        direction: Direction,
    ) -> impl Iterator<Item = (&Policy, &[Rule])> {
        let switched = self.break_glass(pod).is_some();
        self.selecting(pod, direction).filter(move |_| !switched)
    }

    /// The object whose break-glass switch keeps policies from being enforced for a pod: its node, else its namespace.
    pub(crate) fn break_glass(&self, pod: &Pod) -> Option<(Kind, Arc<str>)> {
        let node = if pod.node.is_empty() { &self.node } else { &pod.node };
        if self.nodes.iter().any(|one| one.name == *node && one.break_glass) {
            return Some((Kind::Node, node.clone()));
        }
        let namespace = &pod.key.namespace;
        let switched = self.namespaces.iter().any(|one| one.name == *namespace && one.break_glass);
        switched.then(|| (Kind::Namespace, namespace.clone()))
    }

    /// The policies that select a pod in a direction.
    pub(crate) fn selecting(
        &self,
        pod: &Pod,
        direction: Direction,
    ) -> impl Iterator<Item = (&Policy, &[Rule])> {
        self.policies.iter().filter_map(move |policy| {
            let rules = policy.rules(direction)?;
            let selects = !pod.host_network
                && !pod.finished
                && policy.key.namespace == pod.key.namespace
                && matching::selects(&policy.pod_selector, &pod.labels);
            selects.then_some((policy, rules))
        })
    }

    /// What the policies of one pod say in one direction. `peer` and `peer_pod` are the other end, `destination` is
    /// whoever receives.
    fn side(
        &self,
        pod: &Pod,
        direction: Direction,
        peer: IpAddr,
        peer_pod: Option<&Pod>,
        destination: Option<&Pod>,
        payload: Payload,
    ) -> bool {
        let mut isolated = false;
        for (policy, rules) in self.isolating(pod, direction) {
            isolated = true;
            for rule in rules {
                if !rule.void
                    && self.rule_has_peer(rule, policy, peer, peer_pod)
                    && rule_has_port(rule, destination, payload)
                {
                    return true;
                }
            }
        }
        !isolated
    }

    fn rule_has_peer(&self, rule: &Rule, policy: &Policy, peer: IpAddr, peer_pod: Option<&Pod>) -> bool {
        let Some(peers) = &rule.peers else { return true };
        peers.iter().any(|item| match item {
            PolicyPeer::Nobody => false,
            PolicyPeer::Block(block) => matching::block_contains(block, peer),
            PolicyPeer::Pods { namespaces, pods } => {
                peer_pod.is_some_and(|pod| self.pods_contain(namespaces, pods, &policy.key, pod))
            }
        })
    }

    /// Whether a peer of a policy speaks of a pod.
    pub(crate) fn pods_contain(
        &self,
        namespaces: &NamespaceScope,
        pods: &crate::model::Selector,
        policy: &Key,
        pod: &Pod,
    ) -> bool {
        let namespace_fits = match namespaces {
            NamespaceScope::Own => pod.key.namespace == policy.namespace,
            NamespaceScope::Selected(selector) => {
                matching::selects(selector, &self.namespace(&pod.key.namespace).labels)
            }
        };
        namespace_fits && !pod.host_network && !pod.finished && matching::selects(pods, &pod.labels)
    }

    /// A namespace, whether its object is there or not.
    pub(crate) fn namespace(&self, name: &str) -> Namespace {
        let known = self.namespaces.iter().find(|namespace| *namespace.name == *name);
        known.cloned().unwrap_or_else(|| Namespace::implied(name))
    }
}

fn rule_has_port(rule: &Rule, destination: Option<&Pod>, payload: Payload) -> bool {
    let Some(ports) = &rule.ports else { return true };
    // Row 40: a rule with ports speaks of protocols with ports only.
    let Payload::Port(protocol, port) = payload else { return false };
    ports.iter().any(|item| port_matches(item, destination, protocol, port))
}

/// Whether an item of `ports` speaks of a port of the destination.
pub(crate) fn port_matches(
    item: &PolicyPort,
    destination: Option<&Pod>,
    protocol: Protocol,
    port: u16,
) -> bool {
    match item {
        PolicyPort::Nothing => false,
        PolicyPort::All(wanted) => *wanted == protocol,
        PolicyPort::Range(wanted, low, high) => *wanted == protocol && *low <= port && port <= *high,
        PolicyPort::Named(wanted, name) => {
            *wanted == protocol
                && destination.is_some_and(|pod| {
                    pod.named_ports
                        .iter()
                        .any(|named| named.name == *name && named.protocol == protocol && named.port == port)
                })
        }
    }
}
