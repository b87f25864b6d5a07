//! Debian's package manager, without questions. Knows packages by name only.

use std::cell::Cell;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::rights;
use crate::process;

thread_local! {
    /// Package lists are fetched at most once in a run.
    static UPDATED: Cell<bool> = const { Cell::new(false) };
}

/// Installs packages. Without apt or root the error says what to install.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let wanted = packages.join(" ");
    if process::find_on_path("apt-get").is_none() {
        bail!("there is no apt-get here: install what Debian calls {wanted}, then run this again");
    }
    if !rights::is_root()? {
        bail!(
            "installing packages needs root: run `apt-get install --no-install-recommends {wanted}` as root, then this again"
        );
    }
    // Lists that are there may be recent enough; fetching them takes seconds to minutes.
    if UPDATED.get() || process::read(&mut apt_get_install(packages)).is_err() {
        update()?;
        process::read(&mut apt_get_install(packages))
            .with_context(|| format!("cannot install the packages {wanted}"))?;
    }
    Ok(())
}

/// Whether the package lists offer every one of these packages.
pub(crate) fn offers(packages: &[&str]) -> bool {
    let known = || {
        packages.iter().all(|package| {
            process::read(Command::new("apt-cache").args(["show", "--no-all-versions", package])).is_ok()
        })
    };
    process::find_on_path("apt-cache").is_some() && (known() || (update().is_ok() && known()))
}

/// The version of an installed package.
pub(crate) fn version(package: &str) -> Option<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Status} ${Version}", package]);
    process::read(&mut query).ok()?.strip_prefix("installed ").map(str::to_owned)
}

fn update() -> Result<()> {
    if UPDATED.replace(true) {
        return Ok(());
    }
    process::read(Command::new("apt-get").args(["-q", "update"]))
        .map(drop)
        .context("cannot fetch the package lists: is there a network, and are the sources of apt right?")
}

fn apt_get_install(packages: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args([
            "install",
            "-q",
            "-y",
            "--no-install-recommends",
            "-o",
            "Dpkg::Use-Pty=0",
            "-o",
            "DPkg::Lock::Timeout=300",
        ])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}
