//! Pods come and go, and addresses pass from one to the other.

use anyhow::Result;
use netpol_tests::probe::{DROP_PATIENCE, Kind, Probe, exchange, expect_dropped, expect_reached};
use netpol_tests::{Link, Outcome, PodSpec, serve};
use serde_json::json;

use crate::setup::{ALLOWED, Three, from_client, ingress_of_server};

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_that_joins_is_known_by_its_labels() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let friend = three.lab.add_pod(PodSpec::new("shop", "friend").label("app", "client"))?;
    let foe = three.lab.add_pod(PodSpec::new("shop", "foe").label("app", "foe"))?;
    let abroad = three.lab.add_pod(PodSpec::new("abroad", "friend").label("app", "client"))?;
    three.lab.settle()?;
    expect_reached(&three.all_protocols(&friend, ALLOWED))?;
    let mut denied = three.all_protocols(&foe, ALLOWED);
    denied.extend(three.all_protocols(&abroad, ALLOWED));
    expect_dropped(&denied)?;
    three.no_policy("server")?;
    expect_reached(&denied)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_that_joins_is_isolated_as_its_policy_says() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let replica = three.lab.add_pod(PodSpec::new("shop", "replica").label("app", "server"))?;
    let _server = serve::tcp(&replica, ALLOWED)?;
    three.lab.settle()?;
    let denied = Probe::all(&three.stranger, Kind::Tcp, &replica.sockets(ALLOWED));
    expect_reached(&Probe::all(&three.client, Kind::Tcp, &replica.sockets(ALLOWED)))?;
    expect_dropped(&denied)?;
    three.no_policy("server")?;
    expect_reached(&denied)
}

#[test]
#[ignore = "needs root and BPF"]
fn an_address_that_passes_to_another_pod_takes_no_right_along() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let first = three.lab.add_pod(PodSpec::new("shop", "first").label("app", "client").at(200))?;
    three.lab.settle()?;
    let mut stream = first
        .connect(three.server.sockets(ALLOWED)[0], netpol_tests::probe::ARRIVAL_PATIENCE)
        .map_err(|outcome| anyhow::anyhow!("{outcome:?}"))?;
    assert_eq!(exchange(&mut stream, DROP_PATIENCE), Outcome::Reached);

    three.lab.remove_pod("shop/first")?;
    let second = three.lab.add_pod(PodSpec::new("shop", "second").label("app", "foe").at(200))?;
    assert_eq!(first.v4, second.v4);
    three.lab.settle()?;
    let denied = three.all_protocols(&second, ALLOWED);
    expect_dropped(&denied)?;

    // And back: the right comes with the labels.
    three.lab.remove_pod("shop/second")?;
    let third = three.lab.add_pod(PodSpec::new("shop", "third").label("app", "client").at(200))?;
    three.lab.settle()?;
    expect_reached(&three.all_protocols(&third, ALLOWED))
}

#[test]
#[ignore = "needs root and BPF"]
fn a_new_pod_that_is_not_known_yet_stays_closed() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    // Somebody is isolated on this node; the new pod is not.
    three.policy("server", &ingress_of_server(&from_client()))?;
    let pod = three.lab.prepare_pod(PodSpec::new("shop", "new").label("app", "new"))?;
    three.lab.connect_pod(&pod)?;
    three.lab.settle()?;
    let _echo = serve::tcp(&pod, ALLOWED)?;
    let mut probes = Probe::all(&three.client, Kind::Tcp, &pod.sockets(ALLOWED));
    let _of_client = serve::tcp(&three.client, ALLOWED)?;
    probes.extend(Probe::all(&pod, Kind::Tcp, &three.client.sockets(ALLOWED)));
    expect_dropped(&probes)?;
    three.lab.announce_pod(&pod)?;
    three.lab.settle()?;
    expect_reached(&probes)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_namespaces_label_decides_for_its_pods() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.lab.namespace_object("watch", &[("team", "watch")])?;
    let watcher = three.lab.add_pod(PodSpec::new("watch", "one"))?;
    let rules = json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "watch"}}}]}]);
    three.policy("server", &ingress_of_server(&rules))?;
    let probes = three.all_protocols(&watcher, ALLOWED);
    expect_reached(&probes)?;
    three.lab.namespace_object("watch", &[("team", "other")])?;
    three.lab.settle()?;
    expect_dropped(&probes)?;
    three.lab.namespace_object("watch", &[("team", "watch")])?;
    three.lab.settle()?;
    expect_reached(&probes)
}
