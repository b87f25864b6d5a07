//! Random clusters and random histories of them, from a seed.

use ipnet::IpNet;

use super::build::{
    NODE, block, labels, named, namespace, node, pod, pods, pods_of, policy, rule, service, slice,
    switched_off, tcp,
};
use crate::model::{
    Kind, Object, Pod, PolicyPeer, PolicyPort, Protocol, Rule, Service, ServicePort, TargetPort,
};

/// A small generator: the same numbers from the same seed everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.roll(n) == 0
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    fn some<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.roll(most + 1)).map(|_| one(self)).collect()
    }
}

pub(crate) const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const LABELS: [&str; 7] = ["", "app=x", "app=y", "app=x,tier=f", "app=y,tier=f", "tier=b", "app=z,tier=b"];
const SELECTORS: [&str; 9] =
    ["", "app=x", "app=y", "tier=f", "app=x,tier=f", "!app", "app!=x", "tier", "app=nobody"];
const TEAMS: [&str; 3] = ["", "team=red", "team=blue"];
const BLOCKS: [(&str, &[&str]); 9] = [
    ("0.0.0.0/0", &[]),
    ("0.0.0.0/0", &["10.0.0.0/8"]),
    ("10.0.0.0/24", &[]),
    ("10.0.0.0/24", &["10.0.0.8/29"]),
    ("10.0.0.8/30", &[]),
    ("192.0.2.0/24", &["192.0.2.128/25", "192.0.2.4/32"]),
    ("192.0.2.128/26", &[]),
    ("::/0", &["fd00::/120"]),
    ("fd00::/64", &[]),
];
/// Addresses of the world, and one of the node.
pub(crate) const WORLD: [&str; 6] =
    ["192.0.2.1", "192.0.2.4", "192.0.2.130", "203.0.113.1", "2001:db8::1", "172.16.0.1"];
pub(crate) const PODS: usize = 14;
pub(crate) const LOCAL: usize = 5;
pub(crate) const PORTS: [u16; 4] = [80, 81, 8080, 443];
pub(crate) const FRONTENDS: [(&str, u16); 5] =
    [("10.96.0.1", 80), ("10.96.0.2", 80), ("203.0.113.1", 443), ("10.96.0.1", 81), ("172.16.0.1", 30080)];

pub(crate) fn address(i: usize) -> [String; 2] {
    [format!("10.0.0.{}", i + 1), format!("fd00::{:x}", i + 1)]
}

/// The pods of the low numbers are of this node.
pub(crate) fn random_pod(dice: &mut Dice, i: usize) -> Pod {
    let own = address(i);
    let namespace = NAMESPACES[i % 3];
    let mut pod = pod(&format!("{namespace}/p{i}"), dice.pick(&LABELS), &[&own[0], &own[1]]);
    if i >= LOCAL {
        pod.node = "there".into();
        // Now and then two pods claim one address.
        if dice.one_in(12) {
            pod.addresses.push(super::build::ip(&address(LOCAL + dice.roll(PODS - LOCAL))[0]));
            pod.addresses.dedup();
        }
        pod.host_network = dice.one_in(15);
        pod.finished = dice.one_in(15);
    }
    pod.terminating = dice.one_in(10);
    pod.ready = !dice.one_in(8);
    pod.created = i64::try_from(dice.roll(3)).unwrap();
    for name in ["web", "api"] {
        if !dice.one_in(3) {
            let port = PORTS[dice.roll(3)];
            pod = pod.port(name, port);
        }
    }
    pod
}

fn random_peer(dice: &mut Dice) -> PolicyPeer {
    match dice.roll(8) {
        0 | 1 => pods(dice.pick(&SELECTORS)),
        2 | 3 => pods_of(dice.pick(&["", "team=red", "team", "!team", "team!=blue"]), dice.pick(&SELECTORS)),
        7 if dice.one_in(3) => PolicyPeer::Nobody,
        _ => {
            let (cidr, except) = BLOCKS[dice.roll(BLOCKS.len())];
            block(cidr, except)
        }
    }
}

fn random_port(dice: &mut Dice) -> PolicyPort {
    match dice.roll(9) {
        0 => PolicyPort::All(Protocol::Tcp),
        1 => PolicyPort::Range(Protocol::Tcp, 80, 8080),
        2 | 3 => named(dice.pick(&["web", "api"])),
        4 if dice.one_in(3) => PolicyPort::Nothing,
        5 => PolicyPort::Range(Protocol::Udp, 53, 53),
        _ => tcp(PORTS[dice.roll(PORTS.len())]),
    }
}

fn random_rule(dice: &mut Dice) -> Rule {
    let mut rule = rule(&dice.some(3, random_peer), &dice.some(2, random_port));
    rule.void = dice.one_in(20);
    rule
}

