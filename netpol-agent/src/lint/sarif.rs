//! Findings in SARIF 2.1.0 (OASIS), which code hosts and editors show beside the lines.
//!
//! The few objects of the format that are used are written here: it is a large format, and little of it says anything
//! about manifests.

use std::path::Path;

use netpol_policy::lint::{CHECKS, Check, Severity};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Linted, Placed};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// A log with one run.
#[must_use]
pub fn log(linted: &Linted) -> Value {
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "netpol lint",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": CHECKS.map(rule),
            }},
            "columnKind": "unicodeCodePoints",
            "results": linted.findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn rule(check: &'static Check) -> Value {
    json!({
        "id": check.id,
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": check.explanation},
        "help": {"text": check.explanation},
        "defaultConfiguration": {"level": level(check.severity)},
    })
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation<'p> {
    name: &'p str,
    fully_qualified_name: String,
    kind: &'static str,
}

fn result(placed: &Placed) -> Value {
    let Placed { file, line, kind, object, finding } = placed;
    let mut location = json!({"physicalLocation": {
        "artifactLocation": {"uri": uri(file)},
        "region": {"startLine": line},
    }});
    if !object.is_empty() {
        let whole = format!("{kind}/{object} {}", finding.field);
        let logical = LogicalLocation {
            name: object,
            fully_qualified_name: whole.trim_end().to_owned(),
            kind: "object",
        };
        location["logicalLocations"] = json!([logical]);
    }
    json!({
        "ruleId": finding.id,
        "ruleIndex": CHECKS.iter().position(|check| check.id == finding.id),
        "level": level(finding.severity),
        "message": {"text": message(placed)},
        "locations": [location],
        "partialFingerprints": {"netpolObjectAndField/v1": fingerprint(placed)},
    })
}

fn message(placed: &Placed) -> String {
    let finding = &placed.finding;
    let texts = [&finding.message, &finding.why, &finding.fix];
    let sentences: Vec<String> = texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| format!("{}.", text.trim_end_matches('.')))
        .collect();
    let [object, field] = [&placed.object, &finding.field];
    let subject = format!("{object} {field}");
    match subject.trim() {
        "" => sentences.join(" "),
        subject => format!("{subject}: {}", sentences.join(" ")),
    }
}

/// The same as long as it is the same finding of the same field: lines may move, and files too.
fn fingerprint(placed: &Placed) -> String {
    let Placed { kind, object, finding, .. } = placed;
    let mut digest = Sha256::new();
    for part in [finding.id, kind, object, &finding.field, &finding.message] {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A reference relative to the working directory, or a `file:` URI of an absolute path.
fn uri(path: &Path) -> String {
    let absolute = path.is_absolute();
    let mut uri = if absolute { "file://".to_owned() } else { String::new() };
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_uri() {
        assert_eq!(uri(Path::new("a b/ü.yaml")), "a%20b/%C3%BC.yaml");
        assert_eq!(uri(Path::new("/tmp/x.yaml")), "file:///tmp/x.yaml");
    }
}
