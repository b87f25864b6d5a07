//! Cases 12, 40, 42, 43 and 50: what is not a new flow, packet by packet.

use std::net::IpAddr;

use netpol_agent::datapath::Classifier;
use netpol_common::{
    Reason,
    packet::{LINK_CONTROL, LINK_CONTROL_SERVES, UDP},
};
use netpol_tests::{
    kernel::craft::{self, Arp, at},
    packet,
};

use crate::{
    ask::{API, Place, Talk, Way},
    manifest::{Manifest, pod, policy},
    scene::{Scene, Side, rules},
    sent::{
        Sent, Step,
        What::{self, Other, Ping, Sctp, Tcp, Udp},
    },
};

const DB: &str = "shop/db";

/// A policy of both directions for pods of an app.
pub(crate) fn both_ways(app: &str, ingress: &str, egress: &str) -> Manifest {
    let spec = format!("podSelector: {{matchLabels: {{app: {app}}}}}, policyTypes: [Ingress, Egress]");
    policy(&format!("shop/{app}-both"), &format!("{spec}, ingress: {ingress}, egress: {egress}"))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

// With real packets: wire/protocols.rs, replies_pass_when_both_ends_are_isolated.
#[test]
#[ignore = "needs root and BPF"]
fn case_12_replies_of_an_allowed_flow_pass_also_between_two_isolated_pods_of_the_node() {
    // The database may ask the server, and neither may do anything else.
    let receives = both_ways("api", "[{from: [{podSelector: {}}]}]", "[]");
    let sends = both_ways("db", "[]", "[{to: [{podSelector: {matchLabels: {app: api}}}]}]");
    let mut scene = Scene::with(&[receives, sends]);
    for what in [Tcp(80), Udp(53), Sctp(9), Ping] {
        for peer in [DB, "shop/web"] {
            scene.drops(API, peer, what);
            let open = scene.opens(peer, API, what);
            scene.live(&open);
            scene.time_passes();
            scene.live(&open);
            // What looks like a reply of that flow and is none.
            for talk in &open {
                let (from, to) = (&talk.to, &talk.from);
                let other =
                    Talk { client: at(talk.client.ip(), talk.client.port() ^ 0x4000), ..talk.clone() };
                let said = scene.walks(from, to, &other.packet(Step::Answers, true));
                assert!(!said.passes, "{what:?}: nobody has asked for this");
            }
        }
    }
    // The same for a protocol without ports.
    let (db, api) = (scene.end(DB), scene.end(API));
    for v4 in [true, false] {
        let (client, server) = (at(db.address(v4).unwrap(), 0), at(api.address(v4).unwrap(), 0));
        let back = Sent::of_flow(Other(47), Step::Answers, server, client);
        assert!(!scene.walks(&api, &db, &back).passes);
        assert!(scene.walks(&db, &api, &Sent::of_flow(Other(47), Step::Opens, client, server)).passes);
        assert!(scene.walks(&api, &db, &back).passes);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_40a_protocols_without_ports_need_a_rule_without_ports() {
    let others = [Ping, Other(47), Other(50), Other(4), Other(103), Other(253)];
    Scene::both(|scene| {
        let all = "{protocol: TCP}, {protocol: UDP}, {protocol: SCTP}, {port: 1, endPort: 65535}";
        scene.put(&rules("p", &format!("[{{ports: [{all}]}}]")));
        for peer in ["shop/web", DB, "world"] {
            scene.allows(peer, Tcp(80));
            others.into_iter().for_each(|what| scene.denies(peer, what));
        }
        scene.put(&rules("p", "[{from: [{podSelector: {}}]}, {from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]"));
        for peer in ["shop/web", DB, "192.0.2.9"] {
            others.into_iter().for_each(|what| scene.allows(peer, what));
        }
        others.into_iter().for_each(|what| scene.denies("other/web", what));
    });
}

// With real packets: wire/node.rs, a_narrower_link_behind_the_node_is_told_to_an_isolated_pod.
#[test]
#[ignore = "needs root and BPF"]
fn case_40b_an_error_that_quotes_an_allowed_flow_passes() {
    Scene::both(|scene| {
        let web = "[{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}, {port: 53, protocol: UDP}]}]";
        scene.put_all(&[both_ways("api", "[]", "[]"), rules("p", web)]);
        for what in [Tcp(80), Udp(53)] {
            let open = scene.opens_with("shop/web", what);
            for talk in &open {
                let back = scene.side == Side::Ingress;
                check_errors(scene, talk, back, true);
                // The same about a flow that does not exist.
                let other =
                    Talk { client: at(talk.client.ip(), talk.client.port() ^ 0x4000), ..talk.clone() };
                check_errors(scene, &other, back, false);
            }
            scene.put(&rules("p", "[]"));
            for talk in &open {
                let back = scene.side == Side::Ingress;
                check_errors(scene, talk, back, false);
            }
            scene.put(&rules("p", web));
        }
    });
}

/// A router tells the pod of a packet that it has sent, and the pod tells of one that it has received. `back` says
/// that the pod is the one who is asked.
fn check_errors(scene: &mut Scene, talk: &Talk, back: bool, passes: bool) {
    let key = scene.end(API).here.unwrap();
    let router = address(if talk.client.is_ipv4() { "198.51.100.254" } else { "2001:db8:ffff::1" });
    let told = Sent::too_big(router, &talk.packet(Step::Continues, back));
    let said = scene.judged(&Place::In(key.clone(), Way::Uplink), &told);
    assert_eq!(said.passes, passes, "an error to the pod: {said:?} {talk:?}");
    let own = if back { talk.server.ip() } else { talk.client.ip() };
    let tells = Sent::too_big(own, &talk.packet(Step::Continues, !back));
    let said = scene.judged(&Place::Out(key), &tells);
    assert_eq!(said.passes, passes, "an error of the pod: {said:?} {talk:?}");
}

#[test]
#[ignore = "needs root and BPF"]
fn case_40c_neighbour_discovery_passes_where_nothing_else_does() {
    let mut scene = Scene::with(&[both_ways("api", "[]", "[]")]);
    let key = scene.end(API).here.unwrap();
    let (own, local, all) = (address("fd01::1"), address("fe80::1"), address("ff02::1"));
    let (out, into) = (Place::Out(key.clone()), Place::In(key, Way::Uplink));
    let asks = |from, target| Sent::neighbour(from, address("ff02::1:ff00:2"), 135, target);
    for sent in [
        asks(own, address("fd01::2")),
        asks(local, address("fd01::2")),
        asks(address("::"), own),
        Sent::neighbour(own, address("fd01::2"), 136, own),
        Sent::neighbour(local, all, 136, local),
    ] {
        assert_eq!(scene.judged(&out, &sent).why, Some(Reason::LinkControl), "{sent:?}");
    }
    for sent in [
        asks(address("fd01::2"), own),
        asks(address("fe80::2"), own),
        Sent::neighbour(address("fd01::2"), own, 136, address("fd01::2")),
        Sent::neighbour(address("fe80::2"), all, 134, address("::")),
    ] {
        assert_eq!(scene.judged(&into, &sent).why, Some(Reason::LinkControl), "{sent:?}");
    }
    scene.drops(API, "fd01::2", Ping);
    scene.drops("fd01::2", API, Ping);
}

// That nothing comes back is seen with real packets too: the clients of wire/protocols.rs wait in vain, where a
// rejection would refuse them.
#[test]
#[ignore = "needs root and BPF"]
fn case_42_a_denied_packet_is_dropped_and_never_rejected() {
    let mut scene = Scene::with(&[both_ways("api", "[]", "[]")]);
    for what in [Tcp(80), Udp(53), Sctp(9), Ping, Other(47)] {
        for v4 in [true, false] {
            let (api, web) = (scene.end(API), scene.end("shop/web"));
            let key = api.here.clone().unwrap();
            let (slot, ifindex) = scene.local(&key).unwrap();
            let (own, peer) = (api.address(v4).unwrap(), web.address(v4).unwrap());
            let out = Sent::of_flow(what, Step::Opens, at(own, 4000), at(peer, what.port()));
            let into = Sent::of_flow(what, Step::Opens, at(peer, 4000), at(own, what.port()));
            for (place, sent) in
                [(Place::Out(key.clone()), &out), (Place::In(key.clone(), Way::Uplink), &into)]
            {
                assert_eq!(scene.judged(&place, sent).why, Some(Reason::PolicyDenied), "{what:?}");
            }
            // "Shot" is the end of the packet: a redirection or a changed frame would be an answer.
            let shot = scene.in_kernel(|kernel| {
                [
                    kernel.passes(Classifier::FromPod, slot, ifindex, &out.frame),
                    kernel.passes(Classifier::ToPod, slot, netpol_tests::kernel::UPLINK, &into.frame),
                ]
            });
            assert_eq!(shot, [false, false]);
            // Nor may the pod's own refusal be taken for one: it does not hear of the packet.
            let talk = Talk {
                from: web.clone(),
                to: api.clone(),
                what,
                client: at(peer, 4000),
                server: at(own, what.port()),
            };
            assert!(!scene.walks(&api, &web, &talk.packet(Step::Answers, true)).passes);
        }
    }
    scene.put(&both_ways("api", "[{}]", "[{}]"));
    scene.passes("shop/web", API, Tcp(80));
    scene.passes(API, "shop/web", Tcp(80));
}

// With real packets: wire/changes.rs, a_policy_reaches_open_connections.
#[test]
#[ignore = "needs root and BPF"]
fn case_43_what_a_tighter_policy_denies_stops_and_what_it_allows_lives_on() {
    const WEB: &str = "{podSelector: {matchLabels: {app: web}}}";
    const DATABASES: &str = "{podSelector: {matchLabels: {app: db}}}";
    let wide = format!("[{{from: [{WEB}, {DATABASES}, {{ipBlock: {{cidr: 192.0.2.0/24}}}}]}}]");
    Scene::both(|scene| {
        for what in [Tcp(80), Udp(53), Sctp(9), Ping] {
            scene.put_all(&[rules("p", &wide), both_ways("db", "[{}]", "[{}]")]);
            let web = scene.opens_with("shop/web", what);
            let db = scene.opens_with(DB, what);
            let outside = scene.opens_with("192.0.2.9", what);
            for (tight, living) in [
                (format!("[{{from: [{WEB}]}}]"), [true, false, false]),
                (wide.clone(), [true, true, true]),
                (
                    format!("[{{from: [{DATABASES}]}}, {{from: [{{ipBlock: {{cidr: 192.0.2.0/24}}}}]}}]"),
                    [false, true, true],
                ),
                (
                    "[{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.9/32]}}]}]".to_owned(),
                    [false, false, false],
                ),
                ("[{ports: [{port: 80}]}]".to_owned(), [what == Tcp(80); 3]),
                ("[]".to_owned(), [false, false, false]),
                ("[{}]".to_owned(), [true, true, true]),
            ] {
                scene.put(&rules("p", &tight));
                for (talks, lives) in [&web, &db, &outside].into_iter().zip(living) {
                    scene.goes_on(talks, lives);
                }
            }
            // A policy of the peer reaches it, too, on the same node.
            scene.put(&both_ways("db", "[{}]", "[]"));
            scene.stop(&db);
            scene.live(&web);
        }
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_50a_link_local_multicast_and_broadcast_are_never_pods_and_only_a_block_means_them() {
    let links = ["169.254.1.1", "fe80::9"];
    let groups = ["224.0.0.251", "239.1.2.3", "ff02::fb", "ff05::2", "255.255.255.255"];
    Scene::both(|scene| {
        // A pod that claims them all.
        let claims: Vec<&str> = links.iter().chain(&groups).chain(&["10.1.0.9"]).copied().collect();
        scene.put(&pod("shop/sly", 0, "app: sly").elsewhere().at(&claims).manifest());
        assert_eq!(scene.problems_of("Pod", "shop/sly").len(), claims.len() - 1, "{:?}", scene.problems);
        // And one of the node of which discovery says it.
        scene.discovered = vec![address("169.254.1.1"), address("fe80::9")];
        scene.put(&pod("shop/new", 10, "app: sly").manifest());
        let asked: &[&str] = if scene.side == Side::Ingress { &links } else { &claims[..claims.len() - 1] };
        asked.iter().for_each(|address| scene.allows(address, Udp(5353)));
        for peers in ["{namespaceSelector: {}}", "{podSelector: {matchLabels: {app: sly}}}"] {
            scene.put(&rules("p", &format!("[{{from: [{peers}]}}]")));
            scene.allows("10.1.0.9", Udp(5353));
            asked.iter().for_each(|address| scene.denies(address, Udp(5353)));
        }
        let blocks = ["169.254.0.0/16", "\"fe80::/10\"", "224.0.0.0/4", "\"ff00::/8\"", "255.255.255.255/32"];
        let list: Vec<String> = blocks.iter().map(|cidr| format!("{{ipBlock: {{cidr: {cidr}}}}}")).collect();
        scene.put(&rules(
            "p",
            &format!("[{{from: [{}], ports: [{{port: 5353, protocol: UDP}}]}}]", list.join(", ")),
        ));
        for address in asked {
            scene.allows(address, Udp(5353));
            scene.denies(address, Udp(5354));
        }
        scene.denies("10.1.0.9", Udp(5353));
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_50b_neighbours_listeners_arp_and_dhcp_pass_where_nothing_else_does() {
    let mut scene = Scene::with(&[both_ways("api", "[]", "[]")]);
    let key = scene.end(API).here.unwrap();
    let (slot, ifindex) = scene.local(&key).unwrap();
    let (out, into) = (Place::Out(key.clone()), Place::In(key, Way::Uplink));
    let (own, local) = (address("10.1.0.1"), address("fe80::1"));
    let control = |src: &str, dst: &str, proto, frame| {
        Sent::link_control(address(src), address(dst), proto, LINK_CONTROL, frame)
    };
    // Neighbours and routers are asked for, listeners say which groups they hear.
    let report = |src: &str| {
        let message =
            craft::with_hops(craft::icmp(address(src), address("ff02::16"), 143, 0, [0; 4], &[0; 20]), 1);
        control(src, "ff02::16", packet::ICMPV6, craft::framed(&message))
    };
    let igmp = control("10.1.0.1", "224.0.0.22", 2, craft::other(own, address("224.0.0.22"), 2));
    let asks = |src: &str| {
        let (from, to) = (at(address(src), 68), at(address("255.255.255.255"), 67));
        Sent::on_ports(control(src, "255.255.255.255", UDP, craft::udp(from, to)), 68, 67)
    };
    let (six, servers) = (at(local, 546), at(address("ff02::1:2"), 547));
    let asks_six = control("fe80::1", "ff02::1:2", UDP, craft::udp(six, servers)).on_ports(546, 547);
    let solicits = Sent::neighbour(address("::"), address("ff02::1:ff00:1"), 135, address("fd01::1"));
    for sent in [report("fe80::1"), report("::"), igmp, asks("0.0.0.0"), asks("10.1.0.1"), asks_six, solicits]
    {
        assert_eq!(scene.judged(&out, &sent).why, Some(Reason::LinkControl), "{sent:?}");
    }
    let answer = |src: IpAddr, dst: IpAddr, ports: (u16, u16)| {
        let frame = craft::udp(at(src, ports.0), at(dst, ports.1));
        Sent::link_control(src, dst, UDP, LINK_CONTROL_SERVES, frame).on_ports(ports.0, ports.1)
    };
    for sent in [
        answer(address("10.1.0.254"), address("255.255.255.255"), (67, 68)),
        answer(address("fe80::2"), local, (547, 546)),
        report("fe80::2"),
    ] {
        assert_eq!(scene.judged(&into, &sent).why, Some(Reason::LinkControl), "{sent:?}");
    }
    // A pod gives nobody an address.
    let serves = answer(own, address("255.255.255.255"), (67, 68));
    assert_eq!(scene.judged(&out, &serves).why, Some(Reason::PolicyDenied));
    // Nor does it reach a server of its choice like that.
    let frame = craft::udp(at(own, 68), at(address("10.1.0.2"), 67));
    let chosen = Sent::link_control(own, address("10.1.0.2"), UDP, 0, frame).on_ports(68, 67);
    assert_eq!(scene.judged(&out, &chosen).why, Some(Reason::PolicyDenied));
    // ARP: for its own address, and not for another one's.
    let (IpAddr::V4(own), IpAddr::V4(other)) = (own, address("10.1.0.2")) else { unreachable!() };
    let arp =
        |operation, sender, target| Arp { operation, hardware: craft::HARDWARE, sender, target }.frame();
    scene.in_kernel(|kernel| {
        assert!(kernel.passes(Classifier::FromPod, slot, ifindex, &arp(1, own, other)));
        assert!(kernel.passes(Classifier::FromPod, slot, ifindex, &arp(2, own, other)));
        assert!(!kernel.passes(Classifier::FromPod, slot, ifindex, &arp(2, other, own)));
        assert!(kernel.passes(Classifier::ToPod, slot, netpol_tests::kernel::UPLINK, &arp(1, other, own)));
        assert!(kernel.passes(Classifier::ToPod, slot, netpol_tests::kernel::UPLINK, &arp(2, other, own)));
    });
    // The same groups and addresses for anything else.
    let what: What = Udp(5353);
    for to in ["ff02::fb", "ff02::1", "255.255.255.255", "224.0.0.22", "10.1.0.2"] {
        scene.drops(API, to, what);
    }
    scene.put(&both_ways("api", "[{}]", "[{}]"));
    for to in ["ff02::fb", "255.255.255.255"] {
        scene.passes(API, to, what);
    }
}
