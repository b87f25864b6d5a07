//! Random clusters: small, so that everything meets everything, and full of what engines get wrong.

mod change;
mod documents;
mod policies;
mod services;
mod step;

use std::{net::IpAddr, sync::Arc};

use fastrand::Rng;
use netpol_policy::{
    engine::LocalEndpoint,
    model::{HostPort, Key, Labels, NamedPort, Namespace, Node, Object, Pod, Policy, Protocol},
};

pub(crate) use self::{
    change::{Change, Told},
    step::{KINDS, random_change},
};
use self::{
    policies::policy,
    services::{service, slice},
};

/// The node on which all this is seen.
pub(crate) const NODE: &str = "here";
/// Ranges of Services that the engine is told.
pub(crate) const SERVICE_RANGES: [&str; 2] = ["10.96.0.0/16", "fd96::/64"];
/// Nobody's addresses, the nodes', and one that an external Service uses.
pub(crate) const WORLD: [&str; 10] = [
    "192.0.2.1",
    "192.0.2.77",
    "198.51.100.9",
    "172.16.0.1",
    "172.16.0.2",
    "2001:db8::1",
    "2001:db8::9",
    "fd16::1",
    "203.0.113.5",
    BRIDGE,
];
/// What the interfaces of this node have: beside what its Node object names, the pods' gateway.
pub(crate) const HOST: [&str; 3] = ["172.16.0.1", "fd16::1", BRIDGE];
/// An address of this node that its Node object does not name.
const BRIDGE: &str = "10.1.0.254";
/// Addresses of Services, with frontends or without.
pub(crate) const SERVICES: [&str; 6] =
    ["10.96.0.1", "10.96.0.2", "10.96.0.3", "fd96::1", "fd96::2", "203.0.113.5"];
/// Ports that rules and packets choose from.
pub(crate) const PORTS: [u16; 8] = [53, 80, 81, 443, 8080, 8081, 9000, 65_535];

const NAMESPACES: [&str; 3] = ["red", "green", "blue"];
const NAMES: [&str; 3] = ["web", "api", "dns"];
const KEYS: [&str; 3] = ["app", "tier", "zone"];
const VALUES: [&str; 3] = ["a", "b", ""];

/// All objects of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) objects: Vec<Object>,
    /// The interfaces of this node that are some pod's.
    pub(crate) interfaces: Vec<LocalEndpoint>,
    /// Whether local interfaces can be recognised at other pods.
    pub(crate) tag_trusted: bool,
    /// What the authors of the policies meant that were read from documents, and whether nothing was wrong in them.
    pub(crate) meant: Vec<(Policy, bool)>,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn one<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

fn chance(rng: &mut Rng, of: u32) -> bool {
    rng.u32(..of) == 0
}

fn some<T>(rng: &mut Rng, most: usize, mut make: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    (0..rng.usize(..=most)).map(|_| make(rng)).collect()
}

fn node(name: &str, addresses: &[&str], break_glass: bool) -> Node {
    Node { name: name.into(), addresses: addresses.iter().map(|address| ip(address)).collect(), break_glass }
}

fn labels(rng: &mut Rng) -> Labels {
    let mut labels = Labels::new();
    for key in KEYS {
        if rng.bool() {
            labels.insert(key.into(), one(rng, &VALUES).into());
        }
    }
    labels
}

fn protocol(rng: &mut Rng) -> Protocol {
    Protocol::ALL[[0, 0, 0, 1, 1, 2][rng.usize(..6)]]
}

fn pod(rng: &mut Rng, n: u8) -> Pod {
    let local = n < 6;
    let mut pod = Pod {
        key: Key::new(NAMESPACES[usize::from(n) % 3], &format!("p{n}")),
        uid: format!("uid-{n}").into(),
        mirror_of: None,
        labels: labels(rng).into(),
        node: if local { NODE } else { "there" }.into(),
        addresses: vec![IpAddr::from([10, 1, 0, n]), ip(&format!("fd01::{n:x}"))],
        named_ports: [].into(),
        host_ports: Vec::new(),
        host_network: false,
        finished: !local && chance(rng, 10),
        terminating: chance(rng, 10),
        ready: !chance(rng, 6),
        created: rng.i64(0..3),
    };
    match rng.u32(..8) {
        0 => pod.addresses.truncate(1),
        1 => drop(pod.addresses.remove(0)),
        2 => pod.addresses.reverse(),
        _ => {}
    }
    if !local && chance(rng, 8) {
        // Another remote pod's address, claimed twice.
        pod.addresses.insert(0, IpAddr::from([10, 1, 0, rng.u8(6..14)]));
        pod.addresses.dedup();
    }
    if chance(rng, 12) {
        pod.host_network = true;
        pod.addresses = vec![ip(if local { "172.16.0.1" } else { "172.16.0.2" })];
    }
    let mut ports = Vec::new();
    for name in NAMES {
        if !chance(rng, 3) {
            let port = PORTS[rng.usize(..PORTS.len())];
            ports.push(NamedPort { name: name.into(), protocol: protocol(rng), port });
        }
    }
    ports.sort();
    pod.named_ports = ports.into();
    if !pod.host_network && chance(rng, 6) {
        let address = chance(rng, 3).then(|| ip(BRIDGE));
        let (protocol, port) = (protocol(rng), 30_090 + u16::from(n) % 4);
        pod.host_ports = vec![HostPort { address, protocol, port, target: PORTS[rng.usize(..3)] }];
    }
    pod
}

