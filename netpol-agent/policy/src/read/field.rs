//! Fields of a document: where they stand, and notes on what is wrong with them.

use std::{borrow::Cow, fmt, net::IpAddr};

use super::document::{Document, Object};
use crate::model::{Key, Problem};

/// Where a field stands. Lives on the stack; written out only when something is wrong.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub(super) const fn field_of_root(name: &'a str) -> Self {
        Self { parent: None, step: Step::Field(name) }
    }

    pub(super) const fn field(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Field(name) }
    }

    pub(super) const fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Field(name) => {
                if self.parent.is_some() {
                    f.write_str(".")?;
                }
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | '.');
                if !name.is_empty() && name.len() <= 200 && name.chars().all(plain) {
                    f.write_str(name)
                } else {
                    f.write_str(&quoted(name))
                }
            }
        }
    }
}

/// What is wrong with one object. Mostly nothing is: until then it takes nothing.
pub(super) struct Notes {
    kind: Cow<'static, str>,
    /// Which object it is, as soon as that is known.
    pub(super) object: Option<Key>,
    problems: Vec<Problem>,
}

impl Notes {
    pub(super) fn new(kind: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: kind.into(), object: None, problems: Vec::new() }
    }

    /// Notes a problem: `message` says what is wrong and what that means for traffic, `remedy` what to do.
    pub(super) fn add(&mut self, path: &Path<'_>, message: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem {
            kind: self.kind.to_string(),
            object: self.object.clone().unwrap_or_else(|| Key::new("", "")),
            field: path.to_string(),
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// A text in quotes, with control characters escaped, cut where it is too long for a message.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

/// The type of a value, with its article.
pub(super) const fn json_type(value: &Document<'_>) -> &'static str {
    match value {
        Document::Null => "null",
        Document::Bool(_) => "a boolean",
        Document::Number(_) => "a number",
        Document::String(_) => "a string",
        Document::Array(_) => "a list",
        Document::Object(_) => "an object",
    }
}

/// A field that is there; `null` is not.
pub(super) fn get<'v>(map: &'v Object<'v>, name: &str) -> Option<&'v Document<'v>> {
    map.get(name).filter(|value| !value.is_null())
}

/// Notes the fields that are not among the known ones, each with the same message and remedy; says whether there
/// were some.
pub(super) fn unknown_fields(
    map: &Object<'_>,
    known: &[&str],
    path: &Path<'_>,
    notes: &mut Notes,
    message: &str,
) -> bool {
    let mut found = false;
    for name in map.keys().filter(|name| !known.contains(name)) {
        found = true;
        notes.add(
            &path.field(name),
            message,
            "correct or remove the field; if a newer Kubernetes defines it, use a release of netpol that knows it",
        );
    }
    found
}

/// The elements of a list that is not part of a policy's spec; a value of another type is noted and is empty.
pub(super) fn list<'v>(
    value: Option<&'v Document<'v>>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> &'v [Document<'v>] {
    match value {
        None | Some(Document::Null) => &[],
        Some(Document::Array(items)) => items,
        Some(other) => {
            notes.add(path, format!("is {}, not a list: it is not used", json_type(other)), "write a list");
            &[]
        }
    }
}

/// A text that is not part of a policy's spec; empty when missing, noted when of another type.
pub(super) fn text<'v>(value: Option<&'v Document<'v>>, path: &Path<'_>, notes: &mut Notes) -> &'v str {
    match value {
        None | Some(Document::Null) => "",
        Some(Document::String(text)) => text,
        Some(other) => {
            notes.add(
                path,
                format!("is {}, not a string: it is not used", json_type(other)),
                "put it in quotes",
            );
            ""
        }
    }
}

/// An address that is not part of a policy's spec, IPv4-mapped ones as IPv4; noted when it is none.
pub(super) fn address(text: &str, path: &Path<'_>, notes: &mut Notes) -> Option<IpAddr> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(address.to_canonical()),
        Err(_) => {
            notes.add(path, format!("{} is no IP address: it is not used", quoted(text)), "write an address");
            None
        }
    }
}
