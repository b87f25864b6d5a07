//! The documents of one file: YAML or JSON text becomes JSON values, each with the line where it starts.
//!
//! Knows nothing of Kubernetes but the shape of a `List`.

use saphyr::{LoadableYamlNode as _, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Number, Value};

/// Nodes in each other that are followed; a manifest has about fifteen.
const MAX_DEPTH: usize = 128;

/// What a file cannot be read for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unreadable {
    /// Counted from 1.
    pub line: u64,
    /// What the parser says.
    pub message: String,
}

/// One object of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The object.
    pub value: Value,
    /// The line where it starts, counted from 1.
    pub line: u64,
    /// Lines of its nodes, in the shape of `value`.
    lines: Lines,
}

/// The line of a node and of what it holds.
#[derive(Clone, Debug, PartialEq)]
struct Lines {
    line: u64,
    inside: Inside,
}

#[derive(Clone, Debug, PartialEq)]
enum Inside {
    Nothing,
    Items(Vec<Lines>),
    Fields(Vec<(String, Lines)>),
}

impl Document {
    /// The line of a field such as `spec.ingress[0].from`; of what holds it when it is not there itself.
    #[must_use]
    pub fn line_of(&self, path: &str) -> u64 {
        let mut at = &self.lines;
        let mut best = self.line;
        for part in path.split(['.', '[']) {
            let found = match (&at.inside, part.strip_suffix(']')) {
                (Inside::Items(items), Some(index)) => index.parse::<usize>().ok().and_then(|i| items.get(i)),
                (Inside::Fields(fields), None) => fields.iter().find(|(k, _)| k == part).map(|(_, l)| l),
                _ => None,
            };
            let Some(found) = found else { break };
            at = found;
            best = found.line;
        }
        best
    }
}

/// All objects of a file: every document, and the items of a `List` one by one.
///
/// # Errors
/// When the text is no YAML (JSON is YAML, too); then nothing of the file counts.
pub fn parse(text: &str) -> Result<Vec<Document>, Unreadable> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let nodes = MarkedYaml::load_from_str(text)
        .map_err(|e| Unreadable { line: line_in(&e.to_string()), message: e.to_string() })?;
    let mut out = Vec::new();
    for node in &nodes {
        let mut lines = Lines { line: 0, inside: Inside::Nothing };
        let value = convert(node, &mut lines, 0)?;
        if !value.is_null() {
            unfold(Document { value, line: lines.line, lines }, &mut out);
        }
    }
    Ok(out)
}

/// The parser says the line only in its text for some errors; 1 where it does not.
fn line_in(message: &str) -> u64 {
    message
        .rsplit_once(" line ")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .unwrap_or(1)
}

fn convert(node: &MarkedYaml<'_>, lines: &mut Lines, depth: usize) -> Result<Value, Unreadable> {
    lines.line = node.span.start.line() as u64;
    let unreadable =
        |message: &str| Unreadable { line: node.span.start.line() as u64, message: message.to_owned() };
    if depth > MAX_DEPTH {
        return Err(unreadable("nested too deeply"));
    }
    Ok(match &node.data {
        YamlData::Value(scalar) => scalar_value(scalar),
        YamlData::Sequence(items) => {
            let mut values = Vec::with_capacity(items.len());
            let mut inside = Vec::with_capacity(items.len());
            for item in items {
                let mut line = Lines { line: 0, inside: Inside::Nothing };
                values.push(convert(item, &mut line, depth + 1)?);
                inside.push(line);
            }
            lines.inside = Inside::Items(inside);
            Value::Array(values)
        }
        YamlData::Mapping(fields) => {
            let mut values = Map::new();
            let mut inside = Vec::with_capacity(fields.len());
            for (key, value) in fields {
                let mut line = Lines { line: 0, inside: Inside::Nothing };
                let key = match convert(key, &mut line, depth + 1)? {
                    Value::String(key) => key,
                    Value::Null => return Err(unreadable("a key is empty")),
                    other @ (Value::Bool(_) | Value::Number(_)) => other.to_string(),
                    _ => return Err(unreadable("a key is no text")),
                };
                if key == "<<" {
                    return Err(unreadable("merge keys (<<) are not supported; write the fields out"));
                }
                let at = line.line;
                let value = convert(value, &mut line, depth + 1)?;
                line.line = at;
                if values.insert(key.clone(), value).is_some() {
                    return Err(unreadable(&format!("the key {key:?} stands there twice")));
                }
                inside.push((key, line));
            }
            lines.inside = Inside::Fields(inside);
            Value::Object(values)
        }
        YamlData::Tagged(_, inner) => convert(inner, lines, depth + 1)?,
        YamlData::Representation(text, _, _) => Value::String(text.to_string()),
        YamlData::Alias(_) => return Err(unreadable("an alias leads nowhere")),
        YamlData::BadValue => return Err(unreadable("a value does not fit its tag")),
    })
}

fn scalar_value(scalar: &Scalar<'_>) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(b) => Value::Bool(*b),
        Scalar::Integer(i) => Value::Number((*i).into()),
        Scalar::FloatingPoint(f) => {
            Number::from_f64(f.into_inner()).map_or_else(|| Value::String(f.to_string()), Value::Number)
        }
        Scalar::String(s) => Value::String(s.to_string()),
    }
}

/// Takes a `List` apart. Items of a typed list (`NetworkPolicyList`) may leave out their kind.
fn unfold(document: Document, out: &mut Vec<Document>) {
    let kind = document.value.get("kind").and_then(Value::as_str).unwrap_or_default();
    let Some(of) = kind.strip_suffix("List").map(str::to_owned) else {
        out.push(document);
        return;
    };
    let version = document.value.get("apiVersion").cloned();
    let Document { mut value, line, lines } = document;
    let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) else {
        if value.get("items").is_some() {
            // `items: null` is an empty list.
            return;
        }
        out.push(Document { value, line, lines });
        return;
    };
    let inside = match lines.inside {
        Inside::Fields(fields) => fields.into_iter().find(|(k, _)| k == "items").map(|(_, l)| l.inside),
        _ => None,
    };
    let places = if let Some(Inside::Items(places)) = inside { places } else { Vec::new() };
    for (mut item, lines) in items.into_iter().zip(places) {
        if let Value::Object(fields) = &mut item
            && !of.is_empty()
        {
            fields.entry("kind").or_insert_with(|| Value::String(of.clone()));
            if let Some(version) = &version {
                fields.entry("apiVersion").or_insert_with(|| version.clone());
            }
        }
        unfold(Document { value: item, line: lines.line, lines }, out);
    }
}

#[cfg(test)]
mod tests;
