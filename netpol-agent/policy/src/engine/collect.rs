//! What waits for the grace period: nothing is removed, and no id used again, while a packet may still see it.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use netpol_common::{
    Addr,
    tables::{
        Digest, INTERNED_BACKENDS, INTERNED_CLASS, INTERNED_PORT_SET, INTERNED_SET, INTERNED_SLOT, RuleKey,
    },
};

use super::{
    Engine,
    addresses::Bytes,
    compile::Work,
    ops::{HookLevel, TableOp},
};

/// Something that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Grave {
    /// A policy set without an endpoint.
    Set(u32),
    /// A class without an address.
    Class(u32),
    /// A port set without a user.
    PortSet(u32),
    /// A set of backends that no flow refers to.
    Backends(u32),
    /// A slot without an endpoint.
    Slot(u32, Digest),
    /// The second move of a generation.
    Generation(Bytes),
    /// The second move of all of them.
    AllGenerations,
    /// What the tables held when the agent started and nothing asks for.
    Leftovers,
}

/// What waits, by the compile in which it began to.
#[derive(Debug, Default)]
pub(super) struct Graves {
    waiting: VecDeque<(u64, Option<Duration>, Vec<Grave>)>,
    last: u64,
    /// The grace period of this batch and of all before it is over.
    settled: u64,
}

impl Graves {
    fn push(&mut self, batch: u64, graves: Vec<Grave>) {
        self.last = batch;
        self.waiting.push_back((batch, None, graves));
    }

    /// What has been compiled is in the kernel; the grace period ends at `until`.
    pub(super) fn applied(&mut self, until: Duration) {
        for (_, at, _) in &mut self.waiting {
            at.get_or_insert(until);
        }
    }

    /// What has waited long enough.
    pub(super) fn due(&mut self, now: Duration) -> Vec<(u64, Grave)> {
        let mut due = Vec::new();
        while let Some((batch, Some(at), _)) = self.waiting.front()
            && *at <= now
        {
            self.settled = *batch;
            if let Some((batch, _, graves)) = self.waiting.pop_front() {
                due.extend(graves.into_iter().map(|g| (batch, g)));
            }
        }
        due
    }

    /// When something will have waited long enough.
    pub(super) fn next(&self) -> Option<Duration> {
        self.waiting.iter().find(|(_, _, graves)| !graves.is_empty()).and_then(|(_, at, _)| *at)
    }

    pub(super) const fn settled(&self) -> u64 {
        self.settled
    }
}

impl Engine {
    /// Policy sets and sets of backends first: what they asked for is asked for no more.
    pub(super) fn collect_sets(&mut self, due: &mut VecDeque<(u64, Grave)>, work: &mut Work) {
        due.retain(|(batch, grave)| {
            let id = match grave {
                Grave::Set(id) => id,
                Grave::Backends(id) => {
                    self.collect_backends(*id, *batch, work);
                    return false;
                }
                _ => return true,
            };
            if let Some((digest, released)) =
                self.sets.collect(*id, *batch, &mut self.features, &mut work.collected)
            {
                work.freed.push((INTERNED_SET, *id, digest));
                for port_set in released {
                    if self.ports.release(port_set, work.batch) {
                        work.graves.push(Grave::PortSet(port_set));
                    }
                }
            }
            false
        });
    }

    /// Everything else that has waited long enough.
    pub(super) fn collect_rest(&mut self, due: VecDeque<(u64, Grave)>, work: &mut Work) {
        for (batch, grave) in due {
            match grave {
                Grave::Set(_) | Grave::Backends(_) => {}
                Grave::Class(id) => self.collect_class(id, batch, work),
                Grave::PortSet(id) => {
                    if let Some(digest) = self.ports.collect(id, batch, &mut work.collected) {
                        work.freed.push((INTERNED_PORT_SET, id, digest));
                    }
                }
                Grave::Slot(slot, digest) => {
                    if self.endpoints.dead.get(&slot) == Some(&batch) {
                        self.endpoints.dead.remove(&slot);
                        work.collected.push(TableOp::Forget { kind: INTERNED_SLOT, id: slot });
                        work.freed.push((INTERNED_SLOT, slot, digest));
                    }
                }
                Grave::Generation(bytes) => work.again.push(TableOp::Generation(Addr::from_bytes(bytes))),
                Grave::AllGenerations => work.again.push(TableOp::AllGenerations),
                Grave::Leftovers => self.collect_leftovers(work),
            }
        }
    }

    fn collect_class(&mut self, id: u32, batch: u64, work: &mut Work) {
        let Some(class) = self.classes.collect(id, batch, &mut self.features) else { return };
        for port_set in self.sets.drop_class(id, &class.rows, &mut work.collected) {
            if self.ports.release(port_set, work.batch) {
                work.graves.push(Grave::PortSet(port_set));
            }
        }
        work.collected.push(TableOp::Forget { kind: INTERNED_CLASS, id });
        work.freed.push((INTERNED_CLASS, id, class.digest));
    }

