//! Random clusters: what is explained is what the evaluator says, the rules that are named are those that allow, and
//! what is said to be missing is what was missing.

use netpol_common::Direction;

use crate::{
    engine::tests::{
        build::{NODE, ip},
        random::{Dice, FRONTENDS, PODS, PORTS, WORLD, address, beginning, random_policy},
    },
    model::{NamespaceScope, Policy, PolicyPeer, Protocol, Rule, Selector},
    spec::{Answer, Cluster, Payload, Sender, Traffic, Verdict},
    why::{End, FlowExplanation, Miss, NearestRule, Question, Side, escape::key_text, explain},
};

/// What was compared.
#[derive(Debug, Default)]
struct Tally {
    flows: usize,
    granted: usize,
    missed: [usize; 4],
    fixed: usize,
}

fn random_cluster(seed: u64) -> Cluster {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut objects = beginning(&mut dice);
    objects.extend((4..8).map(|i| random_policy(&mut dice, i)));
    Cluster::new(&objects, NODE)
}

fn payloads() -> Vec<Payload> {
    let mut all: Vec<Payload> = PORTS.iter().map(|port| Payload::Port(Protocol::Tcp, *port)).collect();
    all.extend([Payload::Port(Protocol::Udp, 53), Payload::Port(Protocol::Sctp, 80), Payload::Other(1)]);
    all
}

fn ends() -> Vec<String> {
    (0..PODS).flat_map(address).chain(WORLD.map(str::to_owned)).collect()
}

fn flows(cluster: &Cluster, source: End, destination: End, payload: Payload) -> Vec<FlowExplanation> {
    explain(cluster, &Question { source, destination, payload }).unwrap().flows
}

fn said(flow: &FlowExplanation) -> Verdict {
    assert_eq!(flow.allowed, flow.egress.allows() && flow.ingress.allows());
    Verdict { egress: flow.egress.allows(), ingress: flow.ingress.allows() }
}

/// Compares what is said of an address, of what stands behind a frontend, and of the node.
fn compare(cluster: &Cluster, source: End, traffic: &Traffic, tally: &mut Tally) -> Vec<FlowExplanation> {
    let flows = flows(cluster, source, End::Address(traffic.dst), traffic.payload);
    match cluster.answer(traffic) {
        Answer::Direct(verdict) => {
            assert_eq!(flows.len(), 1, "{traffic:?}");
            assert_eq!(said(&flows[0]), verdict, "{traffic:?} {:#?}", flows[0]);
            assert!(flows[0].frontend.is_none());
        }
        Answer::Backends(backends) => {
            assert_eq!(flows.len(), backends.len(), "{traffic:?}");
            for (flow, behind) in flows.iter().zip(&backends) {
                assert_eq!(said(flow), behind.verdict, "{traffic:?} {flow:#?}");
                assert_eq!(flow.paths[0].destination, Some(behind.backend.address));
                let frontend = flow.frontend.as_ref().unwrap();
                assert_eq!(frontend.address, traffic.dst);
                assert!(!frontend.services.is_empty(), "{flow:#?}");
            }
        }
    }
    tally.flows += flows.len();
    flows
}

