//! Selectors that match nothing, or nothing that a policy could reach.

use super::{
    Check, Report, Severity,
    near::{contradiction_text, is_slip, miss},
    report::{At, Said},
    rule::{RuleAt, rules_of},
    scene::{Scene, key_of, listed},
};
use crate::{
    model::{Labels, NAME_LABEL, Namespace, NamespaceScope, Pod, Policy, PolicyPeer, Requirement, Selector},
    policy_text::selector_text,
    spec::matching,
};

pub(super) static MATCHES_NOTHING: Check = Check {
    id: "selector-matches-nothing",
    severity: Severity::Warning,
    title: "a selector matches no pod or namespace that is there",
    explanation: "A policy whose podSelector matches no pod protects nothing, and a peer that matches nobody allows \
                  nobody: mostly a label that is written differently elsewhere. Pods of the templates of workloads count. It \
                  is said only where the pods of the namespace are known: at least one pod or workload of it, or of \
                  kube-system, is among the manifests; of namespaces where that of kube-system is, or a name is a slip of \
                  the pen away.",
    run: matches_nothing,
};

pub(super) static CONTRADICTION: Check = Check {
    id: "selector-contradicts-itself",
    severity: Severity::Warning,
    title: "a selector whose requirements exclude each other",
    explanation: "All requirements of a selector must hold at once. Two that exclude each other, such as an In and a NotIn \
                  of the same value, match nothing on any cluster. For one or the other, write two items, or one In with \
                  both values.",
    run: contradicts,
};

pub(super) static NAMESPACE_NAME: Check = Check {
    id: "namespace-name-label",
    severity: Severity::Warning,
    title: "a namespaceSelector asks for a label `name` that nobody sets",
    explanation: "Kubernetes labels each namespace with its name as kubernetes.io/metadata.name. A label `name` is there only \
                  if somebody has put it there, and anybody who may label namespaces may put it on another one. Fine \
                  where the Namespace's own manifest carries the label.",
    run: namespace_name,
};

pub(super) static HOST_NETWORK: Check = Check {
    id: "host-network-pod-selected",
    severity: Severity::Warning,
    title: "a policy selects pods of the node's network, which no policy protects",
    explanation: "A pod with hostNetwork has the node's addresses and its traffic is the node's: no NetworkPolicy isolates it, \
                  and no selector of a peer speaks of it. Reported where a podSelector that is not empty matches such a \
                  pod, as then it was meant.",
    run: host_network,
};

fn matches_nothing(scene: &Scene<'_>, report: &mut Report) {
    for policy in scene.policies() {
        own_selector(scene, policy, report);
        for rule in rules_of(policy).filter(|at| !at.rule.void) {
            for (index, item) in rule.peers().iter().enumerate() {
                if let PolicyPeer::Pods { namespaces, pods } = item {
                    peer(scene, &rule, index, namespaces, pods, report);
                }
            }
        }
    }
}

fn own_selector(scene: &Scene<'_>, policy: &Policy, report: &mut Report) {
    let selector = &policy.pod_selector;
    let namespace = &*policy.key.namespace;
    if selector.0.is_empty()
        || contradiction_text(selector).is_some()
        || !scene.selected(policy).is_empty()
        || scene
            .on_host
            .iter()
            .any(|pod| *pod.key.namespace == *namespace && matching::selects(selector, &pod.labels))
    {
        return;
    }
    let elsewhere: Vec<String> = scene
        .groups
        .iter()
        .filter(|group| matching::selects(selector, &group.pod.labels))
        .map(super::scene::Group::name)
        .collect();
    let written = scene.about(policy).is_none_or(|about| about.namespace_written);
    let text = selector_text(selector);
    let (hint, fix) = match (elsewhere.as_slice(), written) {
        // Most selectors match something in some other namespace: only a namespace left out makes that a hint.
        ([], _) | (_, true) if !scene.pods_known(namespace) => return,
        ([_, ..], false) => (
            format!(
                "the manifest names no namespace, so {namespace} is meant; elsewhere it would match {}",
                listed(&elsewhere, 3)
            ),
            "write metadata.namespace".to_owned(),
        ),
        _ => {
            let of = format!("pod of namespace {namespace}");
            let labels: Vec<&Labels> = labels_of(scene, |pod| *pod.key.namespace == *namespace);
            (
                miss(selector, &labels, &of),
                "correct the selector or the pods' labels, or remove the policy".to_owned(),
            )
        }
    };
    let what = format!("podSelector {text} matches no pod of namespace {namespace}: {hint}");
    let why = "the policy isolates nothing, and the pods it was written for stay open";
    report.add(&MATCHES_NOTHING, At::policy(policy, "spec.podSelector"), Said::new(what, why, fix));
}

