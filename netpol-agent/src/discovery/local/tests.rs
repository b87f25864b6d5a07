use super::*;

fn link(ifindex: u32, name: &str, kind: LinkKind, master: Option<u32>) -> Link {
    Link { ifindex, name: name.to_owned(), kind, master, leads_away: true }
}

fn entry(pod: &str, interfaces: &[&str]) -> Entry {
    Entry {
        pod: netpol_policy::model::Key::new("n", pod),
        uid: String::new(),
        container: String::new(),
        network: "lab".to_owned(),
        host_interfaces: interfaces.iter().map(ToString::to_string).collect(),
        addresses: Vec::new(),
        hardware: None,
    }
}

fn end(entry: &Entry, links: &[Link]) -> Result<String, Option<String>> {
    let by_name = links.iter().map(|l| (l.name.as_str(), l)).collect();
    host_end(entry, &by_name).map(|l| l.name.clone())
}

#[test]
fn the_hosts_end_is_the_veth_and_never_the_bridge() {
    let links = [link(1, "cni0", LinkKind::Bridge, None), link(2, "veth1", LinkKind::Veth, Some(1))];
    assert_eq!(end(&entry("a", &["cni0", "veth1"]), &links), Ok("veth1".to_owned()));
}

#[test]
fn a_pod_whose_interface_is_gone_is_no_problem_but_one_without_a_veth_is() {
    let links = [link(1, "cni0", LinkKind::Bridge, None), link(3, "sriov0", LinkKind::Other, None)];
    assert_eq!(end(&entry("a", &["cni0", "veth1"]), &links), Err(None));
    assert!(end(&entry("a", &["sriov0"]), &links).unwrap_err().is_some());
    assert!(end(&entry("a", &[]), &links).unwrap_err().is_some());
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    assert!(CniCache::new(Path::new("/x"), &["veth*".to_owned()]).is_ok());
    assert!(CniCache::new(Path::new("/x"), &["[".to_owned()]).is_err());
}
