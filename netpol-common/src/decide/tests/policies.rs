//! Line 8 of the precedence, and the one of `judge`: new flows by the policies in force.

use super::{
    packets::{echo, packet, tcp},
    world::{EVERYTHING, FRIENDS, POD, TO_FRIENDS, World},
};
use crate::{
    Direction, Reason,
    decide::judge::{permits, permits_at_once},
    packet::{ICMP, SCTP, TCP, TCP_SYN as SYN, UDP},
    tables::{
        INLINE_RANGES, PORTS_ALL, PORTS_FLAG_ALL, PORTS_FLAG_CHUNKS, PORTS_NONE, PortRange, PortSet,
        SET_CLOSED, proto_bit,
    },
};

#[test]
fn nothing_isolates_and_nothing_is_allowed() {
    let mut world = World::new();
    assert_eq!(world.from(&tcp("10.1.0.16:1", "10.2.0.3:80", SYN)).why(), Reason::NotIsolated);
    world.judge_by(POD, Direction::Egress, SET_CLOSED);
    assert_eq!(world.from(&tcp("10.1.0.16:1", "10.2.0.3:80", SYN)).why(), Reason::PolicyDenied);
    // One direction says nothing of the other.
    assert_eq!(world.to(&tcp("10.2.0.3:1", "10.1.0.16:80", SYN)).why(), Reason::NotIsolated);
}

#[test]
fn the_class_of_the_peer_chooses_the_ports_in_either_direction() {
    let mut world = World::isolated(TO_FRIENDS);
    for (from, to, expected) in [
        ("10.1.0.16:1", "10.2.0.1:80", Reason::Policy),
        ("10.1.0.16:1", "10.2.0.1:81", Reason::PolicyDenied),
        ("10.1.0.16:80", "10.2.0.1:1", Reason::PolicyDenied),
        ("10.1.0.16:1", "10.2.0.3:80", Reason::PolicyDenied),
        ("[fd01::16]:1", "[fd02::1]:80", Reason::Policy),
        ("[fd01::16]:1", "[fd02::3]:80", Reason::PolicyDenied),
    ] {
        assert_eq!(world.from(&tcp(from, to, SYN)).why(), expected, "{from} {to}");
    }
    for (from, to, expected) in [
        ("10.2.0.1:1", "10.1.0.16:80", Reason::Policy),
        ("10.2.0.1:80", "10.1.0.16:1", Reason::PolicyDenied),
        ("10.2.0.3:1", "10.1.0.16:80", Reason::PolicyDenied),
    ] {
        assert_eq!(world.to(&tcp(from, to, SYN)).why(), expected, "{from} {to}");
    }
}

#[test]
fn a_verdict_says_what_it_was_given_by() {
    let mut world = World::isolated(TO_FRIENDS);
    let out = world.from(&tcp("10.1.0.16:1", "10.2.0.1:80", SYN));
    assert_eq!(
        (out.set, out.judged.class, out.judged.port_set, out.judged.backends),
        (TO_FRIENDS, FRIENDS, 2, 0)
    );
    assert_eq!((out.report, out.reply, out.deferred, out.tag(POD)), (1, 0, 0, POD));
    assert_eq!(out.revision, 2);
}

#[test]
fn a_row_replaces_what_is_allowed_for_any_peer_and_a_missing_one_does_not() {
    let mut world = World::isolated(TO_FRIENDS);
    world.tables.any_peer.insert(TO_FRIENDS, 3);
    let mut any = PortSet::NONE;
    any.put(0, UDP, PortRange { low: 53, high: 53 });
    world.tables.port_sets.insert(3, any);
    assert_eq!(world.from(&packet(UDP, "10.1.0.16:1", "10.2.0.3:53")).why(), Reason::Policy);
    // The row is the union of all rules; here it was made without the one for any peer.
    assert_eq!(world.from(&packet(UDP, "10.1.0.16:1", "10.2.0.1:53")).why(), Reason::PolicyDenied);
    world.tables.rules.insert((TO_FRIENDS, FRIENDS), PORTS_NONE);
    assert_eq!(world.from(&tcp("10.1.0.16:1", "10.2.0.1:80", SYN)).why(), Reason::PolicyDenied);
    world.tables.rules.insert((TO_FRIENDS, FRIENDS), PORTS_ALL);
    assert_eq!(world.from(&tcp("10.1.0.16:1", "10.2.0.1:80", SYN)).why(), Reason::Policy);
}

