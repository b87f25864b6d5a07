//! Random Services and slices of their endpoints.

use std::net::IpAddr;

use fastrand::Rng;
use netpol_policy::model::{
    EndpointSlice, Key, Pod, Service, ServicePort, SliceEndpoint, SlicePort, TargetPort,
};

use super::{KEYS, NAMES, NAMESPACES, NODE, PORTS, VALUES, chance, ip, one, protocol, some};

/// A Service of the namespace of `pods`; most often it leads to one of them, and to others like it.
pub(super) fn service(rng: &mut Rng, n: usize, pods: &[Pod]) -> Service {
    let pods: Vec<&Pod> = pods.iter().filter(|pod| *pod.key.namespace == *NAMESPACES[n % 3]).collect();
    let pod = rng.choice(&pods).copied();
    let label = pod.and_then(|pod| rng.choice(pod.labels.iter()));
    let mut ports: Vec<ServicePort> = Vec::new();
    for (turn, name) in ["one", "two"].iter().enumerate() {
        let (protocol, port) = (protocol(rng), [80, 53, 443][rng.usize(..3)]);
        // The API refuses a Service that has a port twice.
        if turn > 0 && (rng.bool() || (ports[0].protocol, ports[0].port) == (protocol, port)) {
            break;
        }
        let target = if chance(rng, 4) {
            let name = pod.and_then(|pod| rng.choice(pod.named_ports.iter())).map(|port| port.name.clone());
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
        external_ips: match rng.u32(..12) {
            // One that a pod may have.
            0 => vec![IpAddr::from([10, 1, 0, rng.u8(..14)])],
            _ if external || n == 2 => vec![ip("203.0.113.5")],
            _ => Vec::new(),
        },
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

pub(super) fn slice(rng: &mut Rng, n: usize, service: &Service) -> EndpointSlice {
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
