//! Egress without name resolution.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use netpol_common::Direction;

use super::{
    Check, Report, Severity,
    ports::{stands_behind, target_on},
    reach::{overlap, spans},
    report::{At, Said},
    rule::{RuleAt, rules_of},
    scene::{Group, Scene, names},
};
use crate::{
    model::{Key, Pod, Policy, PolicyPeer, PolicyPort, Protocol},
    spec::matching,
};

pub(super) static FORGOTTEN: Check = Check {
    id: "egress-without-dns",
    severity: Severity::Warning,
    title: "pods that may send something, but cannot resolve names",
    explanation: "Whatever a pod calls by name it must look up first, over UDP port 53 and for long answers TCP, at the pods of \
                  kube-dns. Pods that may send nothing at all are not reported. Where the name server's pods are not among the \
                  manifests, any rule for port 53 over UDP counts.",
    run: forgotten,
};

pub(super) static UDP_ONLY: Check = Check {
    id: "dns-without-tcp",
    severity: Severity::Info,
    title: "pods that may ask for names over UDP only",
    explanation: "An answer that does not fit a datagram is asked for again over TCP port 53: long lists of endpoints, DNSSEC.",
    run: udp_only,
};

pub(super) static NODE_LOCAL: Check = Check {
    id: "dns-node-local",
    severity: Severity::Info,
    title: "DNS is allowed to the name server's pods, not to a node-local cache",
    explanation: "With NodeLocal DNSCache pods ask a cache on their node at 169.254.20.10, which is no pod: only an ipBlock \
                  allows it. It is a warning where the manifests hold the cache, an info where it is not known whether there \
                  is one, and not said where the pods of kube-system are known and none of them is the cache.",
    run: node_local,
};

const DNS: u16 = 53;
/// Where NodeLocal DNSCache listens.
const CACHE: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));
const FIX: &str = "allow UDP and TCP port 53 to the pods k8s-app=kube-dns of namespace kube-system";

/// Policies that isolate pods together, and these pods; none are known where the policies' namespace has no known pods.
struct Set<'s, 'a> {
    policies: Vec<&'a Policy>,
    groups: Vec<&'s Group<'a>>,
}

impl<'a> Set<'_, 'a> {
    fn rules(&self) -> impl Iterator<Item = RuleAt<'a>> {
        self.policies
            .iter()
            .flat_map(|policy| rules_of(policy))
            .filter(|at| at.direction == Direction::Egress && !at.rule.void && allows_something(at))
    }
}

fn allows_something(at: &RuleAt<'_>) -> bool {
    let peers =
        at.rule.peers.as_ref().is_none_or(|items| items.iter().any(|item| *item != PolicyPeer::Nobody));
    let ports =
        at.rule.ports.as_ref().is_none_or(|items| items.iter().any(|item| *item != PolicyPort::Nothing));
    peers && ports
}

/// The sets of policies that isolate pods for egress. Where no pod of a namespace is known, all of its policies count
/// as one set: one pod could be selected by all of them.
fn sets<'s, 'a>(scene: &'s Scene<'a>) -> Vec<Set<'s, 'a>> {
    let mut sets: BTreeMap<Vec<&Key>, Set<'s, 'a>> = BTreeMap::new();
    let add = |sets: &mut BTreeMap<_, _>, policies: Vec<&'a Policy>, group: Option<&'s Group<'a>>| {
        let keys: Vec<&Key> = policies.iter().map(|policy| &policy.key).collect();
        if !keys.is_empty() {
            let set: &mut Set<'s, 'a> = sets.entry(keys).or_insert(Set { policies, groups: Vec::new() });
            set.groups.extend(group);
        }
    };
    for group in &scene.groups {
        add(&mut sets, group.isolating(Direction::Egress).to_vec(), Some(group));
    }
    for name in scene.namespaces.keys() {
        let of_namespace = scene
            .policies()
            .filter(|policy| *policy.key.namespace == **name && policy.rules(Direction::Egress).is_some());
        let policies: Vec<&Policy> = of_namespace.collect();
        if !policies.is_empty() && !scene.pods_known(name) {
            add(&mut sets, policies, None);
        }
    }
    sets.into_values().collect()
}

/// The pods that answer, each with the port where it does.
fn servers<'s, 'a>(scene: &'s Scene<'a>, protocol: Protocol) -> Vec<(&'s Group<'a>, u16)> {
    let of_dns = |group: &&Group<'_>| {
        let labels = &group.pod.labels;
        &*group.pod.key.namespace == "kube-system"
            && labels.get("k8s-app").is_some_and(|value| matches!(value.as_str(), "kube-dns" | "coredns"))
    };
    let port = |group: &Group<'_>| {
        let services = scene.cluster.services.iter().filter(|service| stands_behind(service, group));
        let mut ports = services.flat_map(|service| &service.ports);
        let port = ports.find(|port| port.port == DNS && port.protocol == protocol);
        port.and_then(|port| target_on(&port.target, protocol, group)).unwrap_or(DNS)
    };
    scene.groups.iter().filter(of_dns).map(|group| (group, port(group))).collect()
}