fn labels_of<'s>(scene: &'s Scene<'_>, wanted: impl Fn(&Pod) -> bool) -> Vec<&'s Labels> {
    scene.groups.iter().filter(|group| wanted(group.pod)).map(|group| &*group.pod.labels).collect()
}

fn peer(
    scene: &Scene<'_>,
    rule: &RuleAt<'_>,
    index: usize,
    namespaces: &NamespaceScope,
    pods: &Selector,
    report: &mut Report,
) {
    let field = rule.peer_field(index);
    let why = "the item allows nobody";
    let fix = "correct the selector or the labels, or remove the item";
    let scope: Vec<&Namespace> = scene.scope(rule.policy, namespaces);
    if let NamespaceScope::Selected(selector) = namespaces {
        if contradiction_text(selector).is_some() {
            return;
        }
        if scope.is_empty() {
            let labels: Vec<&Labels> = scene.namespaces.values().map(|one| &one.labels).collect();
            if asks_for_name(scene, selector).is_some() {
                return;
            }
            if scene.namespaces_known || is_slip(selector, &labels) {
                let what = format!(
                    "{}: namespaceSelector {} matches no namespace: {}",
                    rule.name(),
                    selector_text(selector),
                    miss(selector, &labels, "namespace")
                );
                report.add(
                    &MATCHES_NOTHING,
                    rule.at(format!("{field}.namespaceSelector")),
                    Said::new(what, why, fix),
                );
            } else {
                scene.leave_unjudged(selector);
            }
            return;
        }
    }
    // Of a policy in a namespace without pods its own selector is reported.
    let empty = *namespaces == NamespaceScope::Own && !scene.has_pods(&rule.policy.key.namespace);
    if empty
        || pods.0.is_empty()
        || contradiction_text(pods).is_some()
        || !scene.scope_known(rule.policy, namespaces)
    {
        return;
    }
    let inside = |pod: &Pod| scope.iter().any(|namespace| *namespace.name == *pod.key.namespace);
    let labels = labels_of(scene, inside);
    if labels.iter().any(|labels| matching::selects(pods, labels)) {
        return;
    }
    let on_host = scene.on_host.iter().find(|pod| inside(pod) && matching::selects(pods, &pod.labels));
    let of = match scope.as_slice() {
        [one] => format!("pod of namespace {}", one.name),
        more => format!("pod of the {} namespaces that match", more.len()),
    };
    let hint = match on_host {
        Some(pod) => {
            format!("{} has these labels, but is of the node's network, which no selector speaks of", pod.key)
        }
        None => miss(pods, &labels, &of),
    };
    let what = format!("{}: podSelector {} matches no {of}: {hint}", rule.name(), selector_text(pods));
    report.add(&MATCHES_NOTHING, rule.at(format!("{field}.podSelector")), Said::new(what, why, fix));
}

