//! Label selectors: matching, and one form for equal ones.

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
