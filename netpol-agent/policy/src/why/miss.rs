//! How a rule fails to match: the first thing, in words.

use std::fmt::Write as _;

use netpol_common::Direction;

use super::{
    party::{Party, Place},
    side::Miss,
    text,
};
use crate::{
    model::{
        IpBlock, Labels, NamespaceScope, Pod, Policy, PolicyPeer, PolicyPort, Requirement, Rule, Selector,
    },
    spec::{Cluster, Payload, matching, port_matches},
};

/// What is asked of a rule.
pub(super) struct Asked<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) policy: &'a Policy,
    pub(super) direction: Direction,
    pub(super) peer: &'a Party,
    pub(super) receiver: &'a Party,
    pub(super) payload: Payload,
}

/// How a rule fails.
pub(super) struct Missed {
    pub(super) miss: Miss,
    /// What does not match, below the rule's path.
    pub(super) field: String,
    pub(super) text: String,
}

/// How near a peer item comes: an item whose namespace fits is nearer than one whose kind is another.
struct PeerMiss {
    nearness: u8,
    field: String,
    text: String,
}

impl Asked<'_> {
    /// How a rule fails, `None` when it allows.
    pub(super) fn miss(&self, rule: &Rule) -> Option<Missed> {
        if rule.void {
            let text =
                "grants nothing: a part of it could not be read, which is reported as a problem".to_owned();
            return Some(Missed { miss: Miss::Void, field: String::new(), text });
        }
        let peer = self.peer_miss(rule);
        let port = self.port_miss(rule);
        match (peer, port) {
            (None, None) => None,
            (None, Some(port)) => {
                let text = format!("matches the peer, not the port: {port}");
                Some(Missed { miss: Miss::Port, field: ".ports".into(), text })
            }
            (Some(peer), None) => {
                let text = format!("matches the port, not the peer: {}", peer.text);
                Some(Missed { miss: Miss::Peer, field: peer.field, text })
            }
            (Some(peer), Some(port)) => {
                let text = format!("matches neither the peer ({}) nor the port ({port})", peer.text);
                Some(Missed { miss: Miss::PeerAndPort, field: peer.field, text })
            }
        }
    }

    fn peer_miss(&self, rule: &Rule) -> Option<PeerMiss> {
        let peers = rule.peers.as_deref()?;
        let list = match self.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        let mut nearest: Option<PeerMiss> = None;
        for (index, item) in peers.iter().enumerate() {
            let mut missed = self.item_miss(item)?;
            missed.field = format!(".{list}[{index}]{}", missed.field);
            if nearest.as_ref().is_none_or(|other| missed.nearness > other.nearness) {
                nearest = Some(missed);
            }
        }
        let mut nearest = nearest?;
        match peers.len() - 1 {
            0 => {}
            1 => nearest.text.push_str(", nor does another peer match"),
            more => _ = write!(nearest.text, ", nor do {more} other peers match"),
        }
        Some(nearest)
    }

    fn item_miss(&self, item: &PolicyPeer) -> Option<PeerMiss> {
        match item {
            PolicyPeer::Nobody => Some(PeerMiss {
                nearness: 0,
                field: String::new(),
                text: "the item could not be read and matches nothing".into(),
            }),
            PolicyPeer::Block(block) => self.block_miss(block),
            PolicyPeer::Pods { namespaces, pods } => self.pods_miss(namespaces, pods),
        }
    }

    fn block_miss(&self, block: &IpBlock) -> Option<PeerMiss> {
        let field = ".ipBlock".to_owned();
        let cidr = block.cidr;
        let (nearness, text) = match self.peer.place {
            Place::Address(address) => {
                if matching::block_contains(block, address) {
                    return None;
                }
                match block.except.iter().find(|except| except.contains(&address)) {
                    Some(except) => (3, format!("{address} is in {cidr}, but in its except {except}")),
                    None => (1, format!("{address} is not in {cidr}")),
                }
            }
            Place::World { v4 } => {
                let same_family = cidr.addr().is_ipv4() == v4;
                if same_family && cidr.prefix_len() == 0 && !block.except.contains(&cidr) {
                    return None;
                }
                (1, format!("{cidr} is not the whole world of {}", if v4 { "IPv4" } else { "IPv6" }))
            }
            Place::Unknown => (1, format!("{} has no address yet that could be in {cidr}", self.peer.name)),
        };
        Some(PeerMiss { nearness, field, text })
    }

    fn pods_miss(&self, namespaces: &NamespaceScope, pods: &Selector) -> Option<PeerMiss> {
        let Some(pod) = &self.peer.pod else {
            let text = format!("{} is no pod", self.peer.name);
            return Some(PeerMiss { nearness: 0, field: selector_field(namespaces), text });
        };
        if pod.host_network {
            let text =
                format!("{} is a pod of the node's network, which no selector matches", self.peer.name);
            return Some(PeerMiss { nearness: 0, field: selector_field(namespaces), text });
        }
        if self.cluster.pods_contain(namespaces, pods, &self.policy.key, pod) {
            return None;
        }
        let namespace = &pod.key.namespace;
        let outside = match namespaces {
            NamespaceScope::Own if *namespace == self.policy.key.namespace => None,
            NamespaceScope::Own => Some((
                ".podSelector",
                format!(
                    "a podSelector alone means pods of {}, and {} is in {namespace}",
                    self.policy.key.namespace, self.peer.name
                ),
            )),
            NamespaceScope::Selected(selector) => {
                let labels = self.cluster.namespace(namespace).labels;
                first_miss(selector, &labels)
                    .map(|missed| (".namespaceSelector", format!("of namespace {namespace} {missed}")))
            }
        };
        if let Some((field, text)) = outside {
            return Some(PeerMiss { nearness: 2, field: field.into(), text });
        }
        let missed = first_miss(pods, &pod.labels).unwrap_or_else(|| "the pod is finished".to_owned());
        let text = format!("of {} {missed}", self.peer.name);
        Some(PeerMiss { nearness: 4, field: ".podSelector".into(), text })
    }

    fn port_miss(&self, rule: &Rule) -> Option<String> {
        let ports = rule.ports.as_deref()?;
        let asked = text::payload(self.payload);
        let Payload::Port(protocol, port) = self.payload else {
            return Some(format!("a rule with ports never allows {asked}"));
        };
        let destination = self.receiver.pod.as_ref();
        if ports.iter().any(|item| port_matches(item, destination, protocol, port)) {
            return None;
        }
        const SHOWN: usize = 5;
        let mut allowed: Vec<String> = ports.iter().map(|item| self.port_text(item, destination)).collect();
        allowed.dedup();
        if allowed.len() > SHOWN {
            let more = allowed.len() - SHOWN;
            allowed.truncate(SHOWN);
            allowed.push(format!("{more} more"));
        }
        Some(format!("{} allowed, {asked} asked", text::list(&allowed)))
    }

    fn port_text(&self, item: &PolicyPort, destination: Option<&Pod>) -> String {
        match item {
            PolicyPort::Nothing => "nothing (an item that could not be read)".into(),
            PolicyPort::All(protocol) => format!("every port of {}", protocol.name()),
            PolicyPort::Range(protocol, low, high) if low == high => format!("{low}/{}", protocol.name()),
            PolicyPort::Range(protocol, low, high) => format!("{low}-{high}/{}", protocol.name()),
            PolicyPort::Named(protocol, name) => {
                let Some(pod) = destination else {
                    return format!("{name}/{} (a name, which only pods have)", protocol.name());
                };
                let numbers: Vec<String> = pod
                    .named_ports
                    .iter()
                    .filter(|one| one.name == *name && one.protocol == *protocol)
                    .map(|one| one.port.to_string())
                    .collect();
                let meaning = if self.receiver.hypothetical {
                    "a name, and only labels are known of that pod".to_owned()
                } else if numbers.is_empty() {
                    format!("which {} does not declare", self.receiver.name)
                } else {
                    format!("{} there", text::list(&numbers))
                };
                format!("{name}/{} ({meaning})", protocol.name())
            }
        }
    }
}

fn selector_field(namespaces: &NamespaceScope) -> String {
    match namespaces {
        NamespaceScope::Own => ".podSelector".into(),
        NamespaceScope::Selected(_) => ".namespaceSelector".into(),
    }
}

/// The first requirement that does not hold, in words.
fn first_miss(selector: &Selector, labels: &Labels) -> Option<String> {
    let requirement = selector.0.iter().find(|requirement| !matching::holds(requirement, labels))?;
    let values = |values: &std::collections::BTreeSet<String>| {
        let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        quoted.join(" or ")
    };
    Some(match requirement {
        Requirement::In(key, wanted) => match labels.get(key) {
            Some(value) => format!("label {key} is {value:?}, not {}", values(wanted)),
            None => format!("label {key} is missing, {} wanted", values(wanted)),
        },
        Requirement::NotIn(key, _) => {
            format!("label {key} is {:?}, which is ruled out", labels.get(key).map_or("", String::as_str))
        }
        Requirement::Exists(key) => format!("label {key} is missing"),
        Requirement::DoesNotExist(key) => format!("label {key} is there, and must not be"),
    })
}
