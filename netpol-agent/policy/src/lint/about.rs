//! What a manifest says that decides nothing about traffic: for the checks only, so that the objects which the engine
//! compares stay free of it.

use std::collections::BTreeSet;

use netpol_common::Direction;
use serde_json::Value;

/// The annotation that names the checks which are not to be reported for an object.
pub(super) const IGNORE: &str = "netpol.io/lint-ignore";
/// Names of annotations that document an object, whatever prefix they have; `kubernetes.io/description` is the one that
/// Kubernetes defines.
const DOCUMENTS: [&str; 3] = ["description", "documentation", "docs"];

/// What one object's manifest says beside what decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// An annotation documents the object.
    pub documented: bool,
    /// Ids of checks that are not to be reported for it.
    pub ignored: BTreeSet<String>,
    /// `metadata.namespace` is there.
    pub namespace_written: bool,
    /// `spec.policyTypes` is there and not empty.
    pub types_written: bool,
    /// By [`Direction::index`]: there are rules of the direction, in force or not.
    pub has_rules: [bool; 2],
}

impl About {
    /// Of an object's manifest.
    #[must_use]
    pub fn of(document: &Value) -> Self {
        let annotations = document.pointer("/metadata/annotations").and_then(Value::as_object);
        let text = |value: &Value| value.as_str().map(str::trim).unwrap_or_default().to_owned();
        let documented = annotations.is_some_and(|all| {
            all.iter().any(|(key, value)| {
                let name = key.rsplit_once('/').map_or(key.as_str(), |(_, name)| name);
                DOCUMENTS.contains(&name) && !text(value).is_empty()
            })
        });
        let ignored = annotations
            .and_then(|all| all.get(IGNORE))
            .map(text)
            .unwrap_or_default()
            .split([',', ' ', '\n'])
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .collect();
        let list =
            |pointer| document.pointer(pointer).and_then(Value::as_array).is_some_and(|l| !l.is_empty());
        Self {
            documented,
            ignored,
            namespace_written: document
                .pointer("/metadata/namespace")
                .and_then(Value::as_str)
                .is_some_and(|namespace| !namespace.is_empty()),
            types_written: list("/spec/policyTypes"),
            has_rules: Direction::ALL.map(|direction| match direction {
                Direction::Ingress => list("/spec/ingress"),
                Direction::Egress => list("/spec/egress"),
            }),
        }
    }
}
