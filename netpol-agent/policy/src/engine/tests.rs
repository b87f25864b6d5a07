//! Tests of the whole engine: objects go in, operations are applied to tables of their own, and the decision function
//! is asked.

mod break_glass;
pub(crate) mod build;
mod given;
mod history;
mod isolation;
mod killed;
mod lab;
mod life;
mod order;
pub(crate) mod random;
mod scale;
mod services;
mod watched;
