//! Label selectors: matching, one form for equal ones, text.

use crate::model::{Labels, Requirement, Selector};

/// Whether all requirements hold.
pub(super) fn matches(selector: &Selector, labels: &Labels) -> bool {
    selector.0.iter().all(|requirement| match requirement {
        Requirement::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
        Requirement::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
        Requirement::Exists(key) => labels.contains_key(key),
        Requirement::DoesNotExist(key) => !labels.contains_key(key),
    })
}

/// The same requirements in one order, so that selectors that differ only in theirs are one.
pub(super) fn canonical(selector: &Selector) -> Selector {
    let mut requirements = selector.0.clone();
    requirements.sort();
    requirements.dedup();
    Selector(requirements)
}

/// As `kubectl` writes it.
pub(super) fn text(selector: &Selector) -> String {
    let parts: Vec<String> = selector
        .0
        .iter()
        .map(|requirement| match requirement {
            Requirement::In(key, values) if values.len() == 1 => {
                format!("{key}={}", values.first().map_or("", String::as_str))
            }
            Requirement::In(key, values) => format!("{key} in ({})", list(values)),
            Requirement::NotIn(key, values) => format!("{key} notin ({})", list(values)),
            Requirement::Exists(key) => key.clone(),
            Requirement::DoesNotExist(key) => format!("!{key}"),
        })
        .collect();
    parts.join(",")
}

fn list(values: &std::collections::BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}
