//! The break-glass switch: what it opens, what it leaves as it is, and that it ends with its annotation.

use netpol_common::{
    Direction,
    decide::Tables as _,
    tables::{SET_NONE, revision_of, set_of},
};

use super::{
    build::{NODE, egress, ingress, namespace, node, pod, switched_off},
    history::dump,
    lab::{Lab, local, settings},
};
use crate::{
    engine::{HookLevel, LocalEndpoint},
    model::{Key, Kind, SourceEvent},
};

const PEER: &str = "192.0.2.1";

/// A pod of namespace a and one of namespace b, both closed, and one of b that nothing isolates.
fn closed() -> (Lab, [u32; 3]) {
    let mut lab = Lab::new();
    lab.put(node(NODE, &["172.16.0.1"])).put(namespace("a", "")).put(namespace("b", ""));
    let slots = [
        lab.local(pod("a/web", "app=web", &["10.0.0.1"])),
        lab.local(pod("b/web", "app=web", &["10.0.0.2"])),
        lab.local(pod("b/free", "", &["10.0.0.3"])),
    ];
    for key in ["a", "b"] {
        lab.put(ingress(&format!("{key}/in"), "app=web", vec![]));
        lab.put(egress(&format!("{key}/out"), "app=web", vec![]));
    }
    lab.settle();
    (lab, slots)
}

fn is_open(lab: &Lab, slot: u32) -> bool {
    let both = (lab.lets_in(slot, PEER, 80), lab.lets_out(slot, PEER, 80));
    assert_eq!(both.0, both.1);
    both.0
}

#[test]
fn of_a_namespace_it_opens_its_pods_and_no_others() {
    let (mut lab, [a, b, free]) = closed();
    assert!(!is_open(&lab, a) && !is_open(&lab, b) && is_open(&lab, free));
    let before = revision_of(lab.kernel.judgement(a, Direction::Ingress));
    lab.put(switched_off(namespace("a", ""))).compile();
    assert!(is_open(&lab, a) && !is_open(&lab, b));
    assert!(!lab.lets_out(b, "10.0.0.1", 80), "what policies say of its peers is still in force");
    let open = lab.kernel.judgement(a, Direction::Ingress);
    assert_eq!(set_of(open), SET_NONE);
    assert_ne!(revision_of(open), before, "open flows are judged again");
    assert_eq!(lab.engine.endpoint(a).unwrap().released, [true; 2]);
    assert_eq!(lab.engine.break_glass().collect::<Vec<_>>(), [(Kind::Namespace, "a")]);

    lab.put(namespace("a", "")).compile();
    assert!(!is_open(&lab, a));
    assert_ne!(revision_of(lab.kernel.judgement(a, Direction::Ingress)), revision_of(open), "and once more");
    assert_eq!(lab.engine.endpoint(a).unwrap().released, [false; 2]);
    assert_eq!(lab.engine.break_glass().count(), 0);
}

#[test]
fn classifiers_stay_so_that_flows_are_known_and_sources_are_checked() {
    let (mut lab, [a, b, free]) = closed();
    lab.put(switched_off(node(NODE, &["172.16.0.1"])));
    lab.settle();
    assert_eq!(
        [a, b, free].map(|slot| lab.kernel.hook(slot)),
        [HookLevel::Full, HookLevel::Full, HookLevel::SourceCheck]
    );
    // A pod that gets its first policy meanwhile is among them.
    lab.put(ingress("b/all", "", vec![]));
    lab.settle();
    assert_eq!(lab.kernel.hook(free), HookLevel::Full);
    assert!(is_open(&lab, free));
}

#[test]
fn of_the_node_it_opens_every_pod_of_it_those_that_nobody_knows_too() {
    let (mut lab, [a, b, _]) = closed();
    let nobodys = LocalEndpoint { pod: None, ..local(&Key::new("", "lost")) };
    let lost = lab.engine.set_endpoint(nobodys).unwrap();
    lab.settle();
    assert!(!is_open(&lab, lost));
    assert_eq!(lab.kernel.hook(lost), HookLevel::Full);

    lab.put(switched_off(node("there", &[]))).compile();
    assert!(!is_open(&lab, a), "that of another node");
    lab.put(switched_off(node(NODE, &["172.16.0.1"]))).compile();
    for slot in [a, b, lost] {
        assert!(is_open(&lab, slot));
    }
    assert_eq!(lab.kernel.hook(lost), HookLevel::None, "with any source: nobody knows its own");

    lab.put(node(NODE, &["172.16.0.1"])).compile();
    for slot in [a, b, lost] {
        assert!(!is_open(&lab, slot));
        assert_eq!(lab.kernel.hook(slot), HookLevel::Full);
    }
}

#[test]
fn it_ends_with_its_object() {
    let (mut lab, [a, b, _]) = closed();
    lab.put(switched_off(namespace("a", ""))).compile();
    lab.delete(Kind::Namespace, "a").compile();
    assert!(!is_open(&lab, a));
    lab.put(switched_off(node(NODE, &[]))).compile();
    lab.delete(Kind::Node, NODE).compile();
    assert!(!is_open(&lab, a) && !is_open(&lab, b));
}

#[test]
fn a_restart_keeps_it_as_it_is_and_ends_it_when_it_has_gone_meanwhile() {
    let (mut lab, [a, ..]) = closed();
    lab.put(switched_off(namespace("a", "")));
    lab.settle();
    let again = |lab: &Lab| {
        let mut again = Lab::with(settings(), &dump(&lab.kernel));
        again.engine.apply(SourceEvent::Reset(lab.engine.store().objects()));
        for endpoint in lab.engine.endpoints() {
            again.engine.set_endpoint(endpoint.local.clone());
        }
        again.now = lab.now;
        again
    };
    let mut kept = again(&lab);
    assert_eq!(kept.settle(), []);
    assert!(is_open(&kept, a));
    let mut ended = again(&lab);
    ended.put(namespace("a", "")).compile();
    assert!(!is_open(&ended, a));
}
