//! Interfaces that are others than before: one that has got a new name, one whose name and index another one has got, one
//! whose index is a stranger's by now; and a bridge that is not believed any more.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData};
use netpol_common::tables::INTERFACE_TRUSTED_BRIDGE;
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{Laboratory, Link, Namespace, Pod, ServiceSpec, Setup, eventually, serve};
use serde_json::{Value, json};

use crate::agent::with_filters;
use crate::setup::{ALLOWED, OTHER, Three, app, egress_of_client, from_client, ingress_of_server, ports};

/// How long the agent may take to see what has become of an interface.
const SEEN: Duration = Duration::from_secs(10);

/// The agent's line of an interface.
fn line(lab: &Laboratory, interface: &str) -> Result<Value> {
    let status = lab.agent()?.status()?;
    let lines = status["endpoints"].as_array().cloned().unwrap_or_default();
    Ok(lines.into_iter().find(|line| line["interface"] == interface).unwrap_or_default())
}

fn is_of(lab: &Laboratory, interface: &str, pod: &Pod) -> Result<()> {
    let expected = (json!(pod.key()), json!(pod.addresses()));
    eventually("the interface is the pod's", SEEN, &expected, || {
        let line = line(lab, interface).unwrap_or_default();
        (line["pod"].clone(), line["addresses"].clone())
    })?;
    Ok(())
}

/// Renames a pod's interface; the agent sees all of it at once.
fn rename(lab: &mut Laboratory, pod: &Pod, name: &str) -> Result<()> {
    lab.freeze_agent()?;
    lab.rename_interface(&pod.key(), name)?;
    let (v4, v6) = (pod.v4, pod.v6);
    lab.node.batch(&format!("route add {v4}/32 dev {name} scope link\nroute add {v6}/128 dev {name}\n"))?;
    lab.thaw_agent()?;
    is_of(lab, name, pod)?;
    lab.settle()
}

fn renamed(setup: Setup) -> Result<()> {
    let mut three = Three::with(Setup { link: Link::Proxied, ..setup })?;
    let service = ServiceSpec::new("shop", "server", 80, "app", "server")
        .port("TCP", ALLOWED, ALLOWED)
        .port("TCP", OTHER, OTHER);
    three.lab.add_service(service.clone())?;
    // What the server lets in.
    let (server, client) = (three.server.clone(), three.client.clone());
    let strangers = three.all_protocols(&three.stranger, ALLOWED);
    let allowed = Probe::all(&client, Kind::Tcp, &service.sockets(ALLOWED));
    let other = Probe::all(&client, Kind::Tcp, &service.sockets(OTHER));
    three.policy("server", &ingress_of_server(&from_client()))?;
    expect_dropped(&strangers)?;
    rename(&mut three.lab, &server, "renamed0")?;
    expect_reached(&allowed)?;
    expect_dropped(&strangers)?;
    three.no_policy("server")?;
    expect_reached(&strangers)?;
    // What the client sends: by a Service that is judged at the server, which knows the client by its interface.
    three.policy("client", &egress_of_client(&json!([{"to": app("server"), "ports": ports(ALLOWED)}])))?;
    expect_dropped(&other)?;
    rename(&mut three.lab, &client, "renamed1")?;
    expect_reached(&allowed)?;
    expect_dropped(&other)?;
    three.no_policy("client")?;
    expect_reached(&other)
}

#[test]
#[ignore = "needs root and BPF"]
fn an_interface_that_gets_another_name_stays_enforced() -> Result<()> {
    renamed(Setup::default())
}

#[test]
#[ignore = "needs root and BPF"]
fn an_interface_that_gets_another_name_stays_enforced_with_filters() -> Result<()> {
    renamed(with_filters())
}

fn index_of(namespace: &Namespace, interface: &str) -> Result<u32> {
    let index = namespace.run(|| nix::net::if_::if_nametoindex(interface))?;
    index.with_context(|| format!("no interface {interface}"))
}

/// The server's sandbox is made anew, with other addresses: its interface has the name and the index of the one before.
fn replace_server(three: &mut Three) -> Result<Pod> {
    let index = index_of(&three.lab.node, &three.server.host_interface)?;
    let old = three.lab.disconnect_pod("shop/server")?;
    let mut new = three.lab.prepare_pod(old.spec)?;
    new.host_interface = old.host_interface;
    new.host_index = Some(index);
    three.lab.announce_pod(&new)?;
    three.lab.connect_pod(&new)?;
    assert_eq!(index_of(&three.lab.node, &new.host_interface)?, index, "it is given again");
    Ok(new)
}

fn replaced(
    setup: Setup,
    away: fn(&mut Laboratory) -> Result<()>,
    back: fn(&mut Laboratory) -> Result<()>,
) -> Result<()> {
    let mut three = Three::with(setup)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    expect_dropped(&three.all_protocols(&three.stranger, ALLOWED))?;
    away(&mut three.lab)?;
    let server = replace_server(&mut three)?;
    let _echo = serve::tcp(&server, ALLOWED)?;
    let from = |pod: &Pod| Probe::all(pod, Kind::Tcp, &server.sockets(ALLOWED));
    let (clients, strangers) = (from(&three.client), from(&three.stranger));
    expect_reached(&strangers).context("nothing is attached to it yet")?;
    back(&mut three.lab)?;
    is_of(&three.lab, &server.host_interface, &server)?;
    three.lab.settle()?;
    expect_reached(&clients)?;
    expect_dropped(&strangers)?;
    three.no_policy("server")?;
    expect_reached(&strangers)
}

