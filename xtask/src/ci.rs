//! `cargo xtask ci`: everything that is checked beside the tests, one line per check.

mod arrows;
mod chart;
mod deny;
mod documents;
mod members;
mod modules;

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::setup::{self, Ebpf, Needs, kubernetes::Extent};
use crate::{process, project};

/// Check everything but the tests: format, lints, licences, the arrows between crates, and more
///
/// Prints one line per check and exits with 0 only when all are fine. Installs cargo-deny when it is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// What a check came to when it did not fail.
pub(crate) enum Fine {
    /// All of it was checked; the text says how much.
    Checked(String),
    /// A part could not be checked here; the text says which and why.
    Partly(String),
}

pub(crate) fn run(_: &Arguments) -> Result<()> {
    let start = Instant::now();
    let kubernetes = Some(Extent::ControlPlane);
    let ready = setup::ensure(&Needs { build: true, deny: true, kubernetes, ..Needs::default() })?;
    let deny_program = ready.deny.as_ref().context("setup found no cargo-deny")?;
    let ebpf = &ready.ebpf;

    let mut checks = Checks::default();
    checks.run("toolchain", toolchain);
    checks.run("Cargo.lock", lock_file);
    checks.run("lints inherited", || members::inherit_lints(&members()?));
    checks.run("arrows", || arrows::check(&members()?));
    checks.run("modules", || modules::check(&members()?));
    checks.run("documents", documents::check);
    checks.run("format", format);
    checks.run("clippy", || clippy(ebpf));
    checks.run("eBPF programs", || programs(ebpf));
    checks.run("licences and sources", || deny::check(deny_program));
    checks.run("chart and manifests", || chart::check(&ready));
    checks.finish(start)
}

#[derive(Default)]
struct Checks {
    fine: usize,
    partly: Vec<&'static str>,
    failed: Vec<&'static str>,
}

impl Checks {
    fn run(&mut self, name: &'static str, check: impl FnOnce() -> Result<Fine>) {
        println!("-- {name}");
        let start = Instant::now();
        let outcome = check();
        let took = start.elapsed().as_secs_f64();
        match outcome {
            Ok(Fine::Checked(detail)) => {
                self.fine += 1;
                println!("ok      {name:<22} {took:>6.1} s  {detail}");
            }
            Ok(Fine::Partly(detail)) => {
                self.partly.push(name);
                println!("PARTLY  {name:<22} {took:>6.1} s  {detail}");
            }
            Err(error) => {
                self.failed.push(name);
                println!("FAILED  {name:<22} {took:>6.1} s  {error:#}");
            }
        }
    }

    fn finish(self, start: Instant) -> Result<()> {
        println!();
        println!(
            "ci: {} checks fine, {} in part{}, {} failed, {:.0} s",
            self.fine,
            self.partly.len(),
            if self.partly.is_empty() { String::new() } else { format!(" ({})", self.partly.join(", ")) },
            self.failed.len(),
            start.elapsed().as_secs_f64()
        );
        if !self.failed.is_empty() {
            bail!("these checks failed: {}", self.failed.join(", "));
        }
        Ok(())
    }
}

/// The workspace's members as `cargo metadata` tells them.
fn members() -> Result<Vec<Value>> {
    let metadata = project::metadata(&[])?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` names no packages")?;
    Ok(packages.clone())
}

/// The compiler in use is the one of `rust-toolchain.toml`.
fn toolchain() -> Result<Fine> {
    let file = project::root().join("rust-toolchain.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let pinned = text
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .map(|value| value.trim().trim_matches('"'))
        .context("rust-toolchain.toml has no line `channel = \"...\"`")?;
    // By way of cargo: its own compiler is what builds the project.
    let version = process::read(project::cargo().arg("--version"))?;
    if version.split(' ').nth(1) != Some(pinned) {
        bail!("{} is in use, but rust-toolchain.toml pins {pinned}: unset RUSTUP_TOOLCHAIN", version.trim());
    }
    Ok(Fine::Checked(pinned.to_owned()))
}

/// `Cargo.lock` fits the manifests, and git knows it.
fn lock_file() -> Result<Fine> {
    process::read(project::cargo().args(["metadata", "--format-version", "1", "--locked"]))
        .context("Cargo.lock does not fit the manifests: run `cargo check` and commit it")?;
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "--error-unmatch", "Cargo.lock"]).current_dir(project::root());
    process::read(&mut git).context("Cargo.lock is not in git: run `git add Cargo.lock`")?;
    Ok(Fine::Checked("up to date".to_owned()))
}

fn format() -> Result<Fine> {
    process::run(project::cargo().args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")?;
    Ok(Fine::Checked(String::new()))
}

fn clippy(ebpf: &Ebpf) -> Result<Fine> {
    // The tests on a cluster are not among all targets: a plain `cargo test` is not to run them.
    for targets in [&["--all-targets"][..], &["--package", "netpol-tests", "--test", "cluster"]] {
        let mut cargo = project::cargo();
        ebpf.prepare(&mut cargo);
        process::run(cargo.args(["clippy", "--locked"]).args(targets).args(["--", "-D", "warnings"]))?;
    }
    Ok(Fine::Checked("no warnings in any host crate".to_owned()))
}

/// The programs for the kernel, by the lints too where their toolchain has clippy.
fn programs(ebpf: &Ebpf) -> Result<Fine> {
    const TARGET: &str = "bpfel-unknown-none";
    let name = ebpf.toolchain_name().context("no eBPF toolchain was chosen")?;
    let mut version = std::process::Command::new("rustup");
    let has_clippy = process::succeeds(version.args(["run", name, "cargo", "clippy", "--version"]));
    let tool = if has_clippy { "clippy" } else { "check" };
    let mut cargo = std::process::Command::new("rustup");
    cargo
        .args(["run", name, "cargo", tool, "--locked", "--package", "netpol-ebpf", "--lib", "--bins"])
        .args(["--release", "-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(project::target_folder("ebpf-check"))
        .current_dir(project::root())
        // The toolchain that runs this program is not the one wanted here.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env("RUSTFLAGS", format!("-Dwarnings --cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH));
    if let Some(path) = ebpf.path() {
        cargo.env("PATH", path);
    }
    process::run(&mut cargo)?;
    Ok(Fine::Checked(format!("no warnings by {tool} of {name}")))
}
