//! Flows to Services: as what stands behind them is judged.

use netpol_common::{
    Direction, Reason,
    decide::Tables as _,
    tables::{BACKENDS_OVERFLOW, FrontendKey, revision_of},
};

use super::{
    build::{NODE, block, egress, ip, node, pod, pods, rule, service, slice, tcp},
    lab::{Lab, TCP, local},
};
use crate::{
    engine::{HookLevel, LocalEndpoint, TableOp},
    model::{HostPort, Key, Kind, Object, Protocol, TargetPort},
};

const VIP: &str = "10.96.0.1";

/// A client that may reach `app=ok` at 8080, and a Service of `app` pods.
fn lab_with_client() -> (Lab, u32) {
    let mut lab = Lab::new();
    let client = lab.local(pod("a/client", "role=client", &["10.0.0.1"]));
    lab.put(egress("a/p", "role=client", vec![rule(&[pods("app=ok")], &[tcp(8080)])]));
    (lab, client)
}

fn backends_of(lab: &Lab, address: &str, port: u16) -> u32 {
    let key = FrontendKey { addr: ip(address).into(), port, proto: TCP, reserved: 0 };
    *lab.kernel.frontends.get(&key).unwrap()
}

#[test]
fn rules_speak_of_the_backends_port_and_never_of_the_cluster_ip() {
    let (mut lab, client) = lab_with_client();
    lab.remote(pod("a/one", "app=ok", &["10.0.1.1"]));
    lab.put(Object::Service(service("a/s", "app=ok", &[VIP], 80, 8080)));
    lab.put(Object::Service(service("a/t", "app=ok", &["10.96.0.2"], 8080, 9090)));
    lab.compile();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::Policy);
    assert_eq!(lab.reason(client, Direction::Egress, "10.96.0.2", 8080), Reason::PolicyDenied);
    assert_eq!(
        lab.engine
            .service_at(&FrontendKey { addr: ip(VIP).into(), port: 80, proto: 6, reserved: 0 })
            .unwrap()
            .service,
        Key::new("a", "s")
    );
    assert_eq!(lab.engine.service_of(ip(VIP)), Some(&Key::new("a", "s")));

    // An ipBlock that holds the ClusterIP says nothing of it.
    lab.put(egress("a/p", "role=client", vec![rule(&[block("10.96.0.0/16", &[])], &[])])).compile();
    assert!(!lab.lets_out(client, VIP, 80));
}

#[test]
fn an_address_of_a_service_range_without_a_frontend_is_closed() {
    let (mut lab, client) = lab_with_client();
    lab.put(egress("a/p", "role=client", vec![rule(&[block("0.0.0.0/0", &[])], &[])]));
    lab.remote(pod("a/one", "app=ok", &["10.0.1.1"]));
    lab.put(Object::Service(service("a/s", "app=ok", &[VIP], 80, 8080)));
    lab.compile();
    assert_eq!(lab.reason(client, Direction::Egress, "10.96.3.3", 80), Reason::UnknownFrontend);
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 81), Reason::UnknownFrontend);
    assert!(lab.lets_out(client, VIP, 80) && lab.lets_out(client, "192.0.2.1", 80));
}

#[test]
fn a_service_without_backends_leads_nowhere() {
    let (mut lab, client) = lab_with_client();
    lab.put(Object::Service(service("a/s", "app=ok", &[VIP], 80, 8080))).compile();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::NoBackend);
}

#[test]
fn where_remote_backends_differ_the_flow_is_closed() {
    let (mut lab, client) = lab_with_client();
    lab.remote(pod("a/one", "app=ok,svc=s", &["10.0.1.1"]));
    lab.remote(pod("a/two", "app=no,svc=s", &["10.0.1.2"]));
    lab.put(Object::Service(service("a/s", "svc=s", &[VIP], 80, 8080)));
    lab.compile();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::BackendsDiffer);
}

