//! Interfaces that are others than before, though their index or all that is seen of them is the same; and what an earlier
//! agent said of a bridge.

use super::*;

#[test]
fn a_veth_that_gets_the_index_of_what_an_earlier_agent_enforced_is_left_alone() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5)]).settles();
    let recovered = Recovered(given.applied());
    let found = |incarnation: Option<u64>| Discovered {
        veths: incarnation.map(|_| (5, "veth5".to_owned())).into_iter().collect(),
        incarnations: incarnation.map(|number| (5, number)).into_iter().collect(),
        ..Discovered::default()
    };
    // It is there; it has gone; that was seen while an agent ran, or nobody looked in between.
    for (seen, closed) in [
        (vec![Some(1)], 1),
        (vec![None, Some(1)], 0),
        (vec![Some(1), None, Some(2)], 0),
        (vec![Some(1), Some(2)], 0),
    ] {
        let mut given = Given::after(recovered.clone());
        given.lists(objects(&[pod("a", 5), deny()]));
        for incarnation in seen {
            given.reconciler.take_interfaces(found(incarnation));
            given.settles();
        }
        assert_eq!(given.reconciler.status(Duration::ZERO).endpoints.len(), closed);
    }
}

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

#[test]
fn a_bridge_that_an_earlier_agent_believed_is_believed_no_more_than_it_is_now() {
    for (trust_tag, expected) in
        [(TrustTag::Auto, vec![(2, false)]), (TrustTag::Never, vec![(1, false), (2, false)])]
    {
        let kernel = Fake::default();
        kernel.0.borrow_mut().believed.extend([1, 2]);
        let mut given = Given::over(kernel, Recovered::default(), trust_tag);
        given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5)]).settles();
        assert_eq!(given.kernel.0.borrow().bridges, expected);
    }
}
