//! From documents to objects: what the API server or a manifest says becomes [`model`](crate::model) objects, and
//! what is wrong with it becomes [`Problem`]s.
//!
//! The border is [`Document`], which borrows its texts; YAML, encodings and watches belong to the sources. Everything behind this module is
//! valid. One rule governs all of it: what cannot be read grants nothing. A part of a policy that is wrong, or that
//! a newer API may have added, is reported and matches nobody, while the policy goes on isolating the pods that it
//! selects.

mod block;
mod cluster;
mod document;
mod field;
mod meta;
mod peer;
mod pod;
mod policy;
mod port;
mod selector;
mod service;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use self::document::{Document, Object};
use crate::{
    model::{self, Key, Kind, Pod, Policy, Problem},
    read::{
        field::{Notes, Path, json_type, quoted},
        meta::Meta,
    },
};

/// What one object of a document was read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// An object; parts of it that were wrong grant nothing.
    Object {
        /// The object.
        object: model::Object,
        /// What is wrong with parts of it.
        problems: Vec<Problem>,
    },
    /// A policy whose `spec.podSelector` cannot be read. Whoever keeps the objects keeps the last good version of
    /// it; without one, `policy` is to be used: it isolates every pod of its namespace and grants nothing, since it
    /// is not known to whom.
    SelectorUnreadable {
        /// What stands in without a good version.
        policy: Policy,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// The pods that a workload will have. Only for questions: it has no addresses, and its name is the workload's
    /// with its kind, such as `deployment/api`.
    Template {
        /// The pod of the template.
        pod: Pod,
        /// What is wrong with parts of it.
        problems: Vec<Problem>,
    },
    /// A kind that decides nothing.
    Skipped {
        /// Its kind as the document writes it.
        kind: String,
    },
    /// Something that should have been read, and of which not even the name could be.
    Unreadable {
        /// What is wrong.
        problems: Vec<Problem>,
    },
}

impl Read {
    /// What is wrong with it.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Object { problems, .. }
            | Self::SelectorUnreadable { problems, .. }
            | Self::Template { problems, .. }
            | Self::Unreadable { problems } => problems,
            Self::Skipped { .. } => &[],
        }
    }
}

/// Reads a document: one object, or a list of them as `kubectl get -o yaml` prints it. An empty document holds
/// nothing.
#[must_use]
pub fn read_document(document: &Value) -> Vec<Read> {
    let mut reads = Vec::new();
    if !document.is_null() {
        read_into(&document.into(), "", "", &mut reads);
    }
    reads
}

/// Reads one object whose kind the source knows already, as in a watch or in the items of an API server's list.
#[must_use]
pub fn read_object(kind: Kind, object: &Document<'_>) -> Read {
    let version = object.get("apiVersion").and_then(Document::as_str).unwrap_or_else(|| api_version(kind));
    read_kind(kind, version, object)
}

/// The API version in which a kind is read.
#[must_use]
pub const fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace | Kind::Node | Kind::Pod | Kind::Service => "v1",
        Kind::EndpointSlice => "discovery.k8s.io/v1",
        Kind::NetworkPolicy => "networking.k8s.io/v1",
    }
}

/// Lists hold lists no deeper than JSON itself may nest, which its parser limits.
fn read_into(document: &Document<'_>, list_version: &str, list_kind: &str, reads: &mut Vec<Read>) {
    let text = |name: &str| document.get(name).and_then(Document::as_str);
    let kind = text("kind").unwrap_or(list_kind);
    let version = text("apiVersion").unwrap_or(list_version);
    if !document.is_object() || kind.is_empty() {
        let message = if document.is_object() {
            "the document has no kind: nothing of it is used".to_owned()
        } else {
            format!("the document is {}, not an object: nothing of it is used", json_type(document))
        };
        let mut notes = Notes::new("");
        notes.add(&Path::field_of_root("kind"), message, "write apiVersion, kind and metadata");
        reads.push(Read::Unreadable { problems: notes.into_problems() });
    } else if let (Some(item_kind), Some(Document::Array(items))) =
        (kind.strip_suffix("List"), document.get("items"))
    {
        for item in items {
            read_into(item, version, item_kind, reads);
        }
    } else if let Some(kind) =
        Kind::ALL.into_iter().find(|known| known.name() == kind && group_fits(*known, version))
    {
        reads.push(read_kind(kind, version, document));
    } else if let Some(template) = pod::template_of(kind, version, document) {
        reads.push(read_template(kind, document, &template));
    } else {
        reads.push(Read::Skipped { kind: kind.to_owned() });
    }
}

/// Whether a document of this API version is of the kind that is meant: other groups use the same names. One
/// without a version, or in a version that does not exist yet, is taken: a policy must not be lost by that.
fn group_fits(kind: Kind, version: &str) -> bool {
    let group = |version: &str| version.split_once('/').map_or(String::new(), |(group, _)| group.to_owned());
    version.is_empty()
        || group(version) == group(api_version(kind))
        || kind == Kind::NetworkPolicy && version.starts_with("extensions/")
}

fn read_kind(kind: Kind, version: &str, document: &Document<'_>) -> Read {
    let mut notes = Notes::new(kind.name());
    let Some(meta) = meta::read(document, kind, &mut notes) else {
        return Read::Unreadable { problems: notes.into_problems() };
    };
    let object = match kind {
        Kind::NetworkPolicy => {
            let read = policy::read(document, &meta, version, &mut notes);
            let problems = notes.into_problems();
            return if read.selector_unreadable {
                Read::SelectorUnreadable { policy: read.policy, problems }
            } else {
                Read::Object { object: model::Object::Policy(read.policy), problems }
            };
        }
        Kind::Namespace => model::Object::Namespace(cluster::namespace(&meta, &mut notes)),
        Kind::Node => model::Object::Node(cluster::node(document, &meta, &mut notes)),
        Kind::Pod => model::Object::Pod(pod::read(document, meta, &mut notes)),
        Kind::Service => model::Object::Service(service::service(document, &meta, &mut notes)),
        Kind::EndpointSlice => model::Object::EndpointSlice(service::slice(document, &meta, &mut notes)),
    };
    Read::Object { object, problems: notes.into_problems() }
}

fn read_template(kind: &str, document: &Document<'_>, template: &pod::Template<'_>) -> Read {
    let mut notes = Notes::new(kind.to_owned());
    let Some(Meta { key, .. }) = meta::read(document, Kind::Pod, &mut notes) else {
        return Read::Unreadable { problems: notes.into_problems() };
    };
    let key = Key::new(&key.namespace, &format!("{}/{}", kind.to_lowercase(), key.name));
    let pod = pod::template(template, key, &mut notes);
    Read::Template { pod, problems: notes.into_problems() }
}

/// A value as it stands in a message.
fn shown(value: &Document<'_>) -> String {
    match value {
        Document::String(text) => quoted(text),
        Document::Array(_) | Document::Object(_) => json_type(value).to_owned(),
        Document::Null | Document::Bool(_) | Document::Number(_) => value.to_string(),
    }
}
