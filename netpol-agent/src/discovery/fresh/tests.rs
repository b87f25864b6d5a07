use super::*;

fn link(ifindex: u32, leads_to: Option<i32>) -> Link {
    Link {
        ifindex,
        name: format!("veth{ifindex}"),
        kind: LinkKind::Veth,
        master: None,
        leads_to,
        peer: None,
        xdp: None,
    }
}

fn fresh() -> Fresh {
    let mut excluded = globset::GlobSetBuilder::new();
    excluded.add(globset::Glob::new("veth9").unwrap());
    Fresh {
        sandboxes: Sandboxes::with(&[("cni-a", 7)]),
        excluded: excluded.build().unwrap(),
        known: BTreeSet::from([2]),
    }
}

#[test]
fn an_interface_is_new_once_when_it_leads_into_a_sandbox() {
    let mut fresh = fresh();
    assert_eq!(fresh.take(&Event::There(link(3, None))), None, "the kernel has not said yet where it leads");
    assert_eq!(fresh.take(&Event::There(link(3, Some(7)))), Some(Change::New(3)));
    assert_eq!(fresh.take(&Event::There(link(3, Some(7)))), None);
    assert_eq!(fresh.take(&Event::Gone(3)), Some(Change::Gone(3)));
    assert_eq!(fresh.take(&Event::Gone(3)), None);
}

#[test]
fn what_was_there_or_leads_elsewhere_or_is_excluded_is_not_new() {
    let mut fresh = fresh();
    assert_eq!(fresh.take(&Event::There(link(2, Some(7)))), None);
    assert_eq!(fresh.take(&Event::There(link(4, Some(8)))), None);
    assert_eq!(fresh.take(&Event::There(link(9, Some(7)))), None);
    let bridge = Link { kind: LinkKind::Bridge, ..link(5, Some(7)) };
    assert_eq!(fresh.take(&Event::There(bridge)), None);
}

#[test]
fn what_no_event_has_told_is_found_in_a_list() {
    let mut fresh = fresh();
    assert_eq!(fresh.take(&Event::There(link(3, Some(7)))), Some(Change::New(3)));
    let listed = [link(4, Some(7)), link(5, Some(8)), link(6, None)];
    let listed: BTreeMap<u32, Link> = listed.into_iter().map(|link| (link.ifindex, link)).collect();
    // The list hides one that is there.
    let missed = fresh.missed(listed.clone(), |ifindex| ifindex == 2);
    assert_eq!(missed, [Event::Gone(3), Event::There(link(4, Some(7)))]);
    let changes: Vec<Change> = missed.iter().filter_map(|event| fresh.take(event)).collect();
    assert_eq!(changes, [Change::Gone(3), Change::New(4)]);
    assert_eq!(fresh.missed(listed, |_| true), []);
    assert_eq!(
        fresh.take(&Event::There(link(3, Some(7)))),
        Some(Change::New(3)),
        "another one with its index"
    );
}
