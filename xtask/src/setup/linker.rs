//! bpf-linker, which turns LLVM bitcode into the eBPF object.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::distribution;
use super::report::Report;
use super::toolchain::LLVM_MAJOR;
use crate::{process, project};

const VERSION: &str = "0.13.0";

/// The linker on the `PATH` as it is, or the one of the cache folder, compiled if need be.
pub(crate) fn ensure(cache: &Path, report: &mut Report) -> Result<PathBuf> {
    let folder = cache.join(format!("bpf-linker-{VERSION}"));
    let candidates = process::find_on_path("bpf-linker").into_iter().chain([folder.join("bin/bpf-linker")]);
    for linker in candidates {
        // Started and not only looked for: it needs LLVM's shared library.
        if let Ok(version) = process::read(Command::new(&linker).arg("--version")) {
            report.found("bpf-linker", &format!("{} in {}", version.trim(), linker.display()));
            return Ok(linker);
        }
    }
    report.install("bpf-linker", "compiles one to three minutes", || {
        let llvm = format!("/usr/lib/llvm-{LLVM_MAJOR}");
        if !Path::new(&llvm).join("bin/llvm-config").exists() {
            let llvm_package = format!("llvm-{LLVM_MAJOR}-dev");
            distribution::install(&[&llvm_package, "zlib1g-dev", "libzstd-dev"])?;
        }
        let features = format!("llvm-{LLVM_MAJOR}");
        let mut install = cargo_install("bpf-linker", VERSION, &folder);
        install.args(["--no-default-features", "--features", &features]).env("LLVM_PREFIX", llvm);
        process::run(&mut install).with_context(|| {
            format!("cannot install bpf-linker {VERSION}: put a prebuilt one on the PATH, or see above why it does not compile")
        })?;
        let linker = folder.join("bin/bpf-linker");
        let version = process::read(Command::new(&linker).arg("--version"))?;
        Ok((linker.clone(), format!("{} in {}", version.trim(), linker.display())))
    })
}

/// `cargo install` of one program into a folder of the cache, with the versions that its authors locked.
pub(crate) fn cargo_install(program: &str, version: &str, folder: &Path) -> Command {
    let mut command = project::cargo();
    command
        .args(["install", program, "--version", version, "--locked", "--force", "--root"])
        .arg(folder)
        // Settings for building netpol are not meant for building tools.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    command
}
