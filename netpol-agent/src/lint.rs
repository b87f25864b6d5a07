//! Manifests judged by [`netpol_policy::lint`], each finding with its file and line.
//!
//! What the reader of objects says of them is a finding too, and so is an object that stands in two places. [`text`] and
//! [`sarif`] write findings; who asked, and what follows for the exit code, is the command line's.

mod gathered;
pub mod sarif;
pub mod text;

use std::{
    collections::BTreeSet,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use ipnet::IpNet;
use netpol_policy::lint::{Finding, UNREADABLE_FILE};
use serde::Serialize;

use self::gathered::{Gathered, finding};
use crate::sources::manifests::file::{File, read_all};

/// A finding in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
    /// The file, relative to the working directory if it was asked for like that.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: u64,
    /// The kind of the object, as the manifest writes it; empty for a whole file.
    pub kind: String,
    /// Namespace and name.
    pub object: String,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
}

/// How much was found, and in how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Findings that are errors.
    pub errors: usize,
    /// Findings that are warnings.
    pub warnings: usize,
    /// Findings that are only worth knowing.
    pub infos: usize,
    /// Findings that an annotation or `--allow` keeps back.
    pub suppressed: usize,
    /// Policies that were judged.
    pub policies: usize,
    /// Files that were read.
    pub files: usize,
}

/// All that is to be said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Linted {
    /// In the order of files and lines.
    pub findings: Vec<Placed>,
    /// What could not be judged, and why.
    pub notes: Vec<String>,
    /// How much.
    pub summary: Summary,
}

/// What stands for the standard input among the folders.
const STDIN: &str = "-";

/// Judges all manifests of folders or files together; `-` is the standard input.
///
/// # Errors
/// When one of them is not there, or holds no manifest.
pub fn run(
    roots: &[PathBuf],
    service_ranges: &[IpNet],
    allowed: &BTreeSet<&'static str>,
) -> anyhow::Result<Linted> {
    let mut files = Vec::new();
    for root in roots {
        if root.as_os_str() == STDIN {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes).context("cannot read the standard input")?;
            files.push(File::of_bytes(Path::new("stdin"), &bytes));
            continue;
        }
        let found = read_all(&shortened(root))?;
        anyhow::ensure!(
            !found.is_empty(),
            "{} holds no manifest: no file of it ends in .yaml, .yml or .json",
            root.display()
        );
        files.extend(found);
    }
    Ok(judge(&files, service_ranges, allowed))
}

/// As people would write it: below the working directory without it, and without a dot in front.
fn shortened(root: &Path) -> PathBuf {
    let below =
        std::env::current_dir().ok().and_then(|here| root.strip_prefix(here).ok().map(Path::to_owned));
    let path = below.unwrap_or_else(|| root.to_owned());
    match path.strip_prefix(".") {
        Ok(rest) if !rest.as_os_str().is_empty() => rest.to_owned(),
        _ => path,
    }
}

/// Judges the documents of files.
#[must_use]
pub fn judge(files: &[File], service_ranges: &[IpNet], allowed: &BTreeSet<&'static str>) -> Linted {
    let mut gathered = Gathered::default();
    for file in files {
        match &file.documents {
            Ok(documents) => documents.iter().for_each(|document| gathered.add(&file.path, document)),
            Err(unreadable) => {
                let finding = finding(
                    &UNREADABLE_FILE,
                    &unreadable.message,
                    "nothing of the file counts, here and wherever it is applied",
                    "correct the file",
                );
                let (kind, object) = (String::new(), String::new());
                gathered.findings.push(Placed {
                    file: file.path.clone(),
                    line: unreadable.line,
                    kind,
                    object,
                    finding,
                });
            }
        }
    }
    gathered.conclude(files.len(), service_ranges, allowed)
}

#[cfg(test)]
mod tests;
