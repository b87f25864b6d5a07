//! What builds the shipped binary for another processor: Rust's library for it by rustup, and a C compiler with a static C
//! library by the distribution.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::distribution;
use super::report::Report;
use crate::shipped::Arch;
use crate::{process, project};

/// A download that takes longer than this is taken for one that hangs.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);

/// Debian's packages for a processor.
const fn packages(arch: Arch) -> [&'static str; 2] {
    match arch {
        Arch::Amd64 => ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
        Arch::Arm64 => ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
    }
}

pub(crate) fn ensure(arch: Arch, report: &mut Report) -> Result<()> {
    if arch == Arch::host()? {
        return Ok(());
    }
    let what = format!("Rust for {}", arch.name());
    let mut installed = Command::new("rustup");
    installed.args(["target", "list", "--installed"]).current_dir(project::root());
    if process::read(&mut installed).is_ok_and(|list| list.lines().any(|line| line == arch.target())) {
        report.found(&what, arch.target());
    } else {
        report.install(&what, "by rustup", || {
            let mut add = process::with_limit("rustup", DOWNLOAD_LIMIT);
            add.args(["target", "add", arch.target()]).current_dir(project::root());
            process::run(&mut add).with_context(|| {
                format!(
                    "netpol cannot be built for {0} here: rustup does not give {0}'s library",
                    arch.name()
                )
            })?;
            Ok(((), arch.target().to_owned()))
        })?;
    }
    let compiler = arch.cross_compiler();
    if let Some(path) = process::find_on_path(compiler) {
        report.found(compiler, &path.display().to_string());
        return Ok(());
    }
    report.install(compiler, "by apt-get", || {
        distribution::install(&packages(arch)).with_context(|| {
            format!("netpol cannot be built for {} here: there is no {compiler}", arch.name())
        })?;
        Ok(((), packages(arch).join(", ")))
    })
}
