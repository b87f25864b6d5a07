use netpol_common::Reason;

use super::*;
use crate::{
    control::protocol::{Cause, Outcome, Verdict},
    verdicts::text::tests::denied,
};

/// A dropped packet from this port.
pub(crate) fn drop_from(port: u16) -> Event {
    Event {
        at: 0,
        src: Addr::NONE,
        dst: Addr::NONE,
        src_port: port,
        dst_port: 80,
        slot: 16,
        revision: 1,
        set: 0,
        class: 0,
        port_set: 0,
        backends: 0,
        length: 60,
        proto: 6,
        direction: 0,
        reason: Reason::PolicyDenied as u8,
        tcp_flags: 2,
        icmp_type: 0,
        icmp_code: 0,
        reply: 0,
        reserved: 0,
    }
}

fn at(seconds: i64) -> Moment {
    Moment::from_milliseconds(seconds * 1000)
}

fn add(log: &Log, seconds: i64, port: u16) {
    let mut verdict = Verdict { time: at(seconds), ..denied() };
    verdict.source.port = Some(port);
    log.add(verdict.into(), Flow::of_drop(&drop_from(port)));
}

/// Port, count, first and last second, and whether there may be more.
fn kept(log: &Log) -> Vec<(u16, u64, i64, i64, bool)> {
    let seconds = |moment: Moment| moment.milliseconds() / 1000;
    let of = |record: &Record| match record {
        Record::Verdict(v, _) => Some((
            v.verdict().source.port.unwrap(),
            v.count,
            seconds(v.first.unwrap_or(v.time)),
            seconds(v.time),
            v.at_least,
        )),
        Record::Gap(_) => None,
    };
    log.follow().0.iter().filter_map(of).collect()
}

#[test]
fn denials_of_one_flow_are_one_with_an_exact_count() {
    let log = Log::new(10);
    for second in 0..7 {
        add(&log, second, 1);
        add(&log, second, 2);
    }
    assert_eq!(kept(&log), [(1, 7, 0, 6, false), (2, 7, 0, 6, false)]);
}

#[test]
fn services_to_which_flows_are_closed_are_named_with_the_latest_first() {
    let log = Log::new(10);
    for (second, service, reason) in
        [(1, "n/far", "backends-differ"), (2, "n/near", "policy-denied"), (3, "n/other", "backends-differ")]
    {
        let mut verdict = Verdict { time: at(second), reason: reason.to_owned(), count: 2, ..denied() };
        verdict.destination.name = service.to_owned();
        log.add(verdict.clone().into(), None);
        log.add(verdict.into(), None);
    }
    let lines: Vec<_> = log.undecided().into_iter().map(|one| (one.service, one.packets, one.last)).collect();
    assert_eq!(lines, [("n/other".to_owned(), 4, at(3)), ("n/far".to_owned(), 4, at(1))]);
}

#[test]
fn an_allowed_packet_is_never_folded() {
    let mut event = drop_from(1);
    event.reason = Reason::Policy as u8;
    assert_eq!(Flow::of_drop(&event), None);
    let log = Log::new(10);
    for _ in 0..2 {
        log.add(Verdict { verdict: Outcome::Allowed, ..denied() }.into(), None);
    }
    assert_eq!(kept(&log).len(), 2);
}

#[test]
fn what_differs_is_not_folded() {
    let log = Log::new(20);
    add(&log, 0, 1);
    let other = |change: fn(&mut Event)| {
        let mut event = drop_from(1);
        change(&mut event);
        log.add(denied().into(), Flow::of_drop(&event));
    };
    other(|e| e.dst_port = 81);
    other(|e| e.reason = Reason::FlowDenied as u8);
    other(|e| e.revision = 2);
    other(|e| e.direction = 1);
    other(|e| e.slot = 17);
    other(|e| e.proto = 17);
    assert_eq!(kept(&log).len(), 7);
}

#[test]
fn a_flow_whose_ends_have_other_names_now_begins_anew() {
    let log = Log::new(10);
    add(&log, 0, 1);
    let mut verdict = Verdict { time: at(1), ..denied() };
    verdict.source.port = Some(1);
    verdict.source.name = "n/another".to_owned();
    log.add(verdict.into(), Flow::of_drop(&drop_from(1)));
    assert_eq!(kept(&log).len(), 2);
}

#[test]
fn a_flow_that_rested_begins_anew() {
    let log = Log::new(10);
    add(&log, 0, 1);
    add(&log, 119, 1);
    add(&log, 239, 1);
    assert_eq!(kept(&log), [(1, 2, 0, 119, false), (1, 1, 239, 239, false)]);
}

#[test]
fn a_folded_denial_stands_where_its_last_packet_stands() {
    let log = Log::new(2);
    add(&log, 0, 1);
    add(&log, 1, 2);
    add(&log, 2, 1);
    add(&log, 3, 3);
    assert_eq!(kept(&log), [(1, 2, 0, 2, false), (3, 1, 3, 3, false)]);
    assert_eq!(log.kept(), (2, 2, Some(at(2))));
}

#[test]
fn memory_stays_bounded() {
    let log = Log::new(100);
    for port in 0..50_000 {
        add(&log, 1, port);
    }
    let past = log.past.lock().unwrap();
    assert_eq!((past.records.len(), past.flows.len()), (100, 100));
}

#[test]
fn a_gap_casts_doubt_on_the_counts_of_its_time_only() {
    let log = Log::new(10);
    add(&log, 1, 1);
    add(&log, 5, 2);
    let gap = Gap { time: at(6), since: at(4), cause: Cause::RingFull, count: 9, endpoint: String::new() };
    log.add_gap(gap.clone());
    add(&log, 7, 2);
    add(&log, 8, 3);
    assert_eq!(kept(&log), [(1, 1, 1, 1, false), (2, 2, 5, 7, true), (3, 1, 8, 8, false)]);
    log.add_gap(Gap { time: at(9), since: at(8), endpoint: "n/other".to_owned(), ..gap });
    assert!(!kept(&log)[2].4, "of another pod");
}

#[test]
fn a_reader_that_does_not_read_holds_nobody_up_and_learns_how_many_it_missed() {
    let log = Log::new(1);
    let (_, mut coming) = log.follow();
    for port in 0..10_000 {
        add(&log, 1, port);
    }
    let missed = coming.try_recv();
    assert!(
        matches!(missed, Err(broadcast::error::TryRecvError::Lagged(n)) if n == 10_000 - WAITING as u64),
        "{missed:?}"
    );
}
