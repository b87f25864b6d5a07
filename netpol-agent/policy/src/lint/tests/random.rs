//! On random clusters: no check fails, and what is reported to have no effect has none.

use std::net::IpAddr;

use netpol_common::Direction;

use super::*;
use crate::{
    engine::tests::{
        build::ip,
        random::{Dice, PORTS, WORLD, beginning},
    },
    model::{Policy, PolicyPeer, PolicyPort, Protocol},
    spec::{Payload, Sender, Traffic, Verdict},
};

const CLUSTERS: u64 = 500;
/// Findings that say of a rule or an item that to take it away changes nothing.
const WITHOUT_EFFECT: [&str; 6] = [
    "rule-covered",
    "policy-duplicates-another",
    "rule-never-matches",
    "selector-matches-nothing",
    "selector-contradicts-itself",
    "named-port-undeclared",
];

fn verdicts(objects: &[Object]) -> Vec<Verdict> {
    let cluster = Cluster::new(objects, "here");
    let pods = objects.iter().filter_map(|object| match object {
        Object::Pod(pod) => pod.addresses.first().copied(),
        _ => None,
    });
    let ends: Vec<IpAddr> = pods.chain(WORLD.map(ip)).collect();
    let mut payloads: Vec<Payload> = PORTS.map(|port| Payload::Port(Protocol::Tcp, port)).into();
    payloads.extend([Payload::Port(Protocol::Udp, 53), Payload::Other(1)]);
    let mut all = Vec::new();
    for src in &ends {
        for dst in &ends {
            for payload in &payloads {
                all.push(cluster.allows(&Traffic {
                    src: Sender::Address(*src),
                    dst: *dst,
                    payload: *payload,
                }));
            }
        }
    }
    all
}

/// Makes what a field names grant nothing.
fn without(policy: &mut Policy, field: &str) {
    let mut steps = field.trim_start_matches("spec.").split(['.', '[', ']']).filter(|step| !step.is_empty());
    let direction = match steps.next() {
        Some("ingress") => Direction::Ingress,
        Some("egress") => Direction::Egress,
        // The selector of the policy: it selects nobody, so it may go as a whole.
        _ => return policy.rules = [None, None],
    };
    let number =
        |steps: &mut dyn Iterator<Item = &str>| steps.next().and_then(|step| step.parse::<usize>().ok());
    let rules = policy.rules[direction.index()].as_mut().unwrap();
    let rule = &mut rules[number(&mut steps).unwrap()];
    match (steps.next(), number(&mut steps)) {
        (Some("from" | "to"), Some(item)) => rule.peers.as_mut().unwrap()[item] = PolicyPeer::Nobody,
        (Some("ports"), Some(item)) => rule.ports.as_mut().unwrap()[item] = PolicyPort::Nothing,
        _ => rule.void = true,
    }
}

#[test]
fn what_is_reported_to_have_no_effect_has_none() {
    let mut tried = 0;
    for seed in 1..=CLUSTERS {
        let objects = beginning(&mut Dice(seed * 7919));
        let about: BTreeMap<(Kind, Key), About> = objects
            .iter()
            .filter(|object| object.kind() == Kind::NetworkPolicy)
            .map(|object| ((object.kind(), object.key()), About::default()))
            .collect();
        let cluster = Cluster::new(&objects, "here");
        let range = ["10.96.0.0/16".parse().unwrap()];
        let found = lint(&Subject { cluster: &cluster, about: &about, service_ranges: &range });
        let before = verdicts(&objects);
        for finding in found.findings.iter().filter(|one| WITHOUT_EFFECT.contains(&one.id)) {
            let mut changed = objects.clone();
            for object in &mut changed {
                if let Object::Policy(policy) = object
                    && policy.key == finding.key
                {
                    without(policy, &finding.field);
                }
            }
            assert_eq!(verdicts(&changed), before, "seed {seed}: {finding:#?}");
            tried += 1;
        }
    }
    assert!(tried > 1000, "{tried}");
}