#[test]
fn only_a_rule_without_ports_allows_protocols_without_ports() {
    let mut world = World::isolated(TO_FRIENDS);
    for proto in [4, 41, 47, 50] {
        assert_eq!(world.from(&packet(proto, "10.1.0.16", "10.2.0.1")).why(), Reason::PolicyDenied);
    }
    assert_eq!(world.from(&echo("10.1.0.16", "10.2.0.1", true, 1)).why(), Reason::PolicyDenied);
    world.judge_by(POD, Direction::Egress, EVERYTHING);
    for proto in [4, 41, 47, 50] {
        assert_eq!(world.from(&packet(proto, "10.1.0.16", "10.2.0.1")).why(), Reason::Policy);
    }
    assert_eq!(world.from(&echo("10.1.0.16", "10.2.0.1", true, 1)).why(), Reason::Policy);
}

#[test]
fn ports_are_those_of_their_protocol_inline_and_in_chunks() {
    let mut world = World::isolated(TO_FRIENDS);
    let mut set = PortSet { flags: PORTS_FLAG_CHUNKS, protos: proto_bit(TCP), ..PortSet::NONE };
    set.put(INLINE_RANGES - 1, SCTP, PortRange { low: 100, high: 200 });
    world.tables.port_sets.insert(2, set);
    world.tables.chunks.insert((2, TCP, 5000));
    // A chunk of a protocol that the set does not speak of is never looked for.
    world.tables.chunks.insert((2, UDP, 5000));
    for (proto, port, expected) in [
        (SCTP, 99, Reason::PolicyDenied),
        (SCTP, 100, Reason::Policy),
        (SCTP, 200, Reason::Policy),
        (SCTP, 201, Reason::PolicyDenied),
        (TCP, 150, Reason::PolicyDenied),
        (TCP, 5000, Reason::Policy),
        (TCP, 5001, Reason::PolicyDenied),
        (UDP, 5000, Reason::PolicyDenied),
        (47, 0, Reason::PolicyDenied),
    ] {
        let out = world.from(&packet(proto, "10.1.0.16:1", &format!("10.2.0.1:{port}")));
        assert_eq!(out.why(), expected, "{proto} {port}");
    }
    world.tables.port_sets.insert(2, PortSet { flags: PORTS_FLAG_ALL, ..PortSet::NONE });
    assert_eq!(world.from(&packet(47, "10.1.0.16", "10.2.0.1")).why(), Reason::Policy);
}

#[test]
fn what_a_table_does_not_hold_is_closed() {
    let mut world = World::isolated(TO_FRIENDS);
    world.tables.port_sets.clear();
    assert_eq!(world.from(&tcp("10.1.0.16:1", "10.2.0.1:80", SYN)).why(), Reason::PolicyDenied);
    // A policy set of which nothing is there.
    world.judge_by(POD, Direction::Egress, 4711);
    assert_eq!(world.from(&tcp("10.1.0.16:1", "10.2.0.1:80", SYN)).why(), Reason::PolicyDenied);
}

#[test]
fn what_a_set_says_at_once_is_what_it_says() {
    let range = |low, high, proto| (proto, PortRange { low, high });
    let mut world = World::new();
    // Cells that were never written are all zero.
    let never = PortSet { ranges: [PortRange { low: 0, high: 0 }; INLINE_RANGES], ..PortSet::NONE };
    let mut sets = vec![PortSet::NONE, PortSet::ALL, never];
    for ranges in [
        vec![range(80, 80, TCP)],
        vec![range(80, 80, TCP), range(53, 53, UDP)],
        vec![range(0, 65535, UDP)],
        vec![range(1, 2, SCTP), range(80, 90, TCP)],
        vec![range(53, 53, TCP), range(53, 53, UDP), range(80, 80, TCP)],
        vec![range(1, 2, SCTP), range(53, 53, TCP), range(53, 53, UDP), range(80, 90, TCP)],
    ] {
        for flags in [0, PORTS_FLAG_CHUNKS] {
            let mut set = PortSet { flags, ..PortSet::NONE };
            for (place, (proto, range)) in ranges.iter().enumerate() {
                set.put(place, *proto, *range);
            }
            sets.push(set);
        }
    }
    let mut at_once = 0;
    for (id, set) in (0..).zip(sets) {
        world.tables.port_sets.insert(id, set);
        world.tables.chunks.insert((id, TCP, 8080));
        for proto in [0, ICMP, TCP, UDP, SCTP] {
            for port in [0, 1, 53, 79, 80, 85, 8080, 65535] {
                let Some(answer) = permits_at_once(&world.tables, id, proto, port) else { continue };
                at_once += 1;
                assert_eq!(answer, permits(&world.tables, id, proto, port), "{set:?} {proto} {port}");
            }
        }
    }
    assert_eq!(at_once, 339, "all that three ranges decide");
}
