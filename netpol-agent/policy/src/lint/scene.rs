//! The objects as the checks look at them: pods in groups that are alike, rules with their places, and what is known of
//! which namespace.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use ipnet::IpNet;
use netpol_common::Direction;

use super::{About, Report, Subject, report::At};
use crate::{
    model::{
        Key, Kind, NAME_LABEL, NamedPort, Namespace, NamespaceScope, Pod, Policy, PolicyPeer, Requirement,
        Rule, Selector,
    },
    spec::{Cluster, matching},
};

/// Namespaces that every cluster has, whether the manifests hold them or not.
const ALWAYS_THERE: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Pods of one namespace with the same labels and port names: the policies see no difference between them but their
/// addresses. One stands for all.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) pod: &'a Pod,
    others: usize,
}

impl Group<'_> {
    pub(super) fn name(&self) -> String {
        match self.others {
            0 => self.pod.key.to_string(),
            others => format!("{} (and {others} like it)", self.pod.key),
        }
    }
}

/// A rule and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct RuleAt<'a> {
    pub(super) policy: &'a Policy,
    pub(super) direction: Direction,
    /// Counted from 0.
    pub(super) index: usize,
    pub(super) rule: &'a Rule,
}

impl RuleAt<'_> {
    /// As people count.
    pub(super) fn name(&self) -> String {
        format!("rule {}", self.index + 1)
    }

    pub(super) fn field(&self) -> String {
        format!("{}[{}]", direction_field(self.direction), self.index)
    }

    pub(super) fn peer_field(&self, peer: usize) -> String {
        format!("{}.{}[{peer}]", self.field(), self.peers_field())
    }

    /// `from` or `to`.
    pub(super) const fn peers_field(&self) -> &'static str {
        match self.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        }
    }

    pub(super) fn port_field(&self, port: usize) -> String {
        format!("{}.ports[{port}]", self.field())
    }

    pub(super) fn at(&self, field: String) -> At {
        At::policy(self.policy, field)
    }

    /// The items of `from` or `to`; none where everybody is meant.
    pub(super) fn peers(&self) -> &[PolicyPeer] {
        self.rule.peers.as_deref().unwrap_or_default()
    }
}

/// `spec.ingress` or `spec.egress`.
pub(super) const fn direction_field(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "spec.ingress",
        Direction::Egress => "spec.egress",
    }
}

