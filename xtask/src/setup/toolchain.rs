//! The Rust toolchain that compiles the eBPF programs: a compiler that takes `-Z build-std`, and the library's sources.
//!
//! Two ways, in this order: rustup's nightly, and the distribution's compiler. Neither can be had on every machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::distribution;
use super::report::Report;
use crate::process;

/// The LLVM that bpf-linker is built with. It reads bitcode of this version and of older ones, never of newer ones.
pub(crate) const LLVM_MAJOR: u32 = 22;

/// What the agent's build script takes where nothing else is said.
pub(crate) const DEFAULT: &str = "nightly";

/// What is installed where there is no usable `nightly`: the last one that the programs were built with. A nightly of
/// today may have a newer LLVM.
const PINNED_NIGHTLY: &str = "nightly-2026-05-20";

/// The name under which the distribution's compiler is linked into rustup.
const DISTRIBUTION: &str = "netpol-bpf";
const DISTRIBUTION_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// A download that takes longer than this is taken for one that hangs.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);

/// Chooses a toolchain, installs it if need be, and leaves its name in the cache for plain cargo builds. Returns the
/// name.
pub(crate) fn ensure(cache: &Path, report: &mut Report) -> Result<String> {
    let probe = find_or_install(cache, report)?;
    let note = cache.join("bpf-toolchain");
    if fs::read_to_string(&note).is_ok_and(|name| name.trim() == probe.name) {
        return Ok(probe.name);
    }
    fs::write(&note, format!("{}\n", probe.name))
        .with_context(|| format!("cannot write {}", note.display()))?;
    Ok(probe.name)
}

fn find_or_install(cache: &Path, report: &mut Report) -> Result<Probe> {
    const WHAT: &str = "eBPF toolchain";
    if process::find_on_path("rustup").is_none() {
        bail!("rustup is missing: install it as https://rustup.rs says, then run this again");
    }
    if let Some(name) = std::env::var("NETPOL_BPF_TOOLCHAIN").ok().filter(|name| !name.is_empty()) {
        let probe = Probe::of(&name).filter(Probe::is_complete).with_context(|| {
            format!("NETPOL_BPF_TOOLCHAIN={name} has no compiler, an LLVM newer than {LLVM_MAJOR}, or no library sources (rust-src)")
        })?;
        report.found(WHAT, &format!("{probe}, as NETPOL_BPF_TOOLCHAIN says"));
        return Ok(probe);
    }
    let mut without_sources = None;
    for name in [DEFAULT, PINNED_NIGHTLY, DISTRIBUTION] {
        match Probe::of(name) {
            Some(probe) if probe.is_complete() => {
                report.found(WHAT, &probe.to_string());
                return Ok(probe);
            }
            Some(probe) if probe.llvm <= LLVM_MAJOR && without_sources.is_none() && name != DISTRIBUTION => {
                without_sources = Some(name);
            }
            _ => {}
        }
    }
    report.install(WHAT, "by rustup, or else by the distribution", || {
        let by_rustup = match without_sources {
            Some(name) => rustup(&["component", "add", "rust-src", "--toolchain", name], name),
            None => {
                let install = [
                    "toolchain",
                    "install",
                    PINNED_NIGHTLY,
                    "--profile",
                    "minimal",
                    "--component",
                    "rust-src",
                    "--no-self-update",
                ];
                rustup(&install, PINNED_NIGHTLY)
            }
        };
        let probe = match by_rustup {
            Ok(probe) => probe,
            Err(error) => {
                println!("  rustup does not give it ({error:#}); trying the distribution's packages");
                by_distribution(cache).context(
                    "no way to an eBPF toolchain: rustup did not give one, and neither did the distribution",
                )?
            }
        };
        let detail = probe.to_string();
        Ok((probe, detail))
    })
}

fn rustup(arguments: &[&str], name: &str) -> Result<Probe> {
    // Without a backtrace: when rustup cannot download, its one line says it all.
    process::run(process::with_limit("rustup", DOWNLOAD_LIMIT).args(arguments).env_remove("RUST_BACKTRACE"))?;
    Probe::of(name)
        .filter(Probe::is_complete)
        .with_context(|| format!("rustup installed {name}, but it does not work"))
}

/// The distribution's compiler under a name of ours. It is wrapped rather than linked as it is, so that
/// `RUSTC_BOOTSTRAP` is set for the eBPF programs and for nothing else.
fn by_distribution(cache: &Path) -> Result<Probe> {
    if !distribution::offers(DISTRIBUTION_PACKAGES) {
        bail!("the package lists have no {}", DISTRIBUTION_PACKAGES.join(", "));
    }
    distribution::install(DISTRIBUTION_PACKAGES)?;
    let version = distribution::version("rustc-web").context("rustc-web is not installed")?;
    let bin = cache.join(format!("distribution-rust-{version}")).join("bin");
    let folder = bin.parent().unwrap_or(&bin);
    // rustup takes only a folder with a `lib`. An empty one: it is put on the search path of libraries.
    for needed in [&bin, &folder.join("lib")] {
        fs::create_dir_all(needed).with_context(|| format!("cannot create {}", needed.display()))?;
    }
    for program in ["rustc", "cargo", "rustdoc"] {
        let file = bin.join(program);
        fs::write(&file, format!("#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec /usr/bin/{program} \"$@\"\n"))
            .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    process::run(Command::new("rustup").args(["toolchain", "link", DISTRIBUTION]).arg(folder))?;
    Probe::of(DISTRIBUTION).filter(Probe::is_complete).context(
        "the distribution's compiler is installed, but rustup cannot run it with its library's sources",
    )
}

/// What a toolchain says about itself.
#[derive(Debug)]
struct Probe {
    name: String,
    release: String,
    llvm: u32,
    sysroot: PathBuf,
}

impl Probe {
    /// Asks the compiler of a toolchain; `None` when there is none that starts.
    fn of(name: &str) -> Option<Self> {
        // rustup must not download one behind our back: that is a step of its own, which says what it does.
        let rustc = |arguments: &[&str]| {
            let mut rustc = Command::new("rustup");
            rustc.args(["run", name, "rustc"]).args(arguments).env("RUSTUP_AUTO_INSTALL", "0");
            process::read(&mut rustc).ok()
        };
        Self::parse(name, &rustc(&["-vV"])?, &rustc(&["--print", "sysroot"])?)
    }

    fn parse(name: &str, text: &str, sysroot: &str) -> Option<Self> {
        let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let llvm = field("LLVM version:")?.split('.').next()?.parse().ok()?;
        let release = field("release:")?.to_owned();
        Some(Self { name: name.to_owned(), release, llvm, sysroot: PathBuf::from(sysroot.trim()) })
    }

    /// Whether it has the library's sources, and an LLVM that bpf-linker can read.
    fn is_complete(&self) -> bool {
        self.llvm <= LLVM_MAJOR && self.sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} (rustc {}, LLVM {})", self.name, self.release, self.llvm)
    }
}

#[cfg(test)]
mod tests {
    use super::Probe;

    #[test]
    fn a_compilers_own_words_are_understood() {
        let text = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n\
                    release: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        let probe = Probe::parse("nightly", text, "/opt/toolchain\n").unwrap();
        assert_eq!((probe.llvm, probe.release.as_str()), (22, "1.97.0-nightly"));
        assert_eq!(probe.sysroot.to_str(), Some("/opt/toolchain"));
        assert!(!probe.is_complete(), "there are no sources in that folder");
    }
}
