//! The binary as it is shipped: static, and the same wherever it was built.
//!
//! It is linked to glibc, whose allocator the agent's figures were measured with, on every machine: its own resolver reads
//! `/etc/hosts` and asks the name servers of `/etc/resolv.conf` without loading anything. No path of the building machine
//! is in it: where sources stand is written as one place for all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::setup::Ebpf;
use crate::{process, project};

/// A processor that netpol is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    /// x86-64
    Amd64,
    /// 64-bit ARM
    Arm64,
}

impl Arch {
    /// This machine's.
    pub(crate) fn host() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => bail!("netpol is not built for {other}, only for x86_64 and aarch64"),
        }
    }

    /// What Go and container images call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What Rust calls a Linux on it.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The C compiler that builds for it elsewhere, which Debian has in a package called `gcc-` and this without `-gcc`.
    pub(crate) const fn cross_compiler(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu-gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }
}

/// A build of the shipped binary.
#[derive(Debug)]
pub(crate) struct Shipped {
    arch: Arch,
    sources: PathBuf,
    target: PathBuf,
}

impl Shipped {
    /// Of these sources, where all other builds go.
    pub(crate) fn here(arch: Arch) -> Self {
        Self { arch, sources: project::root().to_owned(), target: project::target_folder("static") }
    }

    /// Of a copy of the sources, in a folder of its own.
    pub(crate) fn elsewhere(arch: Arch, folder: &Path) -> Result<Self> {
        let sources = folder.join("sources");
        project::copy_sources(&sources)?;
        Ok(Self { arch, sources, target: folder.join("target") })
    }

    /// Builds it, and returns its path.
    pub(crate) fn build(&self, ebpf: &Ebpf) -> Result<PathBuf> {
        let mut cargo = project::cargo();
        ebpf.prepare(&mut cargo);
        let target = self.arch.target();
        cargo
            .args(["build", "--locked", "--profile", "shipped", "--target", target, "--target-dir"])
            .arg(&self.target)
            .current_dir(&self.sources)
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags()?);
        if self.arch != Arch::host()? {
            let name = target.replace('-', "_");
            cargo
                .env(format!("CC_{name}"), self.arch.cross_compiler())
                .env(format!("CARGO_TARGET_{}_LINKER", name.to_uppercase()), self.arch.cross_compiler());
        }
        let binary = project::executable(&mut cargo, "netpol-agent", "netpol")
            .with_context(|| format!("cannot build netpol as it is shipped for {}", self.arch.name()))?;
        let bytes = fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
        if wants_a_loader(&bytes).with_context(|| format!("{} is no program", binary.display()))? {
            bail!("{} is not static: it names a loader of libraries", binary.display());
        }
        Ok(binary)
    }

    /// Flags of the compiler: static, and each place of this machine under a name that is everybody's. The last that fits
    /// counts.
    fn flags(&self) -> Result<String> {
        let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
        let places = [
            (toolchain()?.join("lib/rustlib/src/rust"), "/rust"),
            (cargo_home()?, "/cargo"),
            (self.sources.clone(), "/netpol"),
            (self.target.clone(), "/netpol/target"),
        ];
        for (place, name) in places {
            let place = place.to_str().context("the path of the workspace is not UTF-8")?;
            flags.push(format!("--remap-path-prefix={place}={name}"));
        }
        Ok(flags.join("\x1f"))
    }
}

/// Where the compiler is installed.
fn toolchain() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = std::process::Command::new(rustc);
    command.args(["--print", "sysroot"]).current_dir(project::root());
    Ok(process::read(&mut command)?.trim().into())
}

/// Where cargo keeps the sources of other crates.
fn cargo_home() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .context("neither CARGO_HOME nor HOME is set")
}

/// Whether an ELF program of 64 bits names an interpreter, which loads libraries for it.
fn wants_a_loader(bytes: &[u8]) -> Option<bool> {
    const INTERPRETER: usize = 3;
    let number = |at: usize, length: usize| -> Option<usize> {
        let digits = bytes.get(at..at.checked_add(length)?)?;
        Some(digits.iter().rev().fold(0, |sum, digit| (sum << 8) | usize::from(*digit)))
    };
    // 64 bits, little end first.
    if bytes.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (first, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let kinds: Option<Vec<usize>> = (0..count).map(|index| number(first + index * size, 4)).collect();
    Some(kinds?.contains(&INTERPRETER))
}

#[cfg(test)]
mod tests {
    use super::wants_a_loader;

    /// A program with one segment.
    fn program(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[32], bytes[54], bytes[56], bytes[64]) = (64, 56, 1, kind);
        bytes
    }

    #[test]
    fn a_program_that_names_an_interpreter_is_not_static() {
        assert_eq!(wants_a_loader(&program(3)), Some(true));
        assert_eq!(wants_a_loader(&program(1)), Some(false));
        assert_eq!(wants_a_loader(&program(1)[..64]), None, "it is cut");
        assert_eq!(wants_a_loader(b"#!/bin/sh"), None);
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(wants_a_loader(&this), Some(true));
    }
}
