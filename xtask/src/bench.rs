//! `cargo xtask bench`: what a packet costs, and the agent.

use std::ffi::OsString;

use anyhow::{Context as _, Result, bail};

use crate::setup::{self, Needs, Ready, kubernetes::Extent};
use crate::{build, project, vm};

/// Measure what a packet costs, as ratios to an empty classifier in the same run, and what the running agent costs
///
/// Finds or installs what is missing, builds with optimisations and runs the benchmarks. Every argument but --kernel,
/// which has to be the first, is given to them as it is (`cargo xtask bench -- --help` lists theirs). Needs root.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Tell also what this kernel makes of the programs, in a virtual machine
    #[arg(long, value_name = "KERNEL", value_parser = ["5.10", "6.1", "6.12"])]
    kernel: Vec<String>,
    /// Arguments of the benchmarks
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let is_asked = |series: &vm::Series| arguments.kernel.iter().any(|name| name == series.name);
    let ready = setup::ensure(&Needs {
        build: true,
        laboratory: true,
        kernels: vm::supported_series().iter().copied().filter(is_asked).collect(),
        kubernetes: Some(Extent::ControlPlane),
        ..Needs::default()
    })?;
    let mut all = on_other_kernels(&ready)?;
    all.extend_from_slice(&arguments.rest);
    build::become_program(&ready.ebpf, "netpol-bench", &all, |bench| ready.tell_kubernetes(bench))
}

/// Has other kernels load the programs; what they say of them, as arguments of the benchmarks.
fn on_other_kernels(ready: &Ready) -> Result<Vec<OsString>> {
    let mut arguments = Vec::new();
    if ready.kernels.is_empty() {
        return Ok(arguments);
    }
    let programs = vm::programs(&ready.ebpf)?;
    for kernel in &ready.kernels {
        let outcome = vm::try_kernel(kernel, &programs)?;
        let job = vm::job_output(&outcome.output);
        if !matches!(outcome.status, Ok(0)) {
            bail!("kernel {} did not load every program:\n{}", kernel.version, outcome.output);
        }
        let path = project::target_folder("vm").join(format!("programs-{}", kernel.version));
        std::fs::write(&path, job).with_context(|| format!("cannot write {}", path.display()))?;
        arguments.extend(["--programs".into(), path.into()]);
    }
    Ok(arguments)
}
