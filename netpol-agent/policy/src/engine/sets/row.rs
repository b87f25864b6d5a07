//! What a policy set is made of, and what a class may in it.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry};

use netpol_common::{
    Direction,
    tables::{Digest, PORTS_NONE, Rule, RuleKey},
};

use super::{Parts, Set};
use crate::{
    engine::{
        classes::Classes,
        features::{Feature, Features, Name},
        ops::TableOp,
        policies::Grant,
        ports::{PortSets, Ports},
    },
    model::NamedPort,
};

impl Set {
    pub(super) fn new(
        parts: &Parts<'_>,
        own: &[&NamedPort],
        digest: Digest,
        features: &mut Features,
    ) -> Self {
        let mut any = Grant::default();
        let mut grants: HashMap<u32, Grant> = HashMap::new();
        let mut names = BTreeSet::new();
        let mut add = |to: &mut Grant, grant: &Grant| {
            to.ports.add(&grant.ports);
            if parts.direction == Direction::Ingress {
                let resolved = own
                    .iter()
                    .filter(|p| grant.names.contains(&(p.protocol, p.name.clone())))
                    .map(|p| (p.protocol.number(), p.port, p.port));
                to.ports.add(&Ports::of(resolved));
            } else {
                names.extend(grant.names.iter().cloned());
                to.names.extend(grant.names.iter().cloned());
                to.names.sort();
                to.names.dedup();
            }
        };
        let sides = parts.policies.iter().filter_map(|p| p.sides[parts.direction.index()].as_ref());
        for rule in sides.flat_map(|s| &s.rules) {
            match &rule.peers {
                None => add(&mut any, &rule.grant),
                Some(peers) => {
                    for peer in peers {
                        let id = features.acquire(peer);
                        match grants.entry(id) {
                            Entry::Occupied(mut entry) => {
                                // Each feature counts once per set.
                                features.release(id);
                                add(entry.get_mut(), &rule.grant);
                            }
                            Entry::Vacant(entry) => {
                                add(entry.insert(Grant::default()), &rule.grant);
                            }
                        }
                    }
                }
            }
        }
        let names: Vec<Name> = names.into_iter().collect();
        for name in &names {
            features.acquire_name(name);
        }
        Self {
            direction: parts.direction,
            digest,
            policies: parts.policies.iter().map(|p| p.policy.clone()).collect(),
            any,
            grants,
            names,
            any_peer: PORTS_NONE,
            rows: BTreeMap::new(),
            users: BTreeSet::new(),
            dead_since: 0,
        }
    }

    /// Writes the row of a class, if it has one. It never changes: both are known by their content.
    pub(super) fn row(
        &mut self,
        id: u32,
        class: u32,
        features: &Features,
        classes: &mut Classes,
        ports: &mut PortSets,
        ops: &mut Vec<TableOp>,
    ) {
        if self.any.ports.is_all() || self.rows.contains_key(&class) {
            return;
        }
        let mut allowed = self.any.ports.clone();
        let mut names: BTreeSet<&Name> = self.any.names.iter().collect();
        for feature in classes.features(class) {
            if let Some(grant) = self.grants.get(feature) {
                allowed.add(&grant.ports);
                names.extend(&grant.names);
            }
        }
        if !names.is_empty() {
            for feature in classes.features(class) {
                if let Some(state) = features.get(*feature)
                    && let Feature::Port { name, port } = &*state.content
                    && names.contains(name)
                {
                    allowed.add(&Ports::of([(name.0.number(), *port, *port)]));
                }
            }
        }
        if allowed == self.any.ports {
            return;
        }
        let port_set = ports.acquire(&allowed, ops);
        self.rows.insert(class, port_set);
        classes.has_row(class, id);
        ops.push(TableOp::Rule(Rule { key: RuleKey { set: id, class }, port_set }));
    }
}
