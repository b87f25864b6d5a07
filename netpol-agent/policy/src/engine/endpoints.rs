//! Local endpoints: which slot each has, what it is judged by, which classifiers it carries.

mod binding;
mod writing;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use netpol_common::tables::{Digest, FIRST_SLOT, SET_NONE, SLOTS};

use super::{
    interner::{Ids, digest_of},
    ops::{HookLevel, LocalEndpoint},
};
use crate::model::{Key, Pod, Policy};

/// Revisions whose policies are remembered.
const REMEMBERED: usize = 8192;

/// An endpoint.
#[derive(Debug)]
pub(super) struct State {
    pub(super) local: LocalEndpoint,
    digest: Digest,
    /// The pod, once its object is there; `None` closes the endpoint.
    pub(super) pod: Option<u32>,
    profile: Option<u32>,
    /// What it is judged by, by [`Direction::index`].
    pub(super) sets: [u32; 2],
    /// Policies isolate it in that direction, and the break-glass switch keeps them from judging it.
    pub(super) released: [bool; 2],
    pub(super) hook: HookLevel,
    /// When it gets fewer classifiers, if nothing asks for them until then.
    pub(super) lower_at: Option<Duration>,
}

impl State {
    const fn isolated(&self) -> bool {
        self.sets[0] != SET_NONE || self.sets[1] != SET_NONE
    }

    /// Whether it carries all classifiers: where the break-glass switch is set they keep the flows, so that each is judged
    /// by who opened it as soon as the switch is gone.
    const fn wants_all(&self) -> bool {
        self.isolated() || self.released[0] || self.released[1]
    }
}

/// The digest of what a slot stands for: an interface by its name and its index.
#[must_use]
pub fn slot_digest(ifname: &str, ifindex: u32) -> Digest {
    digest_of(&("slot", ifname, ifindex))
}

/// The endpoints of this node.
#[derive(Debug)]
pub(super) struct Endpoints {
    by_name: BTreeMap<Arc<str>, u32>,
    states: BTreeMap<u32, State>,
    by_pod: HashMap<Key, BTreeSet<u32>>,
    /// Slots by the number of the pod that they are bound to.
    bound: HashMap<u32, BTreeSet<u32>>,
    pub(super) ids: Ids,
    pub(super) dirty: BTreeSet<u32>,
    /// Gone since the last compile.
    removed: Vec<(u32, State)>,
    /// Slots without an endpoint, by the batch in which they lost it.
    pub(super) dead: BTreeMap<u32, u64>,
    pub(super) revision: u32,
    /// Interfaces that found no slot.
    pub(super) refused: BTreeSet<Arc<str>>,
    /// Slots whose classifiers the kernel refused: nobody may count on them.
    pub(super) unhooked: BTreeSet<u32>,
    history: HashMap<u32, Arc<[Arc<Policy>]>>,
    order: VecDeque<u32>,
}

