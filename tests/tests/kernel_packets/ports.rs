//! Port sets: ranges inline, many of them in chunks, and each protocol for itself.

use netpol_agent::datapath::Classifier;
use netpol_common::{
    Direction,
    packet::{SCTP, TCP, UDP},
    tables::{INLINE_RANGES, PORTS_ALL, PORTS_NONE},
};
use netpol_tests::kernel::{
    Pod, Tables,
    craft::{at, echo, sctp, tcp, udp},
};
use netpol_tests::packet::SYN;

use crate::scene::{BOTH, DENIED, POLICY, friend};

/// Which of the ports the pod may reach, by one protocol, in both families and both directions alike.
fn reached(tables: &mut Tables, pod: &Pod, proto: u8, ports: &[u16]) -> Vec<u16> {
    let mut reached = Vec::new();
    for &port in ports {
        let mut all = Vec::new();
        for v4 in BOTH {
            let (own, peer) = (pod.address(v4), friend(v4));
            for (from, to, out) in
                [(at(own, 4000), at(peer, port), true), (at(peer, 4000), at(own, port), false)]
            {
                let frame = match proto {
                    TCP => tcp(from, to, SYN),
                    UDP => udp(from, to),
                    _ => sctp(from, to),
                };
                let seen = if out { tables.from(pod, &frame) } else { tables.to(pod, &frame) };
                assert!(matches!(seen, POLICY | DENIED), "{seen:?}");
                all.push(seen.passes());
            }
        }
        assert!(all.iter().all(|one| *one == all[0]), "{proto} {port}: {all:?}");
        if all[0] {
            reached.push(port);
        }
    }
    reached
}

/// A pod for which every peer's ports are these.
fn pod_with(tables: &mut Tables, ports: u32) -> Pod {
    let pod = tables.pod();
    let set = tables.set(ports, &[]);
    tables.judge_both_by(&pod, set);
    pod
}

#[test]
#[ignore = "needs root and BPF"]
fn both_ends_of_a_range_count() {
    let mut tables = Tables::new();
    let ports = tables.ports(&[(TCP, 80, 80), (TCP, 1000, 2000), (TCP, 65_535, 65_535), (UDP, 0, 1)]);
    let pod = pod_with(&mut tables, ports);
    let tried = [0, 1, 2, 79, 80, 81, 999, 1000, 1500, 2000, 2001, 65_534, 65_535];
    assert_eq!(reached(&mut tables, &pod, TCP, &tried), [80, 1000, 1500, 2000, 65_535]);
    assert_eq!(reached(&mut tables, &pod, UDP, &tried), [0, 1]);
    assert_eq!(reached(&mut tables, &pod, SCTP, &tried), [0_u16; 0]);
}

