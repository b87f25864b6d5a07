//! What is written of a set of backends, and who has to judge senders because of it.

use std::collections::BTreeSet;

use netpol_common::{
    Direction,
    tables::{BACKEND_JUDGES_SENDER, BACKENDS_OVERFLOW, Backend, BackendSet, MAX_BACKENDS},
};

use super::State;
use crate::engine::{Engine, compile::Work, ops::TableOp};

impl Engine {
    /// The members of a set that have to judge senders, since for some policy set in use the backends differ and all
    /// that are denied are pods of this node.
    pub(super) fn wants_full(&self, id: u32) -> BTreeSet<u32> {
        let mut wants = BTreeSet::new();
        let Some(state) = self.backends.states.get(&id) else { return wants };
        if !self.backends.with_local.contains(&id) {
            return wants;
        }
        let local = |slot: &u32| self.endpoints.get(*slot).is_some_and(|e| e.local.tag_trusted);
        for (set, content) in self.sets.iter() {
            if content.direction != Direction::Egress || content.users.is_empty() {
                continue;
            }
            for proto in &state.protos {
                let mut denied = Vec::new();
                let mut allowed = false;
                for (class, port, slot) in &state.entries {
                    if self.sets.allowed(set, *class, &self.ports).is_some_and(|p| p.contains(*proto, *port))
                    {
                        allowed = true;
                    } else {
                        denied.push(slot.filter(local));
                    }
                }
                let itself =
                    state.entries.iter().filter_map(|e| e.2).any(|slot| content.users.contains(&slot));
                if (allowed || itself) && denied.iter().all(Option::is_some) {
                    wants.extend(denied.into_iter().flatten());
                }
            }
        }
        wants
    }

    /// The endpoints that judge senders because of a Service.
    pub(in crate::engine) fn wanted_by_services(&self) -> BTreeSet<u32> {
        let sets = self.backends.with_local.iter().filter_map(|id| self.backends.states.get(id));
        sets.flat_map(|s| s.wants_full.iter().copied()).collect()
    }

    /// The entry of a set, when these endpoints judge senders.
    fn backend_set(&self, id: u32, state: &State, judges: &dyn Fn(u32) -> bool) -> BackendSet {
        let mut kinds: BTreeSet<(u32, u16, u16)> = BTreeSet::new();
        for (class, port, slot) in &state.entries {
            let flags = if slot.is_some_and(judges) { BACKEND_JUDGES_SENDER } else { 0 };
            kinds.insert((*class, *port, flags));
        }
        let mut set = BackendSet { id, count: 0, flags: 0, backends: [Backend::UNUSED; MAX_BACKENDS] };
        if kinds.len() > MAX_BACKENDS {
            set.flags = BACKENDS_OVERFLOW;
            return set;
        }
        for (place, (class, port, flags)) in set.backends.iter_mut().zip(kinds) {
            *place = Backend { class, port, flags };
            set.count += 1;
        }
        set
    }

    /// Writes the sets that have changed: before the hooks with the endpoints that judge already and will go on, after
    /// them with all.
    pub(in crate::engine) fn write_backends(&mut self, work: &mut Work) {
        let mut ids = std::mem::take(&mut work.changed_backends);
        if !work.full_moved.is_empty() {
            ids.extend(self.backends.with_local.iter().filter(|id| {
                self.backends.states.get(id).is_some_and(|s| {
                    s.entries.iter().any(|e| e.2.is_some_and(|slot| work.full_moved.contains(&slot)))
                })
            }));
        }
        for id in ids {
            let Some(state) = self.backends.states.get(&id) else { continue };
            let will = |slot: u32| self.endpoints.judges(slot);
            let late = self.backend_set(id, state, &will);
            let early = self.backend_set(id, state, &|slot| will(slot) && !work.full_moved.contains(&slot));
            let old = self.mirror.backends.get(&id);
            if old.is_some_and(|o| *o != late) || early != late {
                work.moved_fronts.extend(&state.fronts);
            }
            if old.is_none() {
                work.backends.push(TableOp::Backends(Box::new(early)));
            } else {
                work.changed.push(early);
            }
            if early != late {
                work.late_backends.push(TableOp::Backends(Box::new(late)));
                work.late_fronts.extend(&state.fronts);
            }
            if late.flags & BACKENDS_OVERFLOW == 0 {
                self.backends.overflow.remove(&id);
            } else {
                self.backends.overflow.insert(id);
            }
        }
    }
}
