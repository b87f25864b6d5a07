//! What follows from what was seen of the hooks.

use netpol_common::Direction;

use super::*;
use crate::{
    datapath::{Holder, Side},
    watch::{At, Foreign, Program, Sighting},
};

const LONG: Duration = Duration::from_secs(4);
/// An interface that every machine has, for a hook whose interface is still there.
const LOOPBACK: u32 = 1;

fn nothing() -> Sighting {
    Sighting {
        begun: Instant::now(),
        lost: BTreeMap::new(),
        ahead: BTreeMap::new(),
        elsewhere: None,
        enforcers: None,
        failed: None,
    }
}

fn program(at: At, id: u32) -> Program {
    Program { at, id, name: "other".to_owned() }
}

fn foreign(ifindex: u32, at: At, id: u32) -> Foreign {
    Foreign { ifindex, interface: format!("link{ifindex}"), program: program(at, id) }
}

/// One isolated pod, whose interface has the index of the loopback.
fn isolated() -> Given {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", LOOPBACK), deny()])).finds(&[("a", LOOPBACK)]).settles();
    given
}

fn lost(given: &Given) -> Sighting {
    let slot = given.reconciler.status(Duration::ZERO).endpoints[0].slot;
    let place = Attachment { slot, ifindex: LOOPBACK, direction: Direction::Ingress };
    Sighting { lost: BTreeMap::from([(place, Hold { program: 70, by: Holder::Link })]), ..nothing() }
}

#[test]
fn a_hook_that_is_off_is_attached_again_and_said() {
    let mut given = isolated();
    given.reconciler.take_sighting(nothing());
    assert!(given.reconciler.status(Duration::ZERO).repaired.is_empty());
    let seen = lost(&given);
    given.reconciler.take_sighting(seen);
    let status = given.reconciler.status(Duration::ZERO);
    assert_eq!(given.kernel.0.borrow().mended.len(), 1);
    assert_eq!(status.hooks_repaired, 1);
    let said: Vec<_> = status.repaired.iter().map(|line| (&*line.pod, &*line.direction)).collect();
    assert_eq!(said, [("n/a", "ingress")]);
    assert!(status.ready && status.faults.is_empty());
}

#[test]
fn a_hook_that_cannot_be_attached_again_is_a_fault_until_it_is() {
    let mut given = isolated();
    given.kernel.0.borrow_mut().refuses_to_mend = true;
    let seen = lost(&given);
    given.reconciler.take_sighting(seen.clone());
    let status = given.reconciler.status(Duration::ZERO);
    assert!(status.faults[0].contains("n/a") && status.faults[0].contains("no room"), "{:?}", status.faults);
    assert_eq!(status.hooks_repaired, 0);
    given.kernel.0.borrow_mut().refuses_to_mend = false;
    given.reconciler.take_sighting(seen);
    let status = given.reconciler.status(Duration::ZERO);
    assert_eq!((status.faults.len(), status.hooks_repaired), (0, 1));
}

#[test]
fn what_was_seen_before_everything_was_written_counts_for_nothing() {
    let mut given = Given::fresh();
    let early = Sighting { elsewhere: Some(BTreeSet::from([foreign(9, At::Xdp, 8)])), ..nothing() };
    given.reconciler.take_sighting(early.clone());
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5)]).settles();
    given.reconciler.take_sighting(early);
    given.settles().passes(LONG);
    assert!(given.reconciler.status(Duration::ZERO).faults.is_empty());
}

#[test]
fn a_program_ahead_of_ours_is_said_of_the_pod_until_it_is_gone() {
    let mut given = isolated();
    let ahead = BTreeMap::from([(
        LOOPBACK,
        BTreeSet::from([program(At::Tcx(Side::Ingress), 8), program(At::Tcx(Side::Egress), 9)]),
    )]);
    given.reconciler.take_sighting(Sighting { ahead, ..nothing() });
    given.settles().passes(LONG);
    let status = given.reconciler.status(Duration::ZERO);
    let said: Vec<_> = status.unenforced.iter().map(|line| (&*line.pod, &*line.cause)).collect();
    assert_eq!(said, [("n/a", "program-ahead")]);
    let message = &status.unenforced[0].message;
    assert!(message.contains("TCX ingress program 8 (other), TCX egress program 9 (other)"), "{message}");
    given.reconciler.take_sighting(nothing());
    given.settles();
    assert!(given.reconciler.status(Duration::ZERO).unenforced.is_empty());
}

#[test]
fn programs_elsewhere_are_one_line_for_the_node_until_they_are_gone() {
    let mut given = isolated();
    // That on the pod's own interface is discovery's to say.
    let mut programs = BTreeSet::from([foreign(LOOPBACK, At::Xdp, 7)]);
    programs.extend((20..30).map(|ifindex| foreign(ifindex, At::Xdp, ifindex)));
    given.reconciler.take_sighting(Sighting { elsewhere: Some(programs), ..nothing() });
    given.settles().passes(LONG);
    // Not looked for this time: what was said stays.
    given.reconciler.take_sighting(nothing());
    given.settles();
    let status = given.reconciler.status(Duration::ZERO);
    assert_eq!(status.faults.len(), 1, "{:?}", status.faults);
    assert!(status.faults[0].contains("(link20: XDP program 20 (other), "), "{:?}", status.faults);
    assert!(status.faults[0].contains(" and 2 more)"), "{:?}", status.faults);
    assert!(status.ready && status.unenforced.is_empty(), "a warning");
    given.reconciler.take_sighting(Sighting { elsewhere: Some(BTreeSet::new()), ..nothing() });
    given.settles();
    assert!(given.reconciler.status(Duration::ZERO).faults.is_empty());
}

#[test]
fn what_could_not_be_looked_at_is_said() {
    let mut given = isolated();
    given.reconciler.take_sighting(Sighting { failed: Some("cannot look".to_owned()), ..nothing() });
    given.settles().passes(LONG);
    assert_eq!(given.reconciler.status(Duration::ZERO).faults, ["cannot look"]);
}

#[test]
fn another_engine_is_said_until_nothing_is_left_of_it() {
    let mut given = Given::fresh();
    assert!(given.reconciler.status(Duration::ZERO).enforcers.is_empty());
    let traces = BTreeSet::from(["chains cali-* of the table ip filter".to_owned()]);
    let found = BTreeMap::from([("Calico", traces)]);
    // Also before anything is written.
    given.reconciler.take_sighting(Sighting { enforcers: Some(Ok(found)), ..nothing() });
    given.lists(objects(&[pod("a", 5)])).finds(&[("a", 5)]).settles();
    // Not looked for this time: what was said stays.
    given.reconciler.take_sighting(nothing());
    let said: Vec<_> = given
        .reconciler
        .status(Duration::ZERO)
        .enforcers
        .into_iter()
        .map(|line| (line.engine, line.traces))
        .collect();
    assert_eq!(said, [("Calico".to_owned(), vec!["chains cali-* of the table ip filter".to_owned()])]);
    assert!(given.reconciler.status(Duration::ZERO).ready, "a warning");
    let blind = Some(Err("cannot look".to_owned()));
    given.reconciler.take_sighting(Sighting { enforcers: blind, ..nothing() });
    let status = given.reconciler.status(Duration::ZERO);
    assert_eq!((status.enforcers.len(), status.faults), (1, vec!["cannot look".to_owned()]));
    given.reconciler.take_sighting(Sighting { enforcers: Some(Ok(BTreeMap::new())), ..nothing() });
    let status = given.reconciler.status(Duration::ZERO);
    assert_eq!((status.enforcers.len(), status.faults.len()), (0, 0));
}