/// `ingress` or `egress`.
pub(super) const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// What the checks look at.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) about: &'a BTreeMap<(Kind, Key), About>,
    pub(super) service_ranges: &'a [IpNet],
    /// Pods that policies and peers know, of workloads too.
    pub(super) groups: Vec<Group<'a>>,
    /// Pods of the node's network.
    pub(super) on_host: Vec<&'a Pod>,
    /// Every namespace that is there or must be.
    pub(super) namespaces: BTreeMap<String, Namespace>,
    /// Some namespace's own manifest is there, so labels of namespaces can be judged.
    pub(super) namespaces_known: bool,
    /// Namespaces with pods among the manifests.
    with_pods: BTreeSet<&'a str>,
    /// Pods of kube-system are there: so it is everything that a cluster holds, and a namespace without pods has none.
    whole: bool,
    /// Namespaces of whose pods nothing was known when it was asked.
    missed: RefCell<BTreeSet<String>>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(subject: &Subject<'a>) -> Self {
        let cluster = subject.cluster;
        let all = || cluster.pods.iter().chain(&cluster.templates).filter(|pod| !pod.finished);
        let mut groups: BTreeMap<(&str, &crate::model::Labels, &[NamedPort]), Group<'a>> = BTreeMap::new();
        for pod in all().filter(|pod| pod.counts()) {
            groups
                .entry((&pod.key.namespace, &pod.labels, &pod.named_ports))
                .and_modify(|group| group.others += 1)
                .or_insert(Group { pod, others: 0 });
        }
        let with_pods: BTreeSet<&str> = all().map(|pod| &*pod.key.namespace).collect();
        let mut namespaces: BTreeMap<String, Namespace> = BTreeMap::new();
        let keys = all().map(|pod| &pod.key).chain(cluster.policies.iter().map(|policy| &policy.key));
        let names = keys.map(|key| &*key.namespace).chain(ALWAYS_THERE);
        for name in names {
            namespaces.entry(name.to_owned()).or_insert_with(|| cluster.namespace(name));
        }
        for namespace in &cluster.namespaces {
            namespaces.insert(namespace.name.to_string(), namespace.clone());
        }
        Self {
            cluster,
            about: subject.about,
            service_ranges: subject.service_ranges,
            groups: groups.into_values().collect(),
            on_host: all().filter(|pod| pod.host_network).collect(),
            namespaces_known: !cluster.namespaces.is_empty(),
            namespaces,
            whole: with_pods.contains("kube-system"),
            with_pods,
            missed: RefCell::default(),
        }
    }

    /// Whether the pods of a namespace are known, if only as none. A namespace of whose pods nothing is known is
    /// remembered for the notes.
    pub(super) fn pods_known(&self, namespace: &str) -> bool {
        let known = self.whole || self.with_pods.contains(namespace);
        if !known {
            self.missed.borrow_mut().insert(namespace.to_owned());
        }
        known
    }

    /// Whether there are pods in a namespace, those of the node's network among them.
    pub(super) fn has_pods(&self, namespace: &str) -> bool {
        self.with_pods.contains(namespace)
    }

    /// Whether everything that a cluster holds is there.
    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    /// Says once of which namespaces nothing was known.
    pub(super) fn note_unknown(&self, report: &mut Report) {
        let missed: Vec<String> = self.missed.borrow().iter().cloned().collect();
        if !missed.is_empty() {
            report.note(&format!(
                "no pod and no workload is known of {} {}: what selectors match there was not judged",
                if missed.len() == 1 { "namespace" } else { "namespaces" },
                listed(&missed, 5)
            ));
        }
    }

    pub(super) fn policies(&self) -> impl Iterator<Item = &'a Policy> + use<'a> {
        self.cluster.policies.iter()
    }

    /// Every rule that could be read.
    pub(super) fn rules(&self) -> impl Iterator<Item = RuleAt<'a>> + use<'a> {
        self.policies().flat_map(rules_of).filter(|at| !at.rule.void)
    }

    /// The pods that a policy selects.
    pub(super) fn selected(&self, policy: &Policy) -> Vec<&Group<'a>> {
        let selected = |group: &&Group<'a>| {
            group.pod.key.namespace == policy.key.namespace
                && matching::selects(&policy.pod_selector, &group.pod.labels)
        };
        self.groups.iter().filter(selected).collect()
    }

    /// The pods that an item of a policy's rule speaks of; blocks by the addresses that pods have now.
    pub(super) fn peers(&self, policy: &Policy, item: &PolicyPeer) -> Vec<&Group<'a>> {
        let contains = |group: &&Group<'a>| match item {
            PolicyPeer::Nobody => false,
            PolicyPeer::Pods { namespaces, pods } => {
                self.cluster.pods_contain(namespaces, pods, &policy.key, group.pod)
            }
            PolicyPeer::Block(block) => {
                group.pod.addresses.iter().any(|address| matching::block_contains(block, *address))
            }
        };
        self.groups.iter().filter(contains).collect()
    }

    /// The namespaces that a peer speaks of.
    pub(super) fn scope(&self, policy: &Policy, scope: &NamespaceScope) -> Vec<&Namespace> {
        match scope {
            NamespaceScope::Own => self.namespaces.get(&*policy.key.namespace).into_iter().collect(),
            NamespaceScope::Selected(selector) => self
                .namespaces
                .values()
                .filter(|namespace| matching::selects(selector, &namespace.labels))
                .collect(),
        }
    }

    /// Whether everything is known that decides which pods a peer speaks of.
    pub(super) fn scope_known(&self, policy: &Policy, scope: &NamespaceScope) -> bool {
        let labels_known = match scope {
            NamespaceScope::Own => true,
            NamespaceScope::Selected(selector) => self.namespaces_known || by_name_only(selector),
        };
        labels_known && self.scope(policy, scope).iter().all(|namespace| self.pods_known(&namespace.name))
    }

    pub(super) fn about(&self, policy: &Policy) -> Option<&'a About> {
        self.about.get(&(Kind::NetworkPolicy, policy.key.clone()))
    }
}

/// Every rule of a policy, in force or void.
pub(super) fn rules_of(policy: &Policy) -> impl Iterator<Item = RuleAt<'_>> {
    Direction::ALL.into_iter().flat_map(move |direction| {
        let rules = policy.rules(direction).unwrap_or_default();
        rules.iter().enumerate().map(move |(index, rule)| RuleAt { policy, direction, index, rule })
    })
}

/// Whether a selector of namespaces asks for nothing but their names, which are known without their manifests.
pub(super) fn by_name_only(selector: &Selector) -> bool {
    selector.0.iter().all(|requirement| key_of(requirement) == NAME_LABEL)
}

/// The label that a requirement speaks of.
pub(super) fn key_of(requirement: &Requirement) -> &str {
    match requirement {
        Requirement::In(key, _)
        | Requirement::NotIn(key, _)
        | Requirement::Exists(key)
        | Requirement::DoesNotExist(key) => key,
    }
}

/// Names with commas between them, of many only the first.
pub(super) fn listed(names: &[String], most: usize) -> String {
    let mut shown: Vec<String> = names.iter().take(most).cloned().collect();
    if names.len() > most {
        shown.push(format!("{} more", names.len() - most));
    }
    shown.join(", ")
}

/// The names of groups, of many only the first.
pub(super) fn names(groups: &[&Group<'_>]) -> String {
    listed(&groups.iter().map(|group| group.name()).collect::<Vec<_>>(), 4)
}
