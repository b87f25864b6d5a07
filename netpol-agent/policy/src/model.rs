//! Kubernetes objects as far as they decide anything: valid by construction, and small.

mod policy;
mod service;

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;

pub use policy::{IpBlock, NamespaceScope, Policy, PolicyPeer, PolicyPort, Requirement, Rule, Selector};
pub use service::{EndpointSlice, Service, ServicePort, SliceEndpoint, SlicePort, TargetPort};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Namespace and name of an object; the namespace is empty for objects of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Empty for a Namespace or a Node.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl Key {
    /// A key from its parts.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1/Namespace`.
    Namespace,
    /// `v1/Node`.
    Node,
    /// `v1/Pod`.
    Pod,
    /// `v1/Service`.
    Service,
    /// `discovery.k8s.io/v1/EndpointSlice`.
    EndpointSlice,
    /// `networking.k8s.io/v1/NetworkPolicy`.
    NetworkPolicy,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Namespace, Self::Node, Self::Pod, Self::Service, Self::EndpointSlice, Self::NetworkPolicy];

    /// As it stands in manifests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::NetworkPolicy => "NetworkPolicy",
        }
    }
}

/// The label that every namespace has, with its name as the value.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The annotation of a Namespace or a Node that is the break-glass switch: while its value is `"true"`, no policy is
/// enforced for the pods there.
pub const BREAK_GLASS: &str = "netpol.io/break-glass";

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: Arc<str>,
    /// Its labels; `kubernetes.io/metadata.name` is always there.
    pub labels: Labels,
    /// Prefixes that its pods may speak with beyond their own addresses (gateways, VPN), from the annotation
    /// `netpol.io/source-prefixes`.
    pub source_prefixes: Vec<IpNet>,
    /// No policy is enforced for its pods: [`BREAK_GLASS`] is set.
    pub break_glass: bool,
}

impl Namespace {
    /// The namespace of an object whose Namespace is not known, as in a folder that holds none: the name label is
    /// there, nothing else.
    #[must_use]
    pub fn implied(name: &str) -> Self {
        let labels = Labels::from([(NAME_LABEL.to_owned(), name.to_owned())]);
        Self { name: name.into(), labels, source_prefixes: Vec::new(), break_glass: false }
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// `status.addresses` that are IP addresses.
    pub addresses: Vec<IpAddr>,
    /// No policy is enforced for its pods: [`BREAK_GLASS`] is set.
    pub break_glass: bool,
}

/// Transport protocols that a rule or a port can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// IP protocol 6.
    Tcp = 6,
    /// IP protocol 17.
    Udp = 17,
    /// IP protocol 132.
    Sctp = 132,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As the API spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// The IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// A port that a container declares by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamedPort {
    /// The name.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

/// A port of the node that leads to a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// The address of the node; every one, if none is said.
    pub address: Option<IpAddr>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port of the node.
    pub port: u16,
    /// The container's port.
    pub target: u16,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub key: Key,
    /// `metadata.uid`; empty in a manifest without one.
    pub uid: Arc<str>,
    /// Of the mirror of a static pod: what the kubelet, its container runtime and its CNI plugins know the pod by,
    /// instead of the UID, from the annotation `kubernetes.io/config.mirror`.
    pub mirror_of: Option<Arc<str>>,
    /// Its labels. Replicas can share them, and the named ports.
    pub labels: Arc<Labels>,
    /// `spec.nodeName`; empty when it is not scheduled.
    pub node: Arc<str>,
    /// `status.podIPs` (and `status.podIP`), in order, without duplicates.
    pub addresses: Vec<IpAddr>,
    /// Ports declared by name, of containers and restartable init containers; sorted, without duplicates.
    pub named_ports: Arc<[NamedPort]>,
    /// `hostPort` of its containers; none where it is on the host's network itself. Sorted, without duplicates.
    pub host_ports: Vec<HostPort>,
    /// `spec.hostNetwork`: never selected, neither as target nor as peer.
    pub host_network: bool,
    /// Succeeded or Failed: ignored.
    pub finished: bool,
    /// It has a deletion timestamp: still target and peer until it is gone.
    pub terminating: bool,
    /// Condition Ready; what a derived endpoint is judged ready by. Manifests without status are ready.
    pub ready: bool,
    /// `metadata.creationTimestamp` in seconds since 1970; 0 without one. Decides between two claims of an address.
    pub created: i64,
}

impl Pod {
    /// Whether policies and peers know this pod at all.
    #[must_use]
    pub const fn counts(&self) -> bool {
        !self.host_network && !self.finished
    }

    /// Whether this is the pod that a node knows by a UID. Where one side says none, nothing speaks against it.
    #[must_use]
    pub fn has_uid(&self, uid: &str) -> bool {
        self.uid.is_empty() || uid.is_empty() || *self.uid == *uid || self.mirror_of.as_deref() == Some(uid)
    }
}

/// An object of any kind that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A namespace.
    Namespace(Namespace),
    /// A node.
    Node(Node),
    /// A pod.
    Pod(Pod),
    /// A Service.
    Service(Service),
    /// A slice of endpoints.
    EndpointSlice(EndpointSlice),
    /// A policy.
    Policy(Policy),
}

impl Object {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Policy(_) => Kind::NetworkPolicy,
        }
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Namespace(o) => Key { namespace: "".into(), name: o.name.clone() },
            Self::Node(o) => Key { namespace: "".into(), name: o.name.clone() },
            Self::Pod(o) => o.key.clone(),
            Self::Service(o) => o.key.clone(),
            Self::EndpointSlice(o) => o.key.clone(),
            Self::Policy(o) => o.key.clone(),
        }
    }
}

/// What is wrong with an object, for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The kind as the manifest writes it.
    pub kind: String,
    /// The object; as much of it as could be read.
    pub object: Key,
    /// The path of the field, such as `spec.ingress[0].from[1].ipBlock.cidr`.
    pub field: String,
    /// What is wrong, and what that means for traffic.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// What a source of objects says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// The object is there, or has changed.
    Apply(Object),
    /// The object is gone.
    Delete(Kind, Key),
    /// Everything that is there, whole: what is not in it is gone.
    Reset(Vec<Object>),
    /// From here on all objects of a kind are named anew, in any number of events; it may begin again before it has ended.
    Listing(Kind),
    /// The object is there as it was.
    Stays(Kind, Key),
    /// The list of a kind is whole: what it has not named is gone.
    Listed(Kind),
}
