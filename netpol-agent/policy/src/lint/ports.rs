//! Ports by name, and ports of Services where pods listen on others.

use std::collections::BTreeSet;

use netpol_common::Direction;

use super::{
    Check, Report, Severity,
    near::nearest,
    report::Said,
    rule::RuleAt,
    scene::{Group, Scene, listed, names},
};
use crate::{
    model::{PolicyPeer, PolicyPort, Protocol, Requirement, Selector, Service, TargetPort},
    spec::matching,
};

pub(super) static UNDECLARED: Check = Check {
    id: "named-port-undeclared",
    severity: Severity::Warning,
    title: "a port's name that no pod declares",
    explanation: "A port by its name is looked up on the pod that receives: among the ports of its containers that have a \
                  name, with the protocol. On a pod that does not declare the name the item allows nothing. Names of a \
                  Service's ports do not count.",
    run: undeclared,
};

pub(super) static DIFFERS: Check = Check {
    id: "named-port-differs",
    severity: Severity::Info,
    title: "a port's name that means different numbers on different pods",
    explanation: "Each pod that receives is asked what the name means there. That is often wanted, as during the move from \
                  one port to another; it is said because the rule does not show it.",
    run: differs,
};

pub(super) static OF_SERVICE: Check = Check {
    id: "service-port-in-rule",
    severity: Severity::Warning,
    title: "a rule names the port of a Service, while its pods listen on another",
    explanation: "Rules speak of what stands behind a Service: a packet to the Service's port arrives at the pods' targetPort, \
                  and that is the port that a rule must allow.",
    run: of_service,
};

/// The pods that receive what a rule allows; `None` where not all of them are known.
fn receivers<'s, 'a>(scene: &'s Scene<'a>, rule: &RuleAt<'_>) -> Option<Vec<&'s Group<'a>>> {
    match rule.direction {
        Direction::Ingress => {
            scene.pods_known(&rule.policy.key.namespace).then(|| scene.selected(rule.policy))
        }
        Direction::Egress => {
            let mut found = Vec::new();
            for item in rule.rule.peers.as_deref()? {
                if let PolicyPeer::Pods { namespaces, .. } = item
                    && !scene.scope_known(rule.policy, namespaces)
                {
                    return None;
                }
                found.extend(scene.peers(rule.policy, item));
            }
            Some(found)
        }
    }
}

fn undeclared(scene: &Scene<'_>, report: &mut Report) {
    for (rule, index, protocol, name) in named(scene) {
        let Some(receivers) = receivers(scene, &rule) else { continue };
        let declared = receivers.iter().flat_map(|group| group.pod.named_ports.iter());
        if receivers.is_empty() || declared.clone().any(|one| *one.name == *name && one.protocol == protocol)
        {
            continue;
        }
        let other = declared.clone().find(|one| *one.name == *name);
        let there: BTreeSet<&str> =
            declared.filter(|one| one.protocol == protocol).map(|one| &*one.name).collect();
        let hint = match (other, nearest(name, there.iter().copied())) {
            (Some(other), _) => format!("; it is declared for {}", other.protocol.name()),
            (None, Some(meant)) => format!("; did you mean {meant}?"),
            (None, None) if there.is_empty() => String::new(),
            (None, None) => {
                let there: Vec<String> = there.iter().map(ToString::to_string).collect();
                format!("; they declare {}", listed(&there, 5))
            }
        };
        let said = Said::new(
            format!(
                "{}: no pod that receives ({}) declares a port {name}/{}{hint}",
                rule.name(),
                names(&receivers),
                protocol.name()
            ),
            "the item allows nothing: a name means what a container of the receiving pod declares, not what a Service does",
            "write the port's number, or name the container's port",
        );
        report.add(&UNDECLARED, rule.at(format!("{}.port", rule.port_field(index))), said);
    }
}

