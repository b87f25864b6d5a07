//! Sets of backends: known by the addresses and ports in them, described by the classes of those.
//!
//! Translation pins a flow to a backend of the set that its frontend had when it was opened. So a set stays, and stays
//! up to date, until no frontend and no flow refers to it.

mod writing;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use netpol_common::{
    Addr,
    tables::{BACKENDS_OVERFLOW, BackendSet, Digest, FIRST_BACKENDS, INTERNED_BACKENDS, MemberKey},
};

use super::{Engine, addresses::Bytes, compile::Work, few::Few, interner::Ids, ops::TableOp};
use crate::model::Key;

/// Address and port of a backend.
pub(super) type Member = (Bytes, u16);

/// One kind of backend: class, port and, when it is a pod of this node, its slot.
type Entry = (u32, u16, Option<u32>);

/// A set of backends.
#[derive(Debug)]
pub(super) struct State {
    pub(super) members: Arc<[Member]>,
    pub(super) digest: Digest,
    /// Frontends that lead to it now.
    users: u32,
    /// Addresses of frontends that lead to it, or did: their generations move with its content.
    fronts: Few<Bytes>,
    /// Protocols of these frontends.
    protos: Few<u8>,
    pub(super) services: Few<Key>,
    entries: Vec<Entry>,
    /// Endpoints that have to judge senders.
    pub(super) wants_full: BTreeSet<u32>,
    dead_since: u64,
}

/// The sets of backends.
#[derive(Debug)]
pub(super) struct Backends {
    by_digest: HashMap<Digest, u32>,
    states: BTreeMap<u32, State>,
    pub(super) ids: Ids,
    /// Sets whose content may be another now.
    pub(super) dirty: BTreeSet<u32>,
    /// Sets with pods of this node.
    with_local: BTreeSet<u32>,
    overflow: BTreeSet<u32>,
    /// Sets that were found in the tables and that no frontend leads to: what is in them is not known, but flows may
    /// refer to them. They stay as they are, as long as nothing changes for a class in them.
    pub(super) frozen: BTreeMap<u32, BackendSet>,
}

/// What is written of a set, and for whom.
pub(super) struct Use<'a> {
    pub(super) front: Bytes,
    pub(super) proto: u8,
    pub(super) service: &'a Key,
}

impl State {
    /// Whether an endpoint is one of the backends.
    pub(super) fn has_slot(&self, slot: u32) -> bool {
        self.entries.iter().any(|e| e.2 == Some(slot))
    }
}

impl Backends {
    pub(super) fn new() -> Self {
        Self {
            by_digest: HashMap::new(),
            states: BTreeMap::new(),
            ids: Ids::new(FIRST_BACKENDS, u32::MAX),
            dirty: BTreeSet::new(),
            with_local: BTreeSet::new(),
            overflow: BTreeSet::new(),
            frozen: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, id: u32) -> Option<&State> {
        self.states.get(&id)
    }

    /// Sets with more kinds of backends than fit.
    pub(super) fn too_many(&self) -> impl Iterator<Item = &State> {
        self.overflow.iter().filter_map(|id| self.states.get(id))
    }

    /// A set that is not known by its content must not outlive a change of what is known of it: closed.
    pub(super) fn left_class(&mut self, class: u32, work: &mut Work) {
        for set in self.frozen.values_mut() {
            if set.flags & BACKENDS_OVERFLOW == 0
                && set.backends.iter().take(set.count as usize).any(|b| b.class == class)
            {
                set.flags |= BACKENDS_OVERFLOW;
                work.changed.push(*set);
                work.all_moved = true;
            }
        }
    }

    /// What the endpoints among the backends do may have changed.
    pub(super) fn mark_local(&mut self) {
        self.dirty.extend(&self.with_local);
    }

    /// The sets that no frontend has led to since a batch, and that no flow refers to.
    pub(super) fn unused(&self, since: u64, in_use: &dyn Fn(u32) -> bool) -> Vec<u32> {
        let retired =
            self.states.iter().filter(|(_, s)| s.users == 0 && s.dead_since <= since).map(|(id, _)| *id);
        retired.chain(self.frozen.keys().copied()).filter(|id| !in_use(*id)).collect()
    }
}

/// The digest of what is in a set.
pub(super) fn digest_of_members(members: &[Member]) -> Digest {
    let mut bytes = Vec::with_capacity(members.len() * 18 + 8);
    bytes.extend_from_slice(b"backends");
    for (addr, port) in members {
        bytes.extend_from_slice(addr);
        bytes.extend_from_slice(&port.to_be_bytes());
    }
    super::interner::digest_of_parts([&bytes[..]])
}

impl Engine {
    /// The set of these members, for one more frontend.
    pub(super) fn acquire_backends(
        &mut self,
        members: &Arc<[Member]>,
        digest: Digest,
        user: &Use<'_>,
        work: &mut Work,
    ) -> Option<u32> {
        let id = match self.backends.by_digest.get(&digest) {
            Some(id) => *id,
            None => {
                let id = self.backends.ids.assign(digest)?;
                self.backends.frozen.remove(&id);
                let state = State {
                    members: members.clone(),
                    digest,
                    users: 0,
                    fronts: Few::default(),
                    protos: Few::default(),
                    services: Few::default(),
                    entries: Vec::new(),
                    wants_full: BTreeSet::new(),
                    dead_since: 0,
                };
                for (bytes, _) in &**members {
                    self.addresses.join_set(&Addr::from_bytes(*bytes), id);
                }
                self.backends.by_digest.insert(digest, id);
                self.backends.states.insert(id, state);
                work.backends.push(TableOp::Intern { kind: INTERNED_BACKENDS, id, digest });
                id
            }
        };
        if let Some(state) = self.backends.states.get_mut(&id) {
            state.users += 1;
            state.fronts.insert(user.front);
            state.protos.insert(user.proto);
            state.services.insert(user.service.clone());
        }
        self.backends.dirty.insert(id);
        Some(id)
    }

