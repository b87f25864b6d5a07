//! Where Kubernetes' programs are.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// The version that is tested with; its programs are kept under it.
pub const VERSION: &str = "1.34.4";

/// A program of Kubernetes, or Helm: from the folder `KUBEBUILDER_ASSETS`, else from `NETPOL_KUBERNETES`, else from where
/// `cargo xtask setup` puts it.
///
/// # Errors
/// When it is in none of them.
pub fn find(program: &str) -> Result<PathBuf> {
    let folders = folders()?;
    for folder in &folders {
        let path = folder.join(program);
        if path.is_file() {
            return Ok(path);
        }
    }
    let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    bail!(
        "cannot find {program}, looked in {}: run `cargo xtask setup`, which builds it, or set KUBEBUILDER_ASSETS to a \
         folder that has it",
        looked.join(" and ")
    )
}

fn folders() -> Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = ["KUBEBUILDER_ASSETS", "NETPOL_KUBERNETES"]
        .into_iter()
        .filter_map(env::var_os)
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .collect();
    if env::var_os("NETPOL_KUBERNETES").is_none() {
        folders.push(cache()?.join(format!("kubernetes-{VERSION}")).join("bin"));
    }
    Ok(folders)
}

/// Where the project keeps its tools.
pub(super) fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("netpol"))
}
