//! Where the project's files, the build's output and the cache are, and how cargo is called on them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    // Cargo gives the folder of this crate at compile time; the workspace is its parent.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A folder below the build's output, for builds that must not disturb the usual one.
pub(crate) fn target_folder(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join(name)
}

/// `${XDG_CACHE_HOME:-$HOME/.cache}/netpol`: tools and kernels, each in a folder `<name>-<version>`.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => match std::env::var_os("HOME").filter(|folder| !folder.is_empty()) {
            Some(home) => PathBuf::from(home).join(".cache"),
            None => bail!("no folder to keep tools in: set HOME or XDG_CACHE_HOME"),
        },
    };
    let cache = base.join("netpol");
    std::fs::create_dir_all(&cache)
        .with_context(|| format!("cannot create the folder {}", cache.display()))?;
    Ok(cache)
}

/// Copies what git knows of the workspace, or would take, to another folder.
pub(crate) fn copy_sources(folder: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let listed = crate::process::read(&mut git).context("git must know which files are sources")?;
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    for name in listed.split_terminator('\0') {
        let (from, to) = (root().join(name), folder.join(name));
        // One that was removed and is not committed yet is still listed.
        if from.exists() {
            std::fs::create_dir_all(to.parent().unwrap_or(folder))
                .and_then(|()| std::fs::copy(&from, &to))
                .with_context(|| format!("cannot copy {name} to {}", folder.display()))?;
        }
    }
    Ok(())
}

/// The workspace's version.
pub(crate) fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The cargo that runs this program, in the workspace's folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What cargo tells this program about xtask itself must not reach the crates that are built next: build scripts
    // would be run again whenever a command is called in another way.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a `cargo build` and returns the executables that it made, as (name of the target, path).
pub(crate) fn executables(build: &mut Command) -> Result<Vec<(String, PathBuf)>> {
    let mut child = build
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no standard output")?;
    let mut found = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what cargo says")?;
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        if let (Some(path), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str())
        {
            found.push((name.to_owned(), PathBuf::from(path)));
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("the build failed; what the compiler said stands above");
    }
    Ok(found)
}

/// The executable `binary` of `package`, built by `build` (which already carries profile and target).
pub(crate) fn executable(build: &mut Command, package: &str, binary: &str) -> Result<PathBuf> {
    executables(build.args(["--package", package, "--bin", binary]))?
        .into_iter()
        .find_map(|(name, path)| (name == binary).then_some(path))
        .with_context(|| format!("cargo built package {package} without a binary named {binary}"))
}

/// What `cargo metadata` says about the workspace's members, without their dependencies' own.
pub(crate) fn metadata(arguments: &[&str]) -> Result<Value> {
    let text = crate::process::read(
        cargo().args(["metadata", "--format-version", "1", "--no-deps"]).args(arguments),
    )?;
    serde_json::from_str(&text).context("cannot read what `cargo metadata` says")
}