fn contradicts(scene: &Scene<'_>, report: &mut Report) {
    let fix = "take one of them out, or make two items of them";
    for policy in scene.policies() {
        if let Some(text) = contradiction_text(&policy.pod_selector) {
            let why = "the policy selects nothing, on any cluster";
            let what = format!("podSelector: {text}");
            report.add(&CONTRADICTION, At::policy(policy, "spec.podSelector"), Said::new(what, why, fix));
        }
        for rule in rules_of(policy) {
            for (index, item) in rule.peers().iter().enumerate() {
                let PolicyPeer::Pods { namespaces, pods } = item else { continue };
                let of_namespaces = match namespaces {
                    NamespaceScope::Own => None,
                    NamespaceScope::Selected(selector) => Some(("namespaceSelector", selector)),
                };
                for (name, selector) in of_namespaces.into_iter().chain([("podSelector", pods)]) {
                    if let Some(text) = contradiction_text(selector) {
                        let what = format!("{}: {name}: {text}", rule.name());
                        let at = rule.at(format!("{}.{name}", rule.peer_field(index)));
                        report.add(&CONTRADICTION, at, Said::new(what, "the item allows nobody", fix));
                    }
                }
            }
        }
    }
}

/// The namespaces that a label `name` is asked for with, where no namespace carries it; and whether all of them are
/// there, without the label.
fn asks_for_name(scene: &Scene<'_>, selector: &Selector) -> Option<(Vec<String>, bool)> {
    selector.0.iter().find_map(|requirement| match requirement {
        Requirement::In(key, values)
            if matches!(key.as_str(), "name" | "namespace" | "kubernetes.io/name") =>
        {
            let labelled = scene.namespaces.values().any(|one| matching::holds(requirement, &one.labels));
            let manifest = |name: &String| scene.cluster.namespaces.iter().any(|one| *one.name == **name);
            let there = values.iter().all(manifest);
            let names = values.iter().cloned().collect();
            (!labelled && (there || !scene.namespaces_known)).then_some((names, there))
        }
        _ => None,
    })
}

fn namespace_name(scene: &Scene<'_>, report: &mut Report) {
    for rule in scene.rules() {
        for (index, item) in rule.peers().iter().enumerate() {
            let PolicyPeer::Pods { namespaces: NamespaceScope::Selected(selector), .. } = item else {
                continue;
            };
            let Some((names, there)) = asks_for_name(scene, selector) else { continue };
            let key = selector.0.iter().map(key_of).find(|key| *key != NAME_LABEL).unwrap_or("name");
            let (severity, what) = if there {
                let what = format!(
                    "no namespace has the label {key}={}, though there is one of that name",
                    names.join(" or ")
                );
                (Severity::Warning, what)
            } else {
                (
                    Severity::Info,
                    format!("the label {key} is on a namespace only if somebody has put it there"),
                )
            };
            let said = Said::new(
                format!("{}: {what}", rule.name()),
                "the item allows nobody until somebody labels the namespace, and then whichever namespace is labelled so",
                format!("ask for {NAME_LABEL}: {}, which every namespace has", names.join(" or ")),
            );
            let at = rule.at(format!("{}.namespaceSelector", rule.peer_field(index)));
            report.add_as(&NAMESPACE_NAME, severity, at, said);
        }
    }
}

fn host_network(scene: &Scene<'_>, report: &mut Report) {
    for policy in scene.policies().filter(|policy| !policy.pod_selector.0.is_empty()) {
        let selects = |pod: &&&Pod| {
            pod.key.namespace == policy.key.namespace && matching::selects(&policy.pod_selector, &pod.labels)
        };
        let pods: Vec<String> = scene.on_host.iter().filter(selects).map(|pod| pod.key.to_string()).collect();
        if !pods.is_empty() {
            let said = Said::new(
                format!(
                    "podSelector {} matches {} of the node's network",
                    selector_text(&policy.pod_selector),
                    listed(&pods, 4)
                ),
                "no NetworkPolicy isolates a pod with hostNetwork: it stays open, and what it sends is the node's",
                "protect it by the node's own firewall, or give the pod a network of its own",
            );
            report.add(&HOST_NETWORK, At::policy(policy, "spec.podSelector"), said);
        }
    }
}