#[test]
fn where_the_denied_ones_are_pods_of_this_node_they_are_hooked_and_judge() {
    let (mut lab, client) = lab_with_client();
    lab.remote(pod("a/one", "app=ok,svc=s", &["10.0.1.1"]));
    let two = lab.local(pod("a/two", "app=no,svc=s", &["10.0.1.2"]));
    lab.put(Object::Service(service("a/s", "svc=s", &[VIP], 80, 8080)));
    let ops = lab.compile();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::Deferred);
    assert_eq!(lab.kernel.hook(two), HookLevel::Full);
    // First the hook, then the flag that counts on it.
    let hook = ops.iter().position(|op| matches!(op, TableOp::Hook { slot, .. } if *slot == two)).unwrap();
    let flag = ops.iter().rposition(|op| matches!(op, TableOp::Backends(_))).unwrap();
    assert!(hook < flag);

    // A hook that the kernel refused is not counted on.
    let hook = ops[hook].clone();
    lab.engine.applied(lab.now, std::slice::from_ref(&hook));
    lab.compile();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::BackendsDiffer);
    lab.now += std::time::Duration::from_secs(2);
    assert!(lab.engine.compile(lab.now).contains(&hook));
    lab.engine.applied(lab.now, &[]);
    lab.compile();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::Deferred);

    // An interface on which senders cannot be recognised judges nobody.
    let mut blind = local(&Key::new("a", "two"));
    blind.tag_trusted = false;
    lab.engine.set_endpoint(blind);
    lab.compile();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::BackendsDiffer);
}

#[test]
fn a_pod_reaches_itself_through_its_own_service() {
    let mut lab = Lab::new();
    let me = lab.local(pod("a/me", "app=me", &["10.0.0.1"]));
    lab.put(egress("a/deny", "", vec![]));
    lab.put(Object::Service(service("a/s", "app=me", &[VIP], 80, 8080)));
    lab.compile();
    assert_eq!(lab.reason(me, Direction::Egress, VIP, 80), Reason::Deferred);

    // Flows that were stopped while its tag was not believed are judged again when it is.
    let revision = |lab: &Lab| revision_of(lab.kernel.judgement(me, Direction::Egress));
    for trusted in [false, true] {
        let before = revision(&lab);
        lab.engine.set_endpoint(LocalEndpoint { tag_trusted: trusted, ..local(&Key::new("a", "me")) });
        lab.compile();
        assert_eq!(!lab.reason(me, Direction::Egress, VIP, 80).is_drop(), trusted);
        assert_ne!(revision(&lab), before);
    }
}

#[test]
fn a_backend_that_is_gone_counts_for_a_while_unless_it_was_a_pod() {
    let (mut lab, client) = lab_with_client();
    lab.remote(pod("a/one", "app=ok", &["10.0.1.1"]));
    lab.remote(pod("a/two", "app=no", &["10.0.1.2"]));
    lab.put(Object::Service(service("a/s", "", &[VIP], 80, 8080)));
    lab.put(slice("a/e", "s", 8080, &[("10.0.1.1", true), ("10.0.1.2", true)])).compile();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::BackendsDiffer);
    // kube-proxy may still lead there.
    lab.put(slice("a/e", "s", 8080, &[("10.0.1.1", true)])).compile();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::BackendsDiffer);
    // The pod itself is gone: nobody answers.
    lab.delete(Kind::Pod, "a/two").compile();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::Policy);
    lab.settle();
    assert_eq!(lab.engine.backends(backends_of(&lab, VIP, 80)), [(ip("10.0.1.1"), 8080)]);
}

#[test]
fn a_service_that_is_gone_counts_for_a_while() {
    let (mut lab, client) = lab_with_client();
    lab.remote(pod("a/one", "app=ok", &["10.0.1.1"]));
    lab.put(Object::Service(service("a/s", "app=ok", &[VIP], 80, 8080))).compile();
    lab.delete(Kind::Service, "a/s").compile();
    assert!(lab.lets_out(client, VIP, 80));
    assert!(
        lab.engine
            .service_at(&FrontendKey { addr: ip(VIP).into(), port: 80, proto: 6, reserved: 0 })
            .unwrap()
            .gone
    );
    lab.settle();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::UnknownFrontend);
}

