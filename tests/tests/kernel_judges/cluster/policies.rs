//! Random policies: every form of selector, peer and port.

use std::collections::BTreeSet;

use fastrand::Rng;
use netpol_policy::model::{
    IpBlock, Key, NamespaceScope, Policy, PolicyPeer, PolicyPort, Protocol, Requirement, Rule, Selector,
};

use super::{KEYS, NAMESPACES, PORTS, VALUES, chance, one, protocol, some};

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

pub(super) fn policy(rng: &mut Rng, n: usize) -> Policy {
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
