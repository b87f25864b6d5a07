//! What is expected of this node's pods, and what is said when it is not so.

use super::*;
use crate::discovery::{Cause, Unenforced};

const LONG: Duration = Duration::from_secs(4);
const SHORT: Duration = Duration::from_secs(1);

impl Given {
    fn said(&self) -> Vec<(String, String)> {
        let lines = self.reconciler.status(Duration::ZERO).unenforced;
        lines.into_iter().map(|line| (line.pod, line.cause)).collect()
    }

    fn object_problems(&self) -> Vec<String> {
        self.reconciler.status(Duration::ZERO).problems.iter().map(ToString::to_string).collect()
    }

    fn closed(&self) -> Vec<String> {
        self.reconciler.status(Duration::ZERO).faults
    }

    /// One interface, found by a cgroup.
    fn finds_behind(&mut self, uids: &[&str], addresses: &[&str]) -> &mut Self {
        let local = LocalPod {
            owner: Owner::Uids(uids.iter().map(ToString::to_string).collect()),
            interface: "veth5".to_owned(),
            ifindex: 5,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            hardware: None,
            bridge: None,
            namespace: None,
        };
        let pods = BTreeMap::from([(5, local)]);
        self.reconciler.take_interfaces(Discovered { pods, ..Discovered::default() });
        self
    }

    /// What the endpoint at `veth5` is judged by: `open`, `isolated` or `closed`.
    fn egress(&self) -> String {
        let lines = self.reconciler.status(Duration::ZERO).endpoints;
        lines.into_iter().find(|line| line.interface == "veth5").map(|line| line.egress).unwrap()
    }
}

fn with(
    mut document: serde_json::Value,
    pointer: &str,
    field: &str,
    value: serde_json::Value,
) -> serde_json::Value {
    document.pointer_mut(pointer).unwrap()[field] = value;
    document
}

fn object(document: serde_json::Value) -> SourceEvent {
    SourceEvent::Apply(objects(&[document]).remove(0))
}

fn none() -> [(String, String); 0] {
    []
}

#[test]
fn a_pod_without_an_interface_is_said_after_a_while_and_taken_back() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), pod("b", 6)])).finds(&[("b", 6)]).settles();
    given.passes(SHORT);
    assert_eq!(given.said(), none(), "it may be starting");
    given.passes(LONG);
    assert_eq!(given.said(), [("n/a".to_owned(), "no-interface".to_owned())]);
    assert!(given.is_ready(), "what cannot be enforced holds up nobody else");
    given.finds(&[("b", 6), ("a", 5)]).settles();
    assert_eq!(given.said(), none());
}

#[test]
fn a_pod_that_a_new_list_does_not_name_is_missed_no_more() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), pod("b", 6)])).finds(&[]).settles().passes(LONG);
    assert_eq!(given.said().len(), 2);
    given.says(SourceEvent::Listing(Kind::Pod)).says(object(pod("b", 6)));
    given.says(SourceEvent::Listed(Kind::Pod)).settles();
    assert_eq!(given.said(), [("n/b".to_owned(), "no-interface".to_owned())]);
    assert_eq!(given.reconciler.lives.mine().len(), 1);
}

#[test]
fn pods_that_need_no_interface_here_are_not_missed() {
    let mut given = Given::fresh();
    given.lists(objects(&[
        with(pod("elsewhere", 5), "/spec", "nodeName", json!("n2")),
        with(pod("host", 5), "/spec", "hostNetwork", json!(true)),
        with(pod("done", 5), "/status", "phase", json!("Succeeded")),
        with(pod("starting", 5), "/status", "podIPs", json!([])),
        with(pod("ending", 5), "/metadata", "deletionTimestamp", json!("2026-01-01T00:00:00Z")),
    ]));
    given.finds(&[]).settles().passes(LONG).passes(LONG);
    assert_eq!(given.said(), none());
    given.says(object(with(pod("elsewhere", 5), "/spec", "nodeName", json!("n1")))).settles().passes(LONG);
    assert_eq!(given.said().len(), 1, "the control");
}

#[test]
fn what_was_said_of_a_pod_stays_while_it_ends() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5)])).finds(&[]).settles().passes(LONG);
    assert_eq!(given.said().len(), 1);
    let ending = with(pod("a", 5), "/metadata", "deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    given.says(object(ending)).settles();
    assert_eq!(given.said().len(), 1, "its processes still run");
    given.says(SourceEvent::Delete(Kind::Pod, Key::new("n", "a"))).settles();
    assert_eq!(given.said(), none());
}