#[test]
fn a_set_of_backends_stays_and_is_kept_up_to_date_as_long_as_a_flow_refers_to_it() {
    let (mut lab, client) = lab_with_client();
    lab.remote(pod("a/one", "app=ok,svc=s", &["10.0.1.1"]));
    lab.put(Object::Service(service("a/s", "svc=s", &[VIP], 80, 8080))).settle();
    let old = backends_of(&lab, VIP, 80);
    lab.remote(pod("a/two", "app=ok,svc=s", &["10.0.1.2"])).settle();
    let new = backends_of(&lab, VIP, 80);
    assert_ne!(old, new);
    lab.engine.release_backends(&|id| id == old);
    lab.settle();
    assert!(lab.kernel.backends.contains_key(&old));

    // The first pod is relabelled: the flow that may be pinned to it is judged again.
    let before = netpol_common::decide::Tables::generation(&lab.kernel, &ip(VIP).into());
    lab.remote(pod("a/one", "app=no,svc=s", &["10.0.1.1"])).compile();
    assert_ne!(before, netpol_common::decide::Tables::generation(&lab.kernel, &ip(VIP).into()));
    let set = lab.engine.tables().judgement_set(client, Direction::Egress);
    let any = netpol_common::decide::Tables::any_peer(&lab.kernel, set);
    let again = netpol_common::decide::judge_backends(&lab.kernel, client, set, any, old, TCP);
    assert_eq!(again, Reason::PolicyDenied);

    lab.now += std::time::Duration::from_secs(60);
    lab.settle();
    lab.engine.release_backends(&|_| false);
    lab.settle();
    assert!(!lab.kernel.backends.contains_key(&old) && lab.kernel.backends.contains_key(&new));
}

#[test]
fn a_frontend_comes_to_a_set_of_backends_as_it_is_and_not_as_it_was() {
    let (mut lab, client) = lab_with_client();
    lab.remote(pod("a/one", "app=ok,svc=s", &["10.0.1.1"]));
    lab.put(Object::Service(service("a/s", "svc=s", &[VIP], 80, 8080))).settle();
    // Flows may refer to the set of this backend, so it stays.
    lab.remote(pod("a/one", "app=ok", &["10.0.1.1"])).settle();
    lab.remote(pod("a/one", "app=no,svc=s", &["10.0.1.1"]));
    for op in lab.engine.compile(lab.now) {
        lab.kernel.apply(&op);
        assert!(!lab.lets_out(client, VIP, 80), "{op:?}");
    }
}

#[test]
fn backends_are_those_that_kube_proxy_can_choose() {
    let (mut lab, client) = lab_with_client();
    let mut unready = pod("a/two", "app=no,svc=s", &["10.0.1.2"]);
    unready.ready = false;
    lab.remote(pod("a/one", "app=ok,svc=s", &["10.0.1.1"])).remote(unready.clone());
    let mut s = service("a/s", "svc=s", &[VIP], 80, 8080);
    lab.put(Object::Service(s.clone())).settle();
    assert!(lab.lets_out(client, VIP, 80));
    s.publish_not_ready = true;
    lab.put(Object::Service(s.clone())).compile();
    assert!(!lab.lets_out(client, VIP, 80));
    s.publish_not_ready = false;
    s.internal_local = true;
    lab.put(Object::Service(s)).settle();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::NoBackend);
}

#[test]
fn a_target_port_by_name_is_each_backends_own() {
    let (mut lab, client) = lab_with_client();
    lab.remote(pod("a/one", "app=ok", &["10.0.1.1"]).port("web", 8080));
    lab.remote(pod("a/three", "app=ok", &["10.0.1.3"]));
    let mut s = service("a/s", "app=ok", &[VIP], 80, 0);
    s.ports[0].target = TargetPort::Name("web".into());
    lab.put(Object::Service(s)).settle();
    assert!(lab.lets_out(client, VIP, 80));
    lab.remote(pod("a/two", "app=ok", &["10.0.1.2"]).port("web", 9090)).compile();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::BackendsDiffer);
}

#[test]
fn node_ports_are_frontends_on_the_addresses_of_this_node() {
    let (mut lab, client) = lab_with_client();
    lab.remote(pod("a/one", "app=ok", &["10.0.1.1"]));
    let mut s = service("a/s", "app=ok", &[VIP], 80, 8080);
    s.ports[0].node_port = 30080;
    s.external_ips = vec![ip("203.0.113.1")];
    lab.put(Object::Service(s)).put(node(NODE, &["172.16.0.1"])).put(node("there", &["172.16.0.2"]));
    lab.compile();
    assert!(lab.lets_out(client, "172.16.0.1", 30080) && lab.lets_out(client, "203.0.113.1", 80));
    assert!(!lab.lets_out(client, "172.16.0.1", 30081) && !lab.lets_out(client, "172.16.0.2", 30080));
    lab.put(node(NODE, &["172.16.0.3"])).settle();
    assert!(lab.lets_out(client, "172.16.0.3", 30080) && !lab.lets_out(client, "172.16.0.1", 30080));
}

