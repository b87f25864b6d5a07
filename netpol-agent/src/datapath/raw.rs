//! The ABI's plain types, as aya takes them.

use netpol_common::Pod;

/// A value that crosses the border as its bytes.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<T: Pod>(pub(super) T);

// SAFETY: netpol_common::Pod promises that every bit pattern is valid and that there is no padding, and Raw is
// transparent.
unsafe impl<T: Pod> aya::Pod for Raw<T> {}
