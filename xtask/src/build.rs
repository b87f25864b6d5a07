//! `cargo xtask build`: the one binary that is shipped.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::setup::{self, Ebpf, Needs};
use crate::shipped::{Arch, Shipped};
use crate::{process, project, vm};

/// Build the `netpol` binary with its eBPF programs inside, and print its path
///
/// Finds or installs the eBPF toolchain first (see `cargo xtask setup`).
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Build it as it is shipped: with optimisations, static
    #[arg(long)]
    release: bool,
    /// Instead the static program that the test pods of a cluster run
    #[arg(long, conflicts_with = "release")]
    prober: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let ready = setup::ensure(&Needs { build: true, ..Needs::default() })?;
    let path = if arguments.prober { prober()? } else { netpol(&ready.ebpf, arguments.release)? };
    println!("{}", path.display());
    Ok(())
}

/// Builds the agent, as it is shipped or for development, and returns the path of `netpol`.
pub(crate) fn netpol(ebpf: &Ebpf, shipped: bool) -> Result<PathBuf> {
    if shipped {
        return Shipped::here(Arch::host()?).build(ebpf);
    }
    binary(ebpf, "dev", "netpol-agent", "netpol")
}

/// Builds the agent once more for tests alone: with another layout of its tables, and with ends between any two operations.
/// Returns its path, which is beside that of `netpol`.
pub(crate) fn other_layout(ebpf: &Ebpf) -> Result<PathBuf> {
    let mut cargo = project::cargo();
    ebpf.prepare(&mut cargo);
    cargo.args(["build", "--features", "other-layout,fault-points"]);
    let built = project::executable(&mut cargo, "netpol-agent", "netpol")?;
    let kept = built.with_file_name("netpol-other-layout");
    // Another run may be executing the one that is there.
    let new = kept.with_extension("new");
    std::fs::copy(&built, &new)
        .and_then(|_bytes| std::fs::rename(&new, &kept))
        .with_context(|| format!("cannot make {}", kept.display()))?;
    Ok(kept)
}

/// Builds what the test pods of a cluster run, and returns its path.
pub(crate) fn prober() -> Result<PathBuf> {
    project::executable(&mut vm::static_cargo(&["build"]), "netpol-prober", "netpol-prober")
        .context("cannot build a static netpol-prober for the test pods")
}

/// Builds one binary of a package by one of cargo's profiles, and returns its path.
pub(crate) fn binary(ebpf: &Ebpf, profile: &str, package: &str, name: &str) -> Result<PathBuf> {
    let mut cargo = project::cargo();
    ebpf.prepare(&mut cargo);
    cargo.args(["build", "--profile", profile]);
    project::executable(&mut cargo, package, name)
}

/// Replaces this process by a program of package `netpol-tests`, which gets the path of `netpol` in `NETPOL_BIN`.
///
/// By replacing it, signals and the exit code are the program's own: Ctrl-C reaches it, and the shell waits until it
/// has tidied up.
pub(crate) fn become_program(
    ebpf: &Ebpf,
    name: &str,
    arguments: &[OsString],
    prepare: impl FnOnce(&mut Command),
) -> Result<()> {
    let netpol = netpol(ebpf, true)?;
    let program = binary(ebpf, "release", "netpol-tests", name)?;
    let mut command = Command::new(program);
    command.args(arguments).env("NETPOL_BIN", netpol).current_dir(project::root());
    prepare(&mut command);
    Err(process::replace(&mut command))
}
