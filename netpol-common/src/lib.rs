//! What the kernel and user space agree on: the layout of every table ([`tables`]), the packet as the
//! classifiers see it ([`packet`]), flows ([`flow`]), verdicts ([`verdict`]), events ([`event`]) and **the
//! decision function** ([`decide`](decide::decide)), which runs in the kernel over BPF maps and in user space
//! over ordinary ones.
//!
//! It knows nothing of Kubernetes, of aya or of names.
//!
//! Everything that crosses the border is `#[repr(C)]`, has no padding (checked at compile time by [`pod!`])
//! and holds plain integers only: the kernel's BTF has no place for Rust's enums with niches.
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[macro_use]
pub mod pod;

pub mod addr;
pub mod decide;
pub mod event;
pub mod flow;
pub mod packet;
pub mod tables;
pub mod verdict;
mod verifier;

pub use addr::Addr;
pub use pod::Pod;
pub use verdict::{Direction, Reason};
