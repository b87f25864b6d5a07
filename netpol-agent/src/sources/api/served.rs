//! The kinds as an API server serves them: where they are found, how they are asked for, and what an answer says.
//!
//! Of every object only the fields are kept that decide something. A Pod is tens of kilobytes once it is decoded whole; what
//! policies ask of it is some hundred bytes. What is kept is a document as manifests are, so that one reader reads both.

use std::{ops::Range, time::Duration};

use kube::api::{ListParams, Request, WatchParams};
use netpol_policy::{
    model::{BREAK_GLASS, Key, Kind},
    read::{Document, api_version},
};
use serde::de::{DeserializeSeed as _, Error as _};
use serde_json::Deserializer;

use super::kept::Fields::{self, All, Of};

/// Objects in a page of a list, where the server streams none.
const PAGE: u32 = 500;
/// How long a watch may last, in seconds; the server would end it after some longer time anyway. Each lasts some time of
/// its own, so that agents whose watches began together do not renew them together.
const LASTS: Range<u32> = 200..290;
/// One that the server ended after so long has ended as it was told, and not for what ails the server.
pub(super) const LASTS_AT_LEAST: Duration = Duration::from_secs(195);

/// What the server marks the end of a streamed list with.
const LIST_ENDS: &str = "k8s.io/initial-events-end";

const METADATA: Fields = Of(&[
    ("name", All),
    ("namespace", All),
    ("uid", All),
    ("resourceVersion", All),
    ("labels", All),
    (
        "annotations",
        Of(&[
            ("kubernetes.io/config.mirror", All),
            ("netpol.io/source-prefixes", All),
            (BREAK_GLASS, All),
            (LIST_ENDS, All),
        ]),
    ),
    ("creationTimestamp", All),
    ("deletionTimestamp", All),
]);

const CONTAINERS: Fields = Of(&[
    ("restartPolicy", All),
    (
        "ports",
        Of(&[("name", All), ("containerPort", All), ("protocol", All), ("hostPort", All), ("hostIP", All)]),
    ),
]);

const POD_SPEC: Fields = Of(&[
    ("nodeName", All),
    ("hostNetwork", All),
    ("containers", CONTAINERS),
    ("initContainers", CONTAINERS),
]);

const POD_STATUS: Fields = Of(&[
    ("phase", All),
    ("podIP", All),
    ("podIPs", All),
    ("conditions", Of(&[("type", All), ("status", All)])),
]);

const ENDPOINTS: Fields = Of(&[("addresses", All), ("conditions", All), ("nodeName", All)]);

/// A kind as the API server serves it.
pub(super) struct Served {
    /// The name in the server's paths and in rights.
    pub(super) plural: &'static str,
    /// What is kept of a line of a watch; an error stands in an object's place.
    line: Fields,
    /// What is kept of a page of a list.
    page: Fields,
}

macro_rules! served {
    ($name:ident: $plural:literal { $($field:literal: $kept:expr),* $(,)? }) => {
        const $name: Served = Served {
            plural: $plural,
            line: Of(&[
                ("type", All),
                ("object", Of(&[("code", All), ("message", All), ("metadata", METADATA), $(($field, $kept)),*])),
            ]),
            page: Of(&[
                ("metadata", Of(&[("resourceVersion", All), ("continue", All)])),
                ("items", Of(&[("metadata", METADATA), $(($field, $kept)),*])),
            ]),
        };
    };
}

served!(NAMESPACE: "namespaces" {});
served!(NODE: "nodes" { "status": Of(&[("addresses", All)]) });
served!(POD: "pods" { "spec": POD_SPEC, "status": POD_STATUS });
served!(SERVICE: "services" { "spec": All, "status": Of(&[("loadBalancer", All)]) });
served!(ENDPOINT_SLICE: "endpointslices" { "addressType": All, "endpoints": ENDPOINTS, "ports": All });
// The whole of it: a field that we do not know must be noticed.
served!(NETWORK_POLICY: "networkpolicies" { "apiVersion": All, "spec": All });

/// How a kind is served.
pub(super) const fn served(kind: Kind) -> &'static Served {
    match kind {
        Kind::Namespace => &NAMESPACE,
        Kind::Node => &NODE,
        Kind::Pod => &POD,
        Kind::Service => &SERVICE,
        Kind::EndpointSlice => &ENDPOINT_SLICE,
        Kind::NetworkPolicy => &NETWORK_POLICY,
    }
}

/// A question without a body.
type Question = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

fn path(kind: Kind) -> Request {
    let version = api_version(kind);
    let root = if version.contains('/') { "apis" } else { "api" };
    Request::new(format!("/{root}/{version}/{}", served(kind).plural))
}

