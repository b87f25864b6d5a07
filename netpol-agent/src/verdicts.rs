//! Verdicts: out of the kernel's rings ([`rings`]), with names ([`naming`]), kept and handed on ([`log`]), as text
//! ([`line`]).

pub mod line;
pub mod log;
pub mod naming;
pub mod rings;
