//! Rules that allow nothing, and directions that are not what was written.

use netpol_common::Direction;

use super::{
    Check, Report, Severity, imply,
    report::{At, Said},
    rule::{RuleAt, direction_field, direction_name, rules_of},
    scene::Scene,
};
use crate::model::{PolicyPeer, PolicyPort};

pub(super) static NEVER_MATCHES: Check = Check {
    id: "rule-never-matches",
    severity: Severity::Warning,
    title: "a rule that allows nothing, on any cluster",
    explanation: "What cannot be read in a rule grants nothing: a field that is not known voids the rule, an item that is \
                  wrong matches nobody. An ipBlock whose exceptions take out all of it matches no address. The \
                  policy isolates all the same, so what the rule was to allow is denied.",
    run: never_matches,
};

pub(super) static IGNORED: Check = Check {
    id: "rules-ignored",
    severity: Severity::Warning,
    title: "rules of a direction that policyTypes leaves out",
    explanation: "policyTypes says which directions a policy isolates. Rules of a direction that it leaves out are ignored: the \
                  pods are not isolated there by this policy, and whatever the rules were to limit stays open.",
    run: ignored,
};

pub(super) static IMPLIED_INGRESS: Check = Check {
    id: "ingress-denied-by-default-types",
    severity: Severity::Warning,
    title: "a policy with egress rules only, without policyTypes, denies all ingress as well",
    explanation: "Without policyTypes a policy always isolates for ingress, and for egress if it has egress rules. So one that \
                  was written for egress alone lets nothing in. Write policyTypes: it says which was meant.",
    run: implied_ingress,
};

fn never_matches(scene: &Scene<'_>, report: &mut Report) {
    for policy in scene.policies() {
        for rule in rules_of(policy) {
            empty_blocks(&rule, report);
            if let Some((field, what)) = nothing_of(&rule) {
                let said = Said::new(
                    format!("{} {what}", rule.name()),
                    "the policy isolates, and what the rule was to allow is denied",
                    "correct what is reported of it as invalid, or remove the rule",
                );
                report.add(&NEVER_MATCHES, rule.at(field), said);
            }
        }
    }
}

/// What voids a rule as a whole.
fn nothing_of(rule: &RuleAt<'_>) -> Option<(String, &'static str)> {
    let nobody = |item: &PolicyPeer| *item == PolicyPeer::Nobody;
    let no_port = |item: &PolicyPort| *item == PolicyPort::Nothing;
    let peers = rule.rule.peers.as_ref().is_some_and(|items| items.iter().all(nobody));
    let ports = rule.rule.ports.as_ref().is_some_and(|items| items.iter().all(no_port));
    if rule.rule.void {
        Some((rule.field(), "allows nothing: it holds something that is not known, which might narrow it"))
    } else if peers {
        Some((
            format!("{}.{}", rule.field(), rule.peers_field()),
            "allows nobody: none of its peers could be read",
        ))
    } else if ports {
        Some((format!("{}.ports", rule.field()), "allows no port: none of its ports could be read"))
    } else {
        None
    }
}

fn empty_blocks(rule: &RuleAt<'_>, report: &mut Report) {
    for (index, item) in rule.peers().iter().enumerate() {
        let PolicyPeer::Block(block) = item else { continue };
        if imply::nothing_left(block) {
            let said = Said::new(
                format!("{}: the exceptions of ipBlock {} leave nothing of it", rule.name(), block.cidr),
                "the item matches no address",
                "take an exception out, or remove the item",
            );
            report.add(&NEVER_MATCHES, rule.at(format!("{}.ipBlock.except", rule.peer_field(index))), said);
        }
    }
}

fn ignored(scene: &Scene<'_>, report: &mut Report) {
    for policy in scene.policies() {
        let Some(about) = scene.about(policy) else { continue };
        for direction in Direction::ALL {
            if about.types_written && about.has_rules[direction.index()] && policy.rules(direction).is_none()
            {
                let (name, field) = (direction_name(direction), direction_field(direction));
                let said = Said::new(
                    format!("the {name} rules are ignored: policyTypes does not name the direction"),
                    format!(
                        "the policy does not isolate for {name}: what the rules were to limit stays open"
                    ),
                    "name the direction in policyTypes, or remove the rules",
                );
                report.add(&IGNORED, At::policy(policy, field), said);
            }
        }
    }
}

fn implied_ingress(scene: &Scene<'_>, report: &mut Report) {
    for policy in scene.policies() {
        let Some(about) = scene.about(policy) else { continue };
        let [ingress, egress] = about.has_rules;
        if !about.types_written && egress && !ingress {
            let said = Said::new(
                "the policy has egress rules only and no policyTypes, so it denies all ingress as well",
                "without policyTypes a policy always isolates for ingress",
                "write policyTypes: [Egress], or [Ingress, Egress] if no ingress is meant",
            );
            report.add(&IMPLIED_INGRESS, At::policy(policy, "spec"), said);
        }
    }
}
