//! Local endpoints: which slot each has, what it is judged by, which classifiers it carries.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use netpol_common::{
    Addr, Direction,
    tables::{
        Digest, ENDPOINT_HARDWARE_KNOWN, ENDPOINT_LIVE, ENDPOINT_MORE_SOURCES, ENDPOINT_TAG_TRUSTED,
        ENDPOINT_TAGS_ALLOWED, Endpoint, FIRST_SLOT, INTERNED_SLOT, SET_CLOSED, SET_NONE, SLOTS, judgement,
        revision_of, set_of,
    },
};

use super::{
    Engine,
    cidr::Cidr,
    collect::Grave,
    compile::Work,
    interner::{Ids, digest_of},
    ops::{HookLevel, LocalEndpoint, TableOp},
    pods::addr,
    policies::Compiled,
    sets::Parts,
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
    pub(super) hook: HookLevel,
    /// When it gets fewer classifiers, if nothing asks for them until then.
    pub(super) lower_at: Option<Duration>,
}

impl State {
    const fn isolated(&self) -> bool {
        self.sets[0] != SET_NONE || self.sets[1] != SET_NONE
    }
}

/// The endpoints of this node.
#[derive(Debug)]
pub(super) struct Endpoints {
    by_name: BTreeMap<Arc<str>, u32>,
    states: BTreeMap<u32, State>,
    by_pod: HashMap<Key, BTreeSet<u32>>,
    pub(super) ids: Ids,
    pub(super) dirty: BTreeSet<u32>,
    /// Gone since the last compile.
    removed: Vec<(u32, State)>,
    /// Slots without an endpoint, by the batch in which they lost it.
    pub(super) dead: BTreeMap<u32, u64>,
    pub(super) revision: u32,
    /// Some interface found no slot.
    pub(super) refused: BTreeSet<Arc<str>>,
    history: HashMap<u32, Arc<[Arc<Policy>]>>,
    order: VecDeque<u32>,
}

impl Endpoints {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            by_name: BTreeMap::new(),
            states: BTreeMap::new(),
            by_pod: HashMap::new(),
            ids: Ids::new(FIRST_SLOT, limit.min(SLOTS)),
            dirty: BTreeSet::new(),
            removed: Vec::new(),
            dead: BTreeMap::new(),
            revision: 0,
            refused: BTreeSet::new(),
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
    pub(super) fn bound_to(&self, key: &Key, pod: u32) -> Option<u32> {
        self.of_pod(key).find(|slot| self.states.get(slot).is_some_and(|s| s.pod == Some(pod)))
    }

    /// Whether a pod's object is of the pod behind an endpoint, not of another one with its name.
    pub(super) fn is_of(&self, slot: u32, pod: &Pod) -> bool {
        self.states.get(&slot).is_some_and(|s| {
            pod.counts() && (s.local.uid.is_empty() || pod.uid.is_empty() || s.local.uid == pod.uid)
        })
    }

    /// Whether an endpoint judges senders, once the hooks are as they are to be.
    pub(super) fn judges(&self, slot: u32) -> bool {
        self.states.get(&slot).is_some_and(|s| s.local.tag_trusted && s.hook == HookLevel::Full)
    }

