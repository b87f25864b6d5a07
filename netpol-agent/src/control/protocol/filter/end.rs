//! One end of a flow, as it is asked for.

use std::net::IpAddr;

use ipnet::IpNet;

use super::address_of;
use crate::control::protocol::{End, EndKind};

/// Names of objects: one, or all of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    namespace: String,
    /// Empty: whatever it is.
    name: String,
}

impl Name {
    /// `NAMESPACE/NAME`, `NAMESPACE/`, or `NAME` in the namespace `default`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        let valid = !namespace.is_empty() && !name.contains('/') && !text.is_empty();
        valid.then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    pub(super) fn is(&self, text: &str) -> bool {
        text.split_once('/').is_some_and(|(namespace, name)| {
            namespace == self.namespace && (self.name.is_empty() || name == self.name)
        })
    }
}

/// What an end must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EndTest {
    /// A pod of this name.
    Pod(Name),
    /// A pod or Service of this namespace.
    Namespace(Name),
    /// A pod with this label.
    Label {
        /// Empty: of any.
        namespace: String,
        key: String,
        /// `None`: whatever it is.
        value: Option<String>,
    },
    /// Whoever has such an address.
    Address(IpNet),
    /// A Service of this name.
    Service(Name),
    /// A node; empty: any.
    Node(String),
    /// Outside of the cluster.
    World,
}

impl EndTest {
    pub(super) fn namespace(text: &str) -> Option<Self> {
        let valid = !text.is_empty() && !text.contains(['/', '=']);
        valid.then(|| Self::Namespace(Name { namespace: text.to_owned(), name: String::new() }))
    }

    /// `KEY=VALUE` or `KEY`. The prefix of a label's key may look like a namespace, but has a dot.
    pub(super) fn label(text: &str) -> Option<Self> {
        let (namespace, label) = match text.split_once('/') {
            Some((first, rest)) if !first.contains(['.', '=']) => (first, rest),
            _ => ("", text),
        };
        let (key, value) = match label.split_once('=') {
            Some((key, value)) => (key, Some(value.trim_start_matches('=').to_owned())),
            None => (label, None),
        };
        let valid = !key.is_empty() && !text.starts_with('/') && !label.contains(',');
        valid.then(|| Self::Label { namespace: namespace.to_owned(), key: key.to_owned(), value })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "world" => return Some(Self::World),
            "node" => return Some(Self::Node(String::new())),
            _ => {}
        }
        if let Some(network) = network(text) {
            return Some(Self::Address(network));
        }
        if text.contains('=') {
            return Self::label(text);
        }
        if let Some(name) = text.strip_prefix("node/").filter(|name| !name.is_empty() && !name.contains('/'))
        {
            return Some(Self::Node(name.to_owned()));
        }
        for kind in ["svc/", "service/"] {
            if let Some(name) = text.strip_prefix(kind).filter(|name| !name.is_empty()) {
                return Name::parse(name).map(Self::Service);
            }
        }
        let name = Name::parse(text)?;
        Some(if name.name.is_empty() { Self::Namespace(name) } else { Self::Pod(name) })
    }

    pub(super) fn matches(&self, end: &End) -> bool {
        match self {
            Self::Pod(name) => end.kind == EndKind::Pod && name.is(&end.name),
            Self::Namespace(name) => {
                matches!(end.kind, EndKind::Pod | EndKind::Service) && name.is(&end.name)
            }
            Self::Label { namespace, key, value } => {
                let inside =
                    namespace.is_empty() || end.name.split_once('/').is_some_and(|(its, _)| its == namespace);
                inside && end.labels.get(key).is_some_and(|its| value.as_ref().is_none_or(|v| v == its))
            }
            Self::Address(network) => address_of(end).is_some_and(|address| network.contains(&address)),
            Self::Service(name) => end.kind == EndKind::Service && name.is(&end.name),
            Self::Node(name) => end.kind == EndKind::Node && (name.is_empty() || *name == end.name),
            Self::World => end.kind == EndKind::World,
        }
    }

    /// Whether it names the pod that judged, also where the packet carries a forged address.
    pub(super) fn is_endpoint(&self, endpoint: &str) -> bool {
        matches!(self, Self::Pod(name) | Self::Namespace(name) if name.is(endpoint))
    }
}

/// An address, or a CIDR.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpAddr>()
        .map(|address| IpNet::from(address.to_canonical()))
        .ok()
        .or_else(|| text.parse().ok())
}
