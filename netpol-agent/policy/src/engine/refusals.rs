//! What the kernel refused: it is tried again, and until then whatever it would have narrowed is closed.

use std::{collections::BTreeSet, time::Duration};

use netpol_common::tables::{Endpoint, INTERNED_SET, PEER_FRONTEND, Peer, Rule};

use super::{
    Engine,
    cidr::Cidr,
    features::Feature,
    mirror::frontend,
    ops::{HookLevel, TableOp},
};

/// After how long a refused operation is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What the kernel refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) ops: Vec<TableOp>,
    /// Policy sets that are not in the kernel as they should be: their endpoints are closed.
    pub(super) sets: BTreeSet<u32>,
    pub(super) retry_at: Option<Duration>,
    /// Something is to be done at once.
    pub(super) wake: bool,
}

impl Engine {
    /// Takes in what the kernel refused of the last operations.
    pub(super) fn refuse(&mut self, now: Duration, refused: &[TableOp]) {
        let before = &self.refusals;
        let clear = before.ops.is_empty() && before.sets.is_empty() && self.endpoints.unhooked.is_empty();
        if refused.is_empty() && clear {
            return;
        }
        for op in refused {
            // A hook may be asked for again before it is tried again; once is enough.
            if !(matches!(op, TableOp::Hook { .. }) && self.refusals.ops.contains(op)) {
                self.refusals.ops.push(op.clone());
            }
        }
        let mut sets = BTreeSet::new();
        let mut unhooked = BTreeSet::new();
        for op in &self.refusals.ops {
            match op {
                TableOp::PolicySet { id, .. } | TableOp::Intern { kind: INTERNED_SET, id, .. } => {
                    sets.insert(*id);
                }
                TableOp::PortSet { id, .. } => sets.extend(self.sets.using(*id)),
                // What is missing in the trie reads as what lies around it, which can allow more.
                TableOp::Prefix { cidr, .. } | TableOp::RemovePrefix(cidr) => {
                    sets.extend(self.sets_around(cidr));
                }
                // A frontend that is missing reads as an address of the world.
                TableOp::Frontend(frontend) => sets.extend(self.sets_around(&Cidr::host(frontend.key.addr))),
                TableOp::Peer(peer) if peer.flags & PEER_FRONTEND != 0 => {
                    sets.extend(self.sets_around(&Cidr::host(peer.addr)));
                }
                TableOp::Hook { slot, level: HookLevel::Full, .. } => {
                    unhooked.insert(*slot);
                }
                // A row or a pod that is missing allows less.
                _ => {}
            }
        }
        if unhooked != self.endpoints.unhooked {
            self.endpoints.unhooked = unhooked;
            self.backends.mark_local();
            self.refusals.wake = true;
        }
        self.refusals.retry_at = (!self.refusals.ops.is_empty()).then_some(now + RETRY);
        if sets != self.refusals.sets {
            self.refusals.sets = sets;
            self.refusals.wake = true;
            let all: Vec<u32> = self.endpoints.iter().map(|(slot, _)| slot).collect();
            self.endpoints.dirty.extend(all);
        }
    }

    /// The policy sets that ask for blocks around a CIDR.
    fn sets_around(&self, cidr: &Cidr) -> BTreeSet<u32> {
        self.features
            .iter()
            .filter(|f| matches!(&*f.content, Feature::Block(block) if Cidr::from(block.cidr).contains(cidr)))
            .flat_map(|f| f.sets.iter().copied())
            .collect()
    }

    /// What was refused and is still wanted, when it is time.
    pub(super) fn resend(&mut self, now: Duration) -> Vec<TableOp> {
        self.refusals.wake = false;
        if self.refusals.retry_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.refusals.retry_at = None;
        let ops = std::mem::take(&mut self.refusals.ops);
        ops.into_iter().filter_map(|op| self.wanted(op)).collect()
    }

    /// An operation as it would have to be now.
    fn wanted(&self, op: TableOp) -> Option<TableOp> {
        let m = &self.mirror;
        match op {
            TableOp::Intern { kind, id, .. } => {
                m.interned.get(&(kind, id)).map(|digest| TableOp::Intern { kind, id, digest: *digest })
            }
            TableOp::PortSet { id, .. } => self.ports.knows(id).then(|| {
                let (value, chunks) = self.ports.content(id).entries(id);
                TableOp::PortSet { id, value: Box::new(value), chunks }
            }),
            TableOp::PolicySet { id, .. } => {
                m.policy_sets.get(&id).map(|v| TableOp::PolicySet { id, value: *v })
            }
            TableOp::Rule(Rule { key, .. }) => m.rules.get(&key).map(|r| TableOp::Rule(*r)),
            TableOp::Peer(Peer { addr, .. }) => m.own_peer(&addr).map(TableOp::Peer),
            TableOp::Prefix { cidr, .. } => {
                m.prefixes.get(&cidr).map(|v| TableOp::Prefix { cidr, value: *v })
            }
            TableOp::Backends(set) => m.backends.get(&set.id).map(|s| TableOp::Backends(Box::new(*s))),
            TableOp::Frontend(f) => m.frontends.get(&f.key).map(|b| TableOp::Frontend(frontend(f.key, *b))),
            TableOp::Member(key) => m.members.contains(&key).then_some(op),
            TableOp::Endpoint { slot, .. } => m
                .endpoints
                .get(&slot)
                .map(|e| TableOp::Endpoint { slot, value: Box::new(Endpoint { judgements: [0; 2], ..*e }) }),
            TableOp::Judgement { slot, direction, .. } => m
                .endpoints
                .get(&slot)
                .map(|e| TableOp::Judgement { slot, direction, judgement: e.judgements[direction.index()] }),
            TableOp::Source { slot, ref cidr } => {
                m.sources.get(&slot).is_some_and(|s| s.contains(cidr)).then_some(op)
            }
            TableOp::Hook { slot, level: HookLevel::None, .. } => {
                (m.hook(slot) == HookLevel::None).then_some(op)
            }
            TableOp::Hook { slot, .. } => m.hooks.get(&slot).map(|(ifindex, level)| TableOp::Hook {
                slot,
                ifindex: *ifindex,
                level: *level,
            }),
            TableOp::Forget { kind, id } => (!m.interned.contains_key(&(kind, id))).then_some(op),
            TableOp::RemoveRule(key) => (!m.rules.contains_key(&key)).then_some(op),
            TableOp::RemovePeer(addr) => m.own_peer(&addr).is_none().then_some(op),
            TableOp::RemovePrefix(ref cidr) => (!m.prefixes.contains_key(cidr)).then_some(op),
            TableOp::RemoveBackends(id) => (!m.backends.contains_key(&id)).then_some(op),
            TableOp::RemoveMember(key) => (!m.members.contains(&key)).then_some(op),
            TableOp::RemoveFrontend(key) => (!m.frontends.contains_key(&key)).then_some(op),
            TableOp::RemovePortSet { id, .. } => (!m.port_sets.contains_key(&id)).then_some(op),
            TableOp::RemovePolicySet { id } => (!m.policy_sets.contains_key(&id)).then_some(op),
            TableOp::RemoveEndpoint { slot } => self.endpoints.get(slot).is_none().then_some(op),
            TableOp::RemoveSource { slot, ref cidr } => {
                (!m.sources.get(&slot).is_some_and(|s| s.contains(cidr))).then_some(op)
            }
            TableOp::Generation(_) | TableOp::AllGenerations => Some(op),
        }
    }
}
