//! Cases 32 to 36: the node, pods of its network, and a pod that speaks with itself.

use netpol_common::Reason;
use netpol_tests::kernel::craft::at;

use crate::{
    ask::{API, Place, Way},
    led::Frontend,
    manifest::{pod, policy, service, slice},
    scene::{Scene, Side, rules},
    sent::{
        Sent, Step,
        What::{Other, Ping, Sctp, Tcp, Udp},
    },
};

const EVERYTHING: [crate::sent::What; 5] = [Tcp(80), Udp(53), Sctp(9), Ping, Other(47)];

/// A policy that denies `shop/api` everything in both directions.
fn closed() -> crate::manifest::Manifest {
    policy("shop/closed", "podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress, Egress]")
}

#[test]
#[ignore = "needs root and BPF"]
fn case_32_pods_of_the_nodes_network_are_never_selected_and_their_traffic_is_the_nodes() {
    let host = |name: &str, labels: &str, number: u8| {
        pod(name, 0, labels)
            .at(&[&format!("172.16.0.{number}"), &format!("fd16::{number}")])
            .spec("hostNetwork: true")
    };
    Scene::both(|scene| {
        scene.put_all(&[
            host("shop/host-web", "app: web", 1).manifest(),
            host("shop/far-web", "app: web", 2).elsewhere().manifest(),
            host("shop/host-api", "app: api", 1).manifest(),
        ]);
        scene.allows("172.16.0.2", Tcp(80));
        // Not as a peer: a selector that matches their labels means others.
        for peers in [
            "{podSelector: {matchLabels: {app: web}}}",
            "{namespaceSelector: {}}",
            "{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: Exists}]}}",
        ] {
            scene.put(&rules("p", &format!("[{{from: [{peers}]}}]")));
            scene.allows("shop/web", Tcp(80));
            for address in ["172.16.0.1", "172.16.0.2", "fd16::1", "fd16::2"] {
                scene.denies(address, Tcp(80));
            }
        }
        scene.put(&rules("p", "[{from: [{ipBlock: {cidr: 172.16.0.2/32}}]}]"));
        scene.allows("172.16.0.2", Tcp(80));
        scene.denies("172.16.0.1", Tcp(80));
        // Not as a target: nothing of theirs is isolated, nor has it an endpoint.
        let named = netpol_policy::model::Key::new("shop", "host-api");
        assert_eq!(scene.local(&named), None);
        scene.put(&rules("p", "[]"));
        if scene.side == Side::Ingress {
            scene.passes("shop/web", "172.16.0.1", Tcp(80));
            scene.drops("shop/web", API, Tcp(80));
            // What the pod of the node's network sends is the node's own.
            scene.passes("node", API, Tcp(80));
        } else {
            scene.passes("172.16.0.1", "shop/web", Tcp(80));
            scene.drops(API, "shop/web", Tcp(80));
        }
    });
}

// With real packets: wire/node.rs, the_nodes_own_traffic_passes_* and masqueraded_traffic_is_not_the_nodes_own_*.
#[test]
#[ignore = "needs root and BPF"]
fn case_33_the_own_node_always_reaches_its_pods_and_other_nodes_only_by_a_block() {
    let mut scene = Scene::with(&[closed()]);
    for what in EVERYTHING {
        scene.passes("node", API, what);
        // The same address is the node's only from a socket of it: what is forwarded can carry it too.
        for address in ["172.16.0.1", "fd16::1", "172.16.0.2", "fd16::2", "shop/web"] {
            if !(what == Ping || matches!(what, Other(_))) {
                scene.drops(address, API, what);
            }
        }
        // Nor does the pod reach the node by that.
        scene.drops(API, "node", what);
    }
    for what in [Tcp(8080), Udp(53), Ping] {
        let open = scene.opens("node", API, what);
        scene.live(&open);
        scene.put(&rules("more", "[{ports: [{port: 1}]}]"));
        scene.live(&open);
        scene.time_passes();
        scene.live(&open);
    }
    scene.put(&rules("more", "[{from: [{namespaceSelector: {}}]}]"));
    scene.drops("172.16.0.2", API, Tcp(80));
    scene.put(&rules(
        "more",
        "[{from: [{ipBlock: {cidr: 172.16.0.2/32}}, {ipBlock: {cidr: \"fd16::2/128\"}}]}]",
    ));
    for address in ["172.16.0.2", "fd16::2"] {
        scene.passes(address, API, Tcp(80));
    }
    scene.drops("172.16.0.1", API, Tcp(80));
    scene.passes("node", API, Tcp(80));
}

#[test]
#[ignore = "needs root and BPF"]
fn case_34_a_pod_reaches_its_own_node_by_its_egress_rules_only() {
    let mut scene = Scene::of(Side::Egress, &[]);
    for what in EVERYTHING {
        scene.passes(API, "node", what);
    }
    scene.put(&rules("out", "[]"));
    for what in EVERYTHING {
        scene.drops(API, "node", what);
    }
    scene.put(&rules("out", "[{from: [{namespaceSelector: {}}]}]"));
    scene.drops(API, "node", Tcp(10_250));
    let node = "{ipBlock: {cidr: 172.16.0.1/32}}, {ipBlock: {cidr: \"fd16::1/128\"}}";
    scene.put(&rules("out", &format!("[{{from: [{node}], ports: [{{port: 10250}}]}}]")));
    scene.passes(API, "node", Tcp(10_250));
    scene.drops(API, "node", Tcp(10_251));
    scene.drops(API, "172.16.0.2", Tcp(10_250));
}

