//! The gate of an interface whose pod is not known yet: nothing comes in by it.
#![no_std]
#![no_main]

mod object;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

/// Drops every packet, looking at none.
#[xdp]
fn netpol_gate(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}
