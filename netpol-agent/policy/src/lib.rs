//! The pure core of netpol: Kubernetes objects go in, table operations come out.
//!
//! [`model`] holds the objects as far as they decide anything, valid by construction; [`read`] makes them from what
//! the API server or a file says and reports what is wrong; [`engine`] keeps the compiled tables and says which
//! operations lead to them; [`spec`] is a literal evaluator of the specification that shares no code with the
//! engine; [`why`] names the policies and rules behind a verdict; [`lint`] finds what is right by the letter and hardly
//! meant.
//!
//! No I/O, no clock, no threads; never aya, kube's client, tokio or clap.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests"))]

pub mod engine;
pub mod lint;

pub mod model;
pub mod policy_text;
pub mod read;
pub mod spec;
pub mod why;
