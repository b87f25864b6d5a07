//! Objects in one line each.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use crate::model::{
    EndpointSlice, IpBlock, Key, Labels, NamedPort, Namespace, NamespaceScope, Node, Object, Pod, Policy,
    PolicyPeer, PolicyPort, Protocol, Requirement, Rule, Selector, Service, ServicePort, SliceEndpoint,
    SlicePort, TargetPort,
};

pub(crate) const NODE: &str = "here";

pub(crate) fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter(|p| !p.is_empty());
    pairs.map(|p| p.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(crate) fn namespace(name: &str, text: &str) -> Object {
    let mut namespace = Namespace::implied(name);
    namespace.labels.extend(labels(text));
    Object::Namespace(namespace)
}

pub(crate) fn node(name: &str, addresses: &[&str]) -> Object {
    let addresses = addresses.iter().map(|a| ip(a)).collect();
    Object::Node(Node { name: name.into(), addresses, break_glass: false })
}

/// The same namespace or node, with the break-glass switch set.
pub(crate) fn switched_off(object: Object) -> Object {
    match object {
        Object::Namespace(namespace) => Object::Namespace(Namespace { break_glass: true, ..namespace }),
        Object::Node(node) => Object::Node(Node { break_glass: true, ..node }),
        other => panic!("{other:?} has no such switch"),
    }
}

/// A running pod of this node: `namespace/name`.
pub(crate) fn pod(key: &str, text: &str, addresses: &[&str]) -> Pod {
    let (namespace, name) = key.split_once('/').unwrap();
    Pod {
        key: Key::new(namespace, name),
        uid: "".into(),
        mirror_of: None,
        labels: labels(text).into(),
        node: NODE.into(),
        addresses: addresses.iter().map(|a| ip(a)).collect(),
        named_ports: [].into(),
        host_ports: Vec::new(),
        host_network: false,
        finished: false,
        terminating: false,
        ready: true,
        created: 0,
    }
}

impl Pod {
    pub(crate) fn port(self, name: &str, port: u16) -> Self {
        let mut ports = self.named_ports.to_vec();
        ports.push(NamedPort { name: name.into(), protocol: Protocol::Tcp, port });
        ports.sort();
        Self { named_ports: ports.into(), ..self }
    }
}

/// `a=b`, `!a`, `a!=b`, `a`.
pub(crate) fn selector(text: &str) -> Selector {
    let parts = text.split(',').filter(|p| !p.is_empty());
    let requirement = |part: &str| {
        if let Some(key) = part.strip_prefix('!') {
            Requirement::DoesNotExist(key.into())
        } else if let Some((key, value)) = part.split_once("!=") {
            Requirement::NotIn(key.into(), BTreeSet::from([value.into()]))
        } else if let Some((key, value)) = part.split_once('=') {
            Requirement::In(key.into(), BTreeSet::from([value.into()]))
        } else {
            Requirement::Exists(part.into())
        }
    };
    Selector(parts.map(requirement).collect())
}

/// Pods of the policy's own namespace.
pub(crate) fn pods(text: &str) -> PolicyPeer {
    PolicyPeer::Pods { namespaces: NamespaceScope::Own, pods: selector(text) }
}

/// Pods of selected namespaces.
pub(crate) fn pods_of(namespaces: &str, text: &str) -> PolicyPeer {
    PolicyPeer::Pods { namespaces: NamespaceScope::Selected(selector(namespaces)), pods: selector(text) }
}

pub(crate) fn block(cidr: &str, except: &[&str]) -> PolicyPeer {
    PolicyPeer::Block(IpBlock { cidr: net(cidr), except: except.iter().map(|e| net(e)).collect() })
}

pub(crate) fn tcp(port: u16) -> PolicyPort {
    PolicyPort::Range(Protocol::Tcp, port, port)
}

pub(crate) fn named(name: &str) -> PolicyPort {
    PolicyPort::Named(Protocol::Tcp, name.into())
}

/// No peers are any peer, no ports every port.
pub(crate) fn rule(peers: &[PolicyPeer], ports: &[PolicyPort]) -> Rule {
    Rule {
        peers: (!peers.is_empty()).then(|| peers.to_vec()),
        ports: (!ports.is_empty()).then(|| ports.to_vec()),
        void: false,
    }
}

pub(crate) fn policy(key: &str, pods: &str, ingress: Option<Vec<Rule>>, egress: Option<Vec<Rule>>) -> Object {
    let (namespace, name) = key.split_once('/').unwrap();
    Object::Policy(Policy {
        key: Key::new(namespace, name),
        pod_selector: selector(pods),
        rules: [ingress, egress],
    })
}

pub(crate) fn ingress(key: &str, pods: &str, rules: Vec<Rule>) -> Object {
    policy(key, pods, Some(rules), None)
}

pub(crate) fn egress(key: &str, pods: &str, rules: Vec<Rule>) -> Object {
    policy(key, pods, None, Some(rules))
}

/// A Service with one TCP port.
pub(crate) fn service(key: &str, selector: &str, ips: &[&str], port: u16, target: u16) -> Service {
    let (namespace, name) = key.split_once('/').unwrap();
    Service {
        key: Key::new(namespace, name),
        cluster_ips: ips.iter().map(|a| ip(a)).collect(),
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port,
            target: TargetPort::Number(target),
            node_port: 0,
        }],
        selector: (!selector.is_empty()).then(|| labels(selector)),
        internal_local: false,
        external_local: false,
        publish_not_ready: false,
    }
}

pub(crate) fn slice(key: &str, service: &str, port: u16, endpoints: &[(&str, bool)]) -> Object {
    let (namespace, name) = key.split_once('/').unwrap();
    let endpoint = |(address, ready): &(&str, bool)| SliceEndpoint {
        addresses: vec![ip(address)],
        ready: *ready,
        serving: *ready,
        terminating: false,
        node: NODE.into(),
    };
    Object::EndpointSlice(EndpointSlice {
        key: Key::new(namespace, name),
        service: service.into(),
        endpoints: endpoints.iter().map(endpoint).collect(),
        ports: vec![SlicePort { name: "".into(), protocol: Protocol::Tcp, port }],
    })
}
