//! The entry of one endpoint and direction: a few instructions that know the slot as a constant, leave it in the
//! packet's control buffer (for its ingress also where the packet came from) and call the classifier that `programs`
//! holds for it. So all endpoints share two large programs, each is attached once, and what it runs is switched by one
//! write.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(clippy::needless_pass_by_value, reason = "the macro of a classifier gives it its context so")]

mod object;
#[expect(unreachable_pub, reason = "the library has it too")]
mod programs;
#[expect(dead_code, unreachable_pub, reason = "the library has it too, and uses the rest of it")]
mod skb;

use core::arch::asm;

use aya_ebpf::{bindings::TC_ACT_SHOT, macros::classifier, programs::TcContext};
use netpol_common::{Direction, tables::UNSET_CELL};

use crate::{programs::PROGRAMS, skb::Skb};

/// Calls the endpoint's classifier. Without one the packet is dropped.
#[classifier]
fn netpol_entry(ctx: TcContext) -> i32 {
    let cell: u64;
    // The cell of `programs`, written over by the agent before loading. It stands in the instruction itself: a constant
    // in a map would be one more cache line for every packet, and one more map for every entry.
    // SAFETY: loads a number into a register.
    unsafe { asm!("{0} = {1}", out(reg) cell, const UNSET_CELL) };
    let cell = cell as u32;
    let skb = Skb::new(&ctx);
    skb.set_cell(cell);
    if cell & 1 == Direction::Ingress as u32 {
        skb.set_origin(skb.ingress_ifindex(), skb.tc_index());
    }
    // SAFETY: nothing here needs dropping.
    unsafe { PROGRAMS.tail_call(&ctx, cell) };
    TC_ACT_SHOT
}
