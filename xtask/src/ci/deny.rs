//! Licences, sources, duplicates and known weaknesses of what the project depends on, by cargo-deny and `deny.toml`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Fine;
use crate::{process, project};

/// The database of advisories is a git repository of some megabytes.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn check(program: &Path) -> Result<Fine> {
    // Fetching is a step of its own, so that an unreachable database is not mistaken for a finding.
    let mut fetch = process::with_limit(program, FETCH_LIMIT);
    let fetched =
        process::succeeds(fetch.args(["--all-features", "fetch", "db"]).current_dir(project::root()));
    let mut check = Command::new(program);
    check
        .args(["--all-features", "--locked", "check", "--hide-inclusion-graph"])
        .current_dir(project::root());
    if fetched {
        process::run(check.args(["--disable-fetch", "advisories", "licenses", "bans", "sources"]))
            .context("see deny.toml and what cargo-deny says above")?;
        return Ok(Fine::Checked("with advisories".to_owned()));
    }
    process::run(check.args(["licenses", "bans", "sources"]))
        .context("see deny.toml and what cargo-deny says above")?;
    Ok(Fine::Partly("licences, bans and sources are fine; the database of advisories cannot be fetched from here, so advisories were NOT checked".to_owned()))
}
