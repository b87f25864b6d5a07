//! Kubernetes objects as far as they decide anything: valid by construction, and small.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use netpol_common::Direction;

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
}

impl Namespace {
    /// The namespace of an object whose Namespace is not known, as in a folder that holds none: the name label is
    /// there, nothing else.
    #[must_use]
    pub fn implied(name: &str) -> Self {
        let labels = Labels::from([(NAME_LABEL.to_owned(), name.to_owned())]);
        Self { name: name.into(), labels, source_prefixes: Vec::new() }
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// `status.addresses` that are IP addresses.
    pub addresses: Vec<IpAddr>,
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

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub key: Key,
    /// `metadata.uid`; empty in a manifest without one.
    pub uid: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// `spec.nodeName`; empty when it is not scheduled.
    pub node: Arc<str>,
    /// `status.podIPs` (and `status.podIP`), in order, without duplicates.
    pub addresses: Vec<IpAddr>,
    /// Ports declared by name, of containers and restartable init containers; sorted, without duplicates.
    pub named_ports: Vec<NamedPort>,
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
}

/// A port of a Service or of an EndpointSlice, by number or by the name that the pod gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// A name, looked up on each backend.
    Name(Arc<str>),
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty when the Service has a single port without a name; what slices refer to.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// The port that clients use.
    pub port: u16,
    /// Where it leads.
    pub target: TargetPort,
    /// The port on every node; 0 without one.
    pub node_port: u16,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: Key,
    /// `spec.clusterIPs` that are addresses; empty for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip`, unless their `ipMode` is `Proxy`.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// `spec.selector`; `None` when somebody else writes its endpoints.
    pub selector: Option<Labels>,
    /// `spec.internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// `spec.externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`; missing is ready.
    pub ready: bool,
    /// `conditions.serving`; missing is as `ready`.
    pub serving: bool,
    /// `conditions.terminating`; missing is false.
    pub terminating: bool,
    /// `nodeName`; empty when not said.
    pub node: Arc<str>,
}

/// A port of a slice; one without a number stands for every port and is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the Service's port.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// The backend's port.
    pub port: u16,
}

/// A slice of the endpoints of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub key: Key,
    /// The Service, from the label `kubernetes.io/service-name`; empty without one.
    pub service: Arc<str>,
    /// Its endpoints.
    pub endpoints: Vec<SliceEndpoint>,
    /// Its ports.
    pub ports: Vec<SlicePort>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Requirement {
    /// The key is there with one of the values.
    In(String, BTreeSet<String>),
    /// The key is missing, or its value is none of these.
    NotIn(String, BTreeSet<String>),
    /// The key is there.
    Exists(String),
    /// The key is missing.
    DoesNotExist(String),
}

/// A label selector: all requirements hold; without any, everything matches. `matchLabels` are `In` with one value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector(pub Vec<Requirement>);

/// Which namespaces a peer speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamespaceScope {
    /// The policy's own.
    Own,
    /// Those that match.
    Selected(Selector),
}

/// A block of addresses, masked; `except` are masked too, and only those inside `cidr` are kept.
/// IPv4-mapped ones are written as IPv4.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpBlock {
    /// The block.
    pub cidr: IpNet,
    /// What is taken out of it; sorted.
    pub except: Vec<IpNet>,
}

/// One item of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyPeer {
    /// Pods of namespaces.
    Pods {
        /// Which namespaces.
        namespaces: NamespaceScope,
        /// Which pods in them.
        pods: Selector,
    },
    /// Addresses.
    Block(IpBlock),
    /// An entry that grants nothing: unreadable, empty, or of fields that are not known.
    Nobody,
}

/// What one item of `ports` allows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyPort {
    /// Every port of a protocol.
    All(Protocol),
    /// A range, both ends inclusive.
    Range(Protocol, u16, u16),
    /// A name, looked up on the destination pod.
    Named(Protocol, Arc<str>),
    /// An entry that grants nothing.
    Nothing,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// `None`: any peer at all. `Some` with an empty list cannot come from the API (that is any peer); items that
    /// could not be read are [`PolicyPeer::Nobody`].
    pub peers: Option<Vec<PolicyPeer>>,
    /// `None`: every port of every protocol.
    pub ports: Option<Vec<PolicyPort>>,
    /// The rule holds a field that is not known, which might narrow it: it grants nothing.
    pub void: bool,
}

/// A NetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Namespace and name.
    pub key: Key,
    /// Which pods of its namespace it isolates.
    pub pod_selector: Selector,
    /// By [`Direction::index`]: `Some` when it isolates in that direction, with its rules.
    pub rules: [Option<Vec<Rule>>; 2],
}

impl Policy {
    /// The rules of a direction, if it isolates there.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        self.rules[direction.index()].as_deref()
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
}
