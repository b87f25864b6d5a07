//! When links take over from filters what new interfaces carry.

use netpol_common::Direction;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn places() -> [Attachment; 2] {
    Direction::ALL.map(|direction| Attachment { slot: 7, ifindex: 5, direction })
}

/// One isolated pod that was hooked a moment ago, held by filters.
fn hooked() -> Given {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5)]).settles();
    given.kernel.0.borrow_mut().by_filter.extend(places());
    given
}

impl Given {
    fn by_filter(&self) -> usize {
        self.kernel.0.borrow().by_filter.len()
    }
}

#[test]
fn links_take_over_one_by_one_once_nothing_was_hooked_for_a_while() {
    let mut given = hooked();
    given.passes(SECOND);
    assert_eq!(given.by_filter(), 2, "it may still be starting");
    assert!(given.reconciler.deadline().unwrap() <= given.now + 2 * SECOND, "it is looked again in time");
    given.passes(2 * SECOND);
    assert_eq!(given.by_filter(), 1);
    given.settles();
    assert_eq!(given.by_filter(), 1, "others are let in between");
    given.passes(SECOND);
    assert_eq!(given.by_filter(), 0);
    given.passes(SECOND);
    assert!(given.reconciler.deadline().unwrap() > given.now + 2 * SECOND, "there is nothing more to do");
}

#[test]
fn another_pod_that_is_hooked_puts_it_off() {
    let mut given = hooked();
    given.passes(2 * SECOND);
    given.says(SourceEvent::Apply(objects(&[pod("b", 6)]).remove(0))).finds(&[("a", 5), ("b", 6)]).settles();
    given.passes(2 * SECOND);
    assert_eq!(given.by_filter(), 2);
    given.passes(SECOND);
    assert_eq!(given.by_filter(), 1);
}

#[test]
fn a_new_interface_whose_pod_is_not_known_yet_puts_it_off() {
    let mut given = hooked();
    given.kernel.0.borrow_mut().gates.insert(6);
    given.finds(&[("a", 5), ("b", 6)]).settles();
    given.passes(3 * SECOND);
    assert_eq!(given.by_filter(), 2);
}

#[test]
fn one_that_no_link_can_hold_keeps_no_other_from_it_and_is_tried_again() {
    let mut given = hooked();
    given.kernel.0.borrow_mut().refuses_links.insert(places()[0]);
    for _ in 0..5 {
        given.passes(3 * SECOND);
    }
    assert_eq!(given.kernel.0.borrow().by_filter.iter().collect::<Vec<_>>(), [&places()[0]]);
    given.kernel.0.borrow_mut().refuses_links.clear();
    given.passes(SECOND);
    assert_eq!(given.by_filter(), 1, "not at once");
    given.passes(60 * SECOND).settles();
    assert_eq!(given.by_filter(), 0);
}
