//! Interfaces that are others than before, though their index or all that is seen of them is the same.

use super::*;

#[test]
fn an_interface_that_was_replaced_under_its_name_and_index_is_gone_and_new() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5)]).settles();
    assert_eq!(hooks(&given.applied()), [(5, HookLevel::Full)]);
    let mut discovered = given.reconciler.discovered.clone().unwrap();
    discovered.incarnations.insert(5, 2);
    for expected in [vec![(5, HookLevel::None), (5, HookLevel::Full)], vec![]] {
        given.reconciler.take_interfaces(discovered.clone());
        given.settles();
        assert_eq!(hooks(&given.applied()), expected);
        assert_eq!(given.kernel.0.borrow().opened, [5, 5], "its gate is another one");
    }
}

#[test]
fn one_that_replaced_an_interface_which_was_left_alone_is_closed() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5), ("b", 6)]).settles();
    assert_eq!(given.reconciler.status(Duration::ZERO).unhooked.len(), 1);
    given.applied();
    let mut discovered = given.reconciler.discovered.clone().unwrap();
    discovered.incarnations.insert(6, 2);
    given.reconciler.take_interfaces(discovered);
    given.settles();
    assert_eq!(hooks(&given.applied()), [(6, HookLevel::Full)]);
}
