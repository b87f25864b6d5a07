//! Random clusters: small, so that everything meets everything, and full of what engines get wrong.

use std::{collections::BTreeSet, net::IpAddr};

use fastrand::Rng;
use netpol_policy::model::{
    EndpointSlice, IpBlock, Key, Labels, NamedPort, Namespace, NamespaceScope, Node, Object, Pod, Policy,
    PolicyPeer, PolicyPort, Protocol, Requirement, Rule, Selector, Service, ServicePort, SliceEndpoint,
    SlicePort, TargetPort,
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
const BLOCKS: [&str; 14] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/24",
    "10.1.0.0/29",
    "10.1.0.4/30",
    "10.1.0.5/32",
    "192.0.2.0/24",
    "192.0.2.64/26",
    "172.16.0.0/30",
    "::/0",
    "fd01::/64",
    "fd01::4/126",
    "2001:db8::/32",
    "10.96.0.0/16",
];

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

fn requirement(rng: &mut Rng) -> Requirement {
    let key = one(rng, &KEYS).to_owned();
    let values = |rng: &mut Rng| -> BTreeSet<String> {
        let mut values: BTreeSet<String> =
            some(rng, 2, |rng| one(rng, &VALUES).to_owned()).into_iter().collect();
        values.insert(one(rng, &["a", "b", "", "nobody"]).to_owned());
        values
    };
    match rng.u32(..6) {
        0 => Requirement::NotIn(key, values(rng)),
        1 => Requirement::Exists(key),
        2 => Requirement::DoesNotExist(key),
        3 => Requirement::In(key, values(rng)),
        _ => Requirement::In(key, [one(rng, &VALUES).to_owned()].into()),
    }
}

fn selector(rng: &mut Rng) -> Selector {
    Selector(some(rng, 2, requirement))
}

fn peer(rng: &mut Rng) -> PolicyPeer {
    match rng.u32(..10) {
        0..=2 => PolicyPeer::Pods { namespaces: NamespaceScope::Own, pods: selector(rng) },
        3..=5 => {
            let namespaces = if chance(rng, 3) {
                let name = [one(rng, &NAMESPACES).to_owned()].into();
                Selector(vec![Requirement::In(netpol_policy::model::NAME_LABEL.into(), name)])
            } else {
                selector(rng)
            };
            PolicyPeer::Pods { namespaces: NamespaceScope::Selected(namespaces), pods: selector(rng) }
        }
        6 if chance(rng, 3) => PolicyPeer::Nobody,
        _ => {
            let cidr: ipnet::IpNet = one(rng, &BLOCKS).parse().unwrap();
            let mut except: Vec<ipnet::IpNet> = some(rng, 2, |rng| one(rng, &BLOCKS).parse().unwrap());
            except.retain(|net: &ipnet::IpNet| cidr.contains(net));
            except.sort();
            except.dedup();
            PolicyPeer::Block(IpBlock { cidr, except })
        }
    }
}

fn port(rng: &mut Rng) -> PolicyPort {
    let protocol = protocol(rng);
    match rng.u32(..10) {
        0 => PolicyPort::All(protocol),
        1 | 2 => {
            let (a, b) = (PORTS[rng.usize(..PORTS.len())], PORTS[rng.usize(..PORTS.len())]);
            PolicyPort::Range(protocol, a.min(b), a.max(b))
        }
        3..=5 => PolicyPort::Named(protocol, one(rng, &["web", "api", "dns", "nobody"]).into()),
        6 if chance(rng, 3) => PolicyPort::Nothing,
        _ => {
            let port = PORTS[rng.usize(..PORTS.len())];
            PolicyPort::Range(protocol, port, port)
        }
    }
}

fn rule(rng: &mut Rng) -> Rule {
    let peers = (!chance(rng, 6)).then(|| {
        let mut peers = some(rng, 2, peer);
        peers.push(peer(rng));
        peers
    });
    let mut ports = (!chance(rng, 3)).then(|| {
        let mut ports = some(rng, 2, port);
        ports.push(port(rng));
        ports
    });
    // More ranges than stand inline in a port set.
    if let Some(ports) = &mut ports
        && chance(rng, 12)
    {
        ports.extend((0..12).map(|n| PolicyPort::Range(Protocol::Tcp, 7990 + 10 * n, 7990 + 10 * n)));
    }
    Rule { peers, ports, void: chance(rng, 25) }
}

