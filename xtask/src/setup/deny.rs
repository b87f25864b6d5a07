//! cargo-deny, which judges the licences and sources of what the project depends on.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::linker::cargo_install;
use super::report::Report;
use crate::process;

const VERSION: &str = "0.20.2";

/// The program on the `PATH` as it is, or the one of the cache folder, compiled if need be.
pub(crate) fn ensure(cache: &Path, report: &mut Report) -> Result<PathBuf> {
    let folder = cache.join(format!("cargo-deny-{VERSION}"));
    let candidates = process::find_on_path("cargo-deny").into_iter().chain([folder.join("bin/cargo-deny")]);
    for program in candidates {
        if let Ok(version) = process::read(Command::new(&program).arg("--version")) {
            report.found("cargo-deny", &format!("{} in {}", version.trim(), program.display()));
            return Ok(program);
        }
    }
    report.install("cargo-deny", "compiles two to four minutes", || {
        process::run(&mut cargo_install("cargo-deny", VERSION, &folder)).with_context(|| {
            format!("cannot install cargo-deny {VERSION}: put a prebuilt one on the PATH, or see above why it does not compile")
        })?;
        let program = folder.join("bin/cargo-deny");
        Ok((program.clone(), format!("{VERSION} in {}", program.display())))
    })
}
