//! Services and the endpoints behind them.

use std::{net::IpAddr, sync::Arc};

use super::{Key, Labels, Protocol};

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
    /// `conditions.serving`; missing is serving.
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
