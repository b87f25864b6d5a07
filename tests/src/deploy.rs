//! What `deploy/` makes: the objects of the Kustomize base and of the chart.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cluster::{KUBERNETES, program};
use crate::command;

/// The folder.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The objects that take down what agents have left on every node.
///
/// # Errors
/// When the file cannot be read.
pub fn uninstall() -> Result<String> {
    let file = folder().join("uninstall.yaml");
    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// The chart's.
#[must_use]
pub fn chart() -> PathBuf {
    folder().join("chart")
}

/// The objects of a folder of Kustomize.
///
/// # Errors
/// When there is no kubectl, or it finds the folder wrong.
pub fn kustomized(folder: &Path) -> Result<String> {
    command::read(&program("kubectl")?.to_string_lossy(), &["kustomize", &folder.to_string_lossy()])
}

/// The objects of the chart, with further flags of `helm template`.
///
/// # Errors
/// When there is no Helm, or it finds the values wrong.
pub fn rendered(flags: &[&str]) -> Result<String> {
    let chart = chart();
    let chart = chart.to_string_lossy();
    let fixed = ["template", "netpol", &chart, "--namespace", "kube-system", "--kube-version", KUBERNETES];
    command::read(&program("helm")?.to_string_lossy(), &[&fixed, flags].concat())
}
