//! A large cluster: how many operations a change costs. The bench says how long it takes.

use std::{collections::BTreeMap, time::Duration};

use super::{
    build::{block, namespace, pod, pods, pods_of, policy, rule, service, tcp},
    lab::Lab,
};
use crate::{
    engine::TableOp,
    model::{Kind, Object, Pod},
};

/// Namespaces, pods of each, policies of each, pods of this node of each.
const SMALL: [usize; 4] = [20, 25, 5, 1];
/// The same with three times as many namespaces.
const LARGER: [usize; 4] = [60, 25, 5, 1];

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

/// What a change costs in a small cluster and in a larger one: their kinds, with how many there are.
fn costs(change: fn(&mut Lab)) -> [Vec<(String, usize)>; 2] {
    [SMALL, LARGER].map(|size| {
        let mut lab = Lab::new();
        fill(&mut lab, size);
        lab.settle();
        change(&mut lab);
        let mut kinds = BTreeMap::new();
        for op in writes(&lab.compile()) {
            let kind = format!("{op:?}").split([' ', '(']).next().unwrap().to_owned();
            *kinds.entry(kind).or_default() += 1;
        }
        kinds.into_iter().collect()
    })
}

#[test]
fn a_policy_that_changes_costs_its_own_rows_however_large_the_cluster_is() {
    let [small, larger] = costs(|lab| {
        let peers = [pods("app=a0"), pods_of("team=t0", "app=a1")];
        let ingress = vec![rule(&peers, &[tcp(9000)])];
        lab.put(policy("ns3/p0", "app=a0", Some(ingress), None));
    });
    assert_eq!(small, larger);
    let writes: usize = small.iter().map(|(_, count)| count).sum();
    assert!(writes > 0 && writes < 20, "{small:?}");
}

#[test]
fn a_namespace_whose_label_changes_costs_one_write_for_each_address_that_a_policy_asks_for() {
    let [small, larger] = costs(|lab| {
        // The pods of this node are of app 0, whose policies ask for app 1 of this namespace's team: one pod in five.
        lab.put(namespace("ns10", "team=t9"));
    });
    assert_eq!(small, larger);
    // Nobody asks for them any more; and one Service leads to pods of another class.
    assert_eq!(small, [("Backends".to_owned(), 1), ("RemovePeer".to_owned(), SMALL[1] / 5)]);
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
