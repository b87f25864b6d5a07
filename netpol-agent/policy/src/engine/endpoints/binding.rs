//! Which pod an endpoint is, which policies select it, and so what it is judged by.

use std::sync::Arc;

use netpol_common::{
    Direction,
    tables::{SET_CLOSED, SET_NONE, judgement},
};

use super::State;
use crate::{
    engine::{
        Engine,
        collect::Grave,
        compile::Work,
        ops::{HookLevel, TableOp},
        policies::Compiled,
        selectors,
        sets::Parts,
    },
    model::Key,
};

impl Engine {
    /// An endpoint belongs to a pod with this profile, or to none that is known.
    pub(in crate::engine) fn bind_endpoint(&mut self, slot: u32, pod: Option<u32>, profile: Option<u32>) {
        self.endpoints.dirty.insert(slot);
        let Some(state) = self.endpoints.states.get_mut(&slot) else { return };
        let old_pod = std::mem::replace(&mut state.pod, pod);
        let old = std::mem::replace(&mut state.profile, profile);
        self.endpoints.rebind(slot, old_pod, pod);
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
                    .filter(|(_, policy)| selectors::matches(&policy.pod_selector, &new.content.labels))
                    .map(|(key, _)| key.clone())
                    .collect();
            }
        }
    }

    /// Nobody knows any more which pod an endpoint is of.
    pub(in crate::engine) fn unbind_endpoint(&mut self, slot: u32) {
        let pod = self.endpoints.states.get(&slot).and_then(|state| state.pod);
        self.forget_member(pod);
        self.bind_endpoint(slot, None, None);
    }

    /// Members of a set of backends say which endpoint they are.
    fn forget_member(&mut self, pod: Option<u32>) {
        for addr in pod.into_iter().flat_map(|pod| self.store.pods.claims(pod)) {
            self.backends.dirty.extend(self.addresses.sets_of(&addr));
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
    pub(in crate::engine) fn refresh_policy(&mut self, key: &Key) {
        self.policies.forget(key);
        let policy = self.store.policies.get(key).cloned();
        let profiles: Vec<u32> = self.profiles.of_namespace(&key.namespace).collect();
        for id in profiles {
            let Some(profile) = self.profiles.get_mut(id) else { continue };
            if profile.slots.is_empty() {
                continue;
            }
            let selects =
                policy.as_ref().is_some_and(|p| selectors::matches(&p.pod_selector, &profile.content.labels));
            let changed =
                if selects { profile.selected.insert(key.clone()) } else { profile.selected.remove(key) };
            if selects || changed {
                self.endpoints.dirty.extend(&profile.slots);
            }
        }
    }

    /// Lets the endpoints go that are gone.
    pub(in crate::engine) fn bury_endpoints(&mut self, work: &mut Work) {
        for (slot, state) in std::mem::take(&mut self.endpoints.removed) {
            self.bury_endpoint(slot, &state, work);
        }
    }

    /// Chooses the policy sets of the endpoints that may have got others.
    pub(in crate::engine) fn refresh_endpoints(&mut self, work: &mut Work) {
        work.endpoints = std::mem::take(&mut self.endpoints.dirty);
        for slot in work.endpoints.clone() {
            let (wanted, released) = self.sets_for(slot);
            let Some(state) = self.endpoints.states.get_mut(&slot) else { continue };
            state.released = released;
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
        self.forget_member(state.pod);
        work.hooks = true;
        work.egress_moved = true;
        let unhook = TableOp::Hook { slot, ifindex: state.local.ifindex, level: HookLevel::None };
        if self.endpoints.states.contains_key(&slot) {
            // Another interface has the name and the index before anything was written: it is hooked anew, after this.
            work.hook_ops.push(unhook);
            work.replaced.insert(slot);
            return;
        }
        for direction in Direction::ALL {
            let revision = self.endpoints.next_revision();
            work.switches.push(TableOp::Judgement {
                slot,
                direction,
                judgement: judgement(SET_CLOSED, revision),
            });
        }
        // After the hooks of all others: where one of them has the interface by now, it is never without any.
        work.late.push(unhook);
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

    /// Whether the break-glass switch keeps policies from judging an endpoint: that of this node, or of the namespace of its
    /// pod, if it is known.
    fn is_switched_off(&self, slot: u32) -> bool {
        let profile = self.endpoints.get(slot).and_then(|state| self.profiles.get(state.profile?));
        self.switch_over(profile.map(|profile| &*profile.content.namespace)).is_some()
    }

    /// The policy sets that judge an endpoint, and in which direction the break-glass switch stands in the place of one.
    fn sets_for(&mut self, slot: u32) -> ([u32; 2], [bool; 2]) {
        let switched = self.is_switched_off(slot);
        let mut released = [false; 2];
        let profile = self.endpoints.get(slot).and_then(|s| s.profile);
        let Some(profile) = profile else {
            return (if switched { [SET_NONE; 2] } else { [SET_CLOSED; 2] }, released);
        };
        let sets = Direction::ALL.map(|direction| {
            let policies = self.isolating(profile, direction);
            if policies.is_empty() {
                return SET_NONE;
            }
            if switched {
                released[direction.index()] = true;
                return SET_NONE;
            }
            let ports = self.profiles.get(profile).map(|p| p.content.clone());
            let parts =
                Parts { direction, policies: &policies, ports: ports.as_ref().map_or(&[], |p| &p.ports) };
            let set = self.sets.intern(&parts, &mut self.features).unwrap_or(SET_CLOSED);
            if self.refusals.sets.contains(&set) { SET_CLOSED } else { set }
        });
        (sets, released)
    }
}
