//! Policies as text.

use std::collections::BTreeSet;

use crate::model::{NamespaceScope, PolicyPeer, PolicyPort, Requirement, Rule, Selector};
use netpol_common::Direction;

/// A selector as `kubectl` writes it; `(all)` for one that matches everything.
#[must_use]
pub fn selector_text(selector: &Selector) -> String {
    if selector.0.is_empty() {
        return "(all)".to_owned();
    }
    let one = |requirement: &Requirement| match requirement {
        Requirement::In(key, values) if values.len() == 1 => {
            format!("{key}={}", values.iter().next().map_or("", String::as_str))
        }
        Requirement::In(key, values) => format!("{key} in ({})", join(values)),
        Requirement::NotIn(key, values) => format!("{key} not in ({})", join(values)),
        Requirement::Exists(key) => key.clone(),
        Requirement::DoesNotExist(key) => format!("!{key}"),
    };
    selector.0.iter().map(one).collect::<Vec<_>>().join(",")
}

fn join(values: &BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A rule as a sentence.
#[must_use]
pub fn rule_text(rule: &Rule, direction: Direction) -> String {
    if rule.void {
        return "nothing (the rule could not be read in whole)".to_owned();
    }
    let word = if direction == Direction::Ingress { "from" } else { "to" };
    let peers = match &rule.peers {
        None => "anybody".to_owned(),
        Some(peers) => peers.iter().map(peer_text).collect::<Vec<_>>().join("; "),
    };
    let ports = match &rule.ports {
        None => "every port and protocol".to_owned(),
        Some(ports) => ports.iter().map(port_text).collect::<Vec<_>>().join(", "),
    };
    format!("{word} {peers}: {ports}")
}

/// An item of `from` or `to`.
#[must_use]
pub fn peer_text(peer: &PolicyPeer) -> String {
    match peer {
        PolicyPeer::Pods { namespaces: NamespaceScope::Own, pods } => {
            format!("pods {} of this namespace", selector_text(pods))
        }
        PolicyPeer::Pods { namespaces: NamespaceScope::Selected(namespaces), pods } => {
            format!("pods {} of namespaces {}", selector_text(pods), selector_text(namespaces))
        }
        PolicyPeer::Block(block) if block.except.is_empty() => block.cidr.to_string(),
        PolicyPeer::Block(block) => {
            let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
            format!("{} except {}", block.cidr, except.join(", "))
        }
        PolicyPeer::Nobody => "nobody (the entry could not be read)".to_owned(),
    }
}

/// An item of `ports`.
#[must_use]
pub fn port_text(port: &PolicyPort) -> String {
    match port {
        PolicyPort::All(protocol) => format!("all {}", protocol.name()),
        PolicyPort::Range(protocol, low, high) if low == high => format!("{low}/{}", protocol.name()),
        PolicyPort::Range(protocol, low, high) => format!("{low}-{high}/{}", protocol.name()),
        PolicyPort::Named(protocol, name) => format!("{name}/{}", protocol.name()),
        PolicyPort::Nothing => "nothing (the entry could not be read)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Protocol;

    use super::*;

    #[test]
    fn a_rule_is_a_sentence() {
        let selector = Selector(vec![Requirement::In("app".to_owned(), BTreeSet::from(["api".to_owned()]))]);
        let rule = Rule {
            peers: Some(vec![PolicyPeer::Pods { namespaces: NamespaceScope::Own, pods: selector }]),
            ports: Some(vec![
                PolicyPort::Range(Protocol::Tcp, 80, 80),
                PolicyPort::Range(Protocol::Udp, 1, 9),
            ]),
            void: false,
        };
        assert_eq!(
            rule_text(&rule, Direction::Ingress),
            "from pods app=api of this namespace: 80/TCP, 1-9/UDP"
        );
        let any = Rule { peers: None, ports: None, void: false };
        assert_eq!(rule_text(&any, Direction::Egress), "to anybody: every port and protocol");
    }
}
