//! Namespaces that are not closed by default.

use std::collections::{BTreeMap, BTreeSet};

use netpol_common::Direction;

use super::{
    Check, Report, Severity,
    near::nearest,
    report::{At, Said},
    rule::direction_name,
    scene::{Scene, names},
};
use crate::model::{Key, Kind, Policy, Rule};

pub(super) static NO_DEFAULT_DENY: Check = Check {
    id: "no-default-deny",
    severity: Severity::Warning,
    title: "a namespace with policies, but none that isolates all of its pods",
    explanation: "A pod that no policy selects is open. Only a policy with an empty podSelector closes also the pods that \
                  somebody adds tomorrow. A policy that allows everything to everybody does not count as one.",
    run: no_default_deny,
};

pub(super) static NO_POLICY: Check = Check {
    id: "namespace-without-policy",
    severity: Severity::Warning,
    title: "a namespace with pods and without any policy",
    explanation: "All of its pods may be reached from everywhere and reach everything, so whoever takes over one of them \
                  reaches the rest. For namespaces of Kubernetes itself (kube-*) it is only an info.",
    run: no_policy,
};

pub(super) static HALF_OPEN: Check = Check {
    id: "namespace-half-open",
    severity: Severity::Warning,
    title: "a namespace whose policies limit what comes in, but nothing that goes out",
    explanation: "A half-open firewall: whoever takes over a pod may send whatever it holds anywhere.",
    run: half_open,
};

pub(super) static MISSPELT: Check = Check {
    id: "namespace-misspelt",
    severity: Severity::Warning,
    title: "a policy of a namespace that is not there, while one of nearly the same name is",
    explanation: "Where manifests of namespaces are among those at hand, a policy whose namespace is none of them, but nearly the \
                  name of one, isolates pods of nobody's namespace.",
    run: misspelt,
};

/// The policies of each namespace, unless it is known to have no pods.
fn by_namespace<'a>(scene: &Scene<'a>) -> BTreeMap<&'a str, Vec<&'a Policy>> {
    let mut all: BTreeMap<&str, Vec<&Policy>> = BTreeMap::new();
    let concerns_pods = |policy: &&Policy| !scene.is_whole() || scene.has_pods(&policy.key.namespace);
    for policy in scene.policies().filter(concerns_pods) {
        all.entry(&policy.key.namespace).or_default().push(policy);
    }
    all
}

/// The object that stands for a namespace in a finding: its own, else a policy of it, else a pod.
fn place(scene: &Scene<'_>, namespace: &str) -> At {
    let own = scene.cluster.namespaces.iter().find(|one| *one.name == *namespace);
    let policy = scene.policies().find(|policy| *policy.key.namespace == *namespace);
    let pod = scene.groups_of(namespace).first();
    let (kind, key) = match (own, policy, pod) {
        (None, Some(policy), _) => (Kind::NetworkPolicy, policy.key.clone()),
        (None, None, Some(group)) => (Kind::Pod, group.pod.key.clone()),
        _ => (Kind::Namespace, Key::new("", namespace)),
    };
    At { kind, key, field: String::new() }
}

fn severity(namespace: &str) -> Severity {
    if namespace.starts_with("kube-") { Severity::Info } else { Severity::Warning }
}

fn isolates(policies: &[&Policy], direction: Direction) -> bool {
    policies.iter().any(|policy| policy.rules(direction).is_some())
}

fn is_half_open(policies: &[&Policy]) -> bool {
    isolates(policies, Direction::Ingress) && !isolates(policies, Direction::Egress)
}

fn half_open(scene: &Scene<'_>, report: &mut Report) {
    for (namespace, policies) in by_namespace(scene) {
        if is_half_open(&policies) {
            let said = Said::new(
                format!("the policies of namespace {namespace} limit ingress, and none of them egress"),
                "a pod that is taken over may send anything anywhere",
                "add a policy with an empty podSelector and policyTypes: [Egress], then what each pod needs, DNS first",
            );
            report.add_as(&HALF_OPEN, severity(namespace), place(scene, namespace), said);
        }
    }
}

fn no_default_deny(scene: &Scene<'_>, report: &mut Report) {
    for (namespace, policies) in by_namespace(scene) {
        for direction in Direction::ALL {
            let told = direction == Direction::Egress && is_half_open(&policies);
            if told || policies.iter().any(|policy| closes_all(policy, direction)) {
                continue;
            }
            let groups = scene.groups_of(namespace).iter();
            let open: Vec<_> = groups.filter(|group| group.isolating(direction).is_empty()).collect();
            let name = direction_name(direction);
            let now = if open.is_empty() { String::new() } else { format!("; open now: {}", names(&open)) };
            let said = Said::new(
                format!("no policy closes {name} for all pods of namespace {namespace}{now}"),
                "a pod that no policy selects is open, and so is every pod that somebody adds",
                format!("add a policy with an empty podSelector and {} in policyTypes", title(direction)),
            );
            report.add_as(&NO_DEFAULT_DENY, severity(namespace), place(scene, namespace), said);
        }
    }
}

const fn title(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "Ingress",
        Direction::Egress => "Egress",
    }
}

fn closes_all(policy: &Policy, direction: Direction) -> bool {
    let everything = |rule: &Rule| !rule.void && rule.peers.is_none() && rule.ports.is_none();
    policy.pod_selector.0.is_empty()
        && policy.rules(direction).is_some_and(|rules| !rules.iter().any(everything))
}

fn misspelt(scene: &Scene<'_>, report: &mut Report) {
    let known: BTreeSet<&str> = scene.cluster.namespaces.iter().map(|one| &*one.name).collect();
    for policy in scene.policies() {
        let namespace = &*policy.key.namespace;
        if known.contains(namespace) || scene.has_pods(namespace) {
            continue;
        }
        if let Some(meant) = nearest(namespace, known.iter().copied()) {
            let said = Said::new(
                format!("namespace {namespace} is not there; did you mean {meant}?"),
                format!("the policy isolates nothing of {meant}"),
                "correct metadata.namespace, or add the Namespace's manifest",
            );
            report.add(&MISSPELT, At::policy(policy, "metadata.namespace"), said);
        }
    }
}

fn no_policy(scene: &Scene<'_>, report: &mut Report) {
    let policies = by_namespace(scene);
    for namespace in scene.namespaces.keys().filter(|name| !policies.contains_key(name.as_str())) {
        let pods: Vec<_> = scene.groups_of(namespace).iter().collect();
        if !pods.is_empty() {
            let said = Said::new(
                format!("namespace {namespace} has pods ({}) and no policy", names(&pods)),
                "they may be reached from everywhere, and reach everything",
                "begin with a policy that denies all: an empty podSelector, policyTypes: [Ingress, Egress]",
            );
            report.add_as(&NO_POLICY, severity(namespace), place(scene, namespace), said);
        }
    }
}
