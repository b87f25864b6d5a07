//! `metadata`: which object this is.

use std::{borrow::Cow, sync::Arc};

use k8s_openapi::jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{
    document::{Document, Object},
    field::{Notes, Path, get, json_type, text},
    shown,
};
use crate::model::{Key, Kind, Labels};

/// The parts of `metadata` that decide something.
pub(super) struct Meta<'v> {
    pub(super) key: Key,
    pub(super) uid: Arc<str>,
    pub(super) labels: Labels,
    pub(super) annotations: Option<&'v Object<'v>>,
    /// Seconds since 1970, 0 when unknown.
    pub(super) created: i64,
    pub(super) terminating: bool,
}

/// The namespace of an object whose manifest names none.
const DEFAULT_NAMESPACE: &str = "default";

/// Reads `metadata`. `None` when the object has no name, which is noted; a policy gets one from its content instead, as it must not
/// be lost by that.
pub(super) fn read<'v>(document: &'v Document<'v>, kind: Kind, notes: &mut Notes) -> Option<Meta<'v>> {
    let path = Path::field_of_root("metadata");
    let empty = &Object::default();
    let metadata = document.get("metadata").and_then(Document::as_object).unwrap_or(empty);

    let namespace = if matches!(kind, Kind::Namespace | Kind::Node) {
        Cow::Borrowed("")
    } else {
        let namespace = scalar(get(metadata, "namespace"), &path.field("namespace"), notes);
        if namespace.is_empty() { DEFAULT_NAMESPACE.into() } else { namespace }
    };
    let name = get(metadata, "name");
    if name.and_then(Document::as_str).is_none_or(str::is_empty) {
        notes.object = Some(Key::new(&namespace, ""));
    }
    let mut name = scalar(name, &path.field("name"), notes);
    if name.is_empty() {
        let at = path.field("name");
        if kind != Kind::NetworkPolicy {
            notes.add(&at, "the object has no name: it is not used", "give it a name");
            return None;
        }
        name = name_from_content(document).into();
        notes.object = Some(Key::new(&namespace, &name));
        notes.add(
            &at,
            "the policy has no name: it is enforced under one made from its content",
            "give it a name",
        );
    }
    let key = Key::new(&namespace, &name);
    notes.object = Some(key.clone());

    let labels = labels(get(metadata, "labels"), &path.field("labels"), notes);
    Some(Meta {
        key,
        uid: text(metadata.get("uid"), &path.field("uid"), notes).into(),
        labels,
        annotations: document
            .get("metadata")
            .and_then(|all| all.get("annotations"))
            .and_then(Document::as_object),
        created: get(metadata, "creationTimestamp")
            .and_then(Document::as_str)
            .and_then(|time| time.parse::<Timestamp>().ok())
            .map_or(0, Timestamp::as_second),
        terminating: get(metadata, "deletionTimestamp").is_some(),
    })
}

/// Labels. A value that is no string (which the API server would refuse) counts as its text: a label left out could
/// take a pod out of a policy.
pub(super) fn labels(value: Option<&Document<'_>>, path: &Path<'_>, notes: &mut Notes) -> Labels {
    let map = match value {
        None => return Labels::new(),
        Some(Document::Object(map)) => map,
        Some(other) => {
            let message = format!("is {}, not labels: the object has none of them", json_type(other));
            notes.add(path, message, "write keys and values");
            return Labels::new();
        }
    };
    map.iter()
        .map(|(key, value)| (key.to_owned(), scalar(Some(value), &path.field(key), notes).into_owned()))
        .collect()
}

/// A text; numbers and booleans, which YAML makes of words without quotes, count as their text and are noted.
fn scalar<'v>(value: Option<&'v Document<'v>>, path: &Path<'_>, notes: &mut Notes) -> Cow<'v, str> {
    match value {
        None | Some(Document::Null) => Cow::Borrowed(""),
        Some(Document::String(text)) => Cow::Borrowed(text),
        Some(value @ (Document::Number(_) | Document::Bool(_))) => {
            let message = format!("is {}, not a string: its text {} is used", json_type(value), shown(value));
            notes.add(path, message, "put it in quotes");
            value.to_string().into()
        }
        Some(other) => {
            notes.add(
                path,
                format!("is {}, not a string: it counts as empty", json_type(other)),
                "write a string",
            );
            Cow::Borrowed("")
        }
    }
}

fn name_from_content(document: &Document<'_>) -> String {
    let prefix =
        document.get("metadata").and_then(|metadata| metadata.get("generateName")).and_then(Document::as_str);
    let digest = Sha256::digest(document.to_string());
    let number: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}{number}", prefix.unwrap_or("unnamed-"))
}
