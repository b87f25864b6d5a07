//! What files hold together: their objects, where each stands, and what is said of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use ipnet::IpNet;
use netpol_policy::{
    lint::{self, About, Check, DUPLICATE_OBJECT, Finding, INVALID_OBJECT, Severity, Subject},
    model::{Key, Kind, Object, Pod, Problem},
    read::{Read, read_document},
    spec::Cluster,
    why::escaped,
};

use super::{Linted, Placed, Summary};
use crate::sources::manifests::document::Document;

/// Where an object stands.
struct Place<'f> {
    file: &'f Path,
    document: &'f Document,
}

/// What the files hold together.
#[derive(Default)]
pub(super) struct Gathered<'f> {
    objects: Vec<Object>,
    templates: Vec<Pod>,
    about: BTreeMap<(Kind, Key), About>,
    places: BTreeMap<(Kind, Key), Place<'f>>,
    pub(super) findings: Vec<Placed>,
    /// Documents that are no objects of Kubernetes, such as the values of a chart.
    others: Vec<String>,
}

/// A finding that the checks did not make themselves.
pub(super) fn finding(check: &'static Check, message: &str, why: &str, fix: &str) -> Finding {
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
    /// Adds what a document says.
    pub(super) fn add(&mut self, file: &'f Path, document: &'f Document) {
        if !is_object(document) {
            self.others.push(format!("{}:{}", file.display(), document.line));
            return;
        }
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

    /// Runs the checks over everything.
    pub(super) fn conclude(
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
        let mut notes = outcome.notes;
        if let [first, rest @ ..] = self.others.as_slice() {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            let first = escaped(first);
            notes.push(format!(
                "{first}{more}: no object of Kubernetes, as it has no kind; it was not judged"
            ));
        }
        Linted { findings, notes, summary }
    }
}

/// Whether a document was meant as an object: other programs keep YAML beside the manifests.
fn is_object(document: &Document) -> bool {
    ["kind", "metadata", "spec"].iter().any(|field| document.value.get(field).is_some())
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