    /// Notes what begins to wait with this compile.
    pub(super) fn dig_graves(&mut self, work: &mut Work) {
        work.graves.extend(std::mem::take(&mut self.sets.died).into_iter().map(Grave::Set));
        work.graves.extend(std::mem::take(&mut self.classes.died).into_iter().map(Grave::Class));
        let released = std::mem::take(&mut self.released);
        if !released.is_empty() {
            work.graves.extend(released.into_iter().map(Grave::Backends));
            if !self.backends.frozen.is_empty() {
                work.graves.push(Grave::Leftovers);
            }
        }
        if self.fresh {
            self.bury_found_slots(work);
            work.graves.push(Grave::Leftovers);
        }
        self.graves.push(work.batch, std::mem::take(&mut work.graves));
    }

    /// Slots of the tables as they were found, whose interfaces are gone.
    fn bury_found_slots(&self, work: &mut Work) {
        let interned = self.mirror.interned.range((INTERNED_SLOT, 0)..=(INTERNED_SLOT, u32::MAX));
        for (&(_, slot), _) in interned.filter(|((_, slot), _)| self.endpoints.get(*slot).is_none()) {
            if let Some((ifindex, _)) = self.mirror.hooks.get(&slot) {
                work.late.push(TableOp::Hook { slot, ifindex: *ifindex, level: HookLevel::None });
            }
            for cidr in self.mirror.sources.get(&slot).into_iter().flatten() {
                work.late.push(TableOp::RemoveSource { slot, cidr: *cidr });
            }
            work.late.push(TableOp::RemoveEndpoint { slot });
        }
        let gone = self.mirror.members.iter().filter(|m| {
            let known = self.backends.get(m.backends);
            self.endpoints.get(m.slot).is_none() || known.is_some_and(|s| !s.has_slot(m.slot))
        });
        let mut gone: Vec<_> = gone.copied().collect();
        gone.sort_by_key(|m| (m.backends, m.slot));
        work.members_gone.extend(gone.into_iter().map(TableOp::RemoveMember));
    }

    /// What was found in the tables and nothing asks for.
    fn collect_leftovers(&self, work: &mut Work) {
        // Sets of backends whose content is not known refer to classes by number.
        let frozen = self.backends.frozen.values();
        let held: BTreeSet<u32> =
            frozen.flat_map(|s| s.backends.iter().take(s.count as usize).map(|b| b.class)).collect();
        let has_class = |id: u32| self.classes.get(id).is_some() || held.contains(&id);
        let mut rows: Vec<RuleKey> = Vec::new();
        let mut port_sets: BTreeSet<u32> = BTreeSet::new();
        for (key, rule) in &self.mirror.rules {
            let set = self.sets.get(key.set);
            let wanted = match set {
                None => false,
                Some(set) if self.classes.get(key.class).is_some() => set.rows.contains_key(&key.class),
                Some(_) => held.contains(&key.class),
            };
            if wanted {
                port_sets.insert(rule.port_set);
            } else {
                rows.push(*key);
            }
        }
        rows.sort_by_key(|k| (k.set, k.class));
        work.collected.extend(rows.into_iter().map(TableOp::RemoveRule));
        for (&(kind, id), digest) in &self.mirror.interned {
            let gone = match kind {
                INTERNED_CLASS => !has_class(id),
                INTERNED_SET => self.sets.get(id).is_none(),
                INTERNED_PORT_SET => !self.ports.knows(id) && !port_sets.contains(&id),
                INTERNED_SLOT => self.endpoints.get(id).is_none() && !self.endpoints.dead.contains_key(&id),
                INTERNED_BACKENDS => {
                    self.backends.get(id).is_none() && !self.backends.frozen.contains_key(&id)
                }
                _ => true,
            };
            // What was collected just now is in there too, and is freed once only.
            if !gone || work.freed.contains(&(kind, id, *digest)) {
                continue;
            }
            match kind {
                INTERNED_SET => work.collected.push(TableOp::RemovePolicySet { id }),
                INTERNED_PORT_SET => {
                    let mut chunks: Vec<_> =
                        self.mirror.port_chunks.values().filter(|c| c.key.port_set == id).copied().collect();
                    chunks.sort_by_key(|c| (c.key.proto, c.key.chunk));
                    work.collected.push(TableOp::RemovePortSet { id, chunks });
                }
                INTERNED_BACKENDS => work.collected.push(TableOp::RemoveBackends(id)),
                _ => {}
            }
            work.collected.push(TableOp::Forget { kind, id });
            work.freed.push((kind, id, *digest));
        }
    }

    /// An id may be given again.
    pub(super) fn free(&mut self, kind: u32, id: u32, digest: &Digest) {
        let ids = match kind {
            INTERNED_CLASS => &mut self.classes.ids,
            INTERNED_SET => &mut self.sets.ids,
            INTERNED_PORT_SET => &mut self.ports.ids,
            INTERNED_BACKENDS => &mut self.backends.ids,
            INTERNED_SLOT => &mut self.endpoints.ids,
            _ => return,
        };
        ids.forget(id, digest);
    }
}