#[test]
fn what_is_explained_is_what_is_judged_and_what_is_named_is_what_decides() {
    let seeds = if std::env::var_os("NETPOL_LONG").is_some() { 400 } else { 16 };
    let mut tally = Tally::default();
    for seed in 1..=seeds {
        let cluster = random_cluster(seed);
        let frontends = FRONTENDS.map(|(address, port)| (ip(address), Payload::Port(Protocol::Tcp, port)));
        for (number, src) in ends().iter().enumerate() {
            let src = ip(src);
            let direct = ends()
                .into_iter()
                .map(|dst| ip(&dst))
                .flat_map(|dst| payloads().into_iter().map(move |payload| (dst, payload)));
            let asked = direct.chain(frontends).filter(|(dst, _)| dst.is_ipv4() == src.is_ipv4());
            for (turn, (dst, payload)) in asked.enumerate() {
                let traffic = Traffic { src: Sender::Address(src), dst, payload };
                for flow in compare(&cluster, End::Address(src), &traffic, &mut tally) {
                    // Each of them takes a cluster of its own.
                    if (turn + number) % 5 == 0 {
                        let behind = flow.ends.payload;
                        let behind =
                            Traffic { dst: flow.paths[0].destination.unwrap(), payload: behind, ..traffic };
                        check(&cluster, Direction::Egress, &flow.egress, &behind, &mut tally);
                        check(&cluster, Direction::Ingress, &flow.ingress, &behind, &mut tally);
                    }
                }
                if src == ip("172.16.0.1") {
                    let traffic = Traffic { src: Sender::Node(src), ..traffic };
                    compare(&cluster, End::Node, &traffic, &mut tally);
                }
            }
        }
        by_name(&cluster, &mut tally);
    }
    println!("{tally:?}");
    assert!(tally.flows > 50_000 && tally.granted > 1000 && tally.fixed > 1000, "{tally:?}");
    assert!(tally.missed.iter().all(|missed| *missed > 20), "{tally:?}");
}

/// Pods and the world by their names: at each of their addresses as the evaluator says of the address.
fn by_name(cluster: &Cluster, tally: &mut Tally) {
    let pods = || cluster.pods.iter().filter(|pod| pod.counts());
    let names = || pods().map(|pod| End::Named(pod.key.clone())).chain([End::World]);
    for source in names() {
        for destination in names() {
            for payload in payloads() {
                for flow in flows(cluster, source.clone(), destination.clone(), payload) {
                    for path in &flow.paths {
                        let (src, dst) = (path.source.unwrap(), path.destination.unwrap());
                        // An address that two pods claim is another pod's.
                        let owned = |end: &End, address| match end {
                            End::Named(key) => cluster.owner(address).is_some_and(|pod| pod.key == *key),
                            _ => cluster.owner(address).is_none(),
                        };
                        if owned(&source, src) && owned(&destination, dst) {
                            let verdict =
                                cluster.allows(&Traffic { src: Sender::Address(src), dst, payload });
                            assert_eq!(said(&flow), verdict, "{flow:#?}");
                            tally.flows += 1;
                        }
                    }
                }
            }
        }
    }
}

/// The cluster in which a policy has that rule only, and all others isolate without one.
fn alone(cluster: &Cluster, direction: Direction, policy: &str, rule: Rule) -> Cluster {
    let mut cluster = cluster.clone();
    let mut rule = Some(rule);
    for one in &mut cluster.policies {
        let is_it = key_text(&one.key) == policy;
        if let Some(rules) = &mut one.rules[direction.index()] {
            *rules = if is_it { rule.take().into_iter().collect() } else { Vec::new() };
        }
    }
    assert!(rule.is_none(), "{policy} isolates");
    cluster
}

fn side_of(cluster: &Cluster, direction: Direction, traffic: &Traffic) -> bool {
    let verdict = cluster.allows(traffic);
    if direction == Direction::Egress { verdict.egress } else { verdict.ingress }
}

fn policy_of<'c>(cluster: &'c Cluster, name: &str) -> &'c Policy {
    cluster.policies.iter().find(|policy| key_text(&policy.key) == name).unwrap()
}

/// Whether the rules that are named are those that decide.
fn check(cluster: &Cluster, direction: Direction, side: &Side, traffic: &Traffic, tally: &mut Tally) {
    match side {
        Side::Allowed { by } => {
            for granted in by {
                let rules = policy_of(cluster, &granted.policy).rules(direction).unwrap();
                assert_eq!(granted.field, format!("spec.{}[{}]", direction.name(), granted.rule - 1));
                let rule = rules[granted.rule - 1].clone();
                let alone = alone(cluster, direction, &granted.policy, rule);
                assert!(side_of(&alone, direction, traffic), "{granted:?} {traffic:?}");
                tally.granted += 1;
            }
        }
        Side::Denied { policies } => {
            for isolating in policies {
                let rules = policy_of(cluster, &isolating.policy).rules(direction).unwrap();
                assert_eq!(isolating.nearest.is_none(), rules.is_empty());
                if let Some(nearest) = &isolating.nearest {
                    check_nearest(cluster, direction, (&isolating.policy, rules), nearest, traffic, tally);
                }
            }
        }
        _ => {}
    }
}

