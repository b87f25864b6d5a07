//! What is allowed, row by row of the specification where the compiler has a say in it.

use netpol_common::Direction;

use super::{
    build::{block, egress, ingress, labels, named, namespace, net, pod, pods, pods_of, policy, rule, tcp},
    lab::Lab,
};
use crate::{
    engine::HookLevel,
    model::{Kind, Object, PolicyPeer, PolicyPort, Rule},
};

#[test]
fn a_pod_that_no_policy_selects_is_not_isolated_and_carries_nothing() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "app=web", &["10.0.0.1"]));
    lab.compile();
    assert!(lab.lets_in(web, "192.0.2.1", 80));
    assert_eq!(lab.kernel.hook(web), HookLevel::None);
}

#[test]
fn as_soon_as_one_pod_is_isolated_its_neighbours_carry_the_source_check() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "app=web", &["10.0.0.1"]));
    let other = lab.local(pod("a/other", "", &["10.0.0.2"]));
    lab.put(ingress("a/deny", "app=web", vec![]));
    lab.compile();
    assert_eq!(lab.kernel.hook(web), HookLevel::Full);
    assert_eq!(lab.kernel.hook(other), HookLevel::SourceCheck);
    assert!(!lab.lets_in(web, "10.0.0.2", 80));
    assert!(lab.lets_out(web, "10.0.0.2", 80));
}

#[test]
fn rules_of_several_policies_are_a_union_and_ports_and_peers_are_no_cross_product() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "app=web", &["10.0.0.1"]));
    lab.remote(pod("a/x", "app=x", &["10.0.1.1"]));
    lab.remote(pod("a/y", "app=y", &["10.0.1.2"]));
    lab.put(ingress("a/one", "app=web", vec![rule(&[pods("app=x")], &[tcp(80)])]));
    lab.put(ingress("a/two", "", vec![rule(&[pods("app=y")], &[tcp(81)])]));
    lab.compile();
    assert!(lab.lets_in(web, "10.0.1.1", 80) && lab.lets_in(web, "10.0.1.2", 81));
    assert!(!lab.lets_in(web, "10.0.1.1", 81) && !lab.lets_in(web, "10.0.1.2", 80));
}

#[test]
fn overlapping_cidrs_are_a_union() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "app=web", &["10.0.0.1"]));
    lab.put(ingress(
        "a/p",
        "",
        vec![
            rule(&[block("192.0.2.0/24", &[])], &[tcp(80)]),
            rule(&[block("192.0.2.128/25", &[])], &[tcp(81)]),
        ],
    ));
    lab.compile();
    assert!(lab.lets_in(web, "192.0.2.1", 80) && !lab.lets_in(web, "192.0.2.1", 81));
    assert!(lab.lets_in(web, "192.0.2.200", 80) && lab.lets_in(web, "192.0.2.200", 81));
}

#[test]
fn an_exception_subtracts_from_its_own_block_only() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "app=web", &["10.0.0.1"]));
    lab.put(ingress(
        "a/p",
        "",
        vec![
            rule(&[block("192.0.0.0/16", &["192.0.2.0/24"])], &[tcp(80)]),
            rule(&[block("192.0.2.7/32", &[])], &[tcp(81)]),
        ],
    ));
    lab.compile();
    assert!(lab.lets_in(web, "192.0.3.1", 80));
    assert!(!lab.lets_in(web, "192.0.2.7", 80) && lab.lets_in(web, "192.0.2.7", 81));
}

#[test]
fn families_never_mix() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "app=web", &["10.0.0.1", "fd00::1"]));
    lab.put(ingress(
        "a/p",
        "",
        vec![rule(&[block("::/0", &[])], &[tcp(6)]), rule(&[block("0.0.0.0/0", &[])], &[tcp(4)])],
    ));
    lab.compile();
    assert!(lab.lets_in(web, "192.0.2.1", 4) && !lab.lets_in(web, "192.0.2.1", 6));
    assert!(lab.lets_in(web, "2001:db8::1", 6) && !lab.lets_in(web, "2001:db8::1", 4));
}

#[test]
fn a_pod_inside_a_block_is_matched_by_it_also_when_no_selector_matches_it() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "app=web", &["10.0.0.1"]));
    lab.remote(pod("b/x", "", &["10.0.1.1"]));
    lab.put(ingress(
        "a/p",
        "",
        vec![rule(&[block("10.0.0.0/8", &[])], &[tcp(80)]), rule(&[pods("app=q")], &[])],
    ));
    lab.compile();
    assert!(lab.lets_in(web, "10.0.1.1", 80) && !lab.lets_in(web, "10.0.1.1", 81));
}

