//! Policy sets: what a pod is judged by in one direction, shared by all pods that the same policies select, and their
//! rows.

mod row;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use netpol_common::{
    Direction,
    tables::{Digest, FIRST_SET, INTERNED_SET, PolicySet, RuleKey},
};

use super::{
    classes::Classes,
    features::{Feature, Features, Name},
    interner::{Ids, digest_of, digest_of_parts},
    ops::TableOp,
    policies::{Compiled, Grant},
    ports::{PortSets, Ports},
};
use crate::model::{NamedPort, Policy};

/// A policy set in use.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) direction: Direction,
    pub(super) digest: Digest,
    pub(super) policies: Arc<[Arc<Policy>]>,
    /// What any peer may.
    any: Grant,
    /// What those may that have a feature.
    grants: HashMap<u32, Grant>,
    /// Names of egress, each of which counts once.
    names: Vec<Name>,
    any_peer: u32,
    /// Class to port set, where that is not `any_peer`.
    pub(super) rows: BTreeMap<u32, u32>,
    /// Slots that are judged by it.
    pub(super) users: BTreeSet<u32>,
    dead_since: u64,
}

/// The policy sets in use.
#[derive(Debug)]
pub(super) struct Sets {
    by_digest: HashMap<Digest, u32>,
    states: BTreeMap<u32, Set>,
    pub(super) ids: Ids,
    /// Sets that have no rows yet.
    born: BTreeSet<u32>,
    /// Sets that lost their last endpoint since the last look.
    pub(super) died: Vec<u32>,
    /// A set found no id.
    pub(super) exhausted: bool,
}

/// Everything that a set is made of.
pub(super) struct Parts<'a> {
    pub(super) direction: Direction,
    /// The policies that select the pod and isolate it in the direction, in the order of their keys.
    pub(super) policies: &'a [Arc<Compiled>],
    /// The selected pod's own names.
    pub(super) ports: &'a [NamedPort],
}

impl Parts<'_> {
    /// What names of ingress mean on the selected pod.
    fn own(&self) -> Vec<&NamedPort> {
        if self.direction == Direction::Egress {
            return Vec::new();
        }
        let sides = || self.policies.iter().filter_map(|p| p.sides[self.direction.index()].as_ref());
        self.ports
            .iter()
            .filter(|port| sides().any(|s| s.names.contains(&(port.protocol, port.name.clone()))))
            .collect()
    }

    fn digest(&self, own: &[&NamedPort]) -> Digest {
        let own = digest_of(&("names", self.direction, own));
        let sides = self.policies.iter().filter_map(|p| p.sides[self.direction.index()].as_ref());
        digest_of_parts(std::iter::once(&own[..]).chain(sides.map(|s| &s.digest[..])))
    }
}

