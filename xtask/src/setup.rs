//! `cargo xtask setup`: finds or installs what the other commands need, and says what it took.
//!
//! Owns the order of the steps. What each needs is in its own module; none of them knows the commands. Heavy things are
//! kept in the cache folder, `${XDG_CACHE_HOME:-$HOME/.cache}/netpol/`, under a name with their version:
//!
//! - `bpf-linker-0.13.0/bin/bpf-linker`, `cargo-deny-<version>/bin/cargo-deny`, `linux-<package version>/`,
//!   `kubernetes-<version>/bin/`
//! - `bpf-toolchain`: a file with the name of the rustup toolchain that compiles the eBPF programs. The agent's build
//!   script reads it where `NETPOL_BPF_TOOLCHAIN` is not set, so that a plain `cargo build` works as well.

mod cross;
mod deny;
mod distribution;
pub(crate) mod kubernetes;
mod linker;
mod packages;
mod report;
pub(crate) mod rights;
mod toolchain;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shipped::Arch;
use crate::{project, vm};
use report::Report;

/// Find or install everything that the other commands need, and say what it took
///
/// The eBPF toolchain (rustup's nightly with its library sources where that can be had, the distribution's packages
/// where not), bpf-linker, the programs of the network laboratory, the kernels for the virtual machine, and an API server. Heavy
/// things are kept outside the tree, in ${XDG_CACHE_HOME:-$HOME/.cache}/netpol, keyed by version. Takes a few seconds
/// when there is nothing to do. Installing packages and loading eBPF programs need root.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also what `cargo xtask ci` needs: cargo-deny, some minutes to compile
    #[arg(long)]
    ci: bool,
    /// Also what `cargo xtask cluster` needs: Kubernetes from Go modules, some ten minutes to compile, and containerd
    #[arg(long)]
    cluster: bool,
}

/// What a command needs before it can start.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// The toolchain that compiles the eBPF programs.
    pub build: bool,
    /// Programs for the network laboratory, and the right to load eBPF programs.
    pub laboratory: bool,
    /// Kernels to boot in a virtual machine.
    pub kernels: Vec<vm::Series>,
    /// cargo-deny.
    pub deny: bool,
    /// Kubernetes itself.
    pub kubernetes: Option<kubernetes::Extent>,
    /// What building for this processor takes.
    pub arch: Option<Arch>,
}

/// What `ensure` found or installed.
#[derive(Debug)]
pub(crate) struct Ready {
    pub ebpf: Ebpf,
    pub kernels: Vec<vm::Kernel>,
    /// The `cargo-deny` program, where it was asked for.
    pub deny: Option<PathBuf>,
    /// The folder with the programs of Kubernetes, where they were asked for.
    pub kubernetes: Option<PathBuf>,
}

impl Ready {
    /// Tells a program where those of Kubernetes are.
    pub(crate) fn tell_kubernetes(&self, command: &mut Command) {
        if let Some(folder) = &self.kubernetes {
            command.env("NETPOL_KUBERNETES", folder);
        }
    }
}

/// How the eBPF programs are compiled, told to the agent's build script through the environment.
#[derive(Debug, Default)]
pub(crate) struct Ebpf {
    toolchain: Option<String>,
    linker: Option<PathBuf>,
}

impl Ebpf {
    /// Sets what the agent's build script needs on a cargo command.
    pub(crate) fn prepare(&self, cargo: &mut Command) {
        if let Some(path) = self.path() {
            cargo.env("PATH", path);
        }
        // Not for what the build script takes by itself: cargo runs it again whenever the variable comes or goes, and a
        // plain `cargo build` in between would compile the programs anew each time.
        if let Some(name) = self.toolchain_name().filter(|name| *name != toolchain::DEFAULT) {
            cargo.env("NETPOL_BPF_TOOLCHAIN", name);
        }
    }

    /// The name of the rustup toolchain that compiles the programs.
    pub(crate) fn toolchain_name(&self) -> Option<&str> {
        self.toolchain.as_deref()
    }

    /// `PATH` with the folder of bpf-linker in front, where that is not on it anyway.
    pub(crate) fn path(&self) -> Option<OsString> {
        let folder = self.linker.as_ref()?.parent()?.to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(folder).chain(std::env::split_paths(&path));
        std::env::join_paths(folders).ok()
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let kubernetes =
        if arguments.cluster { kubernetes::Extent::Cluster } else { kubernetes::Extent::ControlPlane };
    let needs = Needs {
        build: true,
        laboratory: true,
        kernels: vm::supported_series().to_vec(),
        deny: arguments.ci,
        kubernetes: Some(kubernetes),
        arch: None,
    };
    take(&needs, Report::full()).map(drop)
}

/// Finds or installs what `needs` names. Says one line when everything was there.
pub(crate) fn ensure(needs: &Needs) -> Result<Ready> {
    take(needs, Report::brief())
}

fn take(needs: &Needs, mut report: Report) -> Result<Ready> {
    // One set-up at a time: two would install the same thing, or one would use what the other is still unpacking.
    let cache = project::cache()?;
    let lock_path = cache.join("lock");
    let lock = std::fs::File::create(&lock_path)
        .with_context(|| format!("cannot write to the cache folder: {}", lock_path.display()))?;
    if lock.try_lock().is_err() {
        println!("setup: another cargo xtask is setting up; waiting for it");
        lock.lock().context("cannot wait for the other cargo xtask")?;
    }

    if needs.laboratory {
        // First, since it is quick and everything else would be in vain.
        rights::ensure(&mut report)?;
        packages::ensure(packages::LABORATORY, &mut report)?;
    }
    let mut ebpf = Ebpf::default();
    if needs.build {
        ebpf.toolchain = Some(toolchain::ensure(&cache, &mut report)?);
        ebpf.linker = Some(linker::ensure(&cache, &mut report)?);
    }
    if let Some(arch) = needs.arch {
        cross::ensure(arch, &mut report)?;
    }
    let mut kernels = Vec::new();
    if !needs.kernels.is_empty() {
        packages::ensure(packages::VIRTUAL_MACHINE, &mut report)?;
        // Nobody else is fetching: the lock is held.
        vm::kernels::remove_leftovers(&cache)?;
        for series in &needs.kernels {
            kernels.push(vm::kernels::ensure(*series, &cache, &mut report)?);
        }
    }
    let mut kubernetes = None;
    if let Some(extent) = needs.kubernetes {
        if extent == kubernetes::Extent::Cluster {
            packages::ensure(packages::CLUSTER, &mut report)?;
        }
        kubernetes = Some(kubernetes::ensure(extent, &cache, &mut report)?);
    }
    let deny = if needs.deny { Some(deny::ensure(&cache, &mut report)?) } else { None };
    report.finish();
    Ok(Ready { ebpf, kernels, deny, kubernetes })
}

pub(crate) use report::Report as Progress;
