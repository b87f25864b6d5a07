//! Label selectors.

use std::collections::BTreeSet;

use super::{
    document::Document,
    field::{Notes, Path, get, json_type, unknown_fields},
    shown,
};
use crate::model::{Requirement, Selector};

/// A selector that cannot be read; why is noted.
pub(super) struct Unreadable {
    /// The only reason is a field that is not known, which a newer API may have added to narrow it.
    pub(super) unknown_field: bool,
}

/// Reads a selector. `meaning` says in the notes what follows for traffic.
pub(super) fn read(
    value: &Document<'_>,
    path: &Path<'_>,
    notes: &mut Notes,
    meaning: &str,
) -> Result<Selector, Unreadable> {
    let mut bad = false;
    let mut unknown = false;
    let mut requirements = BTreeSet::new();

    let Document::Object(selector) = value else {
        notes.add(
            path,
            format!("is {}, not a label selector: {meaning}", json_type(value)),
            "write a label selector",
        );
        return Err(Unreadable { unknown_field: false });
    };
    let message = format!("this field of a label selector is not known and may narrow it: {meaning}");
    unknown |= unknown_fields(selector, &["matchLabels", "matchExpressions"], path, notes, &message);

    let labels_path = path.field("matchLabels");
    match get(selector, "matchLabels") {
        None => {}
        Some(Document::Object(labels)) => {
            for (key, value) in labels.iter() {
                if let Document::String(value) = value {
                    requirements.insert(Requirement::In(key.to_owned(), BTreeSet::from([value.to_string()])));
                } else {
                    bad = true;
                    let message = format!("the value is {}, not a string: {meaning}", json_type(value));
                    notes.add(&labels_path.field(key), message, "put it in quotes");
                }
            }
        }
        Some(other) => {
            bad = true;
            let message = format!("is {}, not keys and values: {meaning}", json_type(other));
            notes.add(&labels_path, message, "write keys and values");
        }
    }

    let path = path.field("matchExpressions");
    match get(selector, "matchExpressions") {
        None => {}
        Some(Document::Array(expressions)) => {
            for (index, expression) in expressions.iter().enumerate() {
                match requirement(expression, &path.index(index), notes, meaning) {
                    Ok(requirement) => _ = requirements.insert(requirement),
                    Err(Unreadable { unknown_field: true }) => unknown = true,
                    Err(Unreadable { unknown_field: false }) => bad = true,
                }
            }
        }
        Some(other) => {
            bad = true;
            notes.add(&path, format!("is {}, not a list: {meaning}", json_type(other)), "write a list");
        }
    }
    if bad || unknown {
        return Err(Unreadable { unknown_field: unknown });
    }
    Ok(Selector(requirements.into_iter().collect()))
}

fn requirement(
    value: &Document<'_>,
    path: &Path<'_>,
    notes: &mut Notes,
    meaning: &str,
) -> Result<Requirement, Unreadable> {
    const BAD: Unreadable = Unreadable { unknown_field: false };
    let Document::Object(expression) = value else {
        let message = format!("is {}, not an expression: {meaning}", json_type(value));
        notes.add(path, message, "write key, operator and values");
        return Err(BAD);
    };
    let message = format!("this field of an expression is not known and may narrow it: {meaning}");
    if unknown_fields(expression, &["key", "operator", "values"], path, notes, &message) {
        return Err(Unreadable { unknown_field: true });
    }
    let Some(key) = get(expression, "key").and_then(Document::as_str).filter(|key| !key.is_empty()) else {
        notes.add(&path.field("key"), format!("the expression has no key: {meaning}"), "name the label");
        return Err(BAD);
    };
    let values_path = path.field("values");
    let mut values = BTreeSet::new();
    match get(expression, "values") {
        None => {}
        Some(Document::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                let Document::String(item) = item else {
                    let message = format!("is {}, not a string: {meaning}", json_type(item));
                    notes.add(&values_path.index(index), message, "put it in quotes");
                    return Err(BAD);
                };
                values.insert(item.to_string());
            }
        }
        Some(other) => {
            let message = format!("is {}, not a list: {meaning}", json_type(other));
            notes.add(&values_path, message, "write a list of strings");
            return Err(BAD);
        }
    }
    let operator = get(expression, "operator");
    let key = key.to_owned();
    match operator.and_then(Document::as_str) {
        Some("In") if !values.is_empty() => Ok(Requirement::In(key, values)),
        Some("NotIn") if !values.is_empty() => Ok(Requirement::NotIn(key, values)),
        Some("Exists") if values.is_empty() => Ok(Requirement::Exists(key)),
        Some("DoesNotExist") if values.is_empty() => Ok(Requirement::DoesNotExist(key)),
        Some(operator @ ("In" | "NotIn")) => {
            notes.add(
                &values_path,
                format!("{operator} has no values: {meaning}"),
                "name at least one value",
            );
            Err(BAD)
        }
        Some(operator @ ("Exists" | "DoesNotExist")) => {
            notes.add(
                &values_path,
                format!("{operator} takes no values: {meaning}"),
                "remove them, or use In or NotIn",
            );
            Err(BAD)
        }
        _ => {
            let message = match operator {
                None => format!("the expression has no operator: {meaning}"),
                Some(other) => format!("{} is no operator: {meaning}", shown(other)),
            };
            notes.add(&path.field("operator"), message, "use In, NotIn, Exists or DoesNotExist");
            Err(BAD)
        }
    }
}
