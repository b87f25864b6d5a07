//! The order of writes, and what waits for the grace period.

use std::time::Duration;

use netpol_common::{
    Direction,
    decide::source_check,
    tables::{INTERNED_CLASS, INTERNED_SET, set_of},
};

use super::{
    build::{block, ingress, ip, namespace, net, pod, pods, pods_of, policy, rule, switched_off, tcp},
    lab::{Lab, local},
};
use crate::{
    engine::{HookLevel, LocalEndpoint, TableOp},
    model::{Key, Kind, Namespace, Object},
};

fn place(ops: &[TableOp], which: impl Fn(&TableOp) -> bool) -> usize {
    ops.iter().position(which).unwrap()
}

#[test]
fn rows_come_before_addresses_these_before_generations_and_endpoints_switch_last() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "app=web", &["10.0.0.1"]));
    lab.remote(pod("a/x", "app=x", &["10.0.1.1"]));
    lab.settle();
    lab.put(ingress("a/p", "app=web", vec![rule(&[pods("app=x"), block("192.0.2.0/24", &[])], &[tcp(80)])]));
    let ops = lab.compile();
    let row = ops.iter().rposition(|op| matches!(op, TableOp::Rule(_))).unwrap();
    let peer = place(&ops, |op| matches!(op, TableOp::Peer(_)));
    let prefix = place(&ops, |op| matches!(op, TableOp::Prefix { .. }));
    let generation = place(&ops, |op| matches!(op, TableOp::AllGenerations | TableOp::Generation(_)));
    let switch = place(&ops, |op| matches!(op, TableOp::Judgement { .. }));
    let hook = place(&ops, |op| matches!(op, TableOp::Hook { slot, .. } if *slot == web));
    assert!(row < peer && peer < prefix && prefix < generation && generation < switch && switch < hook);
}

#[test]
fn exceptions_are_written_before_the_block_that_they_take_from_and_go_after_it() {
    let mut lab = Lab::new();
    lab.local(pod("a/web", "", &["10.0.0.1"]));
    lab.settle();
    lab.put(ingress("a/p", "", vec![rule(&[block("192.0.0.0/16", &["192.0.2.0/24"])], &[])]));
    let ops = lab.compile();
    let bits = |op: &TableOp| match op {
        TableOp::Prefix { cidr, .. } | TableOp::RemovePrefix(cidr) => Some(cidr.bits()),
        _ => None,
    };
    assert_eq!(ops.iter().filter_map(bits).collect::<Vec<_>>(), [120, 112]);
    lab.put(ingress("a/p", "", vec![]));
    let ops = lab.settle();
    assert_eq!(ops.iter().filter_map(bits).collect::<Vec<_>>(), [112, 120]);
}

#[test]
fn nothing_is_removed_and_no_id_is_used_again_before_its_grace() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "", &["10.0.0.1"]));
    lab.remote(pod("a/x", "app=x", &["10.0.1.1"]));
    lab.put(ingress("a/p", "", vec![rule(&[pods("app=x")], &[tcp(80)])])).settle();
    let set = set_of(netpol_common::decide::Tables::judgement(&lab.kernel, web, Direction::Ingress));
    let removes = |op: &TableOp| {
        matches!(
            op,
            TableOp::Forget { .. }
                | TableOp::RemoveRule(_)
                | TableOp::RemovePolicySet { .. }
                | TableOp::RemovePortSet { .. }
        )
    };

    lab.put(ingress("a/p", "", vec![rule(&[pods("app=x")], &[tcp(81)])]));
    let ops = lab.compile();
    assert!(!ops.iter().any(removes));
    let new = |op: &TableOp| matches!(op, TableOp::Intern { kind: INTERNED_SET, id, .. } if *id == set);
    assert!(!ops.iter().any(new));
    // Another one before the grace is over.
    lab.now += Duration::from_millis(50);
    lab.put(ingress("a/p", "", vec![rule(&[pods("app=x")], &[tcp(82)])]));
    let ops = lab.compile();
    assert!(!ops.iter().any(removes) && !ops.iter().any(new));
    lab.now += Duration::from_millis(60);
    let ops = lab.compile();
    assert!(ops.contains(&TableOp::RemovePolicySet { id: set }));
    // Now it is free.
    lab.put(ingress("a/p", "", vec![rule(&[pods("app=x")], &[tcp(83)])]));
    assert!(lab.compile().iter().any(new));
}

#[test]
fn the_grace_does_not_begin_before_the_operations_are_in_the_kernel() {
    let mut lab = Lab::new();
    lab.local(pod("a/web", "", &["10.0.0.1"]));
    lab.put(ingress("a/p", "", vec![])).settle();
    lab.delete(Kind::NetworkPolicy, "a/p");
    assert!(!lab.engine.compile(lab.now).is_empty());
    // Slow to apply.
    lab.now += Duration::from_secs(5);
    assert_eq!(lab.engine.compile(lab.now), []);
    lab.engine.applied(lab.now, &[]);
    assert!(lab.engine.next_deadline().unwrap() > lab.now);
    lab.now += Duration::from_secs(1);
    assert!(lab.engine.compile(lab.now).iter().any(|op| matches!(op, TableOp::RemovePolicySet { .. })));
}