#[test]
fn what_discovery_refuses_is_said_once_for_a_pod() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5)]));
    let what = Unenforced {
        pod: Some(Key::new("n", "a")),
        interface: "eth0".to_owned(),
        cause: Cause::NoVeth,
        detail: "by the plugin macvlan".to_owned(),
    };
    given.reconciler.take_interfaces(Discovered { unenforced: vec![what], ..Discovered::default() });
    given.settles().passes(LONG);
    assert_eq!(given.said(), [("n/a".to_owned(), "no-veth".to_owned())]);
}

#[test]
fn a_status_that_names_other_addresses_is_said_and_believed_by_nobody() {
    let mut given = Given::fresh();
    let other = |address: &str| with(pod("a", 5), "/status", "podIPs", json!([{"ip": address}]));
    given.lists(objects(&[deny(), pod("a", 5)])).finds(&[("a", 5)]).settles().passes(LONG);
    assert!(given.object_problems().is_empty());
    given.says(object(other("10.0.0.99"))).settles().passes(SHORT);
    assert!(given.object_problems().is_empty(), "its sandbox may be a new one");
    given.passes(LONG);
    let said = given.object_problems().join("\n");
    assert!(said.contains("Pod n/a: status.podIPs: names 10.0.0.99"), "{said}");
    let addresses = given.reconciler.status(Duration::ZERO).endpoints[0].addresses.clone();
    assert_eq!(addresses, ["10.0.0.5"]);
    given.says(object(pod("a", 5))).settles();
    assert!(given.object_problems().is_empty());
}

#[test]
fn the_addresses_of_a_second_interface_are_in_no_status() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5)])).finds(&[("a", 5), ("a", 6)]).settles().passes(LONG);
    assert!(given.object_problems().is_empty());
}

#[test]
fn a_pod_found_by_its_cgroup_has_the_addresses_that_its_status_confirms() {
    let mut given = Given::fresh();
    let a = with(pod("a", 5), "/metadata", "uid", json!("u1"));
    given.lists(objects(&[deny(), a.clone()])).finds(&[]).settles();
    given.finds_behind(&["u0", "u1"], &["10.0.0.5", "10.0.0.77"]).settles();
    let line = given.reconciler.status(Duration::ZERO).endpoints.remove(0);
    assert_eq!((line.pod.as_str(), line.found_by.as_str()), ("n/a", "cgroup"));
    assert_eq!((line.addresses, line.egress.as_str()), (vec!["10.0.0.5".to_owned()], "isolated"));
    // Nothing confirms any of them: an interface of its own making, or a second one.
    given.finds_behind(&["u1"], &["10.0.0.77"]).settles().passes(LONG);
    assert_eq!(given.egress(), "closed");
    assert!(given.closed().join("\n").contains("10.0.0.77"), "{:?}", given.closed());
    given.finds_behind(&["u2"], &["10.0.0.5"]).settles().passes(LONG);
    assert_eq!(given.egress(), "closed");
    assert!(given.closed().join("\n").contains("u2"), "{:?}", given.closed());
}

#[test]
fn a_static_pod_is_known_by_its_mirror() {
    let mirror = |name: &str, uid: &str| {
        let pod = with(pod(name, 5), "/metadata", "uid", json!(uid));
        with(pod, "/metadata", "annotations", json!({"kubernetes.io/config.mirror": "hash"}))
    };
    let mut given = Given::fresh();
    given.lists(objects(&[mirror("a", "u1")])).finds(&[]).settles();
    given.finds_behind(&["hash"], &["10.0.0.5"]).settles();
    assert_eq!(given.egress(), "open");
    // The kubelet makes the mirror anew; the static pod is the same.
    given.says(object(mirror("a", "u2"))).settles();
    assert_eq!(given.egress(), "open");
    given.says(object(mirror("b", "u3"))).settles();
    assert_eq!(given.egress(), "closed", "of two mirrors nobody knows the real one");
    given.says(SourceEvent::Delete(Kind::Pod, Key::new("n", "b"))).settles();
    assert_eq!(given.egress(), "open");
}

#[test]
fn an_interface_that_nothing_names_is_said_after_a_while() {
    let mut given = Given::fresh();
    given.lists(objects(&[])).finds(&[]).settles();
    let waiting = BTreeMap::from([(5, "veth5".to_owned())]);
    given.reconciler.take_interfaces(Discovered { waiting, ..Discovered::default() });
    given.settles().passes(SHORT);
    assert_eq!(given.egress(), "closed");
    assert!(given.closed().is_empty());
    given.passes(LONG);
    assert!(given.closed().join("\n").contains("veth5"), "{:?}", given.closed());
}