impl Sets {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            by_digest: HashMap::new(),
            states: BTreeMap::new(),
            ids: Ids::new(FIRST_SET, limit),
            born: BTreeSet::new(),
            died: Vec::new(),
            exhausted: false,
        }
    }

    pub(super) fn get(&self, id: u32) -> Option<&Set> {
        self.states.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Set)> {
        self.states.iter().map(|(id, s)| (*id, s))
    }

    /// The set of these parts, built if it is new. `None`: there is no id left.
    pub(super) fn intern(&mut self, parts: &Parts<'_>, features: &mut Features) -> Option<u32> {
        let own = parts.own();
        let digest = parts.digest(&own);
        if let Some(id) = self.by_digest.get(&digest) {
            if let Some(set) = self.states.get_mut(id) {
                set.policies = parts.policies.iter().map(|p| p.policy.clone()).collect();
            }
            return Some(*id);
        }
        let Some(id) = self.ids.assign(digest) else {
            self.exhausted = true;
            return None;
        };
        let set = Set::new(parts, &own, digest, features);
        for feature in set.grants.keys() {
            if let Some(state) = features.get_mut(*feature) {
                state.sets.insert(id);
            }
        }
        for name in &set.any.names {
            if let Some(state) = features.name_mut(name) {
                state.sets.insert(id);
            }
        }
        self.by_digest.insert(digest, id);
        self.states.insert(id, set);
        self.born.insert(id);
        Some(id)
    }

    /// An endpoint is judged by a set from now on.
    pub(super) fn join(&mut self, id: u32, slot: u32) {
        if let Some(set) = self.states.get_mut(&id) {
            set.users.insert(slot);
        }
    }

    /// An endpoint is judged by it no more.
    pub(super) fn leave(&mut self, id: u32, slot: u32, batch: u64) {
        if let Some(set) = self.states.get_mut(&id) {
            set.users.remove(&slot);
            if set.users.is_empty() {
                set.dead_since = batch;
                self.died.push(id);
            }
        }
    }

    /// Writes the sets and rows that are missing: all classes in new sets, new classes in all sets.
    pub(super) fn rows(
        &mut self,
        features: &Features,
        classes: &mut Classes,
        ports: &mut PortSets,
        ops: &mut Vec<TableOp>,
    ) {
        for class in std::mem::take(&mut classes.born) {
            let mut sets = BTreeSet::new();
            for feature in classes.features(class) {
                let Some(state) = features.get(*feature) else { continue };
                sets.extend(&state.sets);
                if let Feature::Port { name, .. } = &*state.content {
                    sets.extend(features.name(name).into_iter().flat_map(|n| &n.sets));
                }
            }
            for id in sets.difference(&self.born) {
                if let Some(set) = self.states.get_mut(id) {
                    set.row(*id, class, features, classes, ports, ops);
                }
            }
        }
        for id in std::mem::take(&mut self.born) {
            let Some(set) = self.states.get_mut(&id) else { continue };
            set.any_peer = ports.acquire(&set.any.ports, ops);
            ops.push(TableOp::Intern { kind: INTERNED_SET, id, digest: set.digest });
            ops.push(TableOp::PolicySet { id, value: PolicySet { any_peer: set.any_peer } });
            if set.any.ports.is_all() {
                continue;
            }
            let named = set.any.names.iter().filter_map(|n| features.name(n)).flat_map(|n| &n.features);
            let candidates: BTreeSet<u32> = set
                .grants
                .keys()
                .chain(named)
                .filter_map(|f| features.get(*f))
                .flat_map(|f| f.classes.iter().copied())
                .collect();
            for class in candidates {
                set.row(id, class, features, classes, ports, ops);
            }
        }
    }

    /// What a class may in a set.
    pub(super) fn allowed<'a>(&self, id: u32, class: u32, ports: &'a PortSets) -> Option<&'a Ports> {
        let set = self.states.get(&id)?;
        Some(ports.content(set.rows.get(&class).copied().unwrap_or(set.any_peer)))
    }

    /// Drops the rows of a class that is collected.
    pub(super) fn drop_class(
        &mut self,
        class: u32,
        sets: &BTreeSet<u32>,
        ops: &mut Vec<TableOp>,
    ) -> Vec<u32> {
        let mut released = Vec::new();
        for id in sets {
            if let Some(port_set) = self.states.get_mut(id).and_then(|s| s.rows.remove(&class)) {
                ops.push(TableOp::RemoveRule(RuleKey { set: *id, class }));
                released.push(port_set);
            }
        }
        released
    }

    /// Takes a set out that has had no endpoint since `batch`.
    pub(super) fn collect(
        &mut self,
        id: u32,
        batch: u64,
        features: &mut Features,
        ops: &mut Vec<TableOp>,
    ) -> Option<(Digest, Vec<u32>)> {
        if self.states.get(&id).is_none_or(|s| !s.users.is_empty() || s.dead_since != batch) {
            return None;
        }
        let set = self.states.remove(&id)?;
        self.by_digest.remove(&set.digest);
        self.born.remove(&id);
        for feature in set.grants.keys() {
            if let Some(state) = features.get_mut(*feature) {
                state.sets.remove(&id);
            }
            features.release(*feature);
        }
        for name in &set.any.names {
            if let Some(state) = features.name_mut(name) {
                state.sets.remove(&id);
            }
        }
        for name in &set.names {
            features.release_name(name);
        }
        ops.extend(set.rows.keys().map(|class| TableOp::RemoveRule(RuleKey { set: id, class: *class })));
        ops.push(TableOp::RemovePolicySet { id });
        ops.push(TableOp::Forget { kind: INTERNED_SET, id });
        let mut released: Vec<u32> = set.rows.into_values().collect();
        released.push(set.any_peer);
        Some((set.digest, released))
    }

    /// The sets whose rows or whose default use a port set.
    pub(super) fn using(&self, port_set: u32) -> impl Iterator<Item = u32> {
        self.states
            .iter()
            .filter(move |(_, s)| s.any_peer == port_set || s.rows.values().any(|p| *p == port_set))
            .map(|(id, _)| *id)
    }
}
