//! A large cluster: how much work and how many operations a change costs.

use std::time::{Duration, Instant};

use super::{
    build::{block, namespace, pod, pods, pods_of, policy, rule, service, slice, tcp},
    lab::Lab,
};
use crate::{
    engine::TableOp,
    model::{Kind, Object, Pod},
};

/// Namespaces, pods of each, policies of each, pods of this node of each.
const SMALL: [usize; 4] = [20, 25, 5, 1];
const LARGE: [usize; 4] = [100, 100, 10, 1];

fn replica(n: usize, i: usize) -> Pod {
    let app = i % 5;
    pod(&format!("ns{n}/app{app}-{i}"), &format!("app=a{app},pod-template-hash=h{app}"), &[&address(n, i)])
}

fn address(n: usize, i: usize) -> String {
    let i = n * 200 + i;
    format!("10.{}.{}.{}", 1 + i / 62500, i / 250 % 250, i % 250 + 1)
}

fn fill(lab: &mut Lab, [namespaces, pods_each, policies, locals]: [usize; 4]) {
    for n in 0..namespaces {
        lab.put(namespace(&format!("ns{n}"), &format!("team=t{}", n % 10)));
        for i in 0..pods_each {
            if i < locals {
                lab.local(replica(n, i));
            } else {
                lab.remote(replica(n, i));
            }
        }
        for p in 0..policies {
            let team = format!("team=t{}", p % 10);
            let peers = [pods(&format!("app=a{}", p % 5)), pods_of(&team, &format!("app=a{}", (p + 1) % 5))];
            let cidr = format!("192.0.{p}.0/24");
            let outside = [block(&cidr, &[&format!("192.0.{p}.128/25")])];
            let target = format!("app=a{}", p % 5);
            let port = 8000 + u16::try_from(p).unwrap();
            let ingress = vec![rule(&peers, &[tcp(port)])];
            let egress = vec![rule(&outside, &[tcp(443)]), rule(&peers, &[tcp(port)])];
            lab.put(policy(&format!("ns{n}/p{p}"), &target, Some(ingress), Some(egress)));
        }
        let ip = format!("10.96.{}.{}", n / 250, n % 250 + 1);
        lab.put(Object::Service(service(&format!("ns{n}/s"), "app=a1", &[&ip], 80, 8080)));
    }
}

fn timed<T>(what: &str, f: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let out = f();
    let took = start.elapsed();
    println!("{what}: {took:?}");
    (out, took)
}

/// Operations but for the generations, which are no system calls.
fn writes(ops: &[TableOp]) -> Vec<&TableOp> {
    ops.iter().filter(|op| !matches!(op, TableOp::Generation(_))).collect()
}

#[test]
fn a_replica_that_joins_costs_one_write_per_address() {
    let mut lab = Lab::new();
    fill(&mut lab, SMALL);
    lab.settle();
    // Of app 0, which no Service selects.
    lab.remote(replica(3, 100));
    let ops = lab.compile();
    assert!(matches!(*writes(&ops), [TableOp::Peer(_)]), "{ops:#?}");
    assert_eq!(ops.len(), 2);
    lab.now += Duration::from_secs(1);
    let ops = lab.compile();
    assert!(matches!(*ops, [TableOp::Generation(_)]), "{ops:#?}");

    lab.delete(Kind::Pod, "ns3/app0-100");
    let ops = lab.compile();
    assert!(matches!(*writes(&ops), [TableOp::RemovePeer(_)]), "{ops:#?}");
}

#[test]
fn a_replica_of_this_node_that_joins_costs_its_entry_and_no_rows() {
    let mut lab = Lab::new();
    fill(&mut lab, SMALL);
    lab.settle();
    lab.local(replica(3, 105));
    let ops = lab.compile();
    let kinds: Vec<String> = writes(&ops)
        .iter()
        .map(|op| format!("{op:?}").split([' ', '(']).next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["Peer", "Intern", "Endpoint", "Judgement", "Judgement", "Hook"]);
}

#[test]
fn a_pod_that_nobody_asks_for_costs_nothing() {
    let mut lab = Lab::new();
    fill(&mut lab, SMALL);
    lab.settle();
    lab.remote(pod("elsewhere/x", "app=q", &["10.200.0.1"]));
    assert_eq!(lab.settle(), []);
}

#[test]
fn what_is_told_again_costs_nothing() {
    let mut lab = Lab::new();
    fill(&mut lab, SMALL);
    lab.settle();
    let objects = lab.engine.store().objects();
    lab.engine.apply(crate::model::SourceEvent::Reset(objects));
    assert_eq!(lab.settle(), []);
}

/// `cargo test --release -p netpol-policy -- --ignored --nocapture large` prints the times.
#[test]
#[ignore = "measures; run it in release"]
fn large() {
    let mut lab = Lab::new();
    timed("read", || fill(&mut lab, LARGE));
    let (ops, first) = timed("first compile", || lab.engine.compile(lab.now));
    println!("{} operations", ops.len());
    lab.engine.applied(lab.now, &[]);
    lab.settle();
    assert!(first < Duration::from_secs(1));

    let mut worst = Duration::ZERO;
    for i in 0..100 {
        lab.remote(replica(i, 150));
        let start = Instant::now();
        let ops = lab.engine.compile(lab.now);
        worst = worst.max(start.elapsed());
        assert!(ops.len() < 12, "{ops:#?}");
        lab.engine.applied(lab.now, &[]);
    }
    println!("a remote replica joins: at worst {worst:?}");
    let (_, _) = timed("grace", || lab.engine.compile(lab.now + Duration::from_secs(1)));
    for i in 0..3 {
        lab.local(replica(i, 105 + i));
        let (ops, _) = timed("a local replica joins", || lab.engine.compile(lab.now));
        println!("{} operations", ops.len());
        lab.engine.applied(lab.now, &[]);
    }
    let ends: Vec<String> = (0..1000).map(|i| address(i / 100, i % 100)).collect();
    let mut vip = service("ns0/big", "", &["10.96.9.9"], 80, 80);
    vip.selector = None;
    lab.put(Object::Service(vip));
    for (i, part) in ends.chunks(100).enumerate() {
        let part: Vec<(&str, bool)> = part.iter().map(|a| (a.as_str(), true)).collect();
        lab.put(slice(&format!("ns0/e{i}"), "big", 80, &part));
    }
    lab.settle();
    for i in 0..3 {
        lab.put(slice("ns0/e10", "big", 80, &[(&address(10, i), true)]));
        let (ops, _) = timed("a Service of 1000 backends gets another one", || lab.engine.compile(lab.now));
        println!("{} operations", ops.len());
        lab.engine.applied(lab.now, &[]);
    }
    lab.settle();
    let (_, _) = timed("problems", || lab.engine.problems());
    lab.put(policy("ns1/p1", "app=a0", Some(vec![rule(&[pods("app=a2")], &[tcp(1)])]), None));
    let (ops, _) = timed("a policy changes", || lab.engine.compile(lab.now));
    println!("{} operations", ops.len());
    lab.put(namespace("ns5", "team=other"));
    let (ops, _) = timed("a namespace is relabelled", || lab.engine.compile(lab.now));
    println!("{} operations", ops.len());
    lab.put(policy("ns1/p1", "app=a0", Some(vec![rule(&[pods_of("", "")], &[tcp(1)])]), None));
    let (ops, _) = timed("a policy selects every pod", || lab.engine.compile(lab.now));
    println!("{} operations", ops.len());
}