    /// One frontend less leads to a set.
    pub(super) fn release_backend_set(&mut self, id: u32, work: &Work) {
        if let Some(state) = self.backends.states.get_mut(&id) {
            state.users -= 1;
            state.dead_since = work.batch;
        }
    }

    /// Looks again at what is in the sets that may have changed, at their members among the endpoints, and at who has
    /// to judge senders.
    pub(super) fn refresh_backends(&mut self, work: &mut Work) {
        let dirty = std::mem::take(&mut self.backends.dirty);
        for &id in &dirty {
            let Some(state) = self.backends.states.get(&id) else { continue };
            let members = state.members.clone();
            let mut entries: BTreeSet<Entry> = BTreeSet::new();
            for (bytes, port) in &*members {
                let Some(address) = self.addresses.get(&Addr::from_bytes(*bytes)) else { continue };
                match address.owner() {
                    Some(pod) => {
                        let slot = self.endpoints.bound_to(pod);
                        entries.insert((address.class(), *port, slot));
                    }
                    // A pod that is gone answers nobody.
                    None if address.was_pod() => {}
                    None => {
                        entries.insert((address.class(), *port, None));
                    }
                }
            }
            let entries: Vec<Entry> = entries.into_iter().collect();
            let Some(state) = self.backends.states.get_mut(&id) else { continue };
            let old: BTreeSet<u32> = state.entries.iter().filter_map(|e| e.2).collect();
            let new: BTreeSet<u32> = entries.iter().filter_map(|e| e.2).collect();
            state.entries = entries;
            if new.is_empty() {
                self.backends.with_local.remove(&id);
            } else {
                self.backends.with_local.insert(id);
            }
            let key = |slot: &u32| MemberKey { backends: id, slot: *slot };
            work.members.extend(new.iter().map(|s| TableOp::Member(key(s))));
            work.members_gone.extend(old.difference(&new).map(|s| TableOp::RemoveMember(key(s))));
        }
        let again: Vec<u32> = if work.egress_moved {
            dirty.union(&self.backends.with_local).copied().collect()
        } else {
            dirty.iter().copied().collect()
        };
        for id in again {
            let wants = self.wants_full(id);
            if let Some(state) = self.backends.states.get_mut(&id)
                && state.wants_full != wants
            {
                state.wants_full = wants;
                work.hooks = true;
            }
        }
        work.changed_backends = dirty;
    }

    /// Collects a set that nothing refers to.
    pub(super) fn collect_backends(&mut self, id: u32, batch: u64, work: &mut Work) {
        let Some(digest) = self.mirror.interned.get(&(INTERNED_BACKENDS, id)).copied() else { return };
        if let Some(state) = self.backends.states.get(&id) {
            if state.users != 0 || state.dead_since >= batch {
                return;
            }
            let members = state.members.clone();
            for (bytes, _) in &*members {
                self.addresses.leave_set(&Addr::from_bytes(*bytes), id);
            }
            let entries = self.backends.states.remove(&id).map(|s| s.entries).unwrap_or_default();
            for slot in entries.iter().filter_map(|e| e.2) {
                work.collected.push(TableOp::RemoveMember(MemberKey { backends: id, slot }));
            }
            self.backends.by_digest.remove(&digest);
            self.backends.with_local.remove(&id);
            self.backends.overflow.remove(&id);
            self.backends.dirty.remove(&id);
        } else if self.backends.frozen.remove(&id).is_none() {
            return;
        } else {
            let members = self.mirror.members.iter().filter(|m| m.backends == id);
            let mut members: Vec<MemberKey> = members.copied().collect();
            members.sort_by_key(|m| m.slot);
            work.collected.extend(members.into_iter().map(TableOp::RemoveMember));
        }
        work.collected.push(TableOp::RemoveBackends(id));
        work.collected.push(TableOp::Forget { kind: INTERNED_BACKENDS, id });
        work.freed.push((INTERNED_BACKENDS, id, digest));
        // It may have asked for classifiers.
        work.hooks = true;
    }
}
