//! The entry of one endpoint and direction: a few instructions that know the slot as a constant, leave it in the
//! packet's control buffer (for its ingress also where the packet came from) and call the classifier that `programs`
//! holds for it. So all endpoints share two large programs, each is attached once, and what it runs is switched by one
//! write.
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the macro of a classifier gives it its context so")]

use core::ptr::read_volatile;

use aya_ebpf::{bindings::TC_ACT_SHOT, macros::classifier, programs::TcContext};
use netpol_common::Direction;
use netpol_ebpf::{maps::PROGRAMS, skb::Skb};

/// The cell of `programs`, set by the agent before loading: twice the slot, plus the direction.
#[unsafe(no_mangle)]
static CELL: u32 = 0;

/// Calls the endpoint's classifier. Without one the packet is dropped.
#[classifier]
fn netpol_entry(ctx: TcContext) -> i32 {
    // SAFETY: a constant of the program; volatile, since the agent sets it after compilation.
    let cell = unsafe { read_volatile(&raw const CELL) };
    let skb = Skb::new(&ctx);
    skb.set_slot(cell >> 1);
    if cell & 1 == Direction::Ingress as u32 {
        skb.set_origin(skb.ingress_ifindex(), skb.tc_index());
    }
    // SAFETY: nothing here needs dropping.
    unsafe { PROGRAMS.tail_call(&ctx, cell) };
    TC_ACT_SHOT
}

netpol_ebpf::object!();
