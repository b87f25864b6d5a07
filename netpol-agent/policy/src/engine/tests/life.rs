//! Restarts, refusals, full tables, hooks that linger.

use std::time::Duration;

use netpol_common::Direction;

use super::{
    build::{block, egress, ingress, pod, pods, rule, service, tcp},
    history::dump,
    lab::{Lab, local, settings},
};
use crate::{
    engine::{HookLevel, LocalEndpoint, Settings, TableOp},
    model::{Key, Kind, Object, Pod, SourceEvent},
};

fn cluster(lab: &mut Lab) -> u32 {
    let web = lab.local(pod("a/web", "app=web", &["10.0.0.1", "fd00::1"]).port("http", 80));
    lab.local(pod("a/idle", "", &["10.0.0.2"]));
    lab.remote(pod("a/x", "app=x", &["10.0.1.1"]).port("http", 8080));
    lab.put(ingress(
        "a/in",
        "app=web",
        vec![rule(&[pods("app=x"), block("192.0.2.0/24", &["192.0.2.1/32"])], &[tcp(80)])],
    ));
    let many: Vec<_> = (0..40).map(|i| tcp(1000 + 2 * i)).collect();
    lab.put(egress("a/out", "app=web", vec![rule(&[pods("app=x")], &many)]));
    lab.put(Object::Service(service("a/s", "app=x", &["10.96.0.1"], 80, 1000)));
    web
}

#[test]
fn what_a_whole_list_has_not_named_is_gone_and_half_a_list_says_nothing() {
    let mut lab = Lab::new();
    let web = cluster(&mut lab);
    lab.settle();
    let (x, y) = (pod("a/x", "app=x", &["10.0.1.1"]), pod("a/y", "app=x", &["10.0.1.2"]));
    let list = |lab: &mut Lab, pods: &[&Pod]| {
        lab.engine.apply(SourceEvent::Listing(Kind::Pod));
        for pod in pods {
            lab.remote((*pod).clone());
        }
    };
    let idle = lab.engine.store().pod(&Key::new("a", "idle")).unwrap();
    let own = lab.engine.store().pod(&Key::new("a", "web")).unwrap();
    lab.remote(y.clone());
    list(&mut lab, &[&own]);
    lab.settle();
    assert!(lab.lets_in(web, "10.0.1.1", 80) && lab.lets_in(web, "10.0.1.2", 80));
    // It begins anew, and something comes and goes meanwhile.
    list(&mut lab, &[&own, &y, &idle]);
    lab.remote(pod("a/z", "app=x", &["10.0.1.3"])).delete(Kind::Pod, "a/idle");
    lab.engine.apply(SourceEvent::Listed(Kind::Pod));
    lab.settle();
    assert!(!lab.lets_in(web, "10.0.1.1", 80) && lab.lets_in(web, "10.0.1.2", 80));
    assert!(lab.lets_in(web, "10.0.1.3", 80));
    let there = |lab: &Lab, name: &str| lab.engine.store().has_pod(&Key::new("a", name));
    let names = ["web", "idle", "x", "y", "z"];
    assert_eq!(names.map(|name| there(&lab, name)), [true, false, false, true, true]);
    // The end of a list that was never begun is the end of nothing.
    lab.engine.apply(SourceEvent::Listed(Kind::Pod));
    assert!(there(&lab, "y"));
    list(&mut lab, &[&own, &x]);
    lab.engine.apply(SourceEvent::Listed(Kind::Pod));
    assert_eq!(names.map(|name| there(&lab, name)), [true, false, true, false, false]);

    lab.engine.apply(SourceEvent::Listing(Kind::NetworkPolicy));
    lab.engine.apply(SourceEvent::Stays(Kind::NetworkPolicy, Key::new("a", "out")));
    lab.engine.apply(SourceEvent::Listed(Kind::NetworkPolicy));
    assert_eq!(
        lab.engine.store().policies().map(|policy| policy.key.to_string()).collect::<Vec<_>>(),
        ["a/out"]
    );
}

fn again(lab: &Lab) -> Lab {
    let mut new = Lab::with(settings(), &dump(&lab.kernel));
    new.now = lab.now;
    new.engine.apply(SourceEvent::Reset(lab.engine.store().objects()));
    for endpoint in lab.engine.endpoints() {
        new.engine.set_endpoint(endpoint.local.clone());
    }
    new
}

#[test]
fn a_restart_when_nothing_has_changed_writes_nothing() {
    let mut lab = Lab::new();
    cluster(&mut lab);
    lab.settle();
    let mut new = again(&lab);
    assert_eq!(new.compile(), []);
    assert_eq!(new.settle(), []);
}