#[test]
fn selectors_of_namespaces_never_match_nodes_or_the_world() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "app=web", &["10.0.0.1"]));
    lab.put(namespace("b", "team=blue"));
    lab.remote(pod("b/x", "", &["10.0.1.1"]));
    let mut host = pod("b/host", "", &["172.16.0.1"]);
    host.host_network = true;
    lab.remote(host);
    lab.put(ingress("a/p", "", vec![rule(&[pods_of("team!=red", "")], &[])]));
    lab.compile();
    assert!(lab.lets_in(web, "10.0.1.1", 80));
    assert!(!lab.lets_in(web, "172.16.0.1", 80) && !lab.lets_in(web, "192.0.2.1", 80));
}

#[test]
fn entries_that_grant_nothing_grant_nothing_and_the_pod_is_isolated() {
    let void = Rule { peers: None, ports: None, void: true };
    let nobody = rule(&[PolicyPeer::Nobody], &[]);
    let nothing = rule(&[], &[PolicyPort::Nothing]);
    for bad in [void, nobody, nothing] {
        let mut lab = Lab::new();
        let web = lab.local(pod("a/web", "", &["10.0.0.1"]));
        lab.put(policy("a/p", "", Some(vec![bad.clone()]), Some(vec![bad])));
        lab.compile();
        assert!(!lab.lets_in(web, "192.0.2.1", 80) && !lab.lets_out(web, "192.0.2.1", 80));
    }
}

#[test]
fn a_named_port_of_ingress_is_the_selected_pods_own() {
    let mut lab = Lab::new();
    let a = lab.local(pod("a/one", "", &["10.0.0.1"]).port("web", 80));
    let b = lab.local(pod("a/two", "", &["10.0.0.2"]).port("web", 8080));
    let c = lab.local(pod("a/three", "", &["10.0.0.3"]));
    lab.put(ingress("a/p", "", vec![rule(&[block("192.0.2.0/24", &[])], &[named("web")])]));
    lab.compile();
    assert!(lab.lets_in(a, "192.0.2.1", 80) && !lab.lets_in(a, "192.0.2.1", 8080));
    assert!(lab.lets_in(b, "192.0.2.1", 8080) && !lab.lets_in(b, "192.0.2.1", 80));
    assert!(!lab.lets_in(c, "192.0.2.1", 80));
}

#[test]
fn a_named_port_of_egress_is_the_destinations_whoever_the_peer_is() {
    for peers in [vec![], vec![block("10.0.0.0/8", &[])], vec![pods("")]] {
        let mut lab = Lab::new();
        let web = lab.local(pod("a/web", "", &["10.0.0.1"]));
        lab.remote(pod("a/x", "", &["10.0.1.1"]).port("web", 80));
        lab.remote(pod("a/y", "", &["10.0.1.2"]).port("web", 8080));
        lab.remote(pod("a/z", "", &["10.0.1.3"]));
        lab.put(egress("a/p", "", vec![rule(&peers, &[named("web")])]));
        lab.compile();
        assert!(lab.lets_out(web, "10.0.1.1", 80) && !lab.lets_out(web, "10.0.1.1", 8080));
        assert!(lab.lets_out(web, "10.0.1.2", 8080) && !lab.lets_out(web, "10.0.1.2", 80));
        assert!(!lab.lets_out(web, "10.0.1.3", 80) && !lab.lets_out(web, "10.9.9.9", 80));
        assert!(!lab.lets_out(web, "192.0.2.1", 80));
    }
}

#[test]
fn a_rule_without_ports_allows_icmp_and_one_with_ports_never_does() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "", &["10.0.0.1"]));
    let all = PolicyPort::All(crate::model::Protocol::Tcp);
    lab.put(ingress(
        "a/p",
        "",
        vec![rule(&[block("192.0.2.0/25", &[])], &[]), rule(&[block("192.0.2.128/25", &[])], &[all])],
    ));
    lab.compile();
    assert!(lab.judged(web, Direction::Ingress, "192.0.2.1", 1, 0).passes());
    assert!(!lab.judged(web, Direction::Ingress, "192.0.2.200", 1, 0).passes());
    assert!(lab.lets_in(web, "192.0.2.200", 65535));
}

#[test]
fn port_sets_have_no_limit() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "", &["10.0.0.1"]));
    let ports: Vec<_> = (0..600).map(|i| tcp(1000 + 3 * i)).collect();
    lab.put(ingress("a/p", "", vec![rule(&[], &ports)]));
    lab.compile();
    for i in 0..600 {
        assert!(lab.lets_in(web, "192.0.2.1", 1000 + 3 * i) && !lab.lets_in(web, "192.0.2.1", 1001 + 3 * i));
    }
}

