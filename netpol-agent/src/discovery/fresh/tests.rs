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
