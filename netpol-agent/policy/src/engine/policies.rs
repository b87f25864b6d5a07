//! Policies as the compiler wants them: each direction a list of rules over features, with a digest of its own.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use netpol_common::{Direction, tables::Digest};

use super::{
    features::{Feature, Name, Namespaces},
    interner::digest_of,
    ports::Ports,
    selectors::canonical,
};
use crate::model::{Key, NamespaceScope, Policy, PolicyPeer, PolicyPort, Rule};

/// What a rule allows with those that it speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Grant {
    pub(super) ports: Ports,
    /// Names, each looked up on the destination pod.
    pub(super) names: Vec<Name>,
}

/// One rule that grants something.
#[derive(Clone, Debug)]
pub(super) struct Granting {
    /// `None`: any peer.
    pub(super) peers: Option<Vec<Feature>>,
    pub(super) grant: Grant,
}

/// A direction in which a policy isolates.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) rules: Vec<Granting>,
    /// Of the policy's key, the direction and its rules.
    pub(super) digest: Digest,
    /// The names that its rules use.
    pub(super) names: BTreeSet<Name>,
}

/// A policy, compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) policy: Arc<Policy>,
    /// By [`Direction::index`].
    pub(super) sides: [Option<Side>; 2],
}

fn grant(ports: Option<&[PolicyPort]>) -> Option<Grant> {
    let Some(items) = ports.filter(|items| !items.is_empty()) else {
        return Some(Grant { ports: Ports::all(), names: Vec::new() });
    };
    let mut names = BTreeSet::new();
    let ranges = items.iter().filter_map(|item| match item {
        PolicyPort::All(protocol) => Some((protocol.number(), 0, u16::MAX)),
        PolicyPort::Range(protocol, low, high) => Some((protocol.number(), *low, *high)),
        PolicyPort::Named(protocol, name) => {
            names.insert((*protocol, name.clone()));
            None
        }
        PolicyPort::Nothing => None,
    });
    let ports = Ports::of(ranges);
    let grant = Grant { ports, names: names.into_iter().collect() };
    (grant != Grant::default()).then_some(grant)
}

fn feature(peer: &PolicyPeer, namespace: &Arc<str>) -> Option<Feature> {
    match peer {
        PolicyPeer::Pods { namespaces, pods } => Some(Feature::Pods {
            namespaces: match namespaces {
                NamespaceScope::Own => Namespaces::Named(namespace.clone()),
                NamespaceScope::Selected(selector) => Namespaces::Selected(canonical(selector)),
            },
            pods: canonical(pods),
        }),
        PolicyPeer::Block(block) => Some(Feature::Block(block.clone())),
        PolicyPeer::Nobody => None,
    }
}

fn granting(rule: &Rule, namespace: &Arc<str>) -> Option<Granting> {
    if rule.void {
        return None;
    }
    let grant = grant(rule.ports.as_deref())?;
    let peers = match rule.peers.as_deref() {
        None | Some([]) => None,
        Some(peers) => {
            let mut features: Vec<Feature> = peers.iter().filter_map(|p| feature(p, namespace)).collect();
            if features.is_empty() {
                return None;
            }
            features.dedup();
            Some(features)
        }
    };
    Some(Granting { peers, grant })
}

impl Compiled {
    fn new(policy: &Arc<Policy>) -> Self {
        let sides = Direction::ALL.map(|direction| {
            let written = policy.rules(direction)?;
            // As written, in its order: verdicts name rules by their place.
            let digest = digest_of(&("policy", &policy.key, direction, written));
            let rules: Vec<Granting> =
                written.iter().filter_map(|r| granting(r, &policy.key.namespace)).collect();
            let names = rules.iter().flat_map(|r| r.grant.names.iter().cloned()).collect();
            Some(Side { rules, digest, names })
        });
        Self { policy: policy.clone(), sides }
    }
}

/// The policies that select pods of this node, compiled when they are first asked for.
#[derive(Debug, Default)]
pub(super) struct Policies {
    compiled: HashMap<Key, Arc<Compiled>>,
}

impl Policies {
    /// A policy, compiled.
    pub(super) fn get(&mut self, store: &BTreeMap<Key, Arc<Policy>>, key: &Key) -> Option<Arc<Compiled>> {
        let policy = store.get(key)?;
        Some(self.compiled.entry(key.clone()).or_insert_with(|| Arc::new(Compiled::new(policy))).clone())
    }

    /// A policy has changed or gone.
    pub(super) fn forget(&mut self, key: &Key) {
        self.compiled.remove(key);
    }
}
