//! The ends of a question as they are written.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::model::{Key, Labels};

/// One end of a question.
///
/// Written as `node`, `world`, an address, `namespace/name` (a pod, or else a Service), `service/namespace/name`,
/// `namespace/deployment/name` (the pods that a workload will have), or `namespace/key=value,key=value` (a pod with
/// these labels that need not exist), or `node/name` (another node). Without a namespace, `default` is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A pod, else a workload's template, else a Service of that name.
    Named(Key),
    /// A Service.
    Service(Key),
    /// A pod with these labels, which need not exist.
    Labelled {
        /// Its namespace.
        namespace: String,
        /// Its labels.
        labels: Labels,
    },
    /// Whoever has this address.
    Address(IpAddr),
    /// This node itself.
    Node,
    /// The node of that name.
    OtherNode(String),
    /// Any address outside of the cluster that no ipBlock names more narrowly than as a whole family.
    World,
}

/// A text that is no end of a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no end of a question: write a pod, service/NAME, NAMESPACE/KEY=VALUE, an address, node, node/NAME or world"
)]
pub struct InvalidEnd(String);

const WORKLOADS: [&str; 6] = ["deployment", "statefulset", "daemonset", "replicaset", "job", "cronjob"];

impl End {
    /// Reads an end; a name without a namespace is of this one.
    ///
    /// # Errors
    /// When the text is none.
    pub fn parse(text: &str, namespace: &str) -> Result<Self, InvalidEnd> {
        let invalid = || InvalidEnd(text.to_owned());
        match text {
            "node" => return Ok(Self::Node),
            "world" => return Ok(Self::World),
            _ => {}
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        if text.contains('=') {
            return labelled(text, namespace).ok_or_else(invalid);
        }
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(invalid());
        }
        let of_kind = |kind: &str, namespace: &str, name: &str| {
            let kind = kind.to_lowercase();
            match kind.as_str() {
                "pod" | "pods" => Some(Self::Named(Key::new(namespace, name))),
                "service" | "services" | "svc" => Some(Self::Service(Key::new(namespace, name))),
                _ if WORKLOADS.contains(&kind.as_str()) => {
                    Some(Self::Named(Key::new(namespace, &format!("{kind}/{name}"))))
                }
                _ => None,
            }
        };
        match *parts.as_slice() {
            [name] => Ok(Self::Named(Key::new(namespace, name))),
            ["node", name] => Ok(Self::OtherNode(name.to_owned())),
            [first, name] => {
                Ok(of_kind(first, namespace, name).unwrap_or_else(|| Self::Named(Key::new(first, name))))
            }
            [first, second, name] => {
                of_kind(first, second, name).or_else(|| of_kind(second, first, name)).ok_or_else(invalid)
            }
            _ => Err(invalid()),
        }
    }
}

impl FromStr for End {
    type Err = InvalidEnd;

    fn from_str(text: &str) -> Result<Self, InvalidEnd> {
        Self::parse(text, "default")
    }
}

/// As it is read again, whatever namespace is meant by default.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(key) => write!(f, "{key}"),
            Self::Service(key) => write!(f, "service/{key}"),
            Self::Labelled { namespace, labels } => {
                let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "{namespace}/{}", pairs.join(","))
            }
            Self::Address(address) => write!(f, "{address}"),
            Self::Node => f.write_str("node"),
            Self::OtherNode(name) => write!(f, "node/{name}"),
            Self::World => f.write_str("world"),
        }
    }
}

/// Labels with their namespace. The prefix of a label's key may look like one, but has a dot.
fn labelled(text: &str, default: &str) -> Option<End> {
    let (namespace, labels) = match text.split_once('/') {
        Some((first, rest)) if rest.contains('=') && !first.contains(['.', '=', ',']) => (first, rest),
        _ => (default, text),
    };
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        (!key.is_empty()).then(|| (key.to_owned(), value.trim_start_matches('=').to_owned()))
    };
    let labels = labels.split(',').map(pair).collect::<Option<Labels>>()?;
    Some(End::Labelled { namespace: namespace.to_owned(), labels })
}
