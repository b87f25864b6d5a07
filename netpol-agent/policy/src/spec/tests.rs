#![allow(
    clippy::needless_pass_by_value,
    reason = "json! makes values, and a test reads better without borrows"
)]

mod blocks;
pub(crate) mod fixture;
mod isolation;
mod peers;
mod pods;
mod ports;
mod services;
