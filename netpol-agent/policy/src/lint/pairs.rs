//! Half-open pairs: one end allows what the other end denies.

use netpol_common::Direction;

use super::{
    Check, Report, Severity,
    reach::{Spans, may_pass, spans},
    report::Said,
    rule::{RuleAt, direction_name},
    scene::{Group, Scene, listed, names},
};
use crate::{
    model::{Pod, PolicyPeer, PolicyPort},
    policy_text::port_text,
};

pub(super) static HALF_OPEN: Check = Check {
    id: "half-open-pair",
    severity: Severity::Warning,
    title: "a rule allows what every pod at the other end denies",
    explanation: "Between two isolated pods both must allow: the sender's egress and the receiver's ingress. Reported where all \
                  pods that an item of a rule speaks of deny it, so that the item has no effect at all.",
    run: half_open,
};

fn half_open(scene: &Scene<'_>, report: &mut Report) {
    for rule in scene.rules() {
        let selected = scene.selected(rule.policy);
        for (index, item) in rule.peers().iter().enumerate() {
            let PolicyPeer::Pods { namespaces, .. } = item else { continue };
            if !scene.scope_known(rule.policy, namespaces) {
                continue;
            }
            let others = scene.peers(rule.policy, item);
            let refused = refused(scene, &rule, &selected, &others);
            if !refused.is_empty() {
                report.add(
                    &HALF_OPEN,
                    rule.at(rule.peer_field(index)),
                    said(&rule, &selected, &others, &refused),
                );
            }
        }
    }
}

/// What a rule allows and all of the others deny, in words.
fn refused(
    scene: &Scene<'_>,
    rule: &RuleAt<'_>,
    selected: &[&Group<'_>],
    others: &[&Group<'_>],
) -> Vec<String> {
    match &rule.rule.ports {
        None => {
            let denied = denied_by_all(scene, rule, selected, others, |_| None);
            if denied { vec!["everything".to_owned()] } else { Vec::new() }
        }
        Some(ports) => ports
            .iter()
            .filter(|port| {
                let asked =
                    |receiver: &Pod| spans(Some(std::slice::from_ref::<PolicyPort>(port)), Some(receiver));
                denied_by_all(scene, rule, selected, others, asked)
            })
            .map(port_text)
            .collect(),
    }
}

fn denied_by_all(
    scene: &Scene<'_>,
    rule: &RuleAt<'_>,
    selected: &[&Group<'_>],
    others: &[&Group<'_>],
    asked: impl Fn(&Pod) -> Spans,
) -> bool {
    let mut pairs = 0;
    for own in selected {
        for other in others.iter().filter(|other| other.pod.key != own.pod.key) {
            let receiver = match rule.direction {
                Direction::Ingress => own,
                Direction::Egress => other,
            };
            let asked = asked(receiver.pod);
            // A name that means nothing there is reported as such.
            if asked.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            if may_pass(scene, other, rule.direction.reverse(), own, receiver, &asked) {
                return false;
            }
            pairs += 1;
        }
    }
    pairs > 0
}

fn said(rule: &RuleAt<'_>, selected: &[&Group<'_>], others: &[&Group<'_>], refused: &[String]) -> Said {
    let (own, theirs) = (names(selected), names(others));
    let what = listed(refused, 4);
    let back = rule.direction.reverse();
    let mut by: Vec<String> =
        others.iter().flat_map(|group| group.isolating(back)).map(|policy| policy.key.to_string()).collect();
    by.sort_unstable();
    by.dedup();
    let text = match rule.direction {
        Direction::Egress => {
            format!("{}: {own} may send {what} to {theirs}, where no ingress rule lets it in", rule.name())
        }
        Direction::Ingress => {
            format!("{}: {own} takes {what} from {theirs}, where no egress rule lets it out", rule.name())
        }
    };
    let why = format!(
        "both ends must allow; the {} of the other end is limited by {}",
        direction_name(back),
        listed(&by, 4)
    );
    let fix = format!(
        "allow it in the {} rules of a policy that selects the other end, or remove it here",
        direction_name(back)
    );
    Said::new(text, why, fix)
}