#[test]
fn where_node_ports_may_be_translated_or_not_both_must_be_allowed() {
    const FIRST: &str = "172.16.0.1";
    const BRIDGE: &str = "10.0.0.254";
    let (mut lab, client) = lab_with_client();
    lab.remote(pod("a/one", "app=ok", &["10.0.1.1"]));
    let mut s = service("a/s", "app=ok", &[VIP], 80, 8080);
    s.ports[0].node_port = 30080;
    lab.put(Object::Service(s)).put(node(NODE, &[FIRST, "172.16.0.9", "198.51.100.1"]));
    let host = [FIRST, BRIDGE, "10.96.0.200"].map(ip);
    lab.engine.set_host_addresses(host.into());
    lab.compile();
    let lets = |lab: &Lab| [FIRST, "172.16.0.9", BRIDGE].map(|at| lab.lets_out(client, at, 30080));
    // Only what is always translated is judged by the backends alone.
    assert_eq!(lets(&lab), [true, false, false]);
    let to_pods = rule(&[pods("app=ok")], &[tcp(8080)]);
    let to_node = rule(&[block("10.0.0.254/32", &[]), block("172.16.0.0/16", &[])], &[tcp(30080)]);
    lab.put(egress("a/p", "role=client", vec![to_pods.clone(), to_node.clone()])).compile();
    assert_eq!(lets(&lab), [true; 3]);
    lab.put(egress("a/p", "role=client", vec![to_node])).compile();
    assert_eq!(lets(&lab), [false; 3]);
    // A ClusterIP that a proxy gives to the host is no address of NodePorts.
    assert_eq!(lab.reason(client, Direction::Egress, "10.96.0.200", 30080), Reason::UnknownFrontend);

    // The host has only what others translate for it.
    lab.put(egress("a/p", "role=client", vec![to_pods]));
    lab.engine.set_host_addresses([ip(BRIDGE)].into());
    lab.settle();
    assert_eq!(lets(&lab), [false; 3]);
    lab.engine.set_host_addresses(host.into());
    lab.settle();
    assert_eq!(lets(&lab), [true, false, false]);
}

#[test]
fn ports_of_this_host_are_judged_by_the_pods_that_they_lead_to() {
    let (mut lab, client) = lab_with_client();
    let host = ["172.16.0.1", "10.0.0.254"];
    lab.engine.set_host_addresses(host.map(ip).into());
    let port = |address: Option<&str>| HostPort {
        address: address.map(ip),
        protocol: Protocol::Tcp,
        port: 8088,
        target: 8080,
    };
    let with = |labels: &str, port: HostPort| {
        let mut pod = pod("a/web", labels, &["10.0.0.7"]);
        pod.host_ports = vec![port];
        pod
    };
    let lets = |lab: &Lab| host.map(|at| lab.lets_out(client, at, 8088));
    lab.put(node(NODE, &["172.16.0.1"]));
    lab.local(with("app=ok", port(None)));
    lab.compile();
    assert_eq!(lets(&lab), [true, true], "at every address that the host has");
    assert!(!lab.lets_out(client, "172.16.0.1", 8080));
    lab.put(Object::Pod(with("app=ok", port(Some("10.0.0.254"))))).settle();
    assert_eq!(lets(&lab), [false, true]);
    lab.put(Object::Pod(with("app=no", port(None)))).settle();
    assert_eq!(lets(&lab), [false, false]);

    // What may speak with the node does not reach the pod by it.
    let to_node = rule(&[block("172.16.0.0/16", &[])], &[]);
    lab.put(egress("a/p", "role=client", vec![to_node])).compile();
    assert!(!lab.lets_out(client, "172.16.0.1", 8088) && lab.lets_out(client, "172.16.0.1", 8089));
    // Elsewhere, and on the host's own network, they are no ports of this host.
    let mut away = with("app=no", port(None));
    away.node = "there".into();
    lab.put(Object::Pod(away)).settle();
    assert!(lab.lets_out(client, "172.16.0.1", 8088));
    lab.put(Object::Pod(with("app=no", port(None)))).settle();
    assert!(!lab.lets_out(client, "172.16.0.1", 8088));
    lab.delete(Kind::Pod, "a/web").settle();
    assert!(lab.lets_out(client, "172.16.0.1", 8088));
}

