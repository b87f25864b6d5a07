//! `cargo xtask test`: every test, privileged ones too, and the programs on every kernel; then one line of totals.

mod cluster;
mod totals;

use std::io::{BufRead as _, BufReader, pipe};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::setup::{self, Needs, Ready, kubernetes::Extent};
use crate::{build, project, vm};
use totals::Totals;

/// Run every test: on this kernel, privileged ones too, and the eBPF programs on each supported kernel
///
/// With --cluster those on a real Kubernetes instead: all of them on the cluster that `cargo xtask cluster up` makes (taken when it
/// runs, made otherwise), and a part of them on each other combination of kube-proxy's mode, CNI and address family. Finds or
/// installs what is missing first. The last line is the total, as `N passed, N failed, N skipped`. Exits with
/// 0 only when something ran, nothing failed and nothing was skipped. Needs root.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where: on this machine's kernel, in a virtual machine with one other kernel, or on all of them. With a FILTER the
    /// default is `host`
    #[arg(long, value_name = "KERNEL", value_parser = ["host", "all", "5.10", "6.1", "6.12"])]
    kernel: Option<String>,
    /// The tests on a real Kubernetes
    #[arg(long, conflicts_with = "kernel")]
    cluster: bool,
    /// Of the tests on a cluster only those that take a quarter of an hour together, some of them shorter (sets NETPOL_BRIEF=1);
    /// what is left out is said at the end
    #[arg(long, requires = "cluster", conflicts_with_all = ["long", "filter"])]
    brief: bool,
    /// Also the long variants of tests (sets NETPOL_LONG=1 for them)
    #[arg(long)]
    long: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let mut totals = Totals::default();
    if arguments.cluster {
        cluster::run(arguments, &mut totals)?;
    } else {
        kernels(arguments, &mut totals)?;
    }
    println!();
    totals.print_what_ran();
    println!("took {:.0} s", start.elapsed().as_secs_f64());
    println!("{totals}");
    totals.verdict()
}

/// The tests on this machine's kernel and on others, as far as they are asked for.
fn kernels(arguments: &Arguments, totals: &mut Totals) -> Result<()> {
    let default = if arguments.filter.is_some() { "host" } else { "all" };
    let kernel = arguments.kernel.as_deref().unwrap_or(default);
    let on_host = matches!(kernel, "host" | "all");
    let kernels = vm::supported_series()
        .iter()
        .copied()
        .filter(|series| kernel == "all" || kernel == series.name)
        .collect();
    let kubernetes = on_host.then_some(Extent::ControlPlane);
    let ready =
        setup::ensure(&Needs { build: true, laboratory: true, kernels, kubernetes, ..Needs::default() })
            .context("the tests cannot run (without these rights, `cargo test` runs those that need none)")?;

    if on_host {
        host(&ready, arguments, totals)?;
    }
    if !ready.kernels.is_empty() {
        other_kernels(&ready, totals)?;
    }
    Ok(())
}

/// `cargo test` on the default members.
fn host(ready: &Ready, arguments: &Arguments, totals: &mut Totals) -> Result<()> {
    println!("== this machine's kernel");
    let other = build::other_layout(&ready.ebpf)?;
    let netpol = build::netpol(&ready.ebpf, false)?;
    let mut cargo = project::cargo();
    ready.ebpf.prepare(&mut cargo);
    ready.tell_kubernetes(&mut cargo);
    cargo.args(["test", "--no-fail-fast"]).env("NETPOL_BIN", netpol).env("NETPOL_OTHER_LAYOUT", other);
    // The tests on real packets mostly wait for packets that must not come.
    cargo.env("RUST_TEST_THREADS", "6");
    if arguments.long {
        cargo.env("NETPOL_LONG", "1");
    }
    cargo.arg("--");
    cargo.args(&arguments.filter).arg("--include-ignored");
    passed_on(&mut cargo, totals)
}

/// Runs `cargo test`; its output is passed on and counted.
fn passed_on(cargo: &mut Command, totals: &mut Totals) -> Result<()> {
    // One pipe for both streams: which binary a result belongs to is said on the one, the result on the other.
    let (reader, writer) = pipe().context("cannot make a pipe")?;
    let second = writer.try_clone().context("cannot make a pipe")?;
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(second)
        .spawn()
        .context("cannot start cargo test")?;
    // The command holds the writing ends, and the pipe would never end.
    cargo.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("cannot read what the tests say")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        totals.take_line(&line);
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    if !status.success() {
        // Also when every result line was fine: a test binary may not compile, or die before its summary.
        totals.broken("cargo test");
    }
    Ok(())
}

/// One boot of each other kernel.
fn other_kernels(ready: &Ready, totals: &mut Totals) -> Result<()> {
    println!("== other kernels: building static programs for the virtual machine");
    let programs = vm::programs(&ready.ebpf)?.with_tests(&ready.ebpf)?;
    for kernel in &ready.kernels {
        let name = format!("kernel {} ({})", kernel.series.name, kernel.version);
        println!("== {name}: loading every program");
        let outcome = vm::try_kernel(kernel, &programs)?;
        let job = vm::job_output(&outcome.output);
        let took = outcome.took.as_secs_f64();
        match outcome.status {
            Ok(0) => println!("{job}\nok, {took:.1} s"),
            Ok(code) => println!("{}\nFAILED with exit code {code}, {took:.1} s", outcome.output),
            Err(ref error) => println!("{}\nFAILED: {error:#}, {took:.1} s", outcome.output),
        }
        totals.one(&format!("{name}: loads every program"), vm::has_loaded(job));
        totals.now(&format!("{name}: tests in the kernel"));
        for line in job.lines() {
            totals.take_line(line);
        }
        // Else it is counted already, as the loading or as a test.
        if !matches!(outcome.status, Ok(0)) && vm::has_loaded(job) {
            totals.broken(&name);
        }
    }
    Ok(())
}
