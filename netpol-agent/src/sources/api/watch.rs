//! The watch of one kind: lists once, then follows, and starts again after whatever happens.

use std::{pin::pin, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event, watcher},
};
use netpol_policy::{
    model::{Key, Kind},
    read::{Read, read_object},
};
use tokio::{sync::mpsc, time::timeout};

use super::kept::{Kept, Served};

/// How long the server keeps a watch before it is renewed, in seconds: also how long a server that neither answers nor
/// goes away is believed. Shorter than the server's own limit, as that of a hung server never comes.
const RENEWED: u32 = 100;
/// The first pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: with the time that a connection takes, a server that is back is heard within five seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the first object of a streamed list, or the word that it has ended, may be waited for before the server is
/// taken for one that does not stream lists.
const STREAM_STARTS: Duration = Duration::from_secs(10);
/// Objects in a page of a list.
const PAGE: u32 = 500;

/// What is heard of one kind.
#[derive(Debug)]
pub(super) enum Heard {
    /// A list begins.
    Listing,
    /// An object of the list, or one that has changed since; with its version.
    There(Box<Read>, u64),
    /// An object is gone; with the version at which it went.
    Gone(Key, u64),
    /// The list is whole: what was there before and is not in it is gone.
    Listed,
    /// Nothing can be heard, for this reason; what was heard last stays.
    Cut(String),
}

/// Watches until nobody listens any more.
pub(super) async fn follow<S: Served>(
    client: Client,
    selector: Option<String>,
    to: mpsc::Sender<(Kind, Heard)>,
) where
    Kept<S>: kube::Resource<DynamicType = ()>,
{
    let mut streams = true;
    let mut pause = FIRST_PAUSE;
    loop {
        let mut config = watcher::Config::default().timeout(RENEWED).page_size(PAGE);
        if let Some(selector) = &selector {
            config = config.fields(selector);
        }
        if streams {
            config = config.streaming_lists();
        }
        let mut events = pin!(watcher(Api::<Kept<S>>::all(client.clone()), config));
        let mut listed = false;
        loop {
            // A server that does not know streamed lists takes the question for an ordinary watch, whose list never ends.
            let next = if streams && !listed {
                match timeout(STREAM_STARTS, events.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        streams = false;
                        break;
                    }
                }
            } else {
                events.next().await
            };
            let heard = match next {
                Some(Ok(Event::Init)) => {
                    listed = false;
                    Heard::Listing
                }
                Some(Ok(Event::InitApply(object) | Event::Apply(object))) => {
                    pause = FIRST_PAUSE;
                    Heard::There(Box::new(read_object(S::KIND, &object.value)), version_of(&object))
                }
                Some(Ok(Event::Delete(object))) => Heard::Gone(key_of(&object), version_of(&object)),
                Some(Ok(Event::InitDone)) => {
                    listed = true;
                    pause = FIRST_PAUSE;
                    Heard::Listed
                }
                Some(Err(error)) => {
                    if streams && refuses_to_stream(&error) {
                        streams = false;
                        break;
                    }
                    if to.send((S::KIND, Heard::Cut(words(S::KIND, &error)))).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
                None => break,
            };
            if to.send((S::KIND, heard)).await.is_err() {
                return;
            }
        }
    }
}

fn key_of<S: Served>(object: &Kept<S>) -> Key {
    let text =
        |name: &str| object.value.pointer(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    Key::new(text("/metadata/namespace"), text("/metadata/name"))
}

/// The version of an object. Those of a server count up; 0 stands for one that is no number.
fn version_of<S: Served>(object: &Kept<S>) -> u64 {
    let text = object.value.pointer("/metadata/resourceVersion").and_then(serde_json::Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether the server says that it does not stream lists.
fn refuses_to_stream(error: &watcher::Error) -> bool {
    let watcher::Error::WatchStartFailed(kube::Error::Api(status)) = error else { return false };
    matches!(status.code, 400 | 422)
}

/// What has failed, and what to do where that is known.
fn words(kind: Kind, error: &watcher::Error) -> String {
    let inner = match error {
        watcher::Error::InitialListFailed(inner)
        | watcher::Error::WatchStartFailed(inner)
        | watcher::Error::WatchFailed(inner) => inner,
        watcher::Error::WatchError(status) => return said(kind, status.code, &status.message),
        watcher::Error::NoResourceVersion => return "the server gave a list without a version".to_owned(),
    };
    match inner {
        kube::Error::Api(status) => said(kind, status.code, &status.message),
        other => {
            let mut text = String::new();
            let mut next: Option<&dyn std::error::Error> = Some(other);
            while let Some(error) = next {
                let words = error.to_string();
                // Many wrap another and repeat what that says.
                if !text.contains(&words) {
                    if !text.is_empty() {
                        text.push_str(": ");
                    }
                    text.push_str(&words);
                }
                next = error.source();
            }
            text
        }
    }
}

fn said(kind: Kind, code: u16, message: &str) -> String {
    match code {
        401 => {
            format!("the server does not know us (401 {message}): is the token or certificate still valid?")
        }
        403 => format!(
            "the server forbids it (403 {message}): give the agent's ServiceAccount get, list and watch on {} (deploy/rbac.yaml does)",
            kind.name()
        ),
        _ => format!("the server says {code} {message}"),
    }
}

/// Between half of a pause and all of it, so that agents that were cut off together do not come back together. The very first
/// list needs none: agents start as their nodes do.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
}
