use super::*;
use crate::{
    control::protocol::{Cause, Verdict},
    verdicts::{log::tests::drop_from, text::tests::denied},
};

fn flow(port: u16) -> Flow {
    Flow::of_drop(&drop_from(port)).unwrap()
}

fn counted(count: u64) -> Kept {
    Verdict { count, ..denied() }.into()
}

#[test]
fn the_first_is_told_at_once_and_then_one_a_second_with_the_count_so_far() {
    let start = Instant::now();
    let after = |milliseconds| start + Duration::from_millis(milliseconds);
    let mut pace = Pace::default();
    let mut told = Vec::new();
    for n in 0..35 {
        let now = after(n * 100);
        told.extend(pace.ripe(now).iter().map(|v| (n, v.count)));
        told.extend(pace.take(flow(1), counted(n + 1), now).iter().map(|v| (n, v.count)));
    }
    assert_eq!(told, [(0, 1), (10, 10), (20, 20), (30, 30)]);
    assert_eq!(pace.due(), Some(after(4000)));
    assert_eq!(pace.ripe(after(4000)).iter().map(|v| v.count).collect::<Vec<_>>(), [35]);
    assert_eq!(pace.due(), None);
}

#[test]
fn flows_do_not_wait_for_each_other() {
    let now = Instant::now();
    let mut pace = Pace::default();
    for port in 0..100 {
        assert!(pace.take(flow(port), counted(1), now).is_some());
    }
}

#[test]
fn what_is_remembered_is_bounded_and_nothing_is_swallowed() {
    let now = Instant::now();
    let mut pace = Pace::default();
    let told = (0..50_000).filter(|port| pace.take(flow(*port), counted(1), now).is_some()).count();
    assert_eq!((told, pace.told.len()), (50_000, REMEMBERED));
    // After a while there is room again.
    let later = now + PERIOD;
    assert!(pace.take(flow(60_000), counted(1), later).is_some());
    assert!(pace.take(flow(60_000), counted(2), later).is_none());
    assert_eq!(pace.told.len(), 1);
}

#[test]
fn what_waits_is_doubted_by_a_gap() {
    let now = Instant::now();
    let mut pace = Pace::default();
    let _first = pace.take(flow(1), counted(1), now);
    assert!(pace.take(flow(1), counted(2), now).is_none());
    let time = denied().time;
    pace.doubt(&Gap { time, since: time, cause: Cause::RingFull, count: 1, endpoint: String::new() });
    assert!(pace.ripe(now + PERIOD)[0].at_least);
}
