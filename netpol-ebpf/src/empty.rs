//! The classifier that does nothing: what the bench measures the others against.
#![no_std]
#![no_main]

mod object;

use aya_ebpf::{bindings::TC_ACT_UNSPEC, macros::classifier, programs::TcContext};

/// Lets every packet pass, looking at none.
#[classifier]
fn empty(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}
