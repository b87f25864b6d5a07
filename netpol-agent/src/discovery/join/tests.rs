use globset::{Glob, GlobSetBuilder};
use netpol_policy::model::Key;

use super::*;

fn veth(ifindex: u32, name: &str, leads_to: Option<i32>) -> Link {
    Link {
        ifindex,
        name: name.to_owned(),
        kind: LinkKind::Veth,
        master: None,
        leads_to,
        peer: Some(2),
        xdp: None,
    }
}

fn other(ifindex: u32, name: &str, kind: LinkKind) -> Link {
    Link { kind, peer: None, ..veth(ifindex, name, None) }
}

/// `sandbox` is the last part of its file.
fn entry(pod: &str, interfaces: &[&str], sandbox: &str) -> Entry {
    Entry {
        pod: Key::new("n", pod),
        uid: format!("uid-{pod}"),
        container: format!("box-{pod}"),
        network: "lab".to_owned(),
        plugin: "macvlan".to_owned(),
        inside: "eth0".to_owned(),
        host_interfaces: interfaces.iter().map(ToString::to_string).collect(),
        addresses: vec!["10.0.0.5".parse().unwrap()],
        hardware: None,
        namespace: (!sandbox.is_empty()).then(|| format!("/var/run/netns/{sandbox}").into()),
    }
}

/// A node, and what was read of it.
struct Node {
    links: BTreeMap<u32, Link>,
    entries: Vec<Entry>,
    sandboxes: Sandboxes,
    behind: BTreeMap<u32, Behind>,
    known: BTreeMap<u32, LocalPod>,
    excluded: GlobSet,
}

impl Node {
    fn new(links: &[Link], sandboxes: &[(&str, i32)]) -> Self {
        Self {
            links: links.iter().map(|l| (l.ifindex, l.clone())).collect(),
            entries: Vec::new(),
            sandboxes: Sandboxes::with(sandboxes),
            behind: BTreeMap::new(),
            known: BTreeMap::new(),
            excluded: GlobSetBuilder::new().add(Glob::new("skip*").unwrap()).build().unwrap(),
        }
    }

    fn join(&self) -> Discovered {
        let entries: Vec<&Entry> = self.entries.iter().collect();
        let read = Read {
            entries: &entries,
            links: &self.links,
            sandboxes: &self.sandboxes,
            behind: &self.behind,
            known: &self.known,
            excluded: &self.excluded,
            own_xdp: Some(6),
        };
        read.join()
    }
}

/// Which pod each interface is of.
fn pods(discovered: &Discovered) -> Vec<(u32, String)> {
    let name = |owner: &Owner| match owner {
        Owner::Named { pod, .. } => pod.name.to_string(),
        Owner::Uids(uids) => uids.join(","),
    };
    discovered.pods.iter().map(|(ifindex, local)| (*ifindex, name(&local.owner))).collect()
}

fn causes(discovered: &Discovered) -> Vec<(String, Cause)> {
    let one =
        |what: &Unenforced| (what.pod.as_ref().map(|p| p.name.to_string()).unwrap_or_default(), what.cause);
    discovered.unenforced.iter().map(one).collect()
}

#[test]
fn the_hosts_end_is_the_veth_and_never_the_bridge() {
    let mut node =
        Node::new(&[other(1, "cni0", LinkKind::Bridge), veth(2, "veth1", Some(7))], &[("cni-a", 7)]);
    node.links.get_mut(&2).unwrap().master = Some(1);
    node.entries.push(entry("a", &["cni0", "veth1"], "cni-a"));
    let discovered = node.join();
    assert_eq!(pods(&discovered), [(2, "a".to_owned())]);
    assert_eq!((discovered.pods[&2].bridge, &discovered.bridges[&1].veths), (Some(1), &vec![2]));
    assert!(discovered.problems.is_empty() && discovered.unenforced.is_empty());
}

#[test]
fn a_pod_whose_interface_is_gone_is_no_problem() {
    let mut node = Node::new(&[other(1, "cni0", LinkKind::Bridge)], &[]);
    node.entries.push(entry("a", &["cni0", "veth1"], "cni-a"));
    let discovered = node.join();
    assert!(discovered.pods.is_empty() && discovered.unenforced.is_empty() && discovered.problems.is_empty());
}

#[test]
fn a_pod_that_is_connected_by_something_else_is_refused_by_name() {
    let mut node = Node::new(
        &[
            other(3, "nk0", LinkKind::Netkit),
            other(4, "vf0", LinkKind::Other(String::new())),
            veth(5, "skip0", Some(9)),
        ],
        &[("cni-d", 9)],
    );
    node.entries.push(entry("a", &["nk0"], "cni-a"));
    node.entries.push(entry("b", &["vf0"], "cni-b"));
    node.entries.push(entry("c", &[], "cni-c"));
    node.entries.push(entry("d", &["skip0"], "cni-d"));
    let discovered = node.join();
    assert!(discovered.pods.is_empty());
    let said = |pod: &str, cause| (pod.to_owned(), cause);
    assert_eq!(
        causes(&discovered),
        [
            said("a", Cause::Netkit),
            said("b", Cause::NotVeth),
            said("c", Cause::NoVeth),
            said("d", Cause::Excluded)
        ]
    );
    let text = discovered.unenforced[2].text();
    assert!(
        text.starts_with("the pod n/c (eth0): not enforced") && text.contains("plugin macvlan"),
        "{text}"
    );
}

