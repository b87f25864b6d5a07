//! Other kernels, booted in a virtual machine without hardware help: which there are, and one job run in one of them.
//!
//! The machine has no disk and no network. It starts from an archive in memory with three things in it: the program
//! `init` (package `netpol-vm`), the kernel modules that are not built in, and the files of a job.

pub(crate) mod archive;
pub(crate) mod kernels;
mod machine;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::project;
use crate::setup::Ebpf;
use archive::Archive;

/// The target of everything that runs in the machine: static, since no libraries are there.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const TARGET_FLAGS: (&str, &str) =
    ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ctarget-feature=+crt-static");

/// A series of kernels, as `5.10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Series {
    /// Begin of the version, without the last number.
    pub name: &'static str,
    /// The Debian suite that carries it.
    pub suite: &'static str,
}

/// The series that netpol is tried on: the floor, and two between it and today.
pub(crate) fn supported_series() -> &'static [Series] {
    &[
        Series { name: "5.10", suite: "bullseye" },
        Series { name: "6.1", suite: "bookworm" },
        Series { name: "6.12", suite: "trixie" },
    ]
}

/// A kernel that can be booted.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub series: Series,
    /// Version of the package.
    pub version: String,
    /// The image.
    pub image: PathBuf,
    /// Modules, unpacked, in the order in which they are to be loaded.
    pub modules: Vec<PathBuf>,
}

/// Static programs for the machine, built once for all kernels.
#[derive(Debug)]
pub(crate) struct Programs {
    init: PathBuf,
    netpol: PathBuf,
    /// Test binaries that need a kernel and nothing else.
    tests: Vec<(String, PathBuf)>,
}

/// Test targets of `netpol-tests` whose name begins so are run on every kernel: they give packets to the programs in
/// the kernel, and need neither namespaces nor other programs.
const KERNEL_TESTS: &str = "kernel";

/// Builds what runs in the machine, in a folder of its own beside the usual build.
pub(crate) fn programs(ebpf: &Ebpf) -> Result<Programs> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the virtual machine runs x86-64 kernels only: use `--kernel host` on this machine");
    }
    let built = |package: &str, name: &str| {
        let mut cargo = static_cargo(&["build"]);
        ebpf.prepare(&mut cargo);
        project::executable(&mut cargo, package, name)
            .with_context(|| format!("cannot build a static {name} for the virtual machine"))
    };
    let init = built("netpol-vm", "netpol-vm-init")?;
    let netpol = built("netpol-agent", "netpol")?;
    Ok(Programs { init, netpol, tests: Vec::new() })
}

impl Programs {
    /// The same with the tests that need only a kernel.
    pub(crate) fn with_tests(mut self, ebpf: &Ebpf) -> Result<Self> {
        let names = kernel_tests()?;
        if !names.is_empty() {
            let mut build = static_cargo(&["test", "--no-run", "--package", "netpol-tests"]);
            ebpf.prepare(&mut build);
            build.args(names.iter().flat_map(|name| ["--test", name]));
            self.tests = project::executables(&mut build)?;
            // Building a package's tests also builds its programs.
            self.tests.retain(|(name, _)| names.contains(name));
        }
        Ok(self)
    }
}

/// A cargo command that builds static programs, which run where no libraries are.
pub(crate) fn static_cargo(command: &[&str]) -> Command {
    let mut cargo = project::cargo();
    cargo.args(command).args([
        "--target",
        TARGET,
        "--config",
        "profile.dev.strip=\"symbols\"",
        "--target-dir",
    ]);
    cargo.arg(project::target_folder("vm")).env(TARGET_FLAGS.0, TARGET_FLAGS.1);
    cargo
}

/// The names of the test targets that run on every kernel.
fn kernel_tests() -> Result<Vec<String>> {
    let metadata = project::metadata(&[])?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` names no packages")?;
    let tests = packages.iter().find(|package| package["name"] == "netpol-tests");
    let targets =
        tests.and_then(|package| package["targets"].as_array()).context("no package netpol-tests")?;
    let names = targets
        .iter()
        .filter(|target| target["kind"][0] == "test")
        .filter_map(|target| target["name"].as_str());
    Ok(names.filter(|name| name.starts_with(KERNEL_TESTS)).map(str::to_owned).collect())
}

/// How a job in the machine ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What came over the serial line.
    pub output: String,
    /// The job's exit code; the error says why there is none.
    pub status: Result<u8>,
    pub took: Duration,
}

/// Boots `kernel`, has it load every eBPF program through its verifier, and runs the tests that there are.
pub(crate) fn try_kernel(kernel: &Kernel, programs: &Programs) -> Result<Outcome> {
    let mut archive = Archive::default();
    archive.program("init", &programs.init)?;
    archive.program("job/netpol", &programs.netpol)?;
    let mut commands = "/job/netpol\nverify-programs\n".to_owned();
    for (name, test) in &programs.tests {
        archive.program(&format!("job/{name}"), test)?;
        commands.push_str(&format!("\n/job/{name}\n--include-ignored\n--test-threads=1\n"));
    }
    archive.file("job/commands", commands.as_bytes());
    for (position, module) in kernel.modules.iter().enumerate() {
        let name = module.file_name().context("a module without a name")?.to_string_lossy();
        archive.program(&format!("modules/{position:02}-{name}"), module)?;
    }
    let folder = project::target_folder("vm");
    let initrd = folder.join(format!("initrd-{}", kernel.series.name));
    std::fs::write(&initrd, archive.finish())
        .with_context(|| format!("cannot write {}", initrd.display()))?;
    let start = Instant::now();
    let (output, status) = machine::boot(&kernel.image, &initrd)?;
    Ok(Outcome { output, status, took: start.elapsed() })
}

/// What the job itself wrote, without the kernel's own lines around it.
pub(crate) fn job_output(console: &str) -> &str {
    // The marks are those of the program `init` in package netpol-vm.
    let inner = console.split_once(netpol_vm_marks::BEGIN).map_or(console, |(_, rest)| rest);
    inner.split_once(netpol_vm_marks::END).map_or(inner, |(inner, _)| inner).trim_matches('\n')
}

/// Whether the job's output says that every program passed the verifier.
pub(crate) fn has_loaded(job: &str) -> bool {
    job.lines().any(|line| line == netpol_vm_marks::LOADED)
}

/// Lines between which `init` runs the job.
mod netpol_vm_marks {
    pub(super) const BEGIN: &str = "netpol-vm: job begins";
    pub(super) const LOADED: &str = "netpol-vm: /job/netpol ended with 0";
    pub(super) const END: &str = "netpol-vm: job ends";
}