    pub(super) fn policies_at(&self, revision: u32) -> Option<&[Arc<Policy>]> {
        self.history.get(&revision).map(|p| &**p)
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
        let digest = digest_of(&("slot", &local.ifname, local.ifindex));
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

impl Engine {
    /// An endpoint belongs to a pod with this profile, or to none that is known.
    pub(super) fn bind_endpoint(&mut self, slot: u32, pod: Option<u32>, profile: Option<u32>) {
        self.endpoints.dirty.insert(slot);
        let Some(state) = self.endpoints.states.get_mut(&slot) else { return };
        state.pod = pod;
        let old = std::mem::replace(&mut state.profile, profile);
        if old != profile {
            self.leave_profile(slot, old);
            let Some(id) = profile else { return };
            let Some(new) = self.profiles.get_mut(id) else { return };
            if new.slots.insert(slot) && new.slots.len() == 1 {
                let namespace = new.content.namespace.clone();
                let from = Key { namespace: namespace.clone(), name: "".into() };
                new.selected = self
                    .store
                    .policies
                    .range(from..)
                    .take_while(|(key, _)| key.namespace == namespace)
                    .filter(|(_, policy)| {
                        super::selectors::matches(&policy.pod_selector, &new.content.labels)
                    })
                    .map(|(key, _)| key.clone())
                    .collect();
            }
        }
    }

    fn leave_profile(&mut self, slot: u32, profile: Option<u32>) {
        let Some(id) = profile else { return };
        if let Some(profile) = self.profiles.get_mut(id) {
            profile.slots.remove(&slot);
            if profile.slots.is_empty() {
                profile.selected.clear();
            }
        }
        self.profiles.left(id);
    }

    /// A policy is there, has changed or is gone.
    pub(super) fn refresh_policy(&mut self, key: &Key) {
        self.policies.forget(key);
        let policy = self.store.policies.get(key).cloned();
        let profiles: Vec<u32> = self.profiles.of_namespace(&key.namespace).collect();
        for id in profiles {
            let Some(profile) = self.profiles.get_mut(id) else { continue };
            if profile.slots.is_empty() {
                continue;
            }
            let selects = policy
                .as_ref()
                .is_some_and(|p| super::selectors::matches(&p.pod_selector, &profile.content.labels));
            let changed =
                if selects { profile.selected.insert(key.clone()) } else { profile.selected.remove(key) };
            if selects || changed {
                self.endpoints.dirty.extend(&profile.slots);
            }
        }
    }

    /// Lets the endpoints go that are gone.
    pub(super) fn bury_endpoints(&mut self, work: &mut Work) {
        for (slot, state) in std::mem::take(&mut self.endpoints.removed) {
            self.bury_endpoint(slot, &state, work);
        }
    }

    /// Chooses the policy sets of the endpoints that may have got others.
    pub(super) fn refresh_endpoints(&mut self, work: &mut Work) {
        work.endpoints = std::mem::take(&mut self.endpoints.dirty);
        for slot in work.endpoints.clone() {
            let wanted = self.sets_for(slot);
            let Some(state) = self.endpoints.states.get_mut(&slot) else { continue };
            let old = std::mem::replace(&mut state.sets, wanted);
            for direction in Direction::ALL {
                let (old, new) = (old[direction.index()], wanted[direction.index()]);
                if old != new {
                    self.sets.leave(old, slot, work.batch);
                    self.sets.join(new, slot);
                    work.egress_moved |= direction == Direction::Egress;
                }
            }
            work.hooks = true;
        }
    }

    fn bury_endpoint(&mut self, slot: u32, state: &State, work: &mut Work) {
        self.leave_profile(slot, state.profile);
        for set in state.sets {
            self.sets.leave(set, slot, work.batch);
        }
        work.hooks = true;
        work.egress_moved = true;
        if self.endpoints.states.contains_key(&slot) {
            return; // The same interface is back before anything was written.
        }
        for direction in Direction::ALL {
            let revision = self.endpoints.next_revision();
            work.switches.push(TableOp::Judgement {
                slot,
                direction,
                judgement: judgement(SET_CLOSED, revision),
            });
        }
        work.hook_ops.push(TableOp::Hook { slot, ifindex: state.local.ifindex, level: HookLevel::None });
        for cidr in self.mirror.sources.get(&slot).into_iter().flatten() {
            work.late.push(TableOp::RemoveSource { slot, cidr: *cidr });
        }
        work.late.push(TableOp::RemoveEndpoint { slot });
        self.endpoints.dead.insert(slot, work.batch);
        work.graves.push(Grave::Slot(slot, state.digest));
    }

    /// The policies of a profile that isolate in a direction.
    fn isolating(&mut self, profile: u32, direction: Direction) -> Vec<Arc<Compiled>> {
        let Some(profile) = self.profiles.get(profile) else { return Vec::new() };
        profile
            .selected
            .iter()
            .filter_map(|key| self.policies.get(&self.store.policies, key))
            .filter(|p| p.sides[direction.index()].is_some())
            .collect()
    }

    fn sets_for(&mut self, slot: u32) -> [u32; 2] {
        let profile = self.endpoints.get(slot).and_then(|s| s.profile);
        let Some(profile) = profile else { return [SET_CLOSED; 2] };
        Direction::ALL.map(|direction| {
            let policies = self.isolating(profile, direction);
            if policies.is_empty() {
                return SET_NONE;
            }
            let ports = self.profiles.get(profile).map(|p| p.content.clone());
            let parts =
                Parts { direction, policies: &policies, ports: ports.as_ref().map_or(&[], |p| &p.ports) };
            let set = self.sets.intern(&parts, &mut self.features).unwrap_or(SET_CLOSED);
            if self.refusals.sets.contains(&set) { SET_CLOSED } else { set }
        })
    }

    /// Writes the entries and judgements of the endpoints that have changed.
    pub(super) fn write_endpoints(&mut self, work: &mut Work) {
        let slots: BTreeSet<u32> = work.endpoints.union(&work.own_moved).copied().collect();
        for slot in slots {
            let Some(state) = self.endpoints.states.get(&slot) else { continue };
            let (value, sources) = self.entry(state);
            let sets = state.sets;
            work.entries.push(TableOp::Intern { kind: INTERNED_SLOT, id: slot, digest: state.digest });
            let old = self.mirror.sources.get(&slot).cloned().unwrap_or_default();
            for cidr in &sources {
                work.entries.push(TableOp::Source { slot, cidr: *cidr });
            }
            for cidr in old.iter().filter(|c| !sources.contains(c)) {
                work.late.push(TableOp::RemoveSource { slot, cidr: *cidr });
            }
            work.entries.push(TableOp::Endpoint { slot, value });
            let before = self.mirror.endpoints.get(&slot).map(|e| e.judgements);
            for direction in Direction::ALL {
                let set = sets[direction.index()];
                let word = before.map_or(0, |b| b[direction.index()]);
                let moved = direction == Direction::Ingress && work.own_moved.contains(&slot);
                let revision = if revision_of(word) == 0 || set_of(word) != set || moved {
                    self.endpoints.next_revision()
                } else {
                    revision_of(word)
                };
                let policies =
                    self.sets.get(set).map_or_else(|| Arc::new([]) as Arc<[_]>, |s| s.policies.clone());
                self.endpoints.remember(revision, policies);
                work.switches.push(TableOp::Judgement {
                    slot,
                    direction,
                    judgement: judgement(set, revision),
                });
            }
        }
    }

    /// The entry of an endpoint without its judgements, and the addresses beyond it.
    fn entry(&self, state: &State) -> (Endpoint, Vec<Cidr>) {
        let pod = state.pod.and_then(|p| self.pods.get(p));
        let mut addresses: Vec<Addr> = state.local.addresses.iter().map(addr).collect();
        addresses.extend(pod.iter().flat_map(|p| &p.addresses));
        let mut sources: Vec<Cidr> = state.local.sources.iter().map(|net| Cidr::from(*net)).collect();
        let namespace = pod.and_then(|p| self.store.namespaces.get(&p.object.key.namespace));
        sources.extend(namespace.iter().flat_map(|n| &n.source_prefixes).map(|net| Cidr::from(*net)));
        let (mut v4, mut v6) = (0, Addr::NONE);
        for addr in addresses {
            if addr.is_v4() && (v4 == 0 || v4 == addr.0[3]) {
                v4 = addr.0[3];
            } else if !addr.is_v4() && (v6 == Addr::NONE || v6 == addr) {
                v6 = addr;
            } else {
                sources.push(Cidr::host(addr));
            }
        }
        sources.sort();
        sources.dedup();
        let mut flags = ENDPOINT_LIVE;
        for (on, flag) in [
            (!sources.is_empty(), ENDPOINT_MORE_SOURCES),
            (state.local.tag_trusted, ENDPOINT_TAG_TRUSTED),
            (state.local.tags_allowed, ENDPOINT_TAGS_ALLOWED),
            (state.local.hardware.is_some(), ENDPOINT_HARDWARE_KNOWN),
        ] {
            flags |= if on { flag } else { 0 };
        }
        let hardware = state.local.hardware.unwrap_or_default();
        (Endpoint { judgements: [0; 2], v6, v4, flags, hardware, reserved: [0; 2] }, sources)
    }

    /// Decides which classifiers each endpoint carries. More come at once; fewer after a while.
    pub(super) fn refresh_hooks(&mut self, work: &mut Work) {
        let due = self.endpoints.states.values().any(|s| s.lower_at.is_some_and(|at| at <= work.now));
        if !work.hooks && !due {
            return;
        }
        let services = self.wanted_by_services();
        let any = self.endpoints.states.values().any(State::isolated);
        for (&slot, state) in &mut self.endpoints.states {
            let wanted = if state.isolated() || services.contains(&slot) {
                HookLevel::Full
            } else if any {
                HookLevel::SourceCheck
            } else {
                HookLevel::None
            };
            let found = self.mirror.hook(slot);
            let before = state.hook.max(found);
            if wanted >= before {
                state.lower_at = None;
                state.hook = wanted;
            } else {
                let at = *state.lower_at.get_or_insert(work.now + self.settings.hook_linger);
                state.hook = if at <= work.now { wanted } else { before };
                if at <= work.now {
                    state.lower_at = None;
                }
            }
            if (state.hook == HookLevel::Full) != (found == HookLevel::Full) {
                work.full_moved.insert(slot);
            }
            work.hook_ops.push(TableOp::Hook { slot, ifindex: state.local.ifindex, level: state.hook });
        }
    }

    /// When an endpoint gets fewer classifiers.
    pub(super) fn next_hook(&self) -> Option<Duration> {
        self.endpoints.states.values().filter_map(|s| s.lower_at).min()
    }
}