pub(crate) fn random_policy(dice: &mut Dice, i: usize) -> Object {
    let ingress = (!dice.one_in(3)).then(|| dice.some(3, random_rule));
    let egress = (!dice.one_in(3)).then(|| dice.some(3, random_rule));
    let pods = if dice.one_in(3) { "" } else { dice.pick(&SELECTORS) };
    policy(&format!("{}/n{i}", NAMESPACES[i % 3]), pods, ingress, egress)
}

pub(crate) fn random_service(dice: &mut Dice, i: usize) -> Service {
    let ips: [&[&str]; 2] = [&["10.96.0.1", "fd00:1::1"], &["10.96.0.2"]];
    let mut new = service(
        &format!("{}/s{i}", NAMESPACES[i % 3]),
        dice.pick(&["app=x", "app=y", "tier=f", ""]),
        ips[i % 2],
        80,
        80,
    );
    if dice.one_in(3) {
        new.ports[0].target = TargetPort::Name("web".into());
    }
    if dice.one_in(3) {
        let target = TargetPort::Number(PORTS[dice.roll(4)]);
        let node_port = if dice.one_in(2) { 30080 } else { 0 };
        new.ports.push(ServicePort {
            name: "two".into(),
            protocol: Protocol::Tcp,
            port: 81,
            target,
            node_port,
        });
    }
    if dice.one_in(4) {
        new.external_ips = vec![super::build::ip("203.0.113.1")];
        new.ports.push(ServicePort {
            name: "tls".into(),
            protocol: Protocol::Tcp,
            port: 443,
            target: TargetPort::Number(443),
            node_port: 0,
        });
    }
    new.internal_local = dice.one_in(5);
    new.publish_not_ready = dice.one_in(6);
    new
}

/// What a step does.
pub(crate) enum Step {
    Put(Object),
    Gone(Kind, String),
}

pub(crate) fn random_step(dice: &mut Dice) -> Step {
    match dice.roll(16) {
        0 => {
            let namespace = namespace(dice.pick(&NAMESPACES), dice.pick(&TEAMS));
            Step::Put(if dice.one_in(3) { switched_off(namespace) } else { namespace })
        }
        1 if dice.one_in(3) => Step::Gone(Kind::Namespace, dice.pick(&NAMESPACES).into()),
        1 if dice.one_in(3) => {
            let node = node(NODE, &["172.16.0.1"]);
            Step::Put(if dice.one_in(2) { switched_off(node) } else { node })
        }
        2..=6 => {
            let i = dice.roll(PODS);
            Step::Put(Object::Pod(random_pod(dice, i)))
        }
        7 => {
            let i = dice.roll(PODS);
            Step::Gone(Kind::Pod, format!("{}/p{i}", NAMESPACES[i % 3]))
        }
        8..=10 => {
            let i = dice.roll(6);
            Step::Put(random_policy(dice, i))
        }
        11 => {
            let i = dice.roll(6);
            Step::Gone(Kind::NetworkPolicy, format!("{}/n{i}", NAMESPACES[i % 3]))
        }
        12 | 13 => {
            let i = dice.roll(4);
            Step::Put(Object::Service(random_service(dice, i)))
        }
        14 => {
            let i = dice.roll(4);
            Step::Gone(Kind::Service, format!("{}/s{i}", NAMESPACES[i % 3]))
        }
        _ if dice.one_in(2) => {
            let i = dice.roll(4);
            let some: Vec<String> = dice.some(4, |d| address(d.roll(PODS))[0].clone());
            let ends: Vec<(&str, bool)> = some.iter().map(|a| (a.as_str(), a.len() % 3 != 0)).collect();
            Step::Put(slice(&format!("{}/e{i}", NAMESPACES[i % 3]), &format!("s{i}"), 80, &ends))
        }
        _ => {
            let i = dice.roll(4);
            Step::Gone(Kind::EndpointSlice, format!("{}/e{i}", NAMESPACES[i % 3]))
        }
    }
}

/// What is there before the first step.
pub(crate) fn beginning(dice: &mut Dice) -> Vec<Object> {
    let mut all = vec![
        node(NODE, &["172.16.0.1"]),
        namespace("a", dice.pick(&TEAMS)),
        namespace("b", dice.pick(&TEAMS)),
    ];
    if dice.one_in(6) {
        all.push(switched_off(namespace("c", dice.pick(&TEAMS))));
    }
    all.extend((0..PODS).map(|i| Object::Pod(random_pod(dice, i))));
    all.extend((0..4).map(|i| random_policy(dice, i)));
    all.extend((0..2).map(|i| Object::Service(random_service(dice, i))));
    all
}

#[test]
fn the_same_seed_makes_the_same_cluster() {
    assert_eq!(beginning(&mut Dice(7)), beginning(&mut Dice(7)));
    assert_eq!(labels("a=b").len(), 1);
    let _: IpNet = super::build::net("10.0.0.0/8");
}
