//! The decision function's flows and fragments, as LRU hashes.
//!
//! Every endpoint has tables of its own, so no flood of one pod's packets pushes out another pod's flows, and the
//! kernel expires them while no agent runs.

use core::ptr::{addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::bindings::BPF_ANY;
use netpol_common::{
    decide::{Flows, Table},
    flow::{FRAGMENT_TIMEOUT, Flow, FlowKey, Fragment, FragmentKey, Timeouts},
    tables::COUNTER_FLOW_FULL,
};

use crate::{
    maps::{self, FlowTable, FlowWords},
    report::count,
};

/// The maps.
pub struct Tracked;

/// When idle flows are forgotten: a constant of the programs, which the agent sets before loading.
#[unsafe(no_mangle)]
pub static TIMEOUTS: Timeouts = Timeouts::DEFAULT;

#[inline(always)]
fn table_of(slot: u32, table: Table) -> Option<&'static FlowTable> {
    match table {
        Table::Established => maps::FLOWS.get(slot),
        Table::Opening => maps::OPENINGS.get(slot),
    }
}

impl Flows for Tracked {
    #[inline(always)]
    fn get(&mut self, slot: u32, table: Table, key: &FlowKey, out: &mut Flow) -> bool {
        let Some(flows) = table_of(slot, table) else {
            return false;
        };
        // SAFETY: the element can be recycled while it is copied; its check tells.
        let Some(flow) = (unsafe { flows.get(key) }) else {
            return false;
        };
        // SAFETY: a flow is plain words, and this is as many as it has.
        *out = unsafe { (&raw const *flow).cast::<Flow>().read() };
        out.check == key.check()
    }

    #[inline(always)]
    fn put(&mut self, slot: u32, table: Table, key: &FlowKey, flow: &Flow) {
        // SAFETY: as in `get`.
        let words = unsafe { &*(&raw const *flow).cast::<FlowWords>() };
        let failed =
            table_of(slot, table).is_none_or(|flows| flows.insert(key, words, BPF_ANY.into()).is_err());
        if failed {
            count(COUNTER_FLOW_FULL);
        }
    }

    #[inline(always)]
    fn touch(&mut self, slot: u32, table: Table, key: &FlowKey, now: u32) {
        if let Some(flows) = table_of(slot, table)
            && let Some(flow) = flows.get_ptr_mut(key)
        {
            // SAFETY: an aligned word inside the map's value. In a recycled element it makes a flow look younger by
            // less than its timeout, once.
            unsafe { write_volatile(addr_of_mut!((*flow.cast::<Flow>()).last_seen), now) };
        }
    }

    #[inline(always)]
    fn remove(&mut self, slot: u32, table: Table, key: &FlowKey) {
        if let Some(flows) = table_of(slot, table) {
            // What is not there any more is what was wanted.
            let _gone = flows.remove(key);
        }
    }

    #[inline(always)]
    fn timeout(&self, proto: u8, state: u8) -> u32 {
        // SAFETY: a constant of the program; volatile, since the agent sets it after compilation.
        unsafe { read_volatile(&raw const TIMEOUTS) }.of(proto, state)
    }

    #[inline(always)]
    fn fragment(&mut self, key: &FragmentKey, now: u32) -> u32 {
        // SAFETY: the element can be recycled while it is read; the repeated identification tells.
        match unsafe { maps::FRAGMENTS.get(key) } {
            Some(first) if first.id == key.id && now.wrapping_sub(first.at) <= FRAGMENT_TIMEOUT => {
                1 + u32::from(first.denied != 0)
            }
            _ => 0,
        }
    }

    #[inline(always)]
    fn remember_fragment(&mut self, key: &FragmentKey, now: u32, denied: bool) {
        let first = Fragment { id: key.id, at: now, denied: u32::from(denied) };
        // What finds no room is judged as a fragment that came before its first.
        let _full = maps::FRAGMENTS.insert(key, first, BPF_ANY.into());
    }
}
