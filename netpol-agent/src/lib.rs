//! The agent and its command line.
//!
//! [`sources`] says which objects there are, [`discovery`] which interfaces the local pods have; [`reconcile`] owns
//! the compiled state and brings it to the [`datapath`]; [`watch`] looks whether it is still attached; [`verdicts`] names what the kernel reports; [`control`] lets
//! the command line ([`cli`]) ask, [`nodes`] the agents of many nodes at once; [`lint`] judges manifests without any of them. [`agent`] wires them together, each
//! named once.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests"))]

pub mod agent;
pub mod announce;
pub mod cli;
pub mod config;
pub mod control;
pub mod datapath;
pub mod discovery;
pub mod explain;
pub mod lint;
mod memory;
pub mod metrics;
pub mod nodes;
pub use netpol_policy::policy_text;
pub mod reconcile;
pub mod sources;
pub mod text;
pub mod verdicts;
pub mod watch;
