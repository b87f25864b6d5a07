//! The decision function over ordinary maps, with a clock and a tag that can be set. What bytes become, and that the
//! programs in the kernel decide the same, is tried on the kernel itself.

mod addresses;
mod errors;
mod flows;
mod fragments;
mod handshakes;
mod packets;
mod policies;
mod senders;
mod services;
mod taken_over;
mod timeouts;
mod world;
