//! The objects as the checks look at them: pods in groups that are alike, and what is known of which namespace.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Range,
};

use ipnet::IpNet;
use netpol_common::Direction;

use super::{
    About, Report, Subject,
    rule::{RuleAt, rules_of},
};
use crate::{
    model::{
        Key, Kind, Labels, NAME_LABEL, NamedPort, Namespace, NamespaceScope, Pod, Policy, PolicyPeer,
        Requirement, Selector,
    },
    policy_text::selector_text,
    spec::{Cluster, matching},
};

/// Namespaces that every cluster has, whether the manifests hold them or not.
const ALWAYS_THERE: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Pods of one namespace with the same labels and port names: the policies see no difference between them but their
/// addresses. One stands for all.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) pod: &'a Pod,
    /// By [`Direction::index`]: the policies that isolate them.
    isolating: [Vec<&'a Policy>; 2],
    others: usize,
}

impl<'a> Group<'a> {
    /// The policies that isolate these pods in a direction.
    pub(super) fn isolating(&self, direction: Direction) -> &[&'a Policy] {
        &self.isolating[direction.index()]
    }

    pub(super) fn name(&self) -> String {
        match self.others {
            0 => self.pod.key.to_string(),
            others => format!("{} (and {others} like it)", self.pod.key),
        }
    }
}