#[test]
fn what_both_the_old_and_the_new_policy_allow_is_allowed_throughout() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "", &["10.0.0.1"]));
    lab.remote(pod("a/x", "app=x,role=r", &["10.0.1.1"]));
    lab.put(ingress("a/p", "", vec![rule(&[pods("app=x")], &[])])).settle();
    lab.put(ingress("a/p", "", vec![rule(&[pods("role=r")], &[])]));
    let ops = lab.engine.compile(lab.now);
    for op in &ops {
        lab.kernel.apply(op);
        assert!(lab.lets_in(web, "10.0.1.1", 80), "{op:?}");
    }
    lab.engine.applied(lab.now, &[]);
    lab.settle();
    let judged = lab.judged(web, Direction::Ingress, "10.0.1.1", 6, 80);
    assert_eq!(lab.engine.class_text(judged.class), ["pods role=r in a"]);
    let classes = lab.kernel.interned.keys().filter(|(kind, _)| *kind == INTERNED_CLASS).count();
    assert_eq!(classes, 1);
}

#[test]
fn a_namespace_that_loses_its_labels_and_is_switched_off_at_once_is_open_throughout() {
    let mut lab = Lab::new();
    let trusted = || namespace("a", "team=red");
    lab.put(trusted());
    let web = lab.local(pod("a/web", "app=web", &["10.0.0.1"]));
    lab.remote(pod("a/x", "", &["10.0.1.1"]));
    lab.put(ingress("a/p", "app=web", vec![rule(&[pods_of("team=red", "")], &[])])).settle();
    for namespace in [switched_off(namespace("a", "")), trusted()] {
        lab.put(namespace);
        let ops = lab.engine.compile(lab.now);
        assert!(ops.iter().any(|op| matches!(op, TableOp::RemovePeer(_) | TableOp::Peer(_))));
        for op in &ops {
            lab.kernel.apply(op);
            assert!(lab.lets_in(web, "10.0.1.1", 80), "{op:?}");
        }
        lab.engine.applied(lab.now, &[]);
        lab.settle();
    }
}

#[test]
fn a_pod_speaks_with_no_prefix_of_before_when_its_namespace_is_switched_off() {
    let mut lab = Lab::new();
    let with = |prefixes: &[&str], break_glass| {
        let source_prefixes = prefixes.iter().map(|prefix| net(prefix)).collect();
        Object::Namespace(Namespace { source_prefixes, break_glass, ..Namespace::implied("a") })
    };
    let vpn =
        lab.put(with(&["192.0.2.0/24", "203.0.113.0/24"], false)).local(pod("a/vpn", "", &["10.0.0.1"]));
    lab.put(policy("a/p", "", Some(vec![]), Some(vec![]))).settle();
    lab.put(with(&["203.0.113.0/24"], true));
    let forged = ip("192.0.2.1").into();
    let ops = lab.engine.compile(lab.now);
    for op in &ops {
        lab.kernel.apply(op);
        let may_speak = !source_check(&lab.kernel, vpn, &forged, false).is_drop();
        assert!(!may_speak || !lab.lets_out(vpn, "198.51.100.1", 80), "{op:?}");
    }
}

#[test]
fn a_generation_moves_twice() {
    let mut lab = Lab::new();
    lab.local(pod("a/web", "", &["10.0.0.1"]));
    lab.remote(pod("a/x", "app=x", &["10.0.1.1"]));
    lab.put(ingress("a/p", "", vec![rule(&[pods("app=x")], &[])])).settle();
    lab.put(Object::Pod(pod("a/x", "app=y", &["10.0.1.1"])));
    let ops = lab.settle();
    let bump = TableOp::Generation(ip("10.0.1.1").into());
    assert_eq!(ops.iter().filter(|op| **op == bump).count(), 2);
}

#[test]
fn an_interface_with_a_new_name_carries_the_new_hooks_before_the_old_endpoint_goes() {
    let mut lab = Lab::new();
    let old = lab.local(pod("a/web", "", &["10.0.0.1"]));
    lab.put(ingress("a/p", "", vec![])).settle();
    let before = local(&Key::new("a", "web"));
    lab.engine.remove_endpoint(&before.ifname);
    let new = lab.engine.set_endpoint(LocalEndpoint { ifname: "renamed".into(), ..before }).unwrap();
    assert_ne!(old, new);
    let ops = lab.compile();
    let hook = |of: u32, wanted: HookLevel| {
        place(&ops, |op| matches!(op, TableOp::Hook { slot, level, .. } if (*slot, *level) == (of, wanted)))
    };
    let closed = place(&ops, |op| matches!(op, TableOp::Judgement { slot, .. } if *slot == old));
    let gone = place(&ops, |op| matches!(op, TableOp::RemoveEndpoint { slot } if *slot == old));
    let (hooked, unhooked) = (hook(new, HookLevel::Full), hook(old, HookLevel::None));
    assert!(closed < hooked && hooked < unhooked && unhooked < gone, "{ops:?}");
}
