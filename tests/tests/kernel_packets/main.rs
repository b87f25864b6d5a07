//! Bytes into the programs in the kernel, verdicts out. Each denial has its positive control: the same packet passes
//! where the one thing is different that it is denied for.
//!
//! What a test run cannot do needs real packets: frames whose linear part is short, VLAN tags that a device took off.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod addresses;
mod changes;
mod ether;
mod flows;
mod fragments;
mod headers;
mod icmp;
mod lifetimes;
mod link;
mod node;
mod ports;
mod protocols;
mod quota;
mod scene;
mod senders;
mod services;
mod sources;
mod ways;
