//! For the bench alone: makes another packet of the one that it is given and calls a classifier on it, as the entry of
//! an endpoint does. A test run repeats one packet, and what a table costs shows only when another of its elements is
//! asked for each time.
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the macro of a classifier gives it its context so")]

mod object;

use core::ptr::read_volatile;

use aya_ebpf::{bindings::TC_ACT_SHOT, macros::classifier, programs::TcContext};
use netpol_common::Direction;
use netpol_ebpf::{programs::PROGRAMS, skb::Skb};

/// What is changed in a packet; set by the bench before loading.
#[repr(C)]
struct Plan {
    /// The cell of `programs` of the first endpoint.
    cell: u32,
    /// Endpoints that take turns, less one; a power of two less one.
    slot_mask: u32,
    /// Where the last word of the endpoint's address is.
    pod_at: u32,
    /// That of the first endpoint, host order.
    pod: u32,
    /// Where the last word of the peer's address is.
    peer_at: u32,
    /// That of the first peer, host order.
    peer: u32,
    /// Peers.
    peers: u32,
    /// Where the port is that differs in each packet; 0 for none.
    port_at: u32,
}

#[unsafe(no_mangle)]
static PLAN: Plan =
    Plan { cell: 0, slot_mask: 0, pod_at: 0, pod: 0, peer_at: 0, peer: 0, peers: 0, port_at: 0 };

/// The generator's state.
static mut STATE: u64 = 1;

macro_rules! constant {
    ($field:ident) => {
        // SAFETY: a constant of the program; volatile, since it is set after compilation.
        unsafe { read_volatile(&raw const PLAN.$field) }
    };
}

#[inline(always)]
fn write<T>(skb: Skb, at: u32, value: T) -> bool {
    match skb.at::<T>(at as usize) {
        Some(place) => {
            // SAFETY: inside the packet, by the check in `at`, and aligned as everything behind an IP header's start.
            unsafe { place.cast_mut().write(value) };
            true
        }
        None => false,
    }
}

/// Chooses endpoint, peer and port at random, writes them into the packet, and calls the endpoint's classifier.
#[classifier]
fn cycle(ctx: TcContext) -> i32 {
    let skb = Skb::new(&ctx);
    let state = &raw mut STATE;
    // SAFETY: one test run at a time uses this program. Knuth's MMIX generator, of which the upper half is used.
    let random = unsafe {
        let next = state
            .read_volatile()
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.write_volatile(next);
        next
    };
    let turn = (random >> 22) as u32 & constant!(slot_mask);
    let peer = (((random >> 33) * u64::from(constant!(peers))) >> 31) as u32;
    if !write(skb, constant!(pod_at), (constant!(pod) + turn).to_be())
        || !write(skb, constant!(peer_at), (constant!(peer) + peer).to_be())
    {
        return TC_ACT_SHOT;
    }
    if constant!(port_at) != 0 && !write(skb, constant!(port_at), (random >> 40) as u16) {
        return TC_ACT_SHOT;
    }
    let cell = constant!(cell) + turn * 2;
    skb.set_cell(cell);
    if cell & 1 == Direction::Ingress as u32 {
        skb.set_origin(skb.ingress_ifindex(), skb.tc_index());
    }
    // SAFETY: nothing here needs dropping.
    unsafe { PROGRAMS.tail_call(&ctx, cell) };
    TC_ACT_SHOT
}
