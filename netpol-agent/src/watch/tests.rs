use netpol_common::Direction;

use super::*;

const OURS: u32 = 70;
const HOLD: Hold = Hold { program: OURS, by: Holder::Link };

fn place(direction: Direction) -> Attachment {
    Attachment { slot: 3, ifindex: 5, direction }
}

/// What is said of one entry, with this before and after it.
fn seen(chain: Option<&[u32]>) -> (usize, Vec<u32>) {
    let place = place(Direction::Egress);
    let chain = chain.map(|ids| ids.iter().map(|id| (At::Tcx(Side::Ingress), *id)).collect());
    let (lost, ahead) = compare(&BTreeMap::from([(place, HOLD)]), BTreeMap::from([(place, chain)]));
    assert!(lost.values().all(|held| *held == HOLD) && ahead.keys().all(|ifindex| *ifindex == 5));
    (lost.len(), ahead.into_values().flatten().map(|program| program.id).collect())
}

#[test]
fn an_entry_that_comes_first_is_as_it_should_be() {
    assert_eq!(seen(Some(&[OURS])), (0, vec![]));
    assert_eq!(seen(Some(&[OURS, 8, 9])), (0, vec![]), "what comes after it is no matter of this interface");
}

#[test]
fn an_entry_that_is_not_in_the_chain_is_lost() {
    assert_eq!(seen(Some(&[])), (1, vec![]));
    assert_eq!(seen(Some(&[8])), (1, vec![]));
}

#[test]
fn an_entry_is_not_lost_when_its_interface_is_gone() {
    assert_eq!(seen(None), (0, vec![]));
}

#[test]
fn all_that_runs_before_an_entry_is_ahead_of_it() {
    assert_eq!(seen(Some(&[9, 8, OURS, 7])), (0, vec![8, 9]));
}

#[test]
fn both_directions_of_an_interface_are_said_together() {
    let places = Direction::ALL.map(place);
    let chain = |id| Some(vec![(At::Tcx(Side::Ingress), id), (At::Filter(Side::Ingress), OURS)]);
    let (lost, ahead) = compare(
        &places.into_iter().map(|place| (place, HOLD)).collect(),
        BTreeMap::from([(places[0], chain(8)), (places[1], chain(9))]),
    );
    assert!(lost.is_empty());
    assert_eq!(ahead.keys().collect::<Vec<_>>(), [&5]);
    assert_eq!(ahead[&5].len(), 2);
}

#[test]
fn a_program_is_named_with_its_place() {
    let program = |at, name: &str| Program { at, id: 12, name: name.to_owned() }.to_string();
    assert_eq!(program(At::Xdp, ""), "XDP program 12");
    assert_eq!(program(At::Tcx(Side::Egress), "cil_to"), "TCX egress program 12 (cil_to)");
    assert_eq!(program(At::Filter(Side::Ingress), ""), "tc filter ingress program 12");
}
