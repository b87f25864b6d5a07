//! What is written of an endpoint: its entry, its judgements, its classifiers.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use netpol_common::{
    Addr, Direction,
    tables::{
        ENDPOINT_HARDWARE_KNOWN, ENDPOINT_LIVE, ENDPOINT_MORE_SOURCES, ENDPOINT_RESERVED,
        ENDPOINT_TAG_TRUSTED, ENDPOINT_TAGS_ALLOWED, Endpoint, FIRST_SET, INTERNED_SLOT, SET_NONE, judgement,
        revision_of, set_of,
    },
};

use super::State;
use crate::engine::{
    Engine,
    cidr::Cidr,
    compile::Work,
    ops::{HookLevel, TableOp},
    pods::addr,
};

impl Engine {
    /// Writes the entries and judgements of the endpoints that have changed.
    pub(in crate::engine) fn write_endpoints(&mut self, work: &mut Work) {
        let slots: BTreeSet<u32> = work.endpoints.union(&work.own_moved).copied().collect();
        for slot in slots {
            let Some(state) = self.endpoints.states.get(&slot) else { continue };
            let (value, sources) = self.entry(state);
            let sets = state.sets;
            let mut entry = vec![TableOp::Intern { kind: INTERNED_SLOT, id: slot, digest: state.digest }];
            entry.extend(sources.iter().map(|cidr| TableOp::Source { slot, cidr: *cidr }));
            entry.push(TableOp::Endpoint { slot, value: Box::new(value) });
            let old = self.mirror.sources.get(&slot).into_iter().flatten();
            let gone = old.filter(|cidr| !sources.contains(cidr));
            entry.extend(gone.map(|cidr| TableOp::RemoveSource { slot, cidr: *cidr }));
            let before = self.mirror.endpoints.get(&slot).map(|e| e.judgements);
            // Whether its tag is believed decides what may be left to destinations: its flows are judged again.
            let trusted = |e: &Endpoint| e.flags & ENDPOINT_TAG_TRUSTED;
            let trust_moved = self.mirror.endpoints.get(&slot).is_some_and(|e| trusted(e) != trusted(&value));
            let mut opens = Vec::new();
            for direction in Direction::ALL {
                let set = sets[direction.index()];
                let word = before.map_or(0, |b| b[direction.index()]);
                let moved = match direction {
                    Direction::Ingress => work.own_moved.contains(&slot),
                    Direction::Egress => trust_moved,
                };
                let revision = if revision_of(word) == 0 || set_of(word) != set || moved {
                    self.endpoints.next_revision()
                } else {
                    revision_of(word)
                };
                let policies =
                    self.sets.get(set).map_or_else(|| Arc::new([]) as Arc<[_]>, |s| s.policies.clone());
                self.endpoints.remember(revision, policies);
                let switch = TableOp::Judgement { slot, direction, judgement: judgement(set, revision) };
                if set == SET_NONE && set_of(word) >= FIRST_SET {
                    opens.push(switch);
                } else {
                    work.switches.push(switch);
                }
            }
            if opens.is_empty() {
                work.entries.extend(entry);
            } else {
                work.opens.extend(entry.into_iter().chain(opens));
            }
        }
    }

    /// The entry of an endpoint without its judgements, and the addresses beyond it.
    fn entry(&self, state: &State) -> (Endpoint, Vec<Cidr>) {
        let mut addresses: Vec<Addr> = state.local.addresses.iter().map(addr).collect();
        // Each interface speaks with what it was given; where nobody says that, with what the pod has.
        if addresses.is_empty() {
            addresses.extend(state.pod.into_iter().flat_map(|pod| self.store.pods.claims(pod)));
        }
        let mut sources: Vec<Cidr> = state.local.sources.iter().map(|net| Cidr::from(*net)).collect();
        let key = state.pod.and_then(|pod| self.store.pods.key(pod));
        let namespace = key.and_then(|key| self.store.namespaces.get(&key.namespace));
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
        (Endpoint { judgements: [0; 2], v6, v4, flags, hardware, reserved: [0; ENDPOINT_RESERVED] }, sources)
    }

    /// Decides which classifiers each endpoint carries. More come at once; fewer after a while.
    pub(in crate::engine) fn refresh_hooks(&mut self, work: &mut Work) {
        let due = self.endpoints.states.values().any(|s| s.lower_at.is_some_and(|at| at <= work.now));
        if !work.hooks && !due {
            return;
        }
        let services = self.wanted_by_services();
        let any = self.endpoints.states.values().any(State::wants_all);
        for (&slot, state) in &mut self.endpoints.states {
            // Closed until the node's break-glass switch was set: nobody knows with which addresses it may speak.
            let unknown = state.profile.is_none() && !state.isolated();
            let wanted = if state.wants_all() || services.contains(&slot) {
                HookLevel::Full
            } else if any && !unknown {
                HookLevel::SourceCheck
            } else {
                HookLevel::None
            };
            let found = self.mirror.hook(slot);
            let kept = if work.replaced.contains(&slot) { HookLevel::None } else { found };
            let before = state.hook.max(kept);
            if wanted >= before {
                state.lower_at = None;
                state.hook = wanted;
            } else {
                let linger = if unknown { Duration::ZERO } else { self.settings.hook_linger };
                let at = *state.lower_at.get_or_insert(work.now + linger);
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
    pub(in crate::engine) fn next_hook(&self) -> Option<Duration> {
        self.endpoints.states.values().filter_map(|s| s.lower_at).min()
    }
}