fn killed(lab: &mut Laboratory) -> Result<()> {
    lab.kill_agent();
    Ok(())
}

fn frozen(lab: &mut Laboratory) -> Result<()> {
    lab.freeze_agent()
}

fn thawed(lab: &mut Laboratory) -> Result<()> {
    lab.thaw_agent()
}

#[test]
#[ignore = "needs root and BPF"]
fn an_interface_that_replaces_another_with_its_name_and_index_is_enforced() -> Result<()> {
    replaced(Setup::default(), frozen, thawed)
}

#[test]
#[ignore = "needs root and BPF"]
fn an_interface_that_replaces_another_with_its_name_and_index_is_enforced_with_filters() -> Result<()> {
    replaced(with_filters(), frozen, thawed)
}

#[test]
#[ignore = "needs root and BPF"]
fn an_interface_that_replaced_another_while_the_agent_was_away_is_enforced() -> Result<()> {
    replaced(Setup::default(), killed, Laboratory::start_agent)
}

#[test]
#[ignore = "needs root and BPF"]
fn an_interface_that_replaced_another_while_the_agent_was_away_is_enforced_with_filters() -> Result<()> {
    replaced(with_filters(), killed, Laboratory::start_agent)
}

/// While no agent runs, an isolated pod ends, and what is no pod's gets the index of its interface.
fn a_stranger_has_the_index(setup: Setup) -> Result<()> {
    let mut three = Three::with(setup)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let index = index_of(&three.lab.node, &three.server.host_interface)?;
    three.lab.kill_agent();
    three.lab.disconnect_pod("shop/server")?;
    let other = three.lab.lone_namespace("other")?;
    three.lab.node.batch(&format!(
        "link add other0 index {index} type veth peer name eth0 netns {}\naddress add 10.246.0.1/24 dev other0\nlink set other0 up\n",
        other.name()
    ))?;
    other.batch("address add 10.246.0.2/24 dev eth0\nlink set eth0 up\n")?;
    let _echo = serve::tcp(&other, ALLOWED)?;
    let probes = Probe::all(&three.lab.node, Kind::Tcp, &[([10, 246, 0, 2], ALLOWED).into()]);
    expect_reached(&probes)?;
    three.lab.start_agent()?;
    expect_reached(&probes)?;
    assert_eq!(line(&three.lab, "other0")?, Value::Null);
    // Whoever has the pod's policy is enforced.
    let server = three.lab.add_pod(three.server.spec.clone())?;
    let _echo = serve::tcp(&server, ALLOWED)?;
    is_of(&three.lab, &server.host_interface, &server)?;
    three.lab.settle()?;
    expect_reached(&Probe::all(&three.client, Kind::Tcp, &server.sockets(ALLOWED)))?;
    expect_dropped(&Probe::all(&three.stranger, Kind::Tcp, &server.sockets(ALLOWED)))?;
    expect_reached(&probes)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_stranger_with_the_index_of_an_isolated_pod_that_ended_is_left_alone() -> Result<()> {
    a_stranger_has_the_index(Setup::default())
}

#[test]
#[ignore = "needs root and BPF"]
fn a_stranger_with_the_index_of_an_isolated_pod_that_ended_is_left_alone_with_filters() -> Result<()> {
    a_stranger_has_the_index(with_filters())
}

/// How many bridges the kernel's table says are believed.
fn believed(lab: &Laboratory) -> Result<usize> {
    let map = MapData::from_pin(lab.pins().join("maps/INTERFACES"))?;
    let interfaces: HashMap<_, u32, [u32; 3]> = HashMap::try_from(Map::HashMap(map))?;
    let kinds: Result<Vec<u32>, _> =
        interfaces.iter().map(|entry| entry.map(|(_, [_, kind, _])| kind)).collect();
    Ok(kinds?.into_iter().filter(|kind| *kind == INTERFACE_TRUSTED_BRIDGE).count())
}

#[test]
#[ignore = "needs root and BPF"]
fn a_bridge_that_the_last_agent_believed_is_not_believed_when_that_is_switched_off() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    eventually("the bridge is believed", SEEN, &1, || believed(&three.lab).unwrap_or(usize::MAX))?;
    three.lab.kill_agent();
    three.lab.set_agent_flags(&["--trust-tag", "never"]);
    three.lab.start_agent()?;
    eventually("it is not any more", SEEN, &0, || believed(&three.lab).unwrap_or(usize::MAX))?;
    expect_reached(&three.all_protocols(&three.client, ALLOWED))?;
    expect_dropped(&three.all_protocols(&three.stranger, ALLOWED))
}