fn policy(rng: &mut Rng, n: usize) -> Policy {
    let mut rules = [None, None];
    for direction in &mut rules {
        if !chance(rng, 3) {
            let mut all = some(rng, 2, rule);
            if !chance(rng, 4) {
                all.push(rule(rng));
            }
            *direction = Some(all);
        }
    }
    let pod_selector = if chance(rng, 3) { Selector::default() } else { selector(rng) };
    Policy { key: Key::new(NAMESPACES[n % 3], &format!("n{n}")), pod_selector, rules }
}

/// A Service of the namespace of `pods`; most often it leads to one of them, and to others like it.
fn service(rng: &mut Rng, n: usize, pods: &[Pod]) -> Service {
    let pods: Vec<&Pod> = pods.iter().filter(|pod| *pod.key.namespace == *NAMESPACES[n % 3]).collect();
    let pod = rng.choice(&pods).copied();
    let label = pod.and_then(|pod| rng.choice(&pod.labels));
    let mut ports: Vec<ServicePort> = Vec::new();
    for (turn, name) in ["one", "two"].iter().enumerate() {
        let (protocol, port) = (protocol(rng), [80, 53, 443][rng.usize(..3)]);
        // The API refuses a Service that has a port twice.
        if turn > 0 && (rng.bool() || (ports[0].protocol, ports[0].port) == (protocol, port)) {
            break;
        }
        let target = if chance(rng, 4) {
            let name = pod.and_then(|pod| rng.choice(&pod.named_ports)).map(|port| port.name.clone());
            TargetPort::Name(name.unwrap_or_else(|| one(rng, &NAMES).into()))
        } else {
            TargetPort::Number(PORTS[rng.usize(..3)])
        };
        let node_port = if chance(rng, 4) { 30_080 + (2 * n + turn) as u16 } else { 0 };
        ports.push(ServicePort { name: (*name).into(), protocol, port, target, node_port });
    }
    let external = chance(rng, 4);
    Service {
        key: Key::new(NAMESPACES[n % 3], &format!("s{n}")),
        cluster_ips: match n {
            0 => vec![ip("10.96.0.1"), ip("fd96::1")],
            1 => vec![ip("10.96.0.2")],
            _ => Vec::new(),
        },
        external_ips: if external || n == 2 { vec![ip("203.0.113.5")] } else { Vec::new() },
        load_balancer_ips: Vec::new(),
        ports,
        selector: match label {
            Some((key, value)) => Some([(key.clone(), value.clone())].into()),
            None => chance(rng, 3).then(|| [(one(rng, &KEYS).into(), one(rng, &VALUES).into())].into()),
        },
        internal_local: chance(rng, 6),
        external_local: false,
        publish_not_ready: chance(rng, 6),
    }
}

fn slice(rng: &mut Rng, n: usize, service: &Service) -> EndpointSlice {
    let v4 = !chance(rng, 3);
    let endpoints = some(rng, 4, |rng| {
        let n = rng.u8(..14);
        let pod = if v4 { IpAddr::from([10, 1, 0, n]) } else { ip(&format!("fd01::{n:x}")) };
        let outside = if v4 { "192.0.2.77" } else { "2001:db8::9" };
        let ready = !chance(rng, 4);
        SliceEndpoint {
            addresses: vec![if chance(rng, 6) { ip(outside) } else { pod }],
            ready,
            serving: ready || rng.bool(),
            terminating: !ready && rng.bool(),
            node: if n < 6 { NODE } else { "there" }.into(),
        }
    });
    EndpointSlice {
        key: Key::new(NAMESPACES[n % 3], &format!("s{n}-{}", if v4 { 4 } else { 6 })),
        service: format!("s{n}").into(),
        endpoints,
        ports: service
            .ports
            .iter()
            .map(|port| SlicePort {
                name: port.name.clone(),
                protocol: if chance(rng, 6) { protocol(rng) } else { port.protocol },
                port: PORTS[rng.usize(..3)],
            })
            .collect(),
    }
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
