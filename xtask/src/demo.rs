//! `cargo xtask demo`: the reference scenarios on real packets.

use std::ffi::OsString;

use anyhow::Result;

use crate::build;
use crate::cluster::{self, Programs};
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
    /// On a real Kubernetes, which is brought up when it does not run (see `cargo xtask cluster`): the reference policies by
    /// `kubectl apply`, agents on every node, pods on one node and across two
    #[arg(long)]
    cluster: bool,
    /// Further flags of the demo itself
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut flags: Vec<OsString> = Vec::new();
    if arguments.keep {
        flags.push("--keep".into());
    }
    flags.extend(arguments.rest.iter().cloned());
    if arguments.cluster {
        flags.insert(0, "--cluster".into());
        let ready = setup::ensure(&cluster::needs())?;
        let programs = Programs::build(&ready)?;
        return build::become_program(&ready.ebpf, "netpol-demo", &flags, |demo| programs.tell(&ready, demo));
    }
    let ready = setup::ensure(&Needs { build: true, laboratory: true, ..Needs::default() })?;
    build::become_program(&ready.ebpf, "netpol-demo", &flags, |_| {})
}