fn differs(scene: &Scene<'_>, report: &mut Report) {
    for (rule, index, protocol, name) in named(scene) {
        let Some(receivers) = receivers(scene, &rule) else { continue };
        let mut meanings: BTreeSet<(u16, String)> = BTreeSet::new();
        for group in &receivers {
            let meant =
                group.pod.named_ports.iter().filter(|one| *one.name == *name && one.protocol == protocol);
            meanings.extend(meant.map(|one| (one.port, group.name())));
        }
        let numbers: BTreeSet<u16> = meanings.iter().map(|(port, _)| *port).collect();
        if numbers.len() < 2 {
            continue;
        }
        let all: Vec<String> = meanings.iter().map(|(port, pod)| format!("{port} on {pod}")).collect();
        let said = Said::new(
            format!("{}: {name}/{} is {}", rule.name(), protocol.name(), listed(&all, 4)),
            "each receiving pod is asked what the name means there",
            "nothing, if that is meant; else write the number",
        );
        report.add(&DIFFERS, rule.at(format!("{}.port", rule.port_field(index))), said);
    }
}

/// Every item of ports that is a name, with its place.
fn named<'a>(scene: &Scene<'a>) -> impl Iterator<Item = (RuleAt<'a>, usize, Protocol, &'a str)> {
    scene.rules().flat_map(|rule| {
        let ports = rule.rule.ports.as_deref().unwrap_or_default();
        ports.iter().enumerate().filter_map(move |(index, port)| match port {
            PolicyPort::Named(protocol, name) => Some((rule, index, *protocol, &**name)),
            _ => None,
        })
    })
}

fn of_service(scene: &Scene<'_>, report: &mut Report) {
    for rule in scene.rules() {
        let ports = rule.rule.ports.as_deref().unwrap_or_default();
        let Some(receivers) = receivers(scene, &rule) else { continue };
        for (index, port) in ports.iter().enumerate() {
            let PolicyPort::Range(protocol, number, high) = *port else { continue };
            if number != high {
                continue;
            }
            let Some((service, target, group)) = translated(scene, &receivers, protocol, number) else {
                continue;
            };
            let reached =
                |port: &PolicyPort| crate::spec::port_matches(port, Some(group.pod), protocol, target);
            if ports.iter().any(reached) {
                continue;
            }
            let text = protocol.name();
            let said = Said::new(
                format!(
                    "{}: {number}/{text} is the port of Service {}, whose pod {} listens on {target}/{text}",
                    rule.name(),
                    service.key,
                    group.name()
                ),
                "rules speak of the pod behind a Service: what is sent to the Service's port arrives at the target port and is denied",
                format!("allow {target}/{text}, or the name of the container's port"),
            );
            report.add(&OF_SERVICE, rule.at(format!("{}.port", rule.port_field(index))), said);
        }
    }
}

/// A Service that leads from this port to another one on some of these pods, where none of them is known to listen on
/// the port itself.
fn translated<'s, 'a>(
    scene: &Scene<'a>,
    receivers: &[&'s Group<'a>],
    protocol: Protocol,
    number: u16,
) -> Option<(&'a Service, u16, &'s Group<'a>)> {
    let mut found = None;
    for group in receivers {
        let listens = |one: &crate::model::NamedPort| one.protocol == protocol && one.port == number;
        if group.pod.named_ports.iter().any(listens) {
            return None;
        }
        for service in scene.cluster.services.iter().filter(|service| stands_behind(service, group)) {
            for port in service.ports.iter().filter(|port| port.protocol == protocol) {
                match target_on(&port.target, protocol, group) {
                    Some(target) if target == number => return None,
                    Some(target) if port.port == number => found = found.or(Some((service, target, *group))),
                    _ => {}
                }
            }
        }
    }
    found
}

/// Whether a pod is one of a Service's.
pub(super) fn stands_behind(service: &Service, group: &Group<'_>) -> bool {
    let Some(labels) = &service.selector else { return false };
    let wanted =
        labels.iter().map(|(key, value)| Requirement::In(key.clone(), BTreeSet::from([value.clone()])));
    service.key.namespace == group.pod.key.namespace
        && matching::selects(&Selector(wanted.collect()), &group.pod.labels)
}

/// Where a Service's port leads on a pod.
pub(super) fn target_on(target: &TargetPort, protocol: Protocol, group: &Group<'_>) -> Option<u16> {
    match target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => group
            .pod
            .named_ports
            .iter()
            .find(|one| one.name == *name && one.protocol == protocol)
            .map(|one| one.port),
    }
}
