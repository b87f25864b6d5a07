//! The kinds as an API server serves them: where they are found, how they are asked for, and what is kept of them.
//!
//! Of every object only the fields are kept that decide something. A Pod is tens of kilobytes once it is decoded whole; what
//! policies ask of it is some hundred bytes. What is kept is a document as manifests are, so that one reader reads both.
//!
//! The numbers of fields are those of `generated.proto` in k8s.io/api, `core/v1`, and k8s.io/apimachinery,
//! `pkg/apis/meta/v1`. They never change: a server reads with them what older ones have stored.

use std::{ops::Range, time::Duration};

use kube::api::{ListParams, Request, WatchParams};
use netpol_policy::{
    model::{BREAK_GLASS, Kind},
    read::api_version,
};

use super::{
    form::Form,
    kept::{
        Field,
        Kept::{self, All, Always, Each, Keys, Map, Of, One},
        Type::{Flag, Number, Text, Time},
    },
};

/// Objects in a page of a list, where the server streams none.
const PAGE: u32 = 500;
/// How long a watch may last, in seconds; the server would end it after some longer time anyway. Each lasts some time of
/// its own, so that agents whose watches began together do not renew them together.
const LASTS: Range<u32> = 200..290;
/// One that the server ended after so long has ended as it was told, and not for what ails the server.
pub(super) const LASTS_AT_LEAST: Duration = Duration::from_secs(195);

/// What the server marks the end of a streamed list with.
pub(super) const LIST_ENDS: &str = "k8s.io/initial-events-end";

const METADATA: &[Field] = &[
    Field::new("name", 1, One(Text)),
    Field::new("namespace", 3, One(Text)),
    Field::new("uid", 5, One(Text)),
    Field::new("resourceVersion", 6, One(Text)),
    Field::new("labels", 11, Map),
    Field::new(
        "annotations",
        12,
        Keys(&["kubernetes.io/config.mirror", "netpol.io/source-prefixes", BREAK_GLASS, LIST_ENDS]),
    ),
    Field::new("creationTimestamp", 8, One(Time)),
    Field::new("deletionTimestamp", 9, One(Time)),
];

/// Of the metadata of a list.
const LIST_METADATA: &[Field] =
    &[Field::new("resourceVersion", 2, One(Text)), Field::new("continue", 3, One(Text))];

/// Of what the server says when it refuses, or ends a watch.
pub(super) const STATUS: &[Field] = &[
    Field::new("message", 3, One(Text)),
    Field::new("reason", 4, One(Text)),
    Field::new("details", 5, Of(&[Field::new("retryAfterSeconds", 5, One(Number))])),
    Field::new("code", 6, One(Number)),
];

const CONTAINERS: &[Field] = &[
    Field::new("restartPolicy", 24, Always(Text)),
    Field::new(
        "ports",
        6,
        Each(&[
            Field::new("name", 1, One(Text)),
            Field::new("containerPort", 3, Always(Number)),
            Field::new("protocol", 4, One(Text)),
            Field::new("hostPort", 2, One(Number)),
            Field::new("hostIP", 5, One(Text)),
        ]),
    ),
];

const POD_SPEC: &[Field] = &[
    Field::new("nodeName", 10, One(Text)),
    Field::new("hostNetwork", 11, One(Flag)),
    Field::new("containers", 2, Each(CONTAINERS)),
    Field::new("initContainers", 20, Each(CONTAINERS)),
];

const POD_STATUS: &[Field] = &[
    Field::new("phase", 1, One(Text)),
    Field::new("podIP", 6, One(Text)),
    Field::new("podIPs", 12, Each(&[Field::new("ip", 1, Always(Text))])),
    Field::new(
        "conditions",
        2,
        Each(&[Field::new("type", 1, Always(Text)), Field::new("status", 2, Always(Text))]),
    ),
];

const ENDPOINTS: &[Field] =
    &[Field::json("addresses", All), Field::json("conditions", All), Field::json("nodeName", All)];

/// A kind as the API server serves it.
pub(super) struct Served {
    /// The name in the server's paths and in rights.
    pub(super) plural: &'static str,
    /// The encoding that it is asked for in.
    form: Form,
    /// What is kept of an object.
    object: &'static [Field],
    /// What is kept of a line of a watch in JSON; a [`STATUS`] stands in an object's place.
    pub(super) line: Kept,
    /// What is kept of a page of a list.
    pub(super) page: Kept,
}

impl Served {
    /// What is kept of an object in protobuf; nothing is known of it where it is not asked for so.
    pub(super) fn in_protobuf(&self) -> Option<&'static [Field]> {
        (self.form == Form::Protobuf).then_some(self.object)
    }
}

macro_rules! served {
    ($name:ident: $plural:literal, $form:ident { $($field:expr),* $(,)? }) => {
        const $name: Served = {
            const OBJECT: &[Field] = &[Field::new("metadata", 1, Of(METADATA)), $($field),*];
            Served {
                plural: $plural,
                form: Form::$form,
                object: OBJECT,
                line: Of(&[
                    Field::json("type", All),
                    Field::json("object", Of(&[
                        Field::json("code", All),
                        Field::json("message", All),
                        Field::new("metadata", 1, Of(METADATA)),
                        $($field),*
                    ])),
                ]),
                page: Of(&[Field::new("metadata", 1, Of(LIST_METADATA)), Field::new("items", 2, Each(OBJECT))]),
            }
        };
    };
}

served!(NAMESPACE: "namespaces", Json {});
served!(NODE: "nodes", Json { Field::json("status", Of(&[Field::json("addresses", All)])) });
// By far the most, and the largest for what is kept of them.
served!(POD: "pods", Protobuf {
    Field::new("spec", 2, Of(POD_SPEC)),
    Field::new("status", 3, Of(POD_STATUS)),
});
served!(SERVICE: "services", Json {
    Field::json("spec", All),
    Field::json("status", Of(&[Field::json("loadBalancer", All)])),
});
served!(ENDPOINT_SLICE: "endpointslices", Json {
    Field::json("addressType", All),
    Field::json("endpoints", Each(ENDPOINTS)),
    Field::json("ports", All),
});
// The whole of it, which only JSON can name: a field that we do not know must be noticed.
served!(NETWORK_POLICY: "networkpolicies", Json { Field::json("apiVersion", All), Field::json("spec", All) });

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
    let mut question = path(kind).list(&list)?;
    served(kind).form.ask(false, question.headers_mut());
    Ok(question)
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
    let mut question = path(kind).watch(&watch, after.unwrap_or_default())?;
    served(kind).form.ask(true, question.headers_mut());
    Ok(question)
}

#[cfg(test)]
mod tests;