/// Asks for a page of a list.
pub(super) fn page_of(kind: Kind, selector: Option<&str>, from: Option<&str>) -> Question {
    let list = ListParams {
        field_selector: selector.map(str::to_owned),
        limit: Some(PAGE),
        continue_token: from.map(str::to_owned),
        ..ListParams::default()
    };
    path(kind).list(&list)
}

/// Asks for what happens after a version; without one, for everything that is there and then for what happens. That is as
/// new as when it is asked: an older list could bring back what was gone already.
pub(super) fn watch_of(kind: Kind, selector: Option<&str>, after: Option<&str>) -> Question {
    let watch = WatchParams {
        field_selector: selector.map(str::to_owned),
        timeout: Some(fastrand::u32(LASTS)),
        send_initial_events: after.is_none(),
        ..WatchParams::default()
    };
    path(kind).watch(&watch, after.unwrap_or_default())
}

/// What a line of a watch says.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'t> {
    /// An object is there, or has changed.
    There(Document<'t>),
    /// An object is gone.
    Gone(Document<'t>),
    /// Everything up to this version was said.
    UpTo(String),
    /// So it was, and everything that is there was listed.
    Listed(String),
    /// The watch cannot go on.
    Error(u16, String),
}

/// A page of a list.
#[derive(Debug, PartialEq)]
pub(super) struct Page<'t> {
    pub(super) objects: Vec<Document<'t>>,
    /// What stands for the rest, if there is more.
    pub(super) rest: Option<String>,
    /// The version that the list is of.
    pub(super) version: String,
}

impl Served {
    /// Reads a line.
    pub(super) fn line<'t>(&'static self, text: &'t [u8]) -> serde_json::Result<Line<'t>> {
        let mut line = parse(&self.line, text)?;
        let object = take(&mut line, "object").unwrap_or(Document::Null);
        let word = line.get("type").and_then(Document::as_str).unwrap_or_default();
        Ok(match word {
            "ADDED" | "MODIFIED" => Line::There(object),
            "DELETED" => Line::Gone(object),
            "BOOKMARK" => {
                let version =
                    version(&object).ok_or_else(|| serde_json::Error::custom("a bookmark has no version"))?;
                let annotations = metadata(&object, "annotations");
                if annotations.is_some_and(|all| all.get(LIST_ENDS).is_some()) {
                    Line::Listed(version)
                } else {
                    Line::UpTo(version)
                }
            }
            "ERROR" => {
                let code =
                    object.get("code").and_then(Document::as_i64).and_then(|code| code.try_into().ok());
                let message = object.get("message").and_then(Document::as_str).unwrap_or_default();
                Line::Error(code.unwrap_or_default(), message.to_owned())
            }
            other => return Err(serde_json::Error::custom(format!("an event has the type {other:?}"))),
        })
    }

    /// Reads a page.
    pub(super) fn page<'t>(&'static self, text: &'t [u8]) -> serde_json::Result<Page<'t>> {
        let mut page = parse(&self.page, text)?;
        let objects = match take(&mut page, "items") {
            Some(Document::Array(objects)) => objects,
            None | Some(Document::Null) => Vec::new(),
            Some(_) => return Err(serde_json::Error::custom("the items of a list are no list")),
        };
        let rest = metadata(&page, "continue").and_then(Document::as_str).filter(|rest| !rest.is_empty());
        let version = version(&page).ok_or_else(|| serde_json::Error::custom("a list has no version"))?;
        Ok(Page { objects, rest: rest.map(str::to_owned), version })
    }
}

fn parse<'t>(fields: &'static Fields, text: &'t [u8]) -> serde_json::Result<Document<'t>> {
    let mut parser = Deserializer::from_slice(text);
    let value = fields.deserialize(&mut parser)?;
    parser.end()?;
    Ok(value)
}

/// The version of an object or a list.
pub(super) fn version(object: &Document<'_>) -> Option<String> {
    let version = metadata(object, "resourceVersion").and_then(Document::as_str);
    version.filter(|version| !version.is_empty()).map(str::to_owned)
}

/// Which object it is.
pub(super) fn key(object: &Document<'_>) -> Key {
    let text = |name: &str| metadata(object, name).and_then(Document::as_str).unwrap_or_default();
    Key::new(text("namespace"), text("name"))
}

/// A field of an object, which is not needed there any more.
fn take<'t>(object: &mut Document<'t>, name: &str) -> Option<Document<'t>> {
    let Document::Object(object) = object else { return None };
    object.get_mut(name).map(|value| std::mem::replace(value, Document::Null))
}

/// A field of the metadata.
fn metadata<'v>(object: &'v Document<'v>, name: &str) -> Option<&'v Document<'v>> {
    object.get("metadata")?.get(name)
}

#[cfg(test)]
mod tests;
