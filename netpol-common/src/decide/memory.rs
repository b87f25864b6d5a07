//! Flows in ordinary maps: what a decision keeps outside of the kernel.

use std::collections::HashMap;

use super::Flows;
use crate::flow::{FRAGMENT_TIMEOUT, Flow, FlowKey, FragmentKey};

/// The flows and first fragments of every slot. An empty one makes each packet a new flow.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// By slot and key.
    pub flows: HashMap<(u32, FlowKey), Flow>,
    fragments: HashMap<FragmentKey, (u32, bool)>,
    /// What was asked for last.
    asked: Option<(u32, FlowKey)>,
    /// How often the life of a flow was written alone.
    pub touched: u32,
}

impl Memory {
    /// Every flow.
    pub fn all(&self) -> impl Iterator<Item = &Flow> {
        self.flows.values()
    }

    /// A flow.
    #[must_use]
    pub fn flow(&self, slot: u32, key: &FlowKey) -> Option<&Flow> {
        self.flows.get(&(slot, *key))
    }

    /// Forgets a flow; says whether there was one.
    pub fn forget(&mut self, slot: u32, key: &FlowKey) -> bool {
        self.flows.remove(&(slot, *key)).is_some()
    }

    /// Forgets every flow of a slot.
    pub fn forget_all(&mut self, slot: u32) {
        self.flows.retain(|(of, _), _| *of != slot);
    }
}

impl Flows for Memory {
    fn get(&mut self, slot: u32, key: &FlowKey, out: &mut Flow) -> bool {
        self.asked = Some((slot, *key));
        let Some(flow) = self.flow(slot, key).copied() else { return false };
        *out = flow;
        true
    }
    fn put(&mut self, slot: u32, key: &FlowKey, flow: &Flow) {
        assert_eq!(self.asked, Some((slot, *key)), "it was not asked for");
        self.flows.insert((slot, *key), *flow);
    }
    fn touch(&mut self, slot: u32, key: &FlowKey, flow: &Flow) {
        assert_eq!(self.asked, Some((slot, *key)), "it was not asked for");
        self.touched += 1;
        if let Some(known) = self.flows.get_mut(&(slot, *key)) {
            let Flow { last_seen, state, fins, .. } = *flow;
            *known = Flow { last_seen, state, fins, ..*known };
        }
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