#[test]
#[ignore = "needs root and BPF"]
fn case_35_a_pod_reaches_its_own_addresses_where_it_is_known_as_the_sender() {
    const BRIDGE: u32 = 900;
    let mut scene = Scene::with(&[closed()]);
    let (api, db) = (scene.end(API), scene.end("shop/db"));
    let key = api.here.clone().unwrap();
    let ((slot, own), (other_slot, other)) =
        (scene.local(&key).unwrap(), scene.local(db.here.as_ref().unwrap()).unwrap());
    for what in EVERYTHING {
        scene.passes(API, API, what);
        scene.drops(API, "shop/db", what);
        scene.drops("shop/db", API, what);
    }
    for v4 in [true, false] {
        let address = api.address(v4).unwrap();
        let arrives = |scene: &mut Scene, way| {
            let port = scene.new_port();
            let sent = Sent::of_flow(Tcp(80), Step::Opens, at(address, port), at(address, 80));
            scene.judged(&Place::In(key.clone(), way), &sent).why
        };
        let (itself, forged) = (Some(Reason::Itself), Some(Reason::SpoofedSource));
        assert_eq!(arrives(&mut scene, Way::By(own, slot)), itself);
        assert_eq!(arrives(&mut scene, Way::Uplink), forged);
        assert_eq!(arrives(&mut scene, Way::By(other, other_slot)), forged);
        // Who comes by an interface of its own is that, whatever tag it carries.
        assert_eq!(arrives(&mut scene, Way::By(other, slot)), forged);
        assert_eq!(arrives(&mut scene, Way::By(BRIDGE, slot)), forged);
        scene.trust_bridge(BRIDGE, true);
        assert_eq!(arrives(&mut scene, Way::By(BRIDGE, slot)), itself);
        assert_eq!(arrives(&mut scene, Way::By(BRIDGE, other_slot)), forged);
        assert_eq!(arrives(&mut scene, Way::By(BRIDGE, 0)), forged);
        scene.trust_bridge(BRIDGE, false);
        assert_eq!(arrives(&mut scene, Way::By(BRIDGE, slot)), forged);
        // What stays on the pod's loopback comes by nobody; what comes with such an address is not it.
        let loopback = if v4 { "127.0.0.1" } else { "::1" }.parse().unwrap();
        let out = Sent::of_flow(Tcp(80), Step::Opens, at(address, 4000), at(loopback, 80));
        assert_eq!(scene.judged(&Place::Out(key.clone()), &out).why, Some(Reason::MartianAddress));
        let back = Sent::of_flow(Tcp(80), Step::Opens, at(loopback, 4000), at(address, 80));
        let said = scene.judged(&Place::In(key.clone(), Way::By(own, slot)), &back);
        assert_eq!(said.why, Some(Reason::MartianAddress));
    }
}

// With real packets: wire/services.rs, a_pod_reaches_itself_through_its_own_service_*.
#[test]
#[ignore = "needs root and BPF"]
fn case_36_a_pod_reaches_itself_through_its_own_service() {
    const OWN: Frontend = ["10.96.0.20", "fd96::20"];
    const DB: Frontend = ["10.96.0.21", "fd96::21"];
    let ports =
        "{name: one, port: 80, targetPort: 8080}, {name: two, protocol: UDP, port: 80, targetPort: 8080}";
    let to = "{name: one, port: 8080}, {name: two, protocol: UDP, port: 8080}";
    let mut scene = Scene::with(&[
        closed(),
        service("shop/own", OWN, ports),
        slice("shop/own-4", "own", &["10.1.0.1"], to),
        slice("shop/own-6", "own", &["fd01::1"], to),
        service("shop/db", DB, ports),
        slice("shop/db-4", "db", &["10.1.0.3"], to),
        slice("shop/db-6", "db", &["fd01::3"], to),
    ]);
    for what in [Tcp(80), Udp(80)] {
        scene.leads(API, OWN, what, &[("shop/api", 8080, true)]);
        // Another one's Service is denied, and so is the way of another pod to this one.
        scene.leads(API, DB, what, &[("shop/db", 8080, false)]);
        scene.leads("shop/db", OWN, what, &[("shop/api", 8080, false)]);
    }
    // The answer goes to the address that the node has put in, and comes back from the Service's.
    let (api, node) = (scene.end(API), scene.end("node"));
    let key = api.here.clone().unwrap();
    for v4 in [true, false] {
        let (own, masqueraded) = (api.address(v4).unwrap(), node.address(v4).unwrap());
        let frontend = OWN[usize::from(!v4)].parse().unwrap();
        let answer = |scene: &mut Scene, port| {
            let sent = Sent::of_flow(Tcp(8080), Step::Answers, at(own, 8080), at(masqueraded, port));
            scene.judged(&Place::Out(key.clone()), &sent).passes
        };
        assert!(!answer(&mut scene, 1), "nobody has asked");
        assert!(scene.led(&api, OWN[usize::from(!v4)], Tcp(80), (&api, 8080), v4).passes);
        let port = scene.port;
        assert!(answer(&mut scene, port));
        let back = Sent::of_flow(Tcp(80), Step::Answers, at(frontend, 80), at(own, port));
        let (slot, ifindex) = scene.local(&key).unwrap();
        assert!(scene.judged(&Place::In(key.clone(), Way::By(ifindex, slot)), &back).passes);
    }
}
