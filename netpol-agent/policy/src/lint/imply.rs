//! What contains what, decided without looking at any pod: where the answer is yes, it holds for every cluster.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::scene::by_name_only;
use crate::{
    model::{IpBlock, Namespace, NamespaceScope, PolicyPeer, PolicyPort, Requirement, Rule, Selector},
    spec::matching,
};

/// Whether whatever the first selector matches, the second one matches too.
pub(super) fn implies(narrow: &Selector, wide: &Selector) -> bool {
    wide.0.iter().all(|wanted| narrow.0.iter().any(|given| requires(given, wanted)))
}

fn requires(given: &Requirement, wanted: &Requirement) -> bool {
    use Requirement::{DoesNotExist, Exists, In, NotIn};
    match (given, wanted) {
        (In(key, values), In(other, wanted)) => key == other && values.is_subset(wanted),
        (In(key, values), NotIn(other, ruled_out)) => key == other && values.is_disjoint(ruled_out),
        (NotIn(key, values), NotIn(other, ruled_out)) => key == other && ruled_out.is_subset(values),
        (In(key, _) | Exists(key), Exists(other))
        | (DoesNotExist(key), DoesNotExist(other) | NotIn(other, _)) => key == other,
        _ => false,
    }
}

/// The first two requirements that cannot hold together.
pub(super) fn contradiction(selector: &Selector) -> Option<(&Requirement, &Requirement)> {
    use Requirement::{DoesNotExist, Exists, In, NotIn};
    let apart = |a: &Requirement, b: &Requirement| match (a, b) {
        (In(key, values), In(other, others)) => key == other && values.is_disjoint(others),
        (In(key, values), NotIn(other, ruled_out)) | (NotIn(other, ruled_out), In(key, values)) => {
            key == other && values.is_subset(ruled_out)
        }
        (In(key, _) | Exists(key), DoesNotExist(other)) | (DoesNotExist(other), In(key, _) | Exists(key)) => {
            key == other
        }
        _ => false,
    };
    let all = &selector.0;
    all.iter()
        .enumerate()
        .find_map(|(index, a)| all[index + 1..].iter().find(|b| apart(a, b)).map(|b| (a, b)))
}

/// Whether a block contains every address of another.
pub(super) fn block_covers(wide: &IpBlock, narrow: &IpBlock) -> bool {
    let taken = |except: &IpNet| narrow.except.iter().any(|other| other.contains(except));
    let touches = |except: &IpNet| except.contains(&narrow.cidr) || narrow.cidr.contains(except);
    wide.cidr.contains(&narrow.cidr) && !wide.except.iter().any(|except| touches(except) && !taken(except))
}

/// Whether the exceptions of a block leave nothing of it.
pub(super) fn nothing_left(block: &IpBlock) -> bool {
    IpNet::aggregate(&block.except).iter().any(|except| except.contains(&block.cidr))
}

/// Whether an item speaks of everybody that another one speaks of; both stand in policies of one namespace.
pub(super) fn peer_covers(wide: &PolicyPeer, narrow: &PolicyPeer, namespace: &Namespace) -> bool {
    match (wide, narrow) {
        (PolicyPeer::Block(wide), PolicyPeer::Block(narrow)) => block_covers(wide, narrow),
        (
            PolicyPeer::Pods { namespaces: wide_scope, pods: wide },
            PolicyPeer::Pods { namespaces: narrow_scope, pods: narrow },
        ) => {
            let scope = match (wide_scope, narrow_scope) {
                (NamespaceScope::Own, NamespaceScope::Own) => true,
                // By the name alone, which never changes.
                (NamespaceScope::Selected(wide), NamespaceScope::Own) => {
                    by_name_only(wide) && matching::selects(wide, &namespace.labels)
                }
                (NamespaceScope::Selected(wide), NamespaceScope::Selected(narrow)) => implies(narrow, wide),
                (NamespaceScope::Own, NamespaceScope::Selected(_)) => false,
            };
            scope && implies(narrow, wide)
        }
        _ => false,
    }
}

/// Whether an item allows every port that another one allows, whatever their names mean.
pub(super) fn port_covers(wide: &PolicyPort, narrow: &PolicyPort) -> bool {
    match (wide, narrow) {
        (
            PolicyPort::All(wide),
            PolicyPort::All(narrow) | PolicyPort::Range(narrow, ..) | PolicyPort::Named(narrow, _),
        )
        | (PolicyPort::Range(wide, 1, u16::MAX), PolicyPort::Named(narrow, _)) => wide == narrow,
        (PolicyPort::Range(wide, low, high), PolicyPort::Range(narrow, from, to)) => {
            wide == narrow && low <= from && to <= high
        }
        (PolicyPort::Named(wide, name), PolicyPort::Named(narrow, other)) => wide == narrow && name == other,
        _ => false,
    }
}

/// Whether a rule allows everything that another one allows, for the pods that both apply to.
pub(super) fn rule_covers(wide: &Rule, narrow: &Rule, namespace: &Namespace) -> bool {
    let peers = match (&wide.peers, &narrow.peers) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => {
            narrow.iter().all(|one| wide.iter().any(|other| peer_covers(other, one, namespace)))
        }
    };
    let ports = match (&wide.ports, &narrow.ports) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => {
            narrow.iter().all(|one| wide.iter().any(|other| port_covers(other, one)))
        }
    };
    !wide.void && peers && ports
}

/// The same rule whatever the order of its items.
pub(super) fn same_rule(a: &Rule, b: &Rule) -> bool {
    fn set<T: Ord>(items: &Option<Vec<T>>) -> Option<BTreeSet<&T>> {
        items.as_ref().map(|items| items.iter().collect())
    }
    a.void == b.void && set(&a.peers) == set(&b.peers) && set(&a.ports) == set(&b.ports)
}
