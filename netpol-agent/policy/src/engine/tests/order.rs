//! The order of writes, and what waits for the grace period.

use std::time::Duration;

use netpol_common::{
    Direction,
    tables::{INTERNED_CLASS, INTERNED_SET, set_of},
};

use super::{
    build::{block, ingress, ip, pod, pods, rule, tcp},
    lab::{Lab, local},
};
use crate::{
    engine::{HookLevel, LocalEndpoint, TableOp},
    model::{Key, Kind, Object},
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
