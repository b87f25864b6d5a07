//! Which classifier each entry calls.

use aya_ebpf::{btf_maps::ProgramArray, macros::btf_map};
use netpol_common::tables::SLOTS;

/// Slot and direction → classifier.
#[btf_map]
pub static PROGRAMS: ProgramArray<{ 2 * SLOTS as usize }> = ProgramArray::new();
