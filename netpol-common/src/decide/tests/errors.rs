//! Line 6 of the precedence: ICMP errors.

use super::{
    packets::{packet, tcp},
    world::{EVERYTHING, FRIENDS, POD, TO_FRIENDS, World},
};
use crate::{
    Direction, Reason,
    flow::STATE_OPENING,
    packet::{ICMP, ICMP_ERROR, ICMPV6, Packet, TCP, TCP_SYN as SYN, UDP},
    tables::{PEER_FRONTEND, PEER_SERVICE_ONLY, SET_CLOSED},
};

/// An error about a packet, from somebody, to the one who sent it.
fn error(from: &str, quoted: &Packet) -> Packet {
    let about = packet(if quoted.src.is_v4() { ICMP } else { ICMPV6 }, from, from);
    Packet {
        dst: quoted.src,
        icmp_kind: ICMP_ERROR,
        quoted_src: quoted.src,
        quoted_dst: quoted.dst,
        quoted_src_port: quoted.src_port,
        quoted_dst_port: quoted.dst_port,
        quoted_proto: quoted.proto,
        ..about
    }
}

#[test]
fn an_error_is_judged_by_the_flow_that_it_quotes() {
    for (own, peer, router) in
        [("10.1.0.16:4000", "10.2.0.1:80", "10.9.9.9"), ("[fd01::16]:4000", "[fd02::1]:80", "fd99::9")]
    {
        let mut world = World::isolated(TO_FRIENDS);
        let sent = tcp(own, peer, SYN);
        assert_eq!(world.to(&error(router, &sent)).why(), Reason::PolicyDenied);
        world.from(&sent);
        let out = world.to(&error(router, &sent));
        assert_eq!((out.why(), out.report), (Reason::IcmpError, 0));
        // Another port, another protocol, the other way round.
        for other in [
            Packet { src_port: 4001, ..sent },
            Packet { dst_port: 81, ..sent },
            Packet { proto: UDP, ..sent },
        ] {
            assert_eq!(world.to(&error(router, &other)).why(), Reason::PolicyDenied);
        }
        world.judge_by(POD, Direction::Egress, SET_CLOSED);
        assert_eq!(world.to(&error(router, &sent)).why(), Reason::FlowDenied);
    }
}

#[test]
fn the_pods_own_errors_are_about_what_it_was_sent() {
    let mut world = World::isolated(TO_FRIENDS);
    let received = tcp("10.2.0.1:4000", "10.1.0.16:80", SYN);
    assert_eq!(world.from(&error("10.1.0.16", &received)).why(), Reason::PolicyDenied);
    world.to(&received);
    assert_eq!(world.from(&error("10.1.0.16", &received)).why(), Reason::IcmpError);
}

#[test]
fn an_error_goes_to_who_is_quoted_and_to_nobody_else() {
    let mut world = World::isolated(TO_FRIENDS);
    let received = tcp("10.2.0.1:4000", "10.1.0.16:80", SYN);
    world.to(&received);
    let elsewhere = Packet { dst: super::world::addr("10.2.0.3"), ..error("10.1.0.16", &received) };
    assert_eq!(world.from(&elsewhere).why(), Reason::PolicyDenied);
}

#[test]
fn an_error_that_quotes_nothing_usable_is_any_other_icmp() {
    let mut world = World::isolated(TO_FRIENDS);
    let sent = tcp("10.1.0.16:4000", "10.2.0.1:80", SYN);
    world.from(&sent);
    let unusable = Packet { quoted_proto: 0, ..error("10.9.9.9", &sent) };
    assert_eq!(world.to(&unusable).why(), Reason::PolicyDenied);
    world.judge_by(POD, Direction::Ingress, EVERYTHING);
    let out = world.to(&unusable);
    assert_eq!((out.why(), out.report), (Reason::Policy, 1));
}

#[test]
fn an_error_neither_opens_nor_promotes_nor_renews_a_flow() {
    let mut world = World::isolated(EVERYTHING);
    let sent = packet(TCP, "10.1.0.16:4000", "10.2.0.1:80");
    assert_eq!(world.to(&error("10.9.9.9", &sent)).why(), Reason::Policy);
    assert_eq!(world.memory.all().count(), 0);
    world.from(&sent);
    world.now += 50;
    assert_eq!(world.to(&error("10.9.9.9", &sent)).why(), Reason::IcmpError);
    let flow = world.memory.all().next().unwrap();
    assert_eq!((flow.state, flow.last_seen), (STATE_OPENING, world.now - 50));
}

#[test]
fn an_error_about_a_translated_flow_quotes_it_as_the_pod_has_sent_it() {
    for (own, service, backend, router) in [
        ("10.1.0.16:4000", "10.96.0.1:8000", "10.2.0.1:80", "10.9.9.9"),
        ("[fd01::16]:4000", "[fd96::1]:8000", "[fd02::1]:80", "fd99::9"),
    ] {
        let mut world = World::isolated(TO_FRIENDS);
        let frontend: std::net::SocketAddr = service.parse().unwrap();
        let address = frontend.ip().to_string();
        world.peer(&address, 0, PEER_FRONTEND | PEER_SERVICE_ONLY);
        world.frontend((&address, frontend.port()), 1, &[(FRIENDS, 80, 0)]);
        let sent = tcp(own, service, SYN);
        assert_eq!(world.to(&error(router, &sent)).why(), Reason::PolicyDenied);
        assert_eq!(world.from(&sent).why(), Reason::Policy);
        // Translated back on its way, as every packet of the flow is.
        assert_eq!(world.to(&error(router, &sent)).why(), Reason::IcmpError);
        assert_eq!(world.to(&error(router, &tcp(own, backend, SYN))).why(), Reason::PolicyDenied);
    }
}
