//! `metadata`: which object this is.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize as _;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{
    field::{Notes, Path, get, json_type, text},
    shown,
};
use crate::model::{Key, Kind, Labels};

/// The parts of `metadata` that decide something.
pub(super) struct Meta<'v> {
    pub(super) key: Key,
    pub(super) uid: Arc<str>,
    pub(super) labels: Labels,
    pub(super) annotations: Option<&'v Map<String, Value>>,
    /// Seconds since 1970, 0 when unknown.
    pub(super) created: i64,
    pub(super) terminating: bool,
}

/// The namespace of an object whose manifest names none.
const DEFAULT_NAMESPACE: &str = "default";

/// Reads `metadata`. `None` when the object has no name, which is noted; a policy gets one from its content instead, as it must not
/// be lost by that.
pub(super) fn read<'v>(document: &'v Value, kind: Kind, notes: &mut Notes) -> Option<Meta<'v>> {
    let path = Path::field_of_root("metadata");
    let empty = &Map::new();
    let metadata = document.get("metadata").and_then(Value::as_object).unwrap_or(empty);

    let namespace = if matches!(kind, Kind::Namespace | Kind::Node) {
        String::new()
    } else {
        let namespace = scalar(get(metadata, "namespace"), &path.field("namespace"), notes);
        if namespace.is_empty() { DEFAULT_NAMESPACE.to_owned() } else { namespace }
    };
    notes.object = Key::new(&namespace, "");
    let mut name = scalar(get(metadata, "name"), &path.field("name"), notes);
    if name.is_empty() {
        let at = path.field("name");
        if kind != Kind::NetworkPolicy {
            notes.add(&at, "the object has no name: it is not used", "give it a name");
            return None;
        }
        name = name_from_content(document);
        notes.object = Key::new(&namespace, &name);
        notes.add(
            &at,
            "the policy has no name: it is enforced under one made from its content",
            "give it a name",
        );
    }
    let key = Key::new(&namespace, &name);
    notes.object = key.clone();

    let labels = labels(get(metadata, "labels"), &path.field("labels"), notes);
    Some(Meta {
        key,
        uid: text(metadata.get("uid"), &path.field("uid"), notes).into(),
        labels,
        annotations: document
            .get("metadata")
            .and_then(|all| all.get("annotations"))
            .and_then(Value::as_object),
        created: get(metadata, "creationTimestamp")
            .and_then(|time| Time::deserialize(time).ok())
            .map_or(0, |Time(time)| time.as_second()),
        terminating: get(metadata, "deletionTimestamp").is_some(),
    })
}

/// Labels. A value that is no string (which the API server would refuse) counts as its text: a label left out could
/// take a pod out of a policy.
pub(super) fn labels(value: Option<&Value>, path: &Path<'_>, notes: &mut Notes) -> Labels {
    let map = match value {
        None => return Labels::new(),
        Some(Value::Object(map)) => map,
        Some(other) => {
            let message = format!("is {}, not labels: the object has none of them", json_type(other));
            notes.add(path, message, "write keys and values");
            return Labels::new();
        }
    };
    map.iter().map(|(key, value)| (key.clone(), scalar(Some(value), &path.field(key), notes))).collect()
}

/// A text; numbers and booleans, which YAML makes of words without quotes, count as their text and are noted.
fn scalar(value: Option<&Value>, path: &Path<'_>, notes: &mut Notes) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => {
            let message = format!("is {}, not a string: its text {} is used", json_type(value), shown(value));
            notes.add(path, message, "put it in quotes");
            value.to_string()
        }
        Some(other) => {
            notes.add(
                path,
                format!("is {}, not a string: it counts as empty", json_type(other)),
                "write a string",
            );
            String::new()
        }
    }
}

fn name_from_content(document: &Value) -> String {
    let prefix =
        document.get("metadata").and_then(|metadata| metadata.get("generateName")).and_then(Value::as_str);
    let digest = Sha256::digest(document.to_string());
    let number: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}{number}", prefix.unwrap_or("unnamed-"))
}
