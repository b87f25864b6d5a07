//! Flows in ordinary maps: what a decision keeps outside of the kernel.

use std::collections::HashMap;

use super::{Flows, Table};
use crate::flow::{FRAGMENT_TIMEOUT, Flow, FlowKey, FragmentKey};

/// The flows and first fragments of every slot. An empty one makes each packet a new flow.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Flows of which both directions were seen.
    pub established: HashMap<(u32, FlowKey), Flow>,
    /// Flows of which one direction was seen.
    pub openings: HashMap<(u32, FlowKey), Flow>,
    fragments: HashMap<FragmentKey, (u32, bool)>,
    /// How often the time of a flow was written alone.
    pub touched: u32,
}

impl Memory {
    fn table(&mut self, table: Table) -> &mut HashMap<(u32, FlowKey), Flow> {
        match table {
            Table::Established => &mut self.established,
            Table::Opening => &mut self.openings,
        }
    }

    /// Every flow.
    pub fn all(&self) -> impl Iterator<Item = &Flow> {
        self.established.values().chain(self.openings.values())
    }

    /// A flow, whichever table it is in.
    #[must_use]
    pub fn flow(&self, slot: u32, key: &FlowKey) -> Option<&Flow> {
        let at = (slot, *key);
        self.established.get(&at).or_else(|| self.openings.get(&at))
    }

    /// Forgets a flow; says whether there was one.
    pub fn forget(&mut self, slot: u32, key: &FlowKey) -> bool {
        let at = (slot, *key);
        self.established.remove(&at).is_some() | self.openings.remove(&at).is_some()
    }

    /// Forgets every flow of a slot.
    pub fn forget_all(&mut self, slot: u32) {
        for table in [&mut self.established, &mut self.openings] {
            table.retain(|(of, _), _| *of != slot);
        }
    }
}

impl Flows for Memory {
    fn get(&mut self, slot: u32, table: Table, key: &FlowKey, out: &mut Flow) -> bool {
        let Some(flow) = self.table(table).get(&(slot, *key)) else { return false };
        *out = *flow;
        debug_assert_eq!(flow.check, key.check(), "every flow carries the check of its key");
        true
    }
    fn put(&mut self, slot: u32, table: Table, key: &FlowKey, flow: &Flow) {
        self.table(table).insert((slot, *key), *flow);
    }
    fn touch(&mut self, slot: u32, table: Table, key: &FlowKey, now: u32) {
        self.touched += 1;
        if let Some(flow) = self.table(table).get_mut(&(slot, *key)) {
            flow.last_seen = now;
        }
    }
    fn remove(&mut self, slot: u32, table: Table, key: &FlowKey) {
        self.table(table).remove(&(slot, *key));
    }
    fn fragment(&mut self, key: &FragmentKey, now: u32) -> u32 {
        match self.fragments.get(key) {
            Some((at, denied)) if now.wrapping_sub(*at) <= FRAGMENT_TIMEOUT => 1 + u32::from(*denied),
            _ => 0,
        }
    }
    fn remember_fragment(&mut self, key: &FragmentKey, now: u32, denied: bool) {
        self.fragments.insert(*key, (now, denied));
    }
}
