//! The decision function's flows and fragments.
//!
//! Every endpoint has a table of flows of its own, so no flood of one pod's packets pushes out another pod's flows, and
//! they are forgotten in time while no agent runs.

use core::ptr::read_volatile;

use aya_ebpf::bindings::BPF_ANY;
use netpol_common::{
    decide::Flows,
    flow::{
        FRAGMENT_TIMEOUT, Flow, FlowKey, Fragment, FragmentKey, Timeouts,
        table::{Bucket, Hashing, Life, Place, WAYS, read, way_for, way_of, write, write_life},
    },
    tables::COUNTER_FLOW_FULL,
};

use crate::{maps, report::count};

/// The maps, and where the flow is that was asked for last.
pub struct Tracked<'scratch> {
    /// The time, in ticks.
    now: u32,
    /// Its way through the bucket, in the working memory: what is read back from there is nothing but a number to the
    /// verifier, which would otherwise walk what follows once for each way.
    way: &'scratch mut u32,
    place: Place,
    /// The place in the working memory, for the steps that follow.
    kept: &'scratch mut Place,
}

/// When idle flows are forgotten: a constant of the programs, which the agent sets before loading.
#[unsafe(no_mangle)]
pub static TIMEOUTS: Timeouts = Timeouts::DEFAULT;

/// How the tables of flows are hashed: a constant of the programs, which the agent sets before loading.
#[unsafe(no_mangle)]
pub static HASHING: Hashing = Hashing { secret: [0; 5], mask: 0, reserved: 0 };

/// Where a flow is to be looked for.
#[inline(always)]
#[must_use]
pub fn place_of(key: &FlowKey) -> Place {
    // SAFETY: as above.
    unsafe { read_volatile(&raw const HASHING) }.place(key)
}

/// A bucket of an endpoint's table.
#[inline(always)]
#[must_use]
pub fn bucket(slot: u32, place: u32) -> Option<*mut Bucket> {
    maps::FLOW_TABLES.get(slot)?.get_ptr_mut(place).map(<*mut maps::BucketWords>::cast::<Bucket>)
}

/// Where a new flow goes in a bucket; counts when an established connection has to give way to it. Of numbers only: so
/// the verifier walks it once for itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn netpol_way_for(slot: u64, place: u64, first: u64, now: u64) -> u64 {
    let Some(bucket) = bucket(slot as u32, place as u32) else {
        return 0;
    };
    // SAFETY: a bucket of the map, and no instruction with an effect.
    unsafe {
        let mut way = way_for(bucket, now as u32, first as usize);
        // No instruction: the optimizer knows that the way is small, and would leave out what tells old verifiers.
        core::arch::asm!("{0} = {0}", inout(reg) way);
        way &= WAYS - 1;
        if Life(read_volatile(&raw const (*bucket).lives[way])).lasts() != 0 {
            count(COUNTER_FLOW_FULL);
        }
        way as u64
    }
}

impl<'scratch> Tracked<'scratch> {
    /// As far as a flow was looked for: `way` says where in its place it is or was, or that it is nowhere.
    #[inline(always)]
    #[must_use]
    pub fn found(now: u32, way: &'scratch mut u32, kept: &'scratch mut Place) -> Self {
        Self { now, way, place: *kept, kept }
    }

    /// The bucket of the flow that was asked for last.
    #[inline(always)]
    fn bucket(&self, slot: u32) -> Option<*mut Bucket> {
        bucket(slot, self.place.bucket)
    }

    #[inline(always)]
    fn way(&self) -> usize {
        // SAFETY: a word of the working memory.
        unsafe { read_volatile(&raw const *self.way) as usize }
    }

    /// Where a flow goes that cannot have its first place.
    #[inline(always)]
    fn way_for(&self, slot: u32) -> usize {
        let (bucket, first) = (self.place.bucket.into(), self.place.way() as u64);
        netpol_way_for(slot.into(), bucket, first, self.now.into()) as usize
    }

    #[inline(always)]
    fn set_way(&mut self, way: usize) {
        // SAFETY: as above.
        unsafe { (&raw mut *self.way).write_volatile(way as u32) };
    }
}

impl Flows for Tracked<'_> {
    #[inline(always)]
    fn get(&mut self, slot: u32, key: &FlowKey, out: &mut Flow) -> bool {
        self.set_way(WAYS);
        self.place = place_of(key);
        *self.kept = self.place;
        let Some(bucket) = self.bucket(slot) else {
            return false;
        };
        // SAFETY: a bucket of the map. Others may write to it; what is read proves itself.
        unsafe {
            self.set_way(way_of(bucket, self.place));
            let way = self.way();
            way < WAYS && read(bucket, way, self.place, key, out)
        }
    }

    #[inline(always)]
    fn put(&mut self, slot: u32, key: &FlowKey, flow: &Flow) {
        let Some(bucket) = self.bucket(slot) else {
            return count(COUNTER_FLOW_FULL);
        };
        // SAFETY: as in `get`.
        unsafe {
            if self.way() >= WAYS {
                let first = self.place.way();
                let is_over = Life(read_volatile(&raw const (*bucket).lives[first])).is_over(self.now);
                self.set_way(if is_over { first } else { self.way_for(slot) });
            }
            write(bucket, self.way(), self.place, key, flow);
        }
    }

    #[inline(always)]
    fn touch(&mut self, slot: u32, key: &FlowKey, flow: &Flow) {
        if let Some(bucket) = self.bucket(slot) {
            // SAFETY: as in `get`. Where another flow has taken the place meanwhile, it lives as this one would.
            unsafe { write_life(bucket, self.way(), Life::of(key.proto, flow)) };
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
