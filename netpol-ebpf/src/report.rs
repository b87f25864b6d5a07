//! Counters for every verdict, and events for those that are worth one.
//!
//! The rings are our own ([`Ring`](netpol_common::event::Ring)): the kernel's ring buffer takes two calls and a lock for each
//! event, which is more than judging costs. Nobody is woken: the agent polls.

use core::{
    ptr::read_volatile,
    sync::atomic::{Ordering, compiler_fence},
};

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use netpol_common::{
    Direction,
    decide::Decision,
    event::{REPORTS_ALLOWED, REPORTS_DROPPED},
    packet::Packet,
    tables::{COUNTER_LIMITED, COUNTER_LOST, counter_cell},
    verdict::FIRST_DROP,
};

use crate::maps;

/// One less than the events of each CPU's ring, which are a power of two: a constant of the programs, which the agent sets
/// before loading.
#[unsafe(no_mangle)]
pub static RING_MASK: u32 = 0;

/// Which verdicts make an event, `REPORTS_*`: a constant of the programs, which the agent sets before loading.
#[unsafe(no_mangle)]
pub static REPORTS: u32 = REPORTS_ALLOWED | REPORTS_DROPPED;

/// Events per endpoint, CPU and tick (1.07 s) for new flows; beyond that they are counted only.
const ALLOWED_PER_TICK: u32 = 4096;
/// The same for dropped packets.
const DROPPED_PER_TICK: u32 = 256;

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(cell: u32) {
    if let Some(counter) = maps::COUNTS.get_ptr_mut(cell) {
        // SAFETY: the cell belongs to this CPU; a program that interrupts us costs one count at most.
        unsafe { *counter += 1 };
    }
}

/// Whether the endpoint may still report in this tick.
#[inline(always)]
fn within_rate(slot: u32, tick: u32, dropped: bool) -> bool {
    let Some(rate) = maps::RATES.get_ptr_mut(slot) else {
        return false;
    };
    // SAFETY: the cell belongs to this CPU.
    let rate = unsafe { &mut *rate };
    if rate.tick != tick {
        rate.tick = tick;
        rate.allowed = 0;
        rate.dropped = 0;
    }
    if dropped {
        rate.dropped += 1;
        rate.dropped <= DROPPED_PER_TICK
    } else {
        rate.allowed += 1;
        rate.allowed <= ALLOWED_PER_TICK
    }
}

/// Counts a verdict and puts its event into the ring of this CPU.
#[inline(always)]
pub fn report(slot: u32, tick: u32, direction: Direction, packet: &Packet, decision: &Decision) {
    count(counter_cell(direction, decision.reason));
    let dropped = decision.reason >= FIRST_DROP;
    let reported = if dropped { REPORTS_DROPPED } else { REPORTS_ALLOWED };
    // SAFETY: a constant of the program; volatile, since it is set after compilation.
    if decision.report == 0 || unsafe { read_volatile(&raw const REPORTS) } & reported == 0 {
        return;
    }
    let lost = if !within_rate(slot, tick, dropped) {
        COUNTER_LIMITED
    } else if !write_down(slot, direction, packet, decision) {
        COUNTER_LOST
    } else {
        return;
    };
    count(lost);
}

/// Puts an event into the ring of this CPU; says whether there was room.
#[inline(always)]
fn write_down(slot: u32, direction: Direction, packet: &Packet, decision: &Decision) -> bool {
    // SAFETY: a helper without arguments, and a constant of the program; volatile, since it is set after compilation.
    let (cpu, mask) = unsafe { (bpf_get_smp_processor_id(), read_volatile(&raw const RING_MASK)) };
    let Some(ring) = maps::RINGS.get_ptr_mut(cpu) else {
        return false;
    };
    // SAFETY: a ring of the map: this CPU alone writes the one word, and the agent the other.
    let (written, read) =
        unsafe { ((&raw const (*ring).written).read_volatile(), (&raw const (*ring).read).read_volatile()) };
    if written.wrapping_sub(read) > u64::from(mask) {
        return false;
    }
    let Some(event) = maps::EVENTS.get_ptr_mut(cpu.wrapping_mul(mask + 1) + (written as u32 & mask)) else {
        return false;
    };
    // SAFETY: an event of the map, which nobody reads before it is said to be written; a helper without arguments. Field by
    // field: a whole one would be put together on the stack.
    unsafe {
        (*event).at = bpf_ktime_get_ns();
        (*event).src = packet.src;
        (*event).dst = packet.dst;
        (*event).src_port = packet.src_port;
        (*event).dst_port = packet.dst_port;
        (*event).slot = slot;
        (*event).revision = decision.revision;
        (*event).set = decision.set;
        (*event).class = decision.judged.class;
        (*event).port_set = decision.judged.port_set;
        (*event).backends = decision.judged.backends;
        (*event).length = packet.length;
        (*event).proto = packet.proto;
        (*event).direction = direction as u8;
        (*event).reason = decision.reason;
        (*event).tcp_flags = packet.tcp_flags;
        (*event).icmp_type = packet.icmp_type;
        (*event).icmp_code = packet.icmp_code;
        (*event).reply = decision.reply;
        (*event).reserved = 0;
        compiler_fence(Ordering::Release);
        (&raw mut (*ring).written).write_volatile(written.wrapping_add(1));
    }
    true
}