/// Whether what is said to be missing is what was missing, and nothing else was; and whether no rule comes nearer.
fn check_nearest(
    cluster: &Cluster,
    direction: Direction,
    (policy, rules): (&str, &[Rule]),
    nearest: &NearestRule,
    traffic: &Traffic,
    tally: &mut Tally,
) {
    let allows = |rule: Rule| side_of(&alone(cluster, direction, policy, rule), direction, traffic);
    let miss_of = |rule: &Rule| {
        let any_port = Rule { ports: None, ..rule.clone() };
        let any_peer = Rule { peers: None, ..rule.clone() };
        match (rule.void, allows(any_port), allows(any_peer)) {
            (true, ..) => Miss::Void,
            (_, true, _) => Miss::Port,
            (_, _, true) => Miss::Peer,
            (_, false, false) => Miss::PeerAndPort,
        }
    };
    let misses: Vec<Miss> = rules.iter().map(miss_of).collect();
    assert_eq!(misses[nearest.rule - 1], nearest.miss, "{nearest:?} {traffic:?}");
    assert_eq!(misses.iter().max(), Some(&nearest.miss), "{nearest:?} {misses:?}");
    tally.missed[nearest.miss as usize] += 1;
    let prefix = format!("spec.{}[{}]", direction.name(), nearest.rule - 1);
    let field = nearest.field.strip_prefix(&prefix).unwrap();
    match nearest.miss {
        Miss::Void => assert_eq!(field, ""),
        Miss::Port => assert_eq!(field, ".ports"),
        Miss::Peer | Miss::PeerAndPort => {
            let mut rule = Rule { ports: None, ..rules[nearest.rule - 1].clone() };
            let (index, rest) = field.split_once('[').unwrap().1.split_once(']').unwrap();
            let item = &mut rule.peers.as_mut().unwrap()[index.parse::<usize>().unwrap()];
            let peer = if direction == Direction::Egress { traffic.dst } else { traffic.src.address() };
            let is_pod = cluster.owner(peer).is_some();
            let whole = if peer.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            let all = || NamespaceScope::Selected(Selector::default());
            let must_allow = match (item, rest) {
                (PolicyPeer::Nobody, "") => return,
                (PolicyPeer::Block(block), ".ipBlock") => {
                    if !nearest.text.contains("but in its except") {
                        block.cidr = whole.parse().unwrap();
                    }
                    block.except.clear();
                    true
                }
                (PolicyPeer::Pods { .. }, _) if !is_pod => {
                    assert!(nearest.text.contains("is no pod"), "{nearest:?}");
                    return;
                }
                (PolicyPeer::Pods { namespaces, .. }, ".namespaceSelector") => {
                    *namespaces = all();
                    false
                }
                (PolicyPeer::Pods { namespaces, .. }, ".podSelector")
                    if nearest.text.contains("a podSelector alone means") =>
                {
                    *namespaces = all();
                    false
                }
                (PolicyPeer::Pods { pods, .. }, ".podSelector") => {
                    *pods = Selector::default();
                    true
                }
                (item, rest) => panic!("{rest:?} of {item:?}: {nearest:?}"),
            };
            // It is the first thing: with it mended the rule matches the peer, or fails by the labels of the pod.
            let mut labels_too = rule.clone();
            for item in labels_too.peers.iter_mut().flatten() {
                if let PolicyPeer::Pods { pods, .. } = item {
                    *pods = Selector::default();
                }
            }
            assert!(allows(if must_allow { rule } else { labels_too }), "{nearest:?} {traffic:?}");
            tally.fixed += 1;
        }
    }
}
