//! Table operations become writes.

use std::collections::BTreeMap;

use aya::maps::{HashMap, MapData, MapError, lpm_trie::Key};
use netpol_common::{
    Addr, Pod,
    tables::{Endpoint, InternedKey, PORTS_NONE, PolicySet, PortSet, SourceKey},
};
use netpol_policy::engine::{Cidr, HookLevel, TableOp};

use super::{Datapath, Error, buckets::in_order, fault, raw::Raw};

/// Names the map in an error.
pub(super) fn named(name: &str) -> impl Fn(MapError) -> Error + '_ {
    move |source| Error::NamedMap { name: name.to_owned(), source }
}

pub(super) fn insert<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, Raw<K>, Raw<V>>,
    name: &str,
    key: K,
    value: V,
) -> Result<(), Error> {
    map.insert(Raw(key), Raw(value), 0).map_err(named(name))
}

/// Removes an entry; one that is not there is what was wanted.
pub(super) fn remove<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, Raw<K>, Raw<V>>,
    name: &str,
    key: K,
) -> Result<(), Error> {
    gone(map.remove(&Raw(key))).map_err(named(name))
}

/// Takes "there was none" for success.
pub(super) fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

fn prefix_key(cidr: &Cidr) -> Key<Raw<Addr>> {
    Key::new(u32::from(cidr.bits()), Raw(cidr.addr()))
}

fn source_key(slot: u32, cidr: &Cidr) -> Key<Raw<SourceKey>> {
    Key::new(32 + u32::from(cidr.bits()), Raw(SourceKey { slot: slot.to_be(), addr: cidr.addr() }))
}

impl Datapath {
    /// Applies operations in their order, and says which ones failed and why. One that failed keeps no other from being
    /// applied: the engine then closes what depends on it.
    pub fn apply(&mut self, operations: &[TableOp]) -> Vec<(TableOp, Error)> {
        let mut failed = Vec::new();
        let mut prepared = false;
        let mut open = BTreeMap::new();
        for operation in in_order(operations, &self.tables.peers, &self.tables.rules) {
            if let TableOp::Hook { slot, ifindex, level: HookLevel::Full } = operation
                && (self.unswitched.contains(slot) || !self.has_flow_table(*slot))
            {
                if !prepared {
                    let slots = self.read_open(operations);
                    self.make_many_flow_tables(&slots);
                    prepared = true;
                }
                if !self.is_closed(*ifindex) {
                    open.insert(*slot, *ifindex);
                }
            }
            if let Err(error) = self.apply_one(operation) {
                failed.push((operation.clone(), error));
            }
        }
        if !open.is_empty() {
            self.finish_takeover(&open, operations);
        }
        self.forget_aside();
        failed
    }

    fn apply_one(&mut self, operation: &TableOp) -> Result<(), Error> {
        fault::point();
        let tables = &mut self.tables;
        match operation {
            TableOp::Intern { kind, id, digest } => {
                insert(&mut tables.interned, "INTERNED", InternedKey { kind: *kind, id: *id }, *digest)
            }
            TableOp::Forget { kind, id } => {
                remove(&mut tables.interned, "INTERNED", InternedKey { kind: *kind, id: *id })
            }
            TableOp::PortSet { id, value, chunks } => {
                for chunk in chunks {
                    insert(&mut tables.port_chunks, "PORT_CHUNKS", chunk.key, *chunk)?;
                }
                tables.port_sets.set(*id, Raw(**value), 0).map_err(named("PORT_SETS"))
            }
            TableOp::RemovePortSet { id, chunks } => {
                tables.port_sets.set(*id, Raw(PortSet::NONE), 0).map_err(named("PORT_SETS"))?;
                for chunk in chunks {
                    remove(&mut tables.port_chunks, "PORT_CHUNKS", chunk.key)?;
                }
                Ok(())
            }
            TableOp::PolicySet { id, value } => {
                tables.policy_sets.set(*id, Raw(*value), 0).map_err(named("POLICY_SETS"))
            }
            TableOp::RemovePolicySet { id } => tables
                .policy_sets
                .set(*id, Raw(PolicySet { any_peer: PORTS_NONE }), 0)
                .map_err(named("POLICY_SETS")),
            TableOp::Rule(rule) => tables.rules.put(rule),
            TableOp::RemoveRule(key) => tables.rules.remove(key),
            TableOp::Peer(peer) => tables.peers.put(peer),
            TableOp::RemovePeer(addr) => tables.peers.remove(addr),
            TableOp::Prefix { cidr, value } => {
                tables.prefixes.insert(&prefix_key(cidr), Raw(*value), 0).map_err(named("PREFIXES"))
            }
            TableOp::RemovePrefix(cidr) => {
                gone(tables.prefixes.remove(&prefix_key(cidr))).map_err(named("PREFIXES"))
            }
            TableOp::Backends(set) => insert(&mut tables.backends, "BACKENDS", set.id, **set),
            TableOp::RemoveBackends(id) => remove(&mut tables.backends, "BACKENDS", *id),
            TableOp::Member(key) => insert(&mut tables.members, "MEMBERS", *key, 1),
            TableOp::RemoveMember(key) => remove(&mut tables.members, "MEMBERS", *key),
            TableOp::Frontend(frontend) => {
                insert(&mut tables.frontends, "FRONTENDS", frontend.key, *frontend)
            }
            TableOp::RemoveFrontend(key) => remove(&mut tables.frontends, "FRONTENDS", *key),
            TableOp::Generation(addr) => tables.peers.move_on(addr),
            TableOp::AllGenerations => tables.peers.move_all_on(),
            TableOp::Endpoint { slot, value } => {
                self.known_slot(*slot)?;
                self.tables.endpoints.set_identity(*slot, value);
                Ok(())
            }
            TableOp::RemoveEndpoint { slot } => self.forget_endpoint(*slot),
            TableOp::Judgement { slot, direction, judgement } => {
                self.known_slot(*slot)?;
                self.tables.endpoints.set_judgement(*slot, *direction, *judgement);
                Ok(())
            }
            TableOp::Source { slot, cidr } => {
                tables.sources.insert(&source_key(*slot, cidr), Raw(1), 0).map_err(named("SOURCES"))
            }
            TableOp::RemoveSource { slot, cidr } => {
                gone(tables.sources.remove(&source_key(*slot, cidr))).map_err(named("SOURCES"))
            }
            TableOp::Hook { slot, ifindex, level } => self.hook(*slot, *ifindex, *level),
        }
    }

    fn known_slot(&self, slot: u32) -> Result<Endpoint, Error> {
        self.tables.endpoints.get(slot).ok_or(Error::NoSlot { slot })
    }
}
