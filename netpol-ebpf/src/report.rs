//! Counters for every verdict, and events for those that are worth one.

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use netpol_common::{
    Direction,
    decide::Decision,
    event::Event,
    packet::Packet,
    tables::{COUNTER_LIMITED, COUNTER_LOST, counter_cell},
    verdict::FIRST_DROP,
};

use crate::maps;

/// No wakeup: the agent polls. A forced wakeup costs two hundred empty classifiers.
const BPF_RB_NO_WAKEUP: u64 = 1;

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
    if decision.report == 0 {
        return;
    }
    if !within_rate(slot, tick, decision.reason >= FIRST_DROP) {
        return count(COUNTER_LIMITED);
    }
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(ring) = maps::RINGS.get(cpu) else {
        return count(COUNTER_LOST);
    };
    let Some(mut entry) = ring.reserve(0) else {
        return count(COUNTER_LOST);
    };
    entry.write(Event {
        // SAFETY: a helper without arguments.
        at: unsafe { bpf_ktime_get_ns() },
        src: packet.src,
        dst: packet.dst,
        src_port: packet.src_port,
        dst_port: packet.dst_port,
        slot,
        revision: decision.revision,
        set: decision.set,
        class: decision.judged.class,
        port_set: decision.judged.port_set,
        backends: decision.judged.backends,
        length: packet.length,
        proto: packet.proto,
        direction: direction as u8,
        reason: decision.reason,
        tcp_flags: packet.tcp_flags,
        icmp_type: packet.icmp_type,
        icmp_code: packet.icmp_code,
        reply: decision.reply,
        reserved: 0,
    });
    entry.submit(BPF_RB_NO_WAKEUP);
}
