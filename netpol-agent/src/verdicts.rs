//! Verdicts: out of the kernel's rings ([`rings`]), with names ([`naming`], [`numbers`]), kept and handed on ([`kept`], [`log`]),
//! told to a follower not too often ([`pace`]), as text ([`text`]); and what is said where some are missing ([`gaps`]).

pub mod gaps;
pub mod kept;
pub mod log;
pub mod naming;
pub mod numbers;
pub mod pace;
pub mod rings;
pub mod text;