/// The host's end of a local pod's interface; a pod can have had others before.
fn interface(pod: &Pod, turn: u32, tag_trusted: bool) -> LocalEndpoint {
    LocalEndpoint {
        ifname: ifname(&pod.key),
        ifindex: ifindex(&pod.key, turn),
        pod: Some(pod.key.clone()),
        uid: pod.uid.clone(),
        addresses: pod.addresses.clone(),
        hardware: None,
        sources: Vec::new(),
        tag_trusted,
        tags_allowed: false,
    }
}

fn ifname(pod: &Key) -> Arc<str> {
    format!("veth-{}-{}", pod.namespace, pod.name).into()
}

/// No two pods ever share one.
fn ifindex(pod: &Key, turn: u32) -> u32 {
    let other = if pod.name.starts_with('q') { 16 } else { 0 };
    100 + 32 * turn + other + number(pod)
}

/// The number in the name of a pod or of a Service.
fn number(pod: &Key) -> u32 {
    pod.name[1..].parse().unwrap()
}

impl Cluster {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let mut objects = vec![
            Object::Node(node(NODE, &["172.16.0.1", "fd16::1"], chance(rng, 20))),
            Object::Node(node("there", &["172.16.0.2"], chance(rng, 6))),
        ];
        for name in NAMESPACES {
            if !chance(rng, 5) {
                let mut namespace = Namespace::implied(name);
                namespace.labels.extend(labels(rng));
                namespace.break_glass = chance(rng, 8);
                objects.push(Object::Namespace(namespace));
            }
        }
        let mut pods = Vec::new();
        for n in 0..14 {
            if !chance(rng, 8) {
                pods.push(pod(rng, n));
            }
        }
        objects.extend(pods.iter().cloned().map(Object::Pod));
        let policies = rng.usize(1..7);
        objects.extend((0..policies).map(|n| Object::Policy(policy(rng, n))));
        let services = rng.usize(1..4);
        for n in 0..services {
            let service = service(rng, n, &pods);
            if chance(rng, 4) {
                objects.push(Object::EndpointSlice(slice(rng, n, &service)));
            }
            objects.push(Object::Service(service));
        }
        let tag_trusted = rng.bool();
        let interfaces = pods.iter().filter(|pod| is_local(pod)).map(|pod| interface(pod, 0, tag_trusted));
        let interfaces = interfaces.collect();
        Self { objects, interfaces, tag_trusted, meant: Vec::new() }
    }

    /// The interface of a pod, when it is the one of this very pod.
    pub(crate) fn interface_of(&self, pod: &Pod) -> Option<&LocalEndpoint> {
        let interface = self.interfaces.iter().find(|one| one.pod.as_ref() == Some(&pod.key))?;
        (pod.counts() && interface.uid == pod.uid).then_some(interface)
    }

    /// Which addresses the interfaces of pods were given.
    pub(crate) fn given(&self) -> impl Iterator<Item = (Key, Vec<IpAddr>)> {
        self.pods().filter_map(|pod| Some((pod.key.clone(), self.interface_of(pod)?.addresses.clone())))
    }

    /// Whether the pod of an interface is there.
    pub(crate) fn knows(&self, interface: &LocalEndpoint) -> bool {
        self.pods().any(|pod| self.interface_of(pod).is_some_and(|one| one.ifname == interface.ifname))
    }

    /// Whether the break-glass switch of this node is set.
    pub(crate) fn is_switched_off(&self) -> bool {
        let is_own =
            |object: &Object| matches!(object, Object::Node(node) if &*node.name == NODE && node.break_glass);
        self.objects.iter().any(is_own)
    }

    /// The same cluster, with what was meant in the place of what was read.
    pub(crate) fn as_meant(&self) -> Vec<Object> {
        let mut objects = self.objects.clone();
        for object in &mut objects {
            if let Object::Policy(policy) = object
                && let Some((meant, _)) = self.meant.iter().find(|(meant, _)| meant.key == policy.key)
            {
                *policy = meant.clone();
            }
        }
        objects
    }

    pub(crate) fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.objects.iter().filter_map(|object| match object {
            Object::Pod(pod) => Some(pod),
            _ => None,
        })
    }

    /// Every address, protocol and port of a Service.
    pub(crate) fn frontends(&self) -> Vec<(IpAddr, Protocol, u16)> {
        let services = self.objects.iter().filter_map(|object| match object {
            Object::Service(service) => Some(service),
            _ => None,
        });
        let mut all = Vec::new();
        for port in self.pods().flat_map(|pod| &pod.host_ports) {
            all.extend(["172.16.0.1", BRIDGE].map(|address| (ip(address), port.protocol, port.port)));
        }
        for service in services {
            for port in &service.ports {
                for address in service.cluster_ips.iter().chain(&service.external_ips) {
                    all.push((*address, port.protocol, port.port));
                }
                if port.node_port != 0 {
                    all.push((ip("172.16.0.1"), port.protocol, port.node_port));
                    all.push((ip(BRIDGE), port.protocol, port.node_port));
                }
            }
        }
        all
    }
}

fn is_local(pod: &Pod) -> bool {
    &*pod.node == NODE && pod.counts()
}