#[test]
fn after_a_restart_revisions_go_on() {
    let mut lab = Lab::new();
    let web = cluster(&mut lab);
    lab.settle();
    let before = lab.kernel.revision(web, Direction::Ingress);
    let mut new = again(&lab);
    new.put(ingress("a/in", "app=web", vec![]));
    new.compile();
    assert!(new.kernel.revision(web, Direction::Ingress) > before);
}

#[test]
fn what_went_while_the_agent_was_away_is_taken_down() {
    let mut lab = Lab::new();
    cluster(&mut lab);
    lab.settle();
    let mut new = Lab::with(settings(), &dump(&lab.kernel));
    new.settle();
    new.engine.release_backends(&|_| false);
    new.settle();
    let left: Vec<_> = dump(&new.kernel)
        .into_iter()
        .filter(|op| !matches!(op, TableOp::Judgement { .. }))
        .filter(|op| !matches!(op, TableOp::Prefix { value, .. } if value.class == 0))
        .collect();
    assert_eq!(left, []);
}

#[test]
fn an_interface_that_went_while_the_agent_was_away_can_come_back() {
    let mut lab = Lab::new();
    let web = cluster(&mut lab);
    lab.settle();
    let mut new = again(&lab);
    let endpoint = local(&Key::new("a", "web"));
    new.engine.remove_endpoint(&endpoint.ifname);
    new.compile();
    assert_eq!(new.kernel.hook(web), HookLevel::None);
    let slot = new.engine.set_endpoint(endpoint).unwrap();
    new.settle();
    assert!(!new.lets_in(slot, "192.0.2.1", 80) && new.lets_in(slot, "192.0.2.2", 80));
    assert_eq!(new.kernel.hook(slot), HookLevel::Full);
}

#[test]
fn an_interface_that_was_replaced_under_its_name_and_index_is_hooked_anew() {
    let mut lab = Lab::new();
    let web = cluster(&mut lab);
    lab.settle();
    let endpoint = local(&Key::new("a", "web"));
    lab.engine.remove_endpoint(&endpoint.ifname);
    assert_eq!(lab.engine.set_endpoint(endpoint.clone()), Some(web));
    let hooks: Vec<_> = lab
        .compile()
        .into_iter()
        .filter(|op| matches!(op, TableOp::Hook { slot, .. } if *slot == web))
        .collect();
    let hook = |level| TableOp::Hook { slot: web, ifindex: endpoint.ifindex, level };
    assert_eq!(hooks, [hook(HookLevel::None), hook(HookLevel::Full)]);
    assert!(!lab.lets_in(web, "192.0.2.1", 80) && lab.lets_in(web, "192.0.2.2", 80));
    // What is not isolated any more is not hooked only because the interface before was.
    lab.delete(Kind::NetworkPolicy, "a/in").delete(Kind::NetworkPolicy, "a/out");
    lab.engine.remove_endpoint(&endpoint.ifname);
    lab.engine.set_endpoint(endpoint);
    lab.settle();
    assert_eq!(lab.kernel.hook(web), HookLevel::None);
}

#[test]
fn an_interface_that_got_another_name_while_the_agent_was_away_keeps_its_hooks() {
    let mut lab = Lab::new();
    let web = cluster(&mut lab);
    lab.settle();
    let mut new = Lab::with(settings(), &dump(&lab.kernel));
    new.engine.apply(SourceEvent::Reset(lab.engine.store().objects()));
    let endpoint = LocalEndpoint { ifname: "renamed".into(), ..local(&Key::new("a", "web")) };
    let slot = new.engine.set_endpoint(endpoint.clone()).unwrap();
    let ops = new.compile();
    let place = |wanted: TableOp| ops.iter().position(|op| *op == wanted).unwrap();
    let hook = |slot, level| TableOp::Hook { slot, ifindex: endpoint.ifindex, level };
    assert!(place(hook(slot, HookLevel::Full)) < place(hook(web, HookLevel::None)));
}

#[test]
fn classifiers_stay_for_a_while_after_the_last_policy() {
    let mut lab = Lab::new();
    let web = cluster(&mut lab);
    lab.settle();
    lab.delete(Kind::NetworkPolicy, "a/in").delete(Kind::NetworkPolicy, "a/out");
    lab.compile();
    assert_eq!(lab.kernel.hook(web), HookLevel::Full);
    assert!(lab.lets_in(web, "192.0.2.1", 80));
    lab.now += Duration::from_secs(179);
    lab.compile();
    assert_eq!(lab.kernel.hook(web), HookLevel::Full);
    lab.now += Duration::from_secs(2);
    lab.compile();
    assert_eq!(lab.kernel.hook(web), HookLevel::None);
}

