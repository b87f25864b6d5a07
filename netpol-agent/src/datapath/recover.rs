//! What an earlier agent left in the pinned maps, as the operations that would write it.

use std::collections::BTreeMap;

use aya::maps::lpm_trie::Key;
use netpol_common::{
    Direction,
    tables::{
        ENDPOINT_LIVE, Endpoint, FIRST_SLOT, INTERFACE_ENDPOINT, INTERNED_PORT_SET, INTERNED_SET, PortChunk,
        SET_NONE, SLOTS, SourceKey, set_of,
    },
};
use netpol_policy::engine::{Cidr, HookLevel, Recovered, TableOp};
use tracing::warn;

use super::{
    Datapath, Error,
    attach::{ENTRY, replace_filter},
    object, sys,
};

impl Datapath {
    /// Reads every table. What flows were judged by is looked up again: the agent before may have been killed between a
    /// change and the move of the generation that was to follow.
    ///
    /// # Errors
    ///
    /// When the addresses cannot be read: what stays unknown could stand for something else one day.
    pub(super) fn recover(&mut self) -> Result<Recovered, Error> {
        self.tables.peers.move_all_on()?;
        self.tables.peers.count_again()?;
        self.tables.rules.count_again()?;
        let mut found = self.written()?;
        self.recover_endpoints(&mut found);
        Ok(Recovered(found))
    }

    /// What the tables hold but for the endpoints, as the operations that would write it. Not at one instant.
    ///
    /// # Errors
    ///
    /// When the addresses cannot be read.
    pub fn written(&self) -> Result<Vec<TableOp>, Error> {
        let mut found = Vec::new();
        let tables = &self.tables;
        let mut chunks: BTreeMap<u32, Vec<PortChunk>> = BTreeMap::new();
        for (_, chunk) in tables.port_chunks.iter().flatten() {
            chunks.entry(chunk.0.key.port_set).or_default().push(chunk.0);
        }
        for (key, digest) in tables.interned.iter().flatten() {
            let (kind, id) = (key.0.kind, key.0.id);
            found.push(TableOp::Intern { kind, id, digest: digest.0 });
            if kind == INTERNED_PORT_SET
                && let Ok(value) = tables.port_sets.get(&id, 0)
            {
                let chunks = chunks.remove(&id).unwrap_or_default();
                found.push(TableOp::PortSet { id, value: Box::new(value.0), chunks });
            }
            if kind == INTERNED_SET
                && let Ok(value) = tables.policy_sets.get(&id, 0)
            {
                found.push(TableOp::PolicySet { id, value: value.0 });
            }
        }
        found.extend(tables.rules.all()?.into_iter().map(TableOp::Rule));
        found.extend(tables.peers.all()?.into_iter().map(TableOp::Peer));
        found.extend(tables.prefixes.iter().flatten().map(|(key, prefix)| TableOp::Prefix {
            cidr: Cidr::around(key.data().0, key.prefix_len() as u8),
            value: prefix.0,
        }));
        found.extend(tables.frontends.iter().flatten().map(|(_, frontend)| TableOp::Frontend(frontend.0)));
        found.extend(tables.backends.iter().flatten().map(|(_, set)| TableOp::Backends(Box::new(set.0))));
        found.extend(tables.members.iter().flatten().map(|(key, _)| TableOp::Member(key.0)));
        found.extend(tables.sources.iter().flatten().map(|(key, _)| source(&key)));
        Ok(found)
    }

    fn recover_endpoints(&mut self, found: &mut Vec<TableOp>) {
        let mut interfaces = BTreeMap::new();
        for (_, interface) in self.tables.interfaces.iter().flatten() {
            if interface.0.kind == INTERFACE_ENDPOINT {
                interfaces.insert(interface.0.slot, interface.0.ifindex);
            }
        }
        for slot in FIRST_SLOT..SLOTS {
            let Some(entry) = self.tables.endpoints.get(slot) else { continue };
            let live = entry.flags & ENDPOINT_LIVE != 0;
            if !live && entry.judgements == [0, 0] {
                if let Some(&ifindex) = interfaces.get(&slot) {
                    // Of tables that were put aside: nothing but its slot is known here.
                    self.unswitched.insert(slot);
                    // A filter does not tell what it calls.
                    let by_filter = !self.link_pin(slot, Direction::Egress).exists();
                    let full = self.is_linked_full(slot) || by_filter;
                    let level = if full { HookLevel::Full } else { HookLevel::SourceCheck };
                    found.push(TableOp::Hook { slot, ifindex, level });
                }
                continue;
            }
            for direction in Direction::ALL {
                found.push(TableOp::Judgement {
                    slot,
                    direction,
                    judgement: entry.judgements[direction.index()],
                });
            }
            if !live {
                continue;
            }
            found.push(TableOp::Endpoint { slot, value: Box::new(entry) });
            if let Some(&ifindex) = interfaces.get(&slot) {
                let level = self.renew(slot, ifindex, &entry);
                found.push(TableOp::Hook { slot, ifindex, level });
            }
        }
    }

    /// This version's programs take over, by updates: no packet goes unjudged. An interface that is gone carries nothing
    /// any more; whoever has its index by now may be no pod's, and is hooked when discovery says whose it is.
    fn renew(&mut self, slot: u32, ifindex: u32, entry: &Endpoint) -> HookLevel {
        let level = self.level(slot, entry);
        if !self.aside.is_empty() || level == HookLevel::Full && !self.has_flow_table(slot) {
            // What is attached may have its flows elsewhere, and goes on with them until the first operations take them
            // over.
            self.unswitched.insert(slot);
            return level;
        }
        if !self.is_attached(slot, ifindex) {
            if let Err(error) = self.unhook(slot, ifindex) {
                warn!(slot, "cannot forget an interface that is gone: {:#}", anyhow::Error::new(error));
            }
            return HookLevel::None;
        }
        if self.hook(slot, ifindex, level).is_ok() { level } else { HookLevel::None }
    }

    /// Whether what an earlier agent has attached for a slot is still there, by a link or by a filter.
    fn is_attached(&mut self, slot: u32, ifindex: u32) -> bool {
        let links = Direction::ALL.map(|direction| sys::link_at(&self.link_pin(slot, direction)));
        if links.iter().flatten().any(|(index, _)| *index == ifindex) {
            return true;
        }
        let Ok(interface) = Self::interface_name(ifindex) else { return false };
        Direction::ALL.into_iter().any(|direction| {
            let object = self.entries.make(slot, direction);
            object.is_ok_and(|mut object| {
                let entry = object::program(&mut object, ENTRY);
                entry.is_ok_and(|entry| replace_filter(&interface, direction, entry).is_ok())
            })
        })
    }

    /// What an interface carries. By any sign of the full classifiers they are there: an isolated pod is not to carry less
    /// because its table of flows has gone.
    fn level(&self, slot: u32, entry: &Endpoint) -> HookLevel {
        let isolated = entry.judgements.iter().any(|word| set_of(*word) != SET_NONE);
        let full = isolated || self.is_linked_full(slot) || self.has_flow_table(slot);
        if full { HookLevel::Full } else { HookLevel::SourceCheck }
    }

    /// Whether what goes to the pod meets a link: only the full classifiers look at that.
    fn is_linked_full(&self, slot: u32) -> bool {
        self.link_pin(slot, Direction::Ingress).exists()
    }
}

fn source(key: &Key<super::raw::Raw<SourceKey>>) -> TableOp {
    let data = key.data().0;
    let len = key.prefix_len().saturating_sub(32);
    TableOp::Source { slot: u32::from_be(data.slot), cidr: Cidr::around(data.addr, len as u8) }
}
