//! `cargo xtask bench`: what a packet costs, and the agent.

use std::ffi::OsString;

use anyhow::Result;

use crate::build;
use crate::setup::{self, Needs, kubernetes::Extent};

/// Measure what a packet costs, as ratios to an empty classifier in the same run, and what the running agent costs
///
/// Finds or installs what is missing, builds with optimisations and runs the benchmarks. Every argument is given to
/// them as it is (`cargo xtask bench -- --help` lists theirs). Needs root.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Arguments of the benchmarks
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let ready = setup::ensure(&Needs {
        build: true,
        laboratory: true,
        kubernetes: Some(Extent::ControlPlane),
        ..Needs::default()
    })?;
    build::become_program(&ready.ebpf, "netpol-bench", &arguments.rest, |bench| ready.tell_kubernetes(bench))
}
