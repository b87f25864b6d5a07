//! What an answer of the API server says, in either encoding.

use futures::{AsyncBufRead, TryStreamExt as _};
use http_body_util::BodyExt as _;
use kube::{
    Client,
    client::Body,
    core::{Status, response::StatusDetails},
};
use netpol_policy::{
    model::{Key, Kind},
    read::Document,
};
use thiserror::Error;

use super::{
    form::Form,
    kept::{
        json,
        protobuf::pick,
        wire::{Malformed, Message},
    },
    served::{LIST_ENDS, STATUS, served},
};

/// What stands in front of every object in protobuf: the last byte says that a message `runtime.Unknown` follows
/// (k8s.io/apimachinery, `pkg/runtime/serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";

/// Why an answer cannot be read.
#[derive(Debug, Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Protobuf(#[from] Malformed),
    #[error("{0}")]
    Meaning(String),
}

impl Unreadable {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self::Meaning(why.into())
    }
}

/// Asks the server: the encoding of its answer, and the answer. What it refuses is an error as it is in JSON.
pub(super) async fn ask(
    client: &Client,
    question: http::Request<Vec<u8>>,
) -> kube::Result<(Form, impl AsyncBufRead + use<>)> {
    let answer = client.send(question.map(Body::from)).await?;
    let form = Form::of(answer.headers());
    let code = answer.status();
    if code.is_client_error() || code.is_server_error() {
        let text = answer.into_body().collect().await?.to_bytes();
        return Err(kube::Error::Api(Box::new(refusal(form, code.as_u16(), &text))));
    }
    let body = answer.into_body().into_data_stream().map_err(std::io::Error::other);
    Ok((form, body.into_async_read()))
}

/// Why the server refuses. What stands before it, such as a balancer, may say so in plain words.
fn refusal(form: Form, code: u16, text: &[u8]) -> Status {
    let said = match form {
        Form::Json => serde_json::from_slice(text).ok(),
        Form::Protobuf => {
            unpacked(text, "Status").and_then(|status| Ok(pick(STATUS, status)?)).ok().map(|status| {
                let text = |name: &str| status.get(name).and_then(Document::as_str).unwrap_or_default();
                let wait = status.get("details").and_then(|details| details.get("retryAfterSeconds"));
                let wait = wait.and_then(Document::as_i64).and_then(|wait| wait.try_into().ok());
                Status::failure(text("message"), text("reason"))
                    .with_code(code_of(&status).unwrap_or(code))
                    .with_details(StatusDetails {
                        retry_after_seconds: wait.unwrap_or_default(),
                        name: String::new(),
                        group: String::new(),
                        kind: String::new(),
                        uid: String::new(),
                        causes: Vec::new(),
                    })
            })
        }
    };
    said.unwrap_or_else(|| {
        let words = String::from_utf8_lossy(text);
        Status::failure(words.trim(), "").with_code(code)
    })
}

/// What an event of a watch says.
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

impl<'t> Line<'t> {
    /// Reads an event.
    pub(super) fn read(kind: Kind, form: Form, text: &'t [u8]) -> Result<Self, Unreadable> {
        match form {
            Form::Json => {
                let mut line = json::pick(&served(kind).line, text)?;
                let object = take(&mut line, "object").unwrap_or(Document::Null);
                let word = line.get("type").and_then(Document::as_str).unwrap_or_default();
                Self::of(word, object)
            }
            Form::Protobuf => {
                // A `metav1.WatchEvent`, whose object is a `runtime.RawExtension`.
                let word = String::from_utf8_lossy(Message::new(text).last(1)?);
                let object = Message::new(Message::new(text).last(2)?).last(1)?;
                let Some(fields) = served(kind).in_protobuf() else { return Err(unasked(kind)) };
                let object = if word == "ERROR" {
                    pick(STATUS, unpacked(object, "Status")?)?
                } else {
                    pick(fields, unpacked(object, kind.name())?)?
                };
                Self::of(&word, object)
            }
        }
    }

    fn of(word: &str, object: Document<'t>) -> Result<Self, Unreadable> {
        Ok(match word {
            "ADDED" | "MODIFIED" => Self::There(object),
            "DELETED" => Self::Gone(object),
            "BOOKMARK" => {
                let version = version(&object).ok_or_else(|| Unreadable::new("a bookmark has no version"))?;
                let annotations = metadata(&object, "annotations");
                if annotations.is_some_and(|all| all.get(LIST_ENDS).is_some()) {
                    Self::Listed(version)
                } else {
                    Self::UpTo(version)
                }
            }
            "ERROR" => {
                let message = object.get("message").and_then(Document::as_str).unwrap_or_default();
                Self::Error(code_of(&object).unwrap_or_default(), message.to_owned())
            }
            other => return Err(Unreadable::new(format!("an event has the type {other:?}"))),
        })
    }
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

impl<'t> Page<'t> {
    /// Reads a page.
    pub(super) fn read(kind: Kind, form: Form, text: &'t [u8]) -> Result<Self, Unreadable> {
        let page = &served(kind).page;
        let mut page = match form {
            Form::Json => json::pick(page, text)?,
            Form::Protobuf => {
                if served(kind).in_protobuf().is_none() {
                    return Err(unasked(kind));
                }
                let list = unpacked(text, &format!("{}List", kind.name()))?;
                pick(page.fields(), list)?
            }
        };
        let objects = match take(&mut page, "items") {
            Some(Document::Array(objects)) => objects,
            None | Some(Document::Null) => Vec::new(),
            Some(_) => return Err(Unreadable::new("the items of a list are no list")),
        };
        let rest = metadata(&page, "continue").and_then(Document::as_str).filter(|rest| !rest.is_empty());
        let version = version(&page).ok_or_else(|| Unreadable::new("a list has no version"))?;
        Ok(Self { objects, rest: rest.map(str::to_owned), version })
    }
}

/// Of what is asked for in JSON the numbers of fields are not known.
fn unasked(kind: Kind) -> Unreadable {
    let plural = served(kind).plural;
    Unreadable::new(format!("the API server answers in protobuf, in which {plural} were not asked for"))
}

/// The message of an object of this kind. What the numbers of fields mean is known of this kind only, so that another one is an
/// error.
fn unpacked<'t>(text: &'t [u8], kind: &str) -> Result<&'t [u8], Unreadable> {
    let unknown = text
        .strip_prefix(MAGIC)
        .ok_or_else(|| Unreadable::new("an object in protobuf does not begin with the bytes that say so"))?;
    let unknown = Message::new(unknown);
    let said = Message::new(unknown.clone().last(1)?).last(2)?;
    if said != kind.as_bytes() {
        let said = String::from_utf8_lossy(said);
        return Err(Unreadable::new(format!("an object in protobuf is of the kind {said:?}, not {kind:?}")));
    }
    Ok(unknown.last(2)?)
}

/// The code of a status.
fn code_of(status: &Document<'_>) -> Option<u16> {
    status.get("code").and_then(Document::as_i64).and_then(|code| code.try_into().ok())
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
