//! Random clusters: small, so that everything meets everything, and full of what engines get wrong.

mod policies;
mod services;

use std::net::IpAddr;

use fastrand::Rng;
use netpol_policy::model::{Key, Labels, NamedPort, Namespace, Node, Object, Pod, Protocol};

use self::{
    policies::policy,
    services::{service, slice},
};

/// The node on which all this is seen.
pub(crate) const NODE: &str = "here";
/// Ranges of Services that the engine is told.
pub(crate) const SERVICE_RANGES: [&str; 2] = ["10.96.0.0/16", "fd96::/64"];
/// Nobody's addresses, the nodes', and one that an external Service uses.
pub(crate) const WORLD: [&str; 9] = [
    "192.0.2.1",
    "192.0.2.77",
    "198.51.100.9",
    "172.16.0.1",
    "172.16.0.2",
    "2001:db8::1",
    "2001:db8::9",
    "fd16::1",
    "203.0.113.5",
];
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
    /// Whether local interfaces can be recognised at other pods.
    pub(crate) tag_trusted: bool,
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
        labels: labels(rng),
        node: if local { NODE } else { "there" }.into(),
        addresses: vec![IpAddr::from([10, 1, 0, n]), ip(&format!("fd01::{n:x}"))],
        named_ports: Vec::new(),
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
    for name in NAMES {
        if !chance(rng, 3) {
            let port = PORTS[rng.usize(..PORTS.len())];
            pod.named_ports.push(NamedPort { name: name.into(), protocol: protocol(rng), port });
        }
    }
    pod.named_ports.sort();
    pod
}

impl Cluster {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let mut objects = vec![
            Object::Node(Node { name: NODE.into(), addresses: vec![ip("172.16.0.1"), ip("fd16::1")] }),
            Object::Node(Node { name: "there".into(), addresses: vec![ip("172.16.0.2")] }),
        ];
        for name in NAMESPACES {
            if !chance(rng, 5) {
                let mut namespace = Namespace::implied(name);
                namespace.labels.extend(labels(rng));
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
        Self { objects, tag_trusted: rng.bool() }
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
        for service in services {
            for port in &service.ports {
                for address in service.cluster_ips.iter().chain(&service.external_ips) {
                    all.push((*address, port.protocol, port.port));
                }
                if port.node_port != 0 {
                    all.push((ip("172.16.0.1"), port.protocol, port.node_port));
                }
            }
        }
        all
    }

    /// The pods that have an interface here.
    pub(crate) fn local(&self) -> impl Iterator<Item = &Pod> {
        self.pods().filter(|pod| &*pod.node == NODE && pod.counts())
    }
}
