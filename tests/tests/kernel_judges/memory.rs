//! Flows in ordinary maps, by the slot whose they are.

use std::collections::HashMap;

use netpol_common::{
    decide::{Flows, Table},
    flow::{Flow, FlowKey, FragmentKey},
};

/// The flows of all slots. Nothing grows old here: a history takes no time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    established: HashMap<(u32, FlowKey), Flow>,
    openings: HashMap<(u32, FlowKey), Flow>,
}

impl Memory {
    fn table(&mut self, table: Table) -> &mut HashMap<(u32, FlowKey), Flow> {
        match table {
            Table::Established => &mut self.established,
            Table::Opening => &mut self.openings,
        }
    }

    /// A flow, whichever table it is in.
    pub(crate) fn flow(&self, slot: u32, key: &FlowKey) -> Option<&Flow> {
        let at = (slot, *key);
        self.established.get(&at).or_else(|| self.openings.get(&at))
    }

    /// Forgets a flow; says whether there was one.
    pub(crate) fn forget(&mut self, slot: u32, key: &FlowKey) -> bool {
        let at = (slot, *key);
        self.established.remove(&at).is_some() | self.openings.remove(&at).is_some()
    }

    /// Forgets every flow of a slot.
    pub(crate) fn forget_all(&mut self, slot: u32) {
        for table in [&mut self.established, &mut self.openings] {
            table.retain(|(of, _), _| *of != slot);
        }
    }

    /// Whether a flow was judged by a set of backends.
    pub(crate) fn refers_to(&self, backends: u32) -> bool {
        self.established.values().chain(self.openings.values()).any(|flow| flow.backends == backends)
    }
}

impl Flows for Memory {
    fn get(&mut self, slot: u32, table: Table, key: &FlowKey, out: &mut Flow) -> bool {
        let Some(flow) = self.table(table).get(&(slot, *key)) else { return false };
        *out = *flow;
        true
    }
    fn put(&mut self, slot: u32, table: Table, key: &FlowKey, flow: &Flow) {
        self.table(table).insert((slot, *key), *flow);
    }
    fn touch(&mut self, slot: u32, table: Table, key: &FlowKey, now: u32) {
        if let Some(flow) = self.table(table).get_mut(&(slot, *key)) {
            flow.last_seen = now;
        }
    }
    fn remove(&mut self, slot: u32, table: Table, key: &FlowKey) {
        self.table(table).remove(&(slot, *key));
    }
    fn fragment(&mut self, _: &FragmentKey, _: u32) -> u32 {
        0
    }
    fn remember_fragment(&mut self, _: &FragmentKey, _: u32, _: bool) {}
}
