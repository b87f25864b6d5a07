//! Rules and policies that say what others say already.

use std::collections::BTreeSet;

use netpol_common::Direction;

use super::{
    Check, Report, Severity, imply,
    report::{At, Said},
    rule::RuleAt,
    scene::Scene,
};
use crate::model::{Key, Namespace, Policy};

pub(super) static RULE: Check = Check {
    id: "rule-covered",
    severity: Severity::Warning,
    title: "a rule, or an item of one, that another allows already",
    explanation: "What several rules allow is put together, so a rule all of which another one allows changes nothing. \
                  It is harmless until somebody removes it and believes that access is gone, or narrows it and \
                  believes that access is narrower. Of two equal rules the later one is reported. Where the other rule \
                  stands in another policy, which selects at least the same pods, it is only an info: a policy may be \
                  meant to stand by itself.",
    run: covered,
};

pub(super) static DUPLICATE: Check = Check {
    id: "policy-duplicates-another",
    severity: Severity::Warning,
    title: "a policy that says exactly what another one says",
    explanation: "The two select the same pods and have the same rules. Whoever changes one of them will wonder why nothing \
                  has changed.",
    run: duplicates,
};

fn covered(scene: &Scene<'_>, report: &mut Report) {
    let rules: Vec<RuleAt<'_>> = scene.rules().collect();
    let twins = twins(scene);
    for (position, rule) in rules.iter().enumerate() {
        let Some(namespace) = scene.namespaces.get(&*rule.policy.key.namespace) else { continue };
        if twins.iter().any(|(_, later)| *later == &rule.policy.key) {
            continue;
        }
        items(rule, namespace, report);
        let cover = rules.iter().enumerate().find(|(other_position, other)| {
            *other_position != position
                && other.direction == rule.direction
                && other.policy.key.namespace == rule.policy.key.namespace
                && imply::implies(&rule.policy.pod_selector, &other.policy.pod_selector)
                && imply::rule_covers(other.rule, rule.rule, namespace)
                // Of two that cover each other the later one goes.
                && (*other_position < position
                    || !imply::rule_covers(rule.rule, other.rule, namespace)
                    || !imply::implies(&other.policy.pod_selector, &rule.policy.pod_selector))
        });
        let Some((_, other)) = cover else { continue };
        let same_policy = other.policy.key == rule.policy.key;
        let (severity, of) = if same_policy {
            (Severity::Warning, String::new())
        } else {
            (Severity::Info, format!(" of {}, which selects at least the same pods,", other.policy.key))
        };
        let said = Said::new(
            format!(
                "{} allows nothing that {}{of} does not allow ({})",
                rule.name(),
                other.name(),
                other.field()
            ),
            "rules are put together: to change or remove this one changes nothing",
            "remove the rule, or narrow the other one",
        );
        report.add_as(&RULE, severity, rule.at(rule.field()), said);
    }
}

/// Items of one rule that others of its items cover.
fn items(rule: &RuleAt<'_>, namespace: &Namespace, report: &mut Report) {
    let why = "items are put together: this one changes nothing";
    let fix = "remove the item, or narrow the other one";
    let peers = rule.peers();
    for index in redundant(peers, |wide, narrow| imply::peer_covers(wide, narrow, namespace)) {
        let (item, other) = index;
        let what = format!(
            "{}: everybody of item {} of {list} is in item {} too",
            rule.name(),
            item + 1,
            other + 1,
            list = rule.peers_field()
        );
        report.add(&RULE, rule.at(rule.peer_field(item)), Said::new(what, why, fix));
    }
    let ports = rule.rule.ports.as_deref().unwrap_or_default();
    for (item, other) in redundant(ports, imply::port_covers) {
        let what = format!("{}: item {} of ports is in item {} too", rule.name(), item + 1, other + 1);
        report.add(&RULE, rule.at(rule.port_field(item)), Said::new(what, why, fix));
    }
}

/// Items that another one covers, each with that one; of two equal ones the later.
fn redundant<T>(items: &[T], covers: impl Fn(&T, &T) -> bool) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let cover = items.iter().enumerate().find(|(other_index, other)| {
            *other_index != index && covers(other, item) && (*other_index < index || !covers(item, other))
        });
        found.extend(cover.map(|(other, _)| (index, other)));
    }
    found
}

/// Pairs of policies that say the same; the later one second.
fn twins<'a>(scene: &Scene<'a>) -> Vec<(&'a Key, &'a Key)> {
    let mut found = Vec::new();
    let mut told = BTreeSet::new();
    let policies: Vec<&Policy> = scene.policies().collect();
    for (index, one) in policies.iter().enumerate() {
        for other in &policies[index + 1..] {
            if same_policy(one, other) && told.insert(&other.key) {
                found.push((&one.key, &other.key));
            }
        }
    }
    found
}

fn same_policy(a: &Policy, b: &Policy) -> bool {
    let same_rules = |direction: Direction| match (a.rules(direction), b.rules(direction)) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            let within = |some: &[_], all: &[_]| {
                some.iter().all(|one| all.iter().any(|other| imply::same_rule(one, other)))
            };
            within(a, b) && within(b, a)
        }
        _ => false,
    };
    a.key.namespace == b.key.namespace
        && imply::implies(&a.pod_selector, &b.pod_selector)
        && imply::implies(&b.pod_selector, &a.pod_selector)
        && Direction::ALL.into_iter().all(same_rules)
}

fn duplicates(scene: &Scene<'_>, report: &mut Report) {
    for (first, second) in twins(scene) {
        let at = At { kind: crate::model::Kind::NetworkPolicy, key: second.clone(), field: String::new() };
        let said = Said::new(
            format!("the policy selects the same pods as {first} and has the same rules"),
            "whoever changes one of them will wonder why nothing has changed",
            "remove one of them",
        );
        report.add(&DUPLICATE, at, said);
    }
}