#[test]
fn a_plugin_that_names_no_interface_is_no_problem_where_there_is_no_choice() {
    let mut node = Node::new(&[veth(2, "veth1", Some(7))], &[("cni-a", 7)]);
    node.entries.push(entry("a", &[], "cni-a"));
    assert_eq!(pods(&node.join()), [(2, "a".to_owned())]);
    node.links.insert(3, veth(3, "veth2", Some(7)));
    let discovered = node.join();
    assert_eq!(causes(&discovered), [("a".to_owned(), Cause::NoVeth)]);
    assert_eq!(discovered.waiting.len(), 2, "and what leads there stays closed");
}

#[test]
fn a_file_whose_interface_leads_elsewhere_is_not_believed() {
    let mut node = Node::new(&[veth(2, "cali1", Some(8))], &[("cni-old", 7), ("cni-new", 8)]);
    node.entries.push(entry("old", &["cali1"], "cni-old"));
    let discovered = node.join();
    assert!(discovered.pods.is_empty());
    assert!(discovered.problems[0].contains("n/old"), "{:?}", discovered.problems);
    assert_eq!(discovered.waiting.len(), 1, "what leads into a sandbox is closed meanwhile");
    // Whatever the order of the files.
    for place in [0, 1] {
        let mut entries = vec![entry("old", &["cali1"], "cni-old")];
        entries.insert(place, entry("new", &["cali1"], "cni-new"));
        node.entries = entries;
        assert_eq!(pods(&node.join()), [(2, "new".to_owned())]);
    }
    // Without its sandbox, the old file says nothing against the new one.
    node.sandboxes = Sandboxes::with(&[("cni-new", 8)]);
    for place in [0, 1] {
        let mut entries = vec![entry("old", &["cali1"], "cni-old")];
        entries.insert(place, entry("new", &["cali1"], "cni-new"));
        node.entries = entries;
        assert_eq!(pods(&node.join()), [(2, "new".to_owned())]);
    }
}

#[test]
fn where_nobody_can_tell_the_newer_file_counts() {
    let mut node = Node::new(&[veth(2, "cali1", Some(8))], &[]);
    node.entries = vec![entry("old", &["cali1"], ""), entry("new", &["cali1"], "")];
    let discovered = node.join();
    assert_eq!(pods(&discovered), [(2, "new".to_owned())]);
    assert_eq!(discovered.problems.len(), 1);
}

#[test]
fn several_interfaces_of_a_pod_are_all_its_own() {
    let mut node = Node::new(&[veth(2, "veth1", Some(7)), veth(3, "veth2", Some(7))], &[("cni-a", 7)]);
    node.entries = vec![entry("a", &["veth1"], "cni-a"), entry("a", &["veth2"], "cni-a")];
    node.entries[1].addresses = vec!["192.168.0.5".parse().unwrap()];
    let discovered = node.join();
    assert_eq!(pods(&discovered), [(2, "a".to_owned()), (3, "a".to_owned())]);
    assert_ne!(discovered.pods[&2].addresses, discovered.pods[&3].addresses);
    assert!(discovered.problems.is_empty());
}

#[test]
fn only_veths_that_lead_into_a_sandbox_are_waiting() {
    let links = [
        veth(2, "veth1", Some(7)),
        veth(3, "skip0", Some(7)),
        veth(4, "pair0", None),
        veth(5, "other0", Some(9)),
        other(6, "dummy0", LinkKind::Other("dummy".to_owned())),
    ];
    let mut node = Node::new(&links, &[("cni-a", 7)]);
    assert_eq!(node.join().waiting, BTreeMap::from([(2, "veth1".to_owned())]));
    node.entries.push(entry("a", &["veth1"], "cni-a"));
    assert!(node.join().waiting.is_empty());
}

#[test]
fn what_the_cache_does_not_name_is_known_by_the_cgroup() {
    let mut node = Node::new(&[veth(2, "veth1", Some(7))], &[("cni-a", 7)]);
    let addresses: Vec<IpAddr> = vec!["10.0.0.5".parse().unwrap()];
    node.behind.insert(2, Behind { uids: vec!["u1".to_owned()], addresses: addresses.clone() });
    let discovered = node.join();
    assert_eq!(pods(&discovered), [(2, "u1".to_owned())]);
    assert_eq!(discovered.pods[&2].addresses, addresses);
    assert_eq!(discovered.pods[&2].namespace, Some("/run/netns/cni-a".into()));
    // The cache's word is better: it has the addresses as they were given.
    node.entries.push(entry("a", &["veth1"], "cni-a"));
    node.known = discovered.pods;
    assert_eq!(pods(&node.join()), [(2, "a".to_owned())]);
}

#[test]
fn a_pod_is_enforced_as_long_as_its_interface_is_there() {
    let mut node = Node::new(&[veth(2, "veth1", Some(7))], &[("cni-a", 7)]);
    node.entries.push(entry("a", &["veth1"], "cni-a"));
    node.known = node.join().pods;
    node.entries.clear();
    let discovered = node.join();
    assert_eq!((discovered.pods.len(), discovered.problems.len()), (1, 1));
    node.links.insert(2, veth(2, "other", Some(9)));
    assert!(node.join().pods.is_empty());
    node.links.clear();
    assert!(node.join().pods.is_empty());
}

#[test]
fn an_xdp_program_on_a_pods_interface_is_said() {
    let mut node = Node::new(&[veth(2, "veth1", Some(7)), veth(3, "elsewhere", None)], &[("cni-a", 7)]);
    node.entries.push(entry("a", &["veth1"], "cni-a"));
    node.links.get_mut(&3).unwrap().xdp = Some(4);
    assert!(node.join().unenforced.is_empty());
    node.links.get_mut(&2).unwrap().xdp = Some(5);
    assert_eq!(causes(&node.join()), [("a".to_owned(), Cause::Xdp)]);
    node.links.get_mut(&2).unwrap().xdp = Some(6);
    assert!(node.join().unenforced.is_empty(), "our own gate");
}
