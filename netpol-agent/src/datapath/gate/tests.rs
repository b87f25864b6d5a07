use super::*;

/// An interface that nobody has said anything of.
const ONE: u32 = 5;

#[test]
fn one_that_is_judged_while_its_gate_waits_is_not_kept_closed() {
    let steps = Steps::default();
    assert!(steps.begin(ONE));
    assert!(steps.is_closing(ONE) && !steps.begin(ONE), "by one at a time");
    assert!(steps.open(ONE, || true), "whoever closes it lets go of it");
    assert!(!steps.is_closing(ONE));
    assert_eq!(steps.end(ONE, || ()), None);
    assert!(!steps.begin(ONE), "what is judged is not closed again");
}

#[test]
fn one_that_is_not_judged_is_kept_closed_once() {
    let steps = Steps::default();
    assert!(steps.begin(ONE));
    assert_eq!(steps.end(ONE, || ()), Some(()));
    assert_eq!(steps.end(ONE, || ()), None, "of an earlier one with its index");
    assert!(!steps.open(ONE, || true), "whoever judges it takes its gate off");
}

#[test]
fn nothing_is_kept_of_one_that_goes_while_its_gate_waits() {
    let steps = Steps::default();
    assert!(steps.begin(ONE));
    steps.forget(ONE);
    assert_eq!(steps.end(ONE, || ()), None);
    assert!(steps.begin(ONE), "another one with its index is closed");
}

#[test]
fn one_that_is_judged_after_it_is_gone_does_not_keep_its_index_open() {
    let steps = Steps::default();
    assert!(!steps.open(ONE, || false));
    assert!(steps.begin(ONE), "another one with its index is closed");
    let steps = Steps::default();
    assert!(!steps.open(ONE, || true));
    assert!(!steps.begin(ONE), "one that is there is not closed any more");
}
