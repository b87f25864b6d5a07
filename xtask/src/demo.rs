//! `cargo xtask demo`: the reference scenarios on real packets.

use std::ffi::OsString;

use anyhow::Result;

use crate::build;
use crate::setup::{self, Needs};

/// See the reference policies enforced on real packets between network namespaces, without a cluster
///
/// Finds or installs what is missing, builds netpol with optimisations, builds a laboratory of network namespaces, runs
/// every scenario and prints what was expected beside what was seen. Exits with 0 only when they agree. Leaves nothing
/// behind, also when interrupted. Needs root.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Leave the laboratory up at the end and print commands to play with
    #[arg(long)]
    keep: bool,
    /// Further flags of the demo itself
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let ready = setup::ensure(&Needs { build: true, laboratory: true, ..Needs::default() })?;
    let mut flags: Vec<OsString> = Vec::new();
    if arguments.keep {
        flags.push("--keep".into());
    }
    flags.extend(arguments.rest.iter().cloned());
    build::become_program(&ready.ebpf, "netpol-demo", &flags)
}