/// What the checks look at.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) about: &'a BTreeMap<(Kind, Key), About>,
    pub(super) service_ranges: &'a [IpNet],
    /// Pods that policies and peers know, of workloads too; those of a namespace beside each other.
    pub(super) groups: Vec<Group<'a>>,
    of_namespace: BTreeMap<&'a str, Range<usize>>,
    /// Pods of the node's network.
    pub(super) on_host: Vec<&'a Pod>,
    /// Every namespace that is there or must be.
    pub(super) namespaces: BTreeMap<String, Namespace>,
    /// All namespaces of the cluster are there: the manifest of kube-system or its pods are.
    pub(super) namespaces_known: bool,
    /// Namespaces with pods among the manifests.
    with_pods: BTreeSet<&'a str>,
    /// Pods of kube-system are there: so it is everything that a cluster holds, and a namespace without pods has none.
    whole: bool,
    /// Namespaces of whose pods nothing was known when it was asked.
    missed: RefCell<BTreeSet<String>>,
    /// Selectors of namespaces that match none of those at hand, while there may be others.
    unjudged: RefCell<BTreeSet<String>>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(subject: &Subject<'a>) -> Self {
        let cluster = subject.cluster;
        let all = || cluster.pods.iter().chain(&cluster.templates).filter(|pod| !pod.finished);
        let groups = groups(cluster, all().filter(|pod| pod.counts()));
        let mut of_namespace: BTreeMap<&str, Range<usize>> = BTreeMap::new();
        for (index, group) in groups.iter().enumerate() {
            of_namespace.entry(&group.pod.key.namespace).or_insert(index..index).end = index + 1;
        }
        let with_pods: BTreeSet<&str> = all().map(|pod| &*pod.key.namespace).collect();
        let whole = with_pods.contains("kube-system");
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
            groups,
            of_namespace,
            on_host: all().filter(|pod| pod.host_network).collect(),
            namespaces_known: whole || cluster.namespaces.iter().any(|one| &*one.name == "kube-system"),
            namespaces,
            whole,
            with_pods,
            missed: RefCell::default(),
            unjudged: RefCell::default(),
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
        let unjudged: Vec<String> = self.unjudged.borrow().iter().cloned().collect();
        if !unjudged.is_empty() {
            report.note(&format!(
                "no namespace at hand matches {}: whether there are others is not known without that of kube-system",
                listed(&unjudged, 5)
            ));
        }
    }

    /// Remembers a selector of namespaces that could not be judged.
    pub(super) fn leave_unjudged(&self, selector: &Selector) {
        self.unjudged.borrow_mut().insert(selector_text(selector));
    }

    pub(super) fn policies(&self) -> impl Iterator<Item = &'a Policy> + use<'a> {
        self.cluster.policies.iter()
    }

    /// Every rule that could be read.
    pub(super) fn rules(&self) -> impl Iterator<Item = RuleAt<'a>> + use<'a> {
        self.policies().flat_map(rules_of).filter(|at| !at.rule.void)
    }

    /// The pods of a namespace.
    pub(super) fn groups_of(&self, namespace: &str) -> &[Group<'a>] {
        self.of_namespace.get(namespace).and_then(|range| self.groups.get(range.clone())).unwrap_or_default()
    }

    /// The pods that a policy selects.
    pub(super) fn selected(&self, policy: &Policy) -> Vec<&Group<'a>> {
        let selected = |group: &&Group<'a>| matching::selects(&policy.pod_selector, &group.pod.labels);
        self.groups_of(&policy.key.namespace).iter().filter(selected).collect()
    }

    /// The pods that an item of a policy's rule speaks of; blocks by the addresses that pods have now.
    pub(super) fn peers(&self, policy: &Policy, item: &PolicyPeer) -> Vec<&Group<'a>> {
        match item {
            PolicyPeer::Nobody => Vec::new(),
            PolicyPeer::Pods { namespaces, pods } => {
                let of_scope = self.scope(policy, namespaces).into_iter();
                let groups = of_scope.flat_map(|namespace| self.groups_of(&namespace.name));
                groups.filter(|group| matching::selects(pods, &group.pod.labels)).collect()
            }
            PolicyPeer::Block(block) => {
                let inside = |address: &IpAddr| matching::block_contains(block, *address);
                self.groups.iter().filter(|group| group.pod.addresses.iter().any(inside)).collect()
            }
        }
    }

    /// Whether selectors of a policy's peer match a pod.
    pub(super) fn contains(
        &self,
        policy: &Policy,
        scope: &NamespaceScope,
        pods: &Selector,
        group: &Group<'_>,
    ) -> bool {
        let namespace = &group.pod.key.namespace;
        let in_scope = match scope {
            NamespaceScope::Own => *namespace == policy.key.namespace,
            NamespaceScope::Selected(selector) => {
                let known = self.namespaces.get(&**namespace);
                known.is_some_and(|namespace| matching::selects(selector, &namespace.labels))
            }
        };
        in_scope && matching::selects(pods, &group.pod.labels)
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
        let all_there = match scope {
            NamespaceScope::Own => true,
            NamespaceScope::Selected(selector) => self.namespaces_known || self.named_and_there(selector),
        };
        all_there && self.scope(policy, scope).iter().all(|namespace| self.pods_known(&namespace.name))
    }

    /// Whether a selector asks for namespaces by their names, and all of these are there.
    fn named_and_there(&self, selector: &Selector) -> bool {
        by_name_only(selector)
            && selector.0.iter().any(|one| match one {
                Requirement::In(_, names) => names.iter().all(|name| self.namespaces.contains_key(name)),
                _ => false,
            })
    }

    pub(super) fn about(&self, policy: &Policy) -> Option<&'a About> {
        self.about.get(&(Kind::NetworkPolicy, policy.key.clone()))
    }
}

/// Pods in groups that are alike, sorted by namespace.
fn groups<'a>(cluster: &'a Cluster, pods: impl Iterator<Item = &'a Pod>) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<(&str, &Labels, &[NamedPort]), Group<'a>> = BTreeMap::new();
    for pod in pods {
        groups
            .entry((&pod.key.namespace, &pod.labels, &pod.named_ports))
            .and_modify(|group| group.others += 1)
            .or_insert_with(|| Group { pod, isolating: Default::default(), others: 0 });
    }
    let mut policies: BTreeMap<&str, Vec<&Policy>> = BTreeMap::new();
    for policy in &cluster.policies {
        policies.entry(&policy.key.namespace).or_default().push(policy);
    }
    let mut groups: Vec<Group<'a>> = groups.into_values().collect();
    for group in &mut groups {
        let of_namespace = policies.get(&*group.pod.key.namespace).map(Vec::as_slice).unwrap_or_default();
        for policy in
            of_namespace.iter().filter(|one| matching::selects(&one.pod_selector, &group.pod.labels))
        {
            for direction in Direction::ALL.into_iter().filter(|direction| policy.rules(*direction).is_some())
            {
                group.isolating[direction.index()].push(policy);
            }
        }
    }
    groups
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