/// The rules of a set that let a pod ask for names.
fn asking<'a>(scene: &Scene<'a>, set: &Set<'_, 'a>, protocol: Protocol) -> Vec<RuleAt<'a>> {
    let servers = servers(scene, protocol);
    set.rules().filter(|rule| asks(scene, rule, protocol, &servers)).collect()
}

fn asks(scene: &Scene<'_>, rule: &RuleAt<'_>, protocol: Protocol, servers: &[(&Group<'_>, u16)]) -> bool {
    let ports = rule.rule.ports.as_deref();
    let allowed = |receiver: Option<&Pod>, port: u16| {
        overlap(&spans(ports, receiver), &Some(vec![(protocol, port, port)]))
    };
    let Some(peers) = rule.rule.peers.as_deref() else {
        return allowed(None, DNS) || servers.iter().any(|(group, port)| allowed(Some(group.pod), *port));
    };
    peers.iter().any(|item| match item {
        PolicyPeer::Nobody => false,
        // Port 53 by its number is meant for a name server, whoever that is.
        PolicyPeer::Block(block) => {
            allowed(None, DNS)
                && (ports.is_some()
                    || matching::block_contains(block, CACHE)
                    || servers
                        .iter()
                        .flat_map(|(group, _)| &group.pod.addresses)
                        .any(|address| matching::block_contains(block, *address)))
        }
        PolicyPeer::Pods { namespaces, pods } if !servers.is_empty() => {
            servers.iter().any(|(group, port)| {
                allowed(Some(group.pod), *port) && scene.contains(rule.policy, namespaces, pods, group)
            })
        }
        PolicyPeer::Pods { .. } => {
            let by_name = |port: &PolicyPort| matches!(port, PolicyPort::Named(one, _) if *one == protocol);
            allowed(None, DNS) || ports.is_some_and(|ports| ports.iter().any(by_name))
        }
    })
}

fn of_set(set: &Set<'_, '_>) -> String {
    match (set.groups.as_slice(), set.policies.as_slice()) {
        ([], [first, ..]) => format!("pods of namespace {}", first.key.namespace),
        (groups, _) => names(groups),
    }
}

fn forgotten(scene: &Scene<'_>, report: &mut Report) {
    for set in sets(scene) {
        let Some(rule) = set.rules().next() else { continue };
        if asking(scene, &set, Protocol::Udp).is_empty() {
            let said = Said::new(
                format!("{} may send what {} allows, but not ask for names", of_set(&set), rule.policy.key),
                "whatever is called by name must be looked up first: that fails, or waits for a timeout",
                FIX,
            );
            report.add(&FORGOTTEN, At::policy(rule.policy, "spec.egress"), said);
        }
    }
}

fn udp_only(scene: &Scene<'_>, report: &mut Report) {
    for set in sets(scene) {
        let udp = asking(scene, &set, Protocol::Udp);
        let Some(rule) = udp.first().filter(|_| asking(scene, &set, Protocol::Tcp).is_empty()) else {
            continue;
        };
        if report.has(UDP_ONLY.id, crate::model::Kind::NetworkPolicy, &rule.policy.key) {
            continue;
        }
        let said = Said::new(
            format!("{}: {} may ask for names over UDP, not over TCP", rule.name(), of_set(&set)),
            "an answer that does not fit a datagram is asked for again over TCP, and never comes",
            "allow TCP port 53 beside it",
        );
        report.add(&UDP_ONLY, rule.at(rule.field()), said);
    }
}

fn node_local(scene: &Scene<'_>, report: &mut Report) {
    let is_cache = |pod: &&Pod| pod.labels.get("k8s-app").is_some_and(|value| value == "node-local-dns");
    let cache =
        scene.on_host.iter().copied().chain(scene.groups.iter().map(|group| group.pod)).find(is_cache);
    let severity = match cache {
        Some(_) => Severity::Warning,
        None if scene.is_whole() => return,
        None => Severity::Info,
    };
    for set in sets(scene) {
        let rules = asking(scene, &set, Protocol::Udp);
        let to_cache = |rule: &RuleAt<'_>| {
            let Some(peers) = rule.rule.peers.as_deref() else { return true };
            peers.iter().any(
                |item| matches!(item, PolicyPeer::Block(block) if matching::block_contains(block, CACHE)),
            )
        };
        let Some(rule) = rules.first().filter(|_| !rules.iter().any(to_cache)) else { continue };
        if report.has(NODE_LOCAL.id, crate::model::Kind::NetworkPolicy, &rule.policy.key) {
            continue;
        }
        let there = cache.map_or_else(
            || "if the nodes run NodeLocal DNSCache".to_owned(),
            |pod| format!("{} runs on the nodes:", pod.key),
        );
        let said = Said::new(
            format!("{}: DNS is allowed to pods, not to a cache on the node at {CACHE}", rule.name()),
            format!("{there} pods ask it there, and it is no pod, so no selector speaks of it"),
            format!("add an item `- ipBlock: {{cidr: {CACHE}/32}}` beside the name server's pods"),
        );
        report.add_as(&NODE_LOCAL, severity, rule.at(rule.field()), said);
    }
}