#[test]
fn what_the_kernel_refuses_is_tried_again() {
    let mut lab = Lab::new();
    let web = cluster(&mut lab);
    let ops = lab.engine.compile(lab.now);
    let peer = |op: &&TableOp| matches!(op, TableOp::Peer(_));
    let refused: Vec<TableOp> = ops.iter().filter(peer).cloned().collect();
    for op in ops.iter().filter(|op| !peer(op)) {
        lab.kernel.apply(op);
    }
    lab.engine.applied(lab.now, &refused);
    assert!(!lab.lets_in(web, "10.0.1.1", 80));
    assert_eq!(lab.engine.problems().len(), refused.len());
    lab.now += Duration::from_secs(2);
    let ops = lab.engine.compile(lab.now);
    assert!(refused.iter().all(|op| ops.contains(op)));
    for op in &ops {
        lab.kernel.apply(op);
    }
    lab.engine.applied(lab.now, &[]);
    assert!(lab.lets_in(web, "10.0.1.1", 80));
    assert_eq!(lab.engine.problems(), []);
}

#[test]
fn an_exception_that_the_kernel_refuses_closes_those_that_ask_for_its_block() {
    let mut lab = Lab::new();
    let web = cluster(&mut lab);
    let other = lab.local(pod("b/other", "", &["10.0.0.9"]));
    lab.put(ingress("b/p", "", vec![rule(&[pods("")], &[])]));
    let ops = lab.engine.compile(lab.now);
    let except = |op: &&TableOp| matches!(op, TableOp::Prefix { cidr, .. } if cidr.bits() == 128);
    let refused: Vec<TableOp> = ops.iter().filter(except).cloned().collect();
    assert_eq!(refused.len(), 1);
    for op in ops.iter().filter(|op| !except(op)) {
        lab.kernel.apply(op);
    }
    lab.engine.applied(lab.now, &refused);
    assert!(lab.engine.next_deadline().unwrap() <= lab.now);
    for op in lab.engine.compile(lab.now) {
        lab.kernel.apply(&op);
    }
    lab.engine.applied(lab.now, &[]);
    assert!(!lab.lets_in(web, "192.0.2.1", 80) && !lab.lets_in(web, "192.0.2.2", 80));
    assert!(lab.lets_in(other, "10.0.0.9", 80));
    // The kernel takes it the next time.
    lab.now += Duration::from_secs(2);
    for _ in 0..2 {
        for op in lab.engine.compile(lab.now) {
            lab.kernel.apply(&op);
        }
        lab.engine.applied(lab.now, &[]);
    }
    assert!(!lab.lets_in(web, "192.0.2.1", 80) && lab.lets_in(web, "192.0.2.2", 80));
}

#[test]
fn a_full_table_of_policy_sets_closes_and_says_so() {
    let mut lab = Lab::with(Settings { policy_sets: 3, ..settings() }, &[]);
    let one = lab.local(pod("a/one", "app=one", &["10.0.0.1"]));
    let two = lab.local(pod("a/two", "app=two", &["10.0.0.2"]));
    let all = || vec![rule(&[], &[])];
    lab.put(ingress("a/one", "app=one", all())).put(ingress("a/two", "app=two", all())).compile();
    assert!(lab.lets_in(one, "192.0.2.1", 80) != lab.lets_in(two, "192.0.2.1", 80));
    assert_eq!(lab.engine.problems().len(), 1);
}

#[test]
fn a_full_trie_leaves_whole_blocks_out() {
    let mut lab = Lab::with(Settings { prefixes: 5, ..settings() }, &[]);
    let web = lab.local(pod("a/web", "", &["10.0.0.1"]));
    let blocks = [block("192.0.2.0/24", &["192.0.2.1/32"]), block("198.51.100.0/24", &["198.51.100.1/32"])];
    lab.put(ingress("a/p", "", vec![rule(&blocks, &[])])).settle();
    assert!(lab.lets_in(web, "192.0.2.2", 80) && !lab.lets_in(web, "192.0.2.1", 80));
    assert!(!lab.lets_in(web, "198.51.100.2", 80));
    assert_eq!(lab.engine.problems().len(), 1);
    lab.put(ingress("a/p", "", vec![rule(&blocks[1..], &[])])).settle();
    assert!(lab.lets_in(web, "198.51.100.2", 80) && !lab.lets_in(web, "198.51.100.1", 80));
    assert_eq!(lab.engine.problems(), []);
}

#[test]
fn slots_that_are_all_taken_are_said() {
    let mut lab = Lab::with(Settings { slots: 17, ..settings() }, &[]);
    assert!(lab.engine.set_endpoint(local(&Key::new("a", "one"))).is_some());
    assert!(lab.engine.set_endpoint(local(&Key::new("a", "two"))).is_none());
    assert_eq!(lab.engine.problems().len(), 1);
}
