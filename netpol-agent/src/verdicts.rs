//! Verdicts: out of the kernel's rings ([`rings`]), with names ([`naming`]), kept and handed on ([`log`]), as text
//! ([`mod@line`]).

pub mod line;
pub mod log;
pub mod naming;
pub mod rings;
