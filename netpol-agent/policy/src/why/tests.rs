#![allow(
    clippy::needless_pass_by_value,
    reason = "json! makes values, and a test reads better without borrows"
)]

mod agreement;
mod ends;
mod matrix;
mod places;
mod random;
mod sides;