#[test]
#[ignore = "needs root and BPF"]
fn as_many_ranges_as_fit_stand_inline() {
    let mut tables = Tables::new();
    let ranges: Vec<_> =
        (0..INLINE_RANGES).map(|n| ([TCP, UDP, SCTP][n % 3], 100 * n as u16, 100 * n as u16 + 1)).collect();
    let ports = tables.ports(&ranges);
    let pod = pod_with(&mut tables, ports);
    let tried: Vec<u16> =
        (0..=INLINE_RANGES as u16).flat_map(|n| [100 * n, 100 * n + 1, 100 * n + 2]).collect();
    for proto in [TCP, UDP, SCTP] {
        let expected: Vec<u16> =
            ranges.iter().filter(|one| one.0 == proto).flat_map(|(_, low, high)| [*low, *high]).collect();
        assert_eq!(reached(&mut tables, &pod, proto, &tried), expected);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn more_ranges_stand_in_chunks_and_there_is_no_limit() {
    let mut tables = Tables::new();
    // Every port that 7 divides, the last of a chunk, and one range over the border of two.
    let mut ranges: Vec<_> = (0..9362_u16).map(|n| (TCP, n * 7, n * 7)).collect();
    ranges.extend([(TCP, 510, 514), (UDP, 512, 512), (SCTP, 65_535, 65_535), (SCTP, 0, 0)]);
    let ports = tables.ports(&ranges);
    let pod = pod_with(&mut tables, ports);
    let tried = [0, 1, 7, 8, 509, 510, 511, 512, 513, 514, 515, 518, 519, 1023, 1024, 65_534, 65_535];
    let expected: Vec<u16> = tried
        .into_iter()
        .filter(|port| (port % 7 == 0 && *port < 65_534) || (510..=514).contains(port))
        .collect();
    assert_eq!(reached(&mut tables, &pod, TCP, &tried), expected);
    assert_eq!(reached(&mut tables, &pod, UDP, &tried), [512]);
    assert_eq!(reached(&mut tables, &pod, SCTP, &tried), [0, 65_535]);
}

#[test]
#[ignore = "needs root and BPF"]
fn a_row_counts_in_place_of_what_is_allowed_for_any_peer() {
    let mut tables = Tables::new();
    let any = tables.ports(&[(TCP, 80, 80)]);
    let row = tables.ports(&[(TCP, 80, 81)]);
    let (named, unnamed, closed) = (tables.class(), tables.class(), tables.class());
    let pod = tables.pod();
    let set = tables.set(any, &[(named, row), (closed, PORTS_NONE)]);
    tables.judge_both_by(&pod, set);
    for (class, expected) in [(named, &[80, 81][..]), (unnamed, &[80]), (closed, &[])] {
        for v4 in BOTH {
            tables.peer(friend(v4), class, 0);
        }
        assert_eq!(reached(&mut tables, &pod, TCP, &[79, 80, 81]), expected);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn an_addresss_own_entry_counts_before_the_longest_prefix() {
    let mut tables = Tables::new();
    let (wide, narrow, own) = (tables.class(), tables.class(), tables.class());
    let sets = [80, 81, 82].map(|port| tables.ports(&[(TCP, port, port)]));
    let pod = tables.pod();
    let set = tables.set(PORTS_NONE, &[(wide, sets[0]), (narrow, sets[1]), (own, sets[2])]);
    tables.judge_both_by(&pod, set);
    let tried = [79, 80, 81, 82];
    assert_eq!(reached(&mut tables, &pod, TCP, &tried), [0_u16; 0]);
    tables.prefix("10.0.0.0/8", wide, 0);
    tables.prefix("fd00::/8", wide, 0);
    assert_eq!(reached(&mut tables, &pod, TCP, &tried), [80]);
    tables.prefix("10.2.0.0/31", narrow, 0);
    tables.prefix("fd02::/127", narrow, 0);
    assert_eq!(reached(&mut tables, &pod, TCP, &tried), [81]);
    for v4 in BOTH {
        tables.peer(friend(v4), own, 0);
    }
    assert_eq!(reached(&mut tables, &pod, TCP, &tried), [82]);
}

#[test]
#[ignore = "needs root and BPF"]
fn the_prefixes_of_one_family_say_nothing_of_the_other() {
    let mut tables = Tables::new();
    let (four, six) = (tables.class(), tables.class());
    let pod = tables.pod();
    let set = tables.set(PORTS_NONE, &[(four, PORTS_ALL)]);
    tables.judge_by(&pod, Direction::Egress, set);
    let echo_to = |pod: &Pod, v4| echo(pod.address(v4), friend(v4), 1);
    // The agent always writes both roots.
    tables.prefix("0.0.0.0/0", four, 0);
    tables.prefix("::/0", six, 0);
    assert_eq!(
        [tables.from(&pod, &echo_to(&pod, true)), tables.from(&pod, &echo_to(&pod, false))],
        [POLICY, DENIED]
    );
}

#[test]
#[ignore = "needs root and BPF"]
fn the_event_says_what_judged() {
    let mut tables = Tables::new();
    let pod = tables.pod();
    let class = tables.class();
    let ports = tables.ports(&[(TCP, 80, 80)]);
    let set = tables.set(PORTS_NONE, &[(class, ports)]);
    tables.judge_both_by(&pod, set);
    tables.peer(friend(true), class, 0);
    for (port, reason) in [(80, netpol_common::Reason::Policy), (81, netpol_common::Reason::PolicyDenied)] {
        let frame = tcp(at(friend(true), 4000), at(pod.v4, port), SYN);
        let (_, event) = tables.run(Classifier::ToPod, pod.slot, netpol_tests::kernel::UPLINK, &frame);
        let event = event.unwrap();
        assert_eq!(event.reason, reason as u8);
        assert_eq!((event.src, event.dst), (friend(true).into(), pod.v4.into()));
        assert_eq!((event.src_port, event.dst_port, event.proto), (4000, port, TCP));
        assert_eq!((event.set, event.class, event.port_set, event.backends), (set, class, ports, 0));
        assert_eq!((event.direction, event.reply, event.tcp_flags), (Direction::Ingress as u8, 0, SYN));
        assert_eq!(event.length as usize, frame.len());
        assert!(event.revision > 0);
    }
}
