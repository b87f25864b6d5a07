//! `cargo xtask cluster`: a real Kubernetes on this machine, to try netpol on.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Needs, Ready, kubernetes::Extent};
use crate::{build, process, project};

/// A real Kubernetes on this machine, without Docker: `up`, `down`, `status`, `kubectl`, `netpol`, `load-image`
///
/// Finds or installs what is missing first: the first time Kubernetes is compiled from Go modules, which takes some ten
/// minutes. Every argument is given on as it is (`cargo xtask cluster -- --help` lists them). Nothing touches the machine's own
/// interfaces, rules or cgroups, and `down` leaves nothing. Needs root.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to do, with its flags
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    rest: Vec<OsString>,
}

/// What a cluster takes.
pub(crate) fn needs() -> Needs {
    Needs { build: true, laboratory: true, kubernetes: Some(Extent::Cluster), ..Needs::default() }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let ready = setup::ensure(&needs())?;
    let programs = Programs::build(&ready)?;
    Err(process::replace(programs.cluster(&ready).args(&arguments.rest)))
}

/// The programs of ours that a cluster takes.
#[derive(Debug)]
pub(crate) struct Programs {
    cluster: PathBuf,
    prober: PathBuf,
}

impl Programs {
    /// Builds them.
    pub(crate) fn build(ready: &Ready) -> Result<Self> {
        Ok(Self {
            cluster: build::binary(&ready.ebpf, "dev", "netpol-tests", "netpol-cluster")?,
            prober: build::prober()?,
        })
    }

    /// Tells a program of the tests where everything is that a cluster takes.
    pub(crate) fn tell(&self, ready: &Ready, command: &mut Command) {
        ready.tell_kubernetes(command);
        command.env("NETPOL_PROBER", &self.prober).env("NETPOL_CLUSTER_BIN", &self.cluster);
    }

    /// `netpol-cluster`, without a command yet.
    pub(crate) fn cluster(&self, ready: &Ready) -> Command {
        let mut command = Command::new(&self.cluster);
        command.current_dir(project::root());
        self.tell(ready, &mut command);
        command
    }
}