#[test]
fn a_service_that_names_a_pods_address_neither_opens_nor_hides_the_pod() {
    const TAKEN: &str = "10.0.1.9";
    let (mut lab, client) = lab_with_client();
    lab.remote(pod("a/one", "app=ok", &["10.0.1.1"]));
    let mut s = service("a/s", "app=ok", &[], 8080, 8080);
    s.external_ips = vec![ip(TAKEN)];
    lab.put(Object::Service(s)).settle();
    assert!(lab.lets_out(client, TAKEN, 8080));
    // The Service came first, then the pod: whether it is still translated must not matter.
    lab.remote(pod("a/two", "app=no", &[TAKEN])).compile();
    assert_eq!(lab.reason(client, Direction::Egress, TAKEN, 8080), Reason::BackendsDiffer);
    lab.remote(pod("a/two", "app=ok", &[TAKEN])).compile();
    assert!(lab.lets_out(client, TAKEN, 8080));
    lab.remote(pod("a/one", "app=no", &["10.0.1.1"])).compile();
    assert_eq!(lab.reason(client, Direction::Egress, TAKEN, 8080), Reason::BackendsDiffer);
    lab.delete(Kind::Service, "a/s").settle();
    assert!(lab.lets_out(client, TAKEN, 8080));
}

#[test]
fn behind_an_external_address_that_no_service_has_any_more_may_be_anything() {
    const OUTSIDE: &str = "203.0.113.1";
    let (mut lab, client) = lab_with_client();
    lab.remote(pod("a/one", "app=ok", &["10.0.1.1"]));
    let mut s = service("a/s", "app=ok", &[], 80, 8080);
    s.external_ips = vec![ip(OUTSIDE)];
    lab.put(Object::Service(s)).compile();
    assert!(lab.lets_out(client, OUTSIDE, 80));
    // kube-proxy may have forgotten it already.
    lab.delete(Kind::Service, "a/s").compile();
    assert_eq!(lab.reason(client, Direction::Egress, OUTSIDE, 80), Reason::BackendsDiffer);
    lab.settle();
    assert_eq!(lab.reason(client, Direction::Egress, OUTSIDE, 80), Reason::PolicyDenied);
}

#[test]
fn too_many_kinds_of_backends_are_closed_and_said() {
    let (mut lab, client) = lab_with_client();
    for i in 0..20u16 {
        let name = format!("a/b{i}");
        lab.remote(pod(&name, "app=ok", &[&format!("10.0.1.{i}")]).port("web", 8000 + i));
    }
    let mut s = service("a/s", "app=ok", &[VIP], 80, 0);
    s.ports[0].target = TargetPort::Name("web".into());
    lab.put(Object::Service(s)).compile();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::BackendsDiffer);
    assert_eq!(lab.kernel.backends[&backends_of(&lab, VIP, 80)].flags, BACKENDS_OVERFLOW);
    assert_eq!(lab.engine.problems().len(), 1);
}

#[test]
fn an_interface_that_goes_before_its_pod_is_a_backend_no_more() {
    let mut lab = Lab::new();
    let web = lab.local(pod("a/web", "app=web", &["10.0.0.1"]));
    lab.put(Object::Service(service("a/s", "app=web", &[VIP], 80, 8080))).compile();
    let backends = backends_of(&lab, VIP, 80);
    assert!(lab.kernel.member(backends, web));
    lab.engine.remove_endpoint(&local(&Key::new("a", "web")).ifname);
    lab.settle();
    // The slot is the next pod's.
    assert!(!lab.kernel.member(backends, web));
}

#[test]
fn an_address_that_was_a_pods_while_a_service_had_it_is_a_backend_like_any_other_later() {
    const OUTSIDE: &str = "203.0.113.1";
    let (mut lab, client) = lab_with_client();
    lab.put(egress("a/p", "role=client", vec![rule(&[block("203.0.113.0/24", &[])], &[])]));
    let mut taken = service("a/taken", "app=nobody", &[], 443, 443);
    taken.external_ips = vec![ip(OUTSIDE)];
    lab.remote(pod("a/one", "app=one", &[OUTSIDE])).put(Object::Service(taken)).settle();
    lab.delete(Kind::Pod, "a/one").settle();
    lab.put(Object::Service(service("a/s", "", &[VIP], 80, 8080)));
    lab.put(slice("a/s-1", "s", 8080, &[(OUTSIDE, true)])).settle();
    assert_eq!(lab.reason(client, Direction::Egress, VIP, 80), Reason::Policy);
}
