//! Manifests judged by [`netpol_policy::lint`], each finding with its file and line.
//!
//! What the reader of objects says of them is a finding too, and so is an object that stands in two places. [`text`] and
//! [`sarif`] write findings; who asked, and what follows for the exit code, is the command line's.

pub mod sarif;
pub mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use netpol_policy::{
    lint::{
        self, About, Check, DUPLICATE_OBJECT, Finding, INVALID_OBJECT, Severity, Subject, UNREADABLE_FILE,
    },
    model::{Key, Kind, Object, Pod, Problem},
    read::{Read, read_document},
    spec::Cluster,
    why::escaped,
};
use serde::Serialize;

use crate::sources::manifests::{
    document::Document,
    file::{File, read_all},
};

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

/// Judges all manifests of folders or files together.
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

/// Where an object stands.
struct Place<'f> {
    file: &'f Path,
    document: &'f Document,
}

/// What the files hold together.
#[derive(Default)]
struct Gathered<'f> {
    objects: Vec<Object>,
    templates: Vec<Pod>,
    about: BTreeMap<(Kind, Key), About>,
    places: BTreeMap<(Kind, Key), Place<'f>>,
    findings: Vec<Placed>,
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

/// A finding that the checks did not make themselves.
fn finding(check: &'static Check, message: &str, why: &str, fix: &str) -> Finding {
    Finding {
        id: check.id,
        severity: check.severity,
        kind: Kind::NetworkPolicy,
        key: Key::new("", ""),
        field: String::new(),
        message: escaped(message),
        why: escaped(why),
        fix: escaped(fix),
    }
}

impl<'f> Gathered<'f> {
    fn add(&mut self, file: &'f Path, document: &'f Document) {
        for read in read_document(&document.value) {
            for problem in read.problems() {
                self.findings.push(placed_problem(file, document, problem));
            }
            match read {
                Read::Object { object, .. } => {
                    if self.claim((object.kind(), object.key()), file, document) {
                        self.objects.push(object);
                    }
                }
                Read::Template { pod, .. } => {
                    if self.claim((Kind::Pod, pod.key.clone()), file, document) {
                        self.templates.push(pod);
                    }
                }
                // Whom it selects is not known: what is wrong with it is all there is to say.
                Read::SelectorUnreadable { .. } | Read::Skipped { .. } | Read::Unreadable { .. } => {}
            }
        }
    }

    /// Notes where an object stands, unless it stands somewhere already.
    fn claim(&mut self, id: (Kind, Key), file: &'f Path, document: &'f Document) -> bool {
        if let Some(first) = self.places.get(&id) {
            let place = format!("{}:{}", first.file.display(), first.document.line);
            let found = finding(
                &DUPLICATE_OBJECT,
                &format!("the object stands in {place} too; that one is judged"),
                "only one of them can be in force, and which depends on the order in which they are applied",
                "remove one of them",
            );
            self.findings.push(Placed {
                file: file.to_owned(),
                line: document.line,
                kind: written_kind(document, id.0),
                object: escaped(&id.1.to_string()),
                finding: found,
            });
            return false;
        }
        self.about.insert(id.clone(), About::of(&document.value));
        self.places.insert(id, Place { file, document });
        true
    }

    fn conclude(
        mut self,
        files: usize,
        service_ranges: &[IpNet],
        allowed: &BTreeSet<&'static str>,
    ) -> Linted {
        let policies = self.objects.iter().filter(|object| object.kind() == Kind::NetworkPolicy).count();
        let cluster = Cluster::new(&self.objects, "").with_templates(self.templates);
        let outcome = lint::lint(&Subject { cluster: &cluster, about: &self.about, service_ranges });
        for finding in outcome.findings {
            let id = (finding.kind, finding.key.clone());
            // A finding is about an object that is there, so its place is known.
            let Some(place) = self.places.get(&id) else { continue };
            self.findings.push(Placed {
                file: place.file.to_owned(),
                line: place.document.line_of(&finding.field),
                kind: written_kind(place.document, finding.kind),
                object: escaped(&finding.key.to_string()),
                finding,
            });
        }
        let before = self.findings.len();
        let mut findings = self.findings;
        findings.retain(|placed| !allowed.contains(placed.finding.id));
        let suppressed = outcome.suppressed + before - findings.len();
        findings.sort_by(|a, b| {
            let order = |placed: &Placed| (placed.line, std::cmp::Reverse(placed.finding.severity));
            a.file.cmp(&b.file).then_with(|| order(a).cmp(&order(b)))
        });
        let count = |severity| findings.iter().filter(|one| one.finding.severity == severity).count();
        let summary = Summary {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            infos: count(Severity::Info),
            suppressed,
            policies,
            files,
        };
        Linted { findings, notes: outcome.notes, summary }
    }
}

/// The kind as the manifest writes it: a pod's template is of a workload.
fn written_kind(document: &Document, kind: Kind) -> String {
    let written = document.value.get("kind").and_then(serde_json::Value::as_str);
    escaped(written.unwrap_or(kind.name()))
}

fn placed_problem(file: &Path, document: &Document, problem: &Problem) -> Placed {
    let Problem { kind, object, field, message, remedy } = problem;
    let mut found = finding(
        &INVALID_OBJECT,
        message,
        "the API server refuses such an object or drops the field; netpol lets nothing through that it cannot read",
        remedy,
    );
    found.field = escaped(field);
    Placed {
        file: file.to_owned(),
        line: document.line_of(field),
        kind: escaped(kind),
        object: escaped(&object.to_string()),
        finding: found,
    }
}

#[cfg(test)]
mod tests;
