use super::*;

fn link(ifindex: u32, name: &str, kind: LinkKind, master: Option<u32>) -> Link {
    Link { ifindex, name: name.to_owned(), kind, master, leads_to: Some(1) }
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
        namespace: None,
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
    assert!(CniCache::new(Path::new("/x"), &["veth*".to_owned()], &["cni-*".to_owned()]).is_ok());
    assert!(CniCache::new(Path::new("/x"), &["[".to_owned()], &[]).is_err());
}

#[test]
fn only_veths_that_lead_away_and_that_libcni_does_not_know_may_be_waiting() {
    let discovery = CniCache::new(Path::new("/x"), &["skip*".to_owned()], &[]).unwrap();
    let mut links: BTreeMap<u32, Link> = [
        link(1, "cni0", LinkKind::Bridge, None),
        link(2, "veth1", LinkKind::Veth, Some(1)),
        link(3, "skip0", LinkKind::Veth, None),
        link(4, "pair0", LinkKind::Veth, None),
    ]
    .into_iter()
    .map(|l| (l.ifindex, l))
    .collect();
    links.get_mut(&4).unwrap().leads_to = None;
    let names = |discovered: &Discovered| -> Vec<String> {
        discovery.unclaimed(discovered, &links).iter().map(|l| l.name.clone()).collect()
    };
    assert_eq!(names(&Discovered::default()), ["veth1"]);
    let mut cache = Cache::default();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("x"),
        r#"{"kind":"cniCacheV1","cniArgs":[["K8S_POD_NAMESPACE","n"],["K8S_POD_NAME","a"]],
            "result":{"interfaces":[{"name":"veth1"},{"name":"eth0","sandbox":"/s"}]}}"#,
    )
    .unwrap();
    assert!(cache.read(dir.path()).is_empty());
    let discovered = discovery.join(&cache, &links, &BTreeMap::new(), Vec::new());
    assert_eq!(discovered.pods[&2].bridge, Some(1));
    assert!(names(&discovered).is_empty());
}

#[test]
fn a_pod_is_enforced_as_long_as_its_interface_is_there() {
    let discovery = CniCache::new(Path::new("/x"), &[], &[]).unwrap();
    let mut links = BTreeMap::from([(2, link(2, "veth1", LinkKind::Veth, None))]);
    let pod = LocalPod {
        pod: netpol_policy::model::Key::new("n", "a"),
        uid: String::new(),
        interface: "veth1".to_owned(),
        ifindex: 2,
        addresses: Vec::new(),
        hardware: None,
        bridge: None,
        namespace: None,
    };
    let known = BTreeMap::from([(2, pod)]);
    let discovered = discovery.join(&Cache::default(), &links, &known, Vec::new());
    assert_eq!((discovered.pods.len(), discovered.problems.len()), (1, 1));
    links.insert(2, link(2, "other", LinkKind::Veth, None));
    assert!(discovery.join(&Cache::default(), &links, &known, Vec::new()).pods.is_empty());
    links.clear();
    assert!(discovery.join(&Cache::default(), &links, &known, Vec::new()).pods.is_empty());
}