impl Endpoints {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            by_name: BTreeMap::new(),
            states: BTreeMap::new(),
            by_pod: HashMap::new(),
            bound: HashMap::new(),
            ids: Ids::new(FIRST_SLOT, limit.min(SLOTS)),
            dirty: BTreeSet::new(),
            removed: Vec::new(),
            dead: BTreeMap::new(),
            revision: 0,
            refused: BTreeSet::new(),
            unhooked: BTreeSet::new(),
            history: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn get(&self, slot: u32) -> Option<&State> {
        self.states.get(&slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &State)> {
        self.states.iter().map(|(slot, s)| (*slot, s))
    }

    pub(super) fn of_pod(&self, key: &Key) -> impl Iterator<Item = u32> {
        self.by_pod.get(key).into_iter().flatten().copied()
    }

    /// The slot of a pod, if it is one of this node.
    pub(super) fn bound_to(&self, pod: u32) -> Option<u32> {
        self.bound.get(&pod)?.first().copied()
    }

    /// A slot is bound to another pod, or to none.
    fn rebind(&mut self, slot: u32, old: Option<u32>, new: Option<u32>) {
        if let Some(old) = old
            && let Some(slots) = self.bound.get_mut(&old)
        {
            slots.remove(&slot);
            if slots.is_empty() {
                self.bound.remove(&old);
            }
        }
        if let Some(new) = new {
            self.bound.entry(new).or_default().insert(slot);
        }
    }

    /// Whether a pod's object is of the pod behind an endpoint, not of another one with its name.
    pub(super) fn is_of(&self, slot: u32, pod: &Pod) -> bool {
        self.states.get(&slot).is_some_and(|s| pod.counts() && pod.has_uid(&s.local.uid))
    }

    /// Whether an endpoint judges senders, once the hooks are as they are to be.
    pub(super) fn judges(&self, slot: u32) -> bool {
        !self.unhooked.contains(&slot)
            && self.states.get(&slot).is_some_and(|s| s.local.tag_trusted && s.hook == HookLevel::Full)
    }

    pub(super) fn policies_at(&self, revision: u32) -> Option<&Arc<[Arc<Policy>]>> {
        self.history.get(&revision)
    }

    fn remember(&mut self, revision: u32, policies: Arc<[Arc<Policy>]>) {
        if self.history.insert(revision, policies).is_none() {
            self.order.push_back(revision);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.history.remove(&oldest);
            }
        }
    }

    /// An endpoint is there or has changed. Returns its slot and the pods whose state depends on it.
    pub(super) fn set(&mut self, local: LocalEndpoint) -> (Option<u32>, Vec<Key>) {
        let mut pods = Vec::new();
        let digest = slot_digest(&local.ifname, local.ifindex);
        if let Some(&slot) = self.by_name.get(&local.ifname) {
            if let Some(state) = self.states.get_mut(&slot)
                && state.digest == digest
            {
                if state.local == local {
                    return (Some(slot), pods);
                }
                let old = std::mem::replace(&mut state.local, local.clone());
                if old.pod != local.pod {
                    self.unlink(slot, old.pod.as_ref());
                    self.link(slot, local.pod.as_ref());
                }
                pods.extend(old.pod);
                pods.extend(local.pod);
                self.dirty.insert(slot);
                return (Some(slot), pods);
            }
            pods.extend(self.remove(&local.ifname));
        }
        let Some(slot) = self.ids.assign(digest) else {
            self.refused.insert(local.ifname);
            return (None, pods);
        };
        self.refused.remove(&local.ifname);
        self.dead.remove(&slot);
        self.by_name.insert(local.ifname.clone(), slot);
        self.link(slot, local.pod.as_ref());
        pods.extend(local.pod.clone());
        self.states.insert(
            slot,
            State {
                local,
                digest,
                pod: None,
                profile: None,
                sets: [SET_NONE; 2],
                released: [false; 2],
                hook: HookLevel::None,
                lower_at: None,
            },
        );
        self.dirty.insert(slot);
        (Some(slot), pods)
    }

    fn link(&mut self, slot: u32, pod: Option<&Key>) {
        if let Some(key) = pod {
            self.by_pod.entry(key.clone()).or_default().insert(slot);
        }
    }

    fn unlink(&mut self, slot: u32, pod: Option<&Key>) {
        if let Some(key) = pod
            && let Some(slots) = self.by_pod.get_mut(key)
        {
            slots.remove(&slot);
            if slots.is_empty() {
                self.by_pod.remove(key);
            }
        }
    }

    /// An endpoint is gone. Returns its pod.
    pub(super) fn remove(&mut self, ifname: &str) -> Option<Key> {
        self.refused.remove(ifname);
        let slot = self.by_name.remove(ifname)?;
        let state = self.states.remove(&slot)?;
        self.unlink(slot, state.local.pod.as_ref());
        self.rebind(slot, state.pod, None);
        self.dirty.remove(&slot);
        let pod = state.local.pod.clone();
        self.removed.push((slot, state));
        pod
    }

    const fn next_revision(&mut self) -> u32 {
        self.revision = self.revision.wrapping_add(1);
        self.revision
    }
}
