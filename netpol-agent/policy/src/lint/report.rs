//! What was found.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{About, Check, Severity};
use crate::{
    model::{Key, Kind, Policy},
    why::escaped,
};

/// The object and the field that a finding is about.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub(super) kind: Kind,
    pub(super) key: Key,
    /// Empty for the object as a whole.
    pub(super) field: String,
}

impl At {
    /// A field of a policy.
    pub(super) fn policy(policy: &Policy, field: impl Into<String>) -> Self {
        Self { kind: Kind::NetworkPolicy, key: policy.key.clone(), field: field.into() }
    }
}

/// What is said of a finding.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// What there is.
    pub(super) what: String,
    /// What it means for traffic.
    pub(super) why: String,
    /// What to do.
    pub(super) fix: String,
}

impl Said {
    pub(super) fn new(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), fix: fix.into() }
    }
}

/// One mistake in one place. Texts are safe to print.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The [`Check`]'s id.
    pub id: &'static str,
    /// How bad it is here.
    pub severity: Severity,
    /// The kind of the object.
    #[serde(skip)]
    pub kind: Kind,
    /// The object.
    #[serde(skip)]
    pub key: Key,
    /// The path of the field, such as `spec.ingress[0].from[1]`; empty for the object as a whole.
    pub field: String,
    /// What there is.
    pub message: String,
    /// What it means for traffic.
    pub why: String,
    /// What to do.
    pub fix: String,
}

/// Collects findings while the checks run.
#[derive(Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
    notes: Vec<String>,
}

/// What all checks found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
    /// How many an object's own annotation keeps back.
    pub suppressed: usize,
    /// What could not be judged, and why.
    pub notes: Vec<String>,
}

impl Report {
    pub(super) fn add(&mut self, check: &'static Check, at: At, said: Said) {
        self.add_as(check, check.severity, at, said);
    }

    /// Reports with another severity than the check's own.
    pub(super) fn add_as(&mut self, check: &'static Check, severity: Severity, at: At, said: Said) {
        let At { kind, key, field } = at;
        let Said { what, why, fix } = said;
        self.findings.push(Finding {
            id: check.id,
            severity,
            kind,
            key,
            field: escaped(&field),
            message: escaped(&what),
            why: escaped(&why),
            fix: escaped(&fix),
        });
    }

    pub(super) fn note(&mut self, text: &str) {
        self.notes.push(escaped(text));
    }

    /// Whether a check has reported something of an object.
    pub(super) fn has(&self, id: &str, kind: Kind, key: &Key) -> bool {
        self.findings.iter().any(|one| one.id == id && one.kind == kind && one.key == *key)
    }

    pub(super) fn into_outcome(self, about: &BTreeMap<(Kind, Key), About>) -> Outcome {
        let ignored = |finding: &Finding| {
            about
                .get(&(finding.kind, finding.key.clone()))
                .is_some_and(|about| about.ignored.contains(finding.id))
        };
        let all = self.findings.len();
        let findings: Vec<Finding> = self.findings.into_iter().filter(|one| !ignored(one)).collect();
        Outcome { suppressed: all - findings.len(), findings, notes: self.notes }
    }
}