#[test]
fn of_two_pods_that_claim_an_address_the_newest_that_is_not_terminating_has_it() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "", &["10.0.0.1"]));
    let mut old = pod("a/old", "app=old", &["10.0.1.1"]);
    old.created = 1;
    let mut new = pod("a/new", "app=new", &["10.0.1.1"]);
    new.created = 2;
    lab.remote(old).remote(new.clone());
    lab.put(ingress(
        "a/p",
        "",
        vec![rule(&[pods("app=old")], &[tcp(1)]), rule(&[pods("app=new")], &[tcp(2)])],
    ));
    lab.compile();
    assert!(lab.lets_in(web, "10.0.1.1", 2) && !lab.lets_in(web, "10.0.1.1", 1));
    assert_eq!(lab.engine.problems().len(), 1);
    new.terminating = true;
    lab.remote(new);
    lab.compile();
    assert!(!lab.lets_in(web, "10.0.1.1", 2) && lab.lets_in(web, "10.0.1.1", 1));
}

#[test]
fn a_relabelled_namespace_moves_its_pods_and_their_generations() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "", &["10.0.0.1"]));
    lab.put(namespace("b", "team=blue")).remote(pod("b/x", "", &["10.0.1.1"])).remote(pod(
        "b/y",
        "",
        &["10.0.1.2"],
    ));
    lab.put(ingress("a/p", "", vec![rule(&[pods_of("team=blue", "")], &[])]));
    lab.settle();
    assert!(lab.lets_in(web, "10.0.1.1", 80));
    lab.put(namespace("b", "team=red"));
    let ops = lab.compile();
    assert!(!lab.lets_in(web, "10.0.1.1", 80));
    for address in ["10.0.1.1", "10.0.1.2"] {
        let bump = crate::engine::TableOp::Generation(super::build::ip(address).into());
        assert!(ops.contains(&bump), "{ops:?}");
    }
    lab.delete(Kind::Namespace, "b").compile();
    assert!(!lab.lets_in(web, "10.0.1.1", 80));
}

#[test]
fn an_endpoint_without_its_pods_object_is_closed() {
    let mut lab = Lab::new();
    let mut web = pod("a/web", "", &["10.0.0.1"]);
    let slot = lab.local(web.clone());
    lab.compile();
    assert!(lab.lets_in(slot, "192.0.2.1", 80));
    lab.delete(Kind::Pod, "a/web").compile();
    assert!(!lab.lets_in(slot, "192.0.2.1", 80) && !lab.lets_out(slot, "192.0.2.1", 80));
    assert_eq!(lab.kernel.hook(slot), HookLevel::Full);

    // Another pod of the same name is not the pod behind the interface.
    let mut endpoint = super::lab::local(&web.key);
    endpoint.uid = "1".into();
    lab.engine.set_endpoint(endpoint);
    web.uid = "2".into();
    lab.put(Object::Pod(web.clone())).compile();
    assert!(!lab.lets_in(slot, "192.0.2.1", 80));
    web.uid = "1".into();
    lab.put(Object::Pod(web)).compile();
    assert!(lab.lets_in(slot, "192.0.2.1", 80));
}

#[test]
fn prefixes_of_the_namespace_and_of_the_configuration_are_sources() {
    use netpol_common::decide::Tables;
    let mut lab = Lab::new();
    let Object::Namespace(mut gateways) = namespace("a", "") else { unreachable!() };
    gateways.source_prefixes = vec![net("198.51.100.0/24")];
    lab.put(Object::Namespace(gateways.clone()));
    let slot = lab.local(pod("a/gw", "", &["10.0.0.1", "10.0.0.2"]));
    lab.compile();
    for (address, may) in [("198.51.100.9", true), ("10.0.0.2", true), ("198.51.101.9", false)] {
        assert_eq!(lab.kernel.more_sources(slot, &super::build::ip(address).into()), may);
    }
    gateways.source_prefixes.clear();
    lab.put(Object::Namespace(gateways)).compile();
    assert!(!lab.kernel.more_sources(slot, &super::build::ip("198.51.100.9").into()));
}

#[test]
fn names_behind_the_numbers_can_be_asked_for() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "", &["10.0.0.1"]));
    lab.remote(pod("a/x", "app=x", &["10.0.1.1"]));
    lab.put(ingress("a/p", "", vec![rule(&[pods("app=x"), block("10.0.0.0/8", &[])], &[tcp(80)])]));
    lab.compile();
    let judged = lab.judged(web, Direction::Ingress, "10.0.1.1", 6, 80);
    let mut text = lab.engine.class_text(judged.class);
    text.sort();
    assert_eq!(text, ["10.0.0.0/8", "pods app=x in a"]);
    assert_eq!(lab.engine.ports_text(judged.port_set), "TCP 80");
    assert_eq!(lab.engine.policies_of(web, Direction::Ingress).len(), 1);
    assert_eq!(*lab.engine.pod_at(super::build::ip("10.0.1.1")).unwrap().labels, labels("app=x"));
    let revision = netpol_common::tables::revision_of(netpol_common::decide::Tables::judgement(
        lab.engine.tables(),
        web,
        Direction::Ingress,
    ));
    assert_eq!(&*lab.engine.policies_at(revision).unwrap()[0].key.name, "p");
}
