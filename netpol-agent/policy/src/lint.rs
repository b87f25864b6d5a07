//! What is right by the letter of the specification and hardly meant: rules that never match, selectors with a slip of
//! the pen, DNS forgotten, half-open pairs.
//!
//! Works on objects, like [`why`](crate::why), and asks [`spec`](crate::spec) whatever is asked of selectors, blocks and
//! ports. Files and lines are the caller's. Each check is a [`Check`] with a stable id and a function over the [`Scene`];
//! [`CHECKS`] lists them all. What the objects at hand cannot say is not guessed: where no pod of a namespace is known,
//! nothing is said about which of its pods a selector matches, and a note says that.
//!
//! Texts are safe to print: control characters of names are escaped when a finding is reported.

mod about;
mod blocks;
mod break_glass;
mod covered;
mod dns;
mod documents;
mod imply;
mod namespaces;
mod near;
mod pairs;
mod ports;
mod reach;
mod report;
mod rule;
mod rules;
mod scene;
mod selectors;
mod services;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    model::{Key, Kind},
    spec::Cluster,
};

pub use about::About;
pub use documents::{DUPLICATE_OBJECT, INVALID_OBJECT, UNREADABLE_FILE};
pub use report::{Finding, Outcome, Report};
use scene::Scene;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Hardly meant.
    Warning,
    /// Wrong: the API server refuses it, or it is not in force as it is written.
    Error,
}

impl Severity {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One kind of mistake.
#[derive(Debug)]
pub struct Check {
    /// Its stable name.
    pub id: &'static str,
    /// How bad it is, unless a finding says otherwise.
    pub severity: Severity,
    /// In a line.
    pub title: &'static str,
    /// What it means, why it matters, and when it is fine.
    pub explanation: &'static str,
    run: fn(&Scene<'_>, &mut Report),
}

/// Every check, in the order in which they are listed.
pub static CHECKS: [&Check; 32] = [
    &UNREADABLE_FILE,
    &INVALID_OBJECT,
    &DUPLICATE_OBJECT,
    &selectors::MATCHES_NOTHING,
    &selectors::CONTRADICTION,
    &selectors::NAMESPACE_NAME,
    &selectors::HOST_NETWORK,
    &rules::NEVER_MATCHES,
    &rules::IGNORED,
    &rules::IMPLIED_INGRESS,
    &covered::RULE,
    &covered::DUPLICATE,
    &ports::UNDECLARED,
    &ports::DIFFERS,
    &ports::OF_SERVICE,
    &services::BACKENDS_DIFFER,
    &dns::FORGOTTEN,
    &dns::UDP_ONLY,
    &dns::NODE_LOCAL,
    &blocks::TOO_BROAD,
    &blocks::SERVICE_RANGE,
    &blocks::POD_RANGE,
    &blocks::ONE_FAMILY,
    &pairs::HALF_OPEN,
    &namespaces::HALF_OPEN,
    &namespaces::NO_DEFAULT_DENY,
    &namespaces::NO_POLICY,
    &namespaces::MISSPELT,
    &break_glass::SET,
    &documents::UNDOCUMENTED,
    &documents::NO_NAMESPACE,
    &documents::UNKNOWN_ID,
];

/// The check of an id.
#[must_use]
pub fn check(id: &str) -> Option<&'static Check> {
    CHECKS.into_iter().find(|check| check.id == id)
}

/// What is judged.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The objects, workloads' templates included.
    pub cluster: &'a Cluster,
    /// What manifests say beside that.
    pub about: &'a BTreeMap<(Kind, Key), About>,
    /// Ranges of ClusterIPs that are known beyond the Services at hand.
    pub service_ranges: &'a [IpNet],
}

/// Runs every check.
#[must_use]
pub fn lint(subject: &Subject<'_>) -> Outcome {
    let scene = Scene::new(subject);
    let mut report = Report::default();
    for check in CHECKS {
        (check.run)(&scene, &mut report);
    }
    scene.note_unknown(&mut report);
    report.into_outcome(subject.about)
}
