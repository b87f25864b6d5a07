//! NetworkPolicies: selectors, peers, ports, rules.

use std::{collections::BTreeSet, sync::Arc};

use ipnet::IpNet;
use netpol_common::Direction;

use super::{Key, Protocol};

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Requirement {
    /// The key is there with one of the values.
    In(String, BTreeSet<String>),
    /// The key is missing, or its value is none of these.
    NotIn(String, BTreeSet<String>),
    /// The key is there.
    Exists(String),
    /// The key is missing.
    DoesNotExist(String),
}

/// A label selector: all requirements hold; without any, everything matches. `matchLabels` are `In` with one value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector(pub Vec<Requirement>);

/// Which namespaces a peer speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamespaceScope {
    /// The policy's own.
    Own,
    /// Those that match.
    Selected(Selector),
}

/// A block of addresses, masked; `except` are masked too, and only those inside `cidr` are kept.
/// IPv4-mapped ones are written as IPv4.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpBlock {
    /// The block.
    pub cidr: IpNet,
    /// What is taken out of it; sorted.
    pub except: Vec<IpNet>,
}

/// One item of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyPeer {
    /// Pods of namespaces.
    Pods {
        /// Which namespaces.
        namespaces: NamespaceScope,
        /// Which pods in them.
        pods: Selector,
    },
    /// Addresses.
    Block(IpBlock),
    /// An entry that grants nothing: unreadable, empty, or of fields that are not known.
    Nobody,
}

/// What one item of `ports` allows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyPort {
    /// Every port of a protocol.
    All(Protocol),
    /// A range, both ends inclusive.
    Range(Protocol, u16, u16),
    /// A name, looked up on the destination pod.
    Named(Protocol, Arc<str>),
    /// An entry that grants nothing.
    Nothing,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// `None`: any peer at all. `Some` with an empty list cannot come from the API (that is any peer); items that
    /// could not be read are [`PolicyPeer::Nobody`].
    pub peers: Option<Vec<PolicyPeer>>,
    /// `None`: every port of every protocol.
    pub ports: Option<Vec<PolicyPort>>,
    /// The rule holds a field that is not known, which might narrow it: it grants nothing.
    pub void: bool,
}

/// A NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Namespace and name.
    pub key: Key,
    /// Which pods of its namespace it isolates.
    pub pod_selector: Selector,
    /// By [`Direction::index`]: `Some` when it isolates in that direction, with its rules.
    pub rules: [Option<Vec<Rule>>; 2],
}

impl Policy {
    /// The rules of a direction, if it isolates there.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        self.rules[direction.index()].as_deref()
    }
}
