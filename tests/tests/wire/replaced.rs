//! Interfaces that are others than before: one that has got a new name.

use std::time::Duration;

use anyhow::Result;
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{Laboratory, Link, Pod, ServiceSpec, Setup, eventually};
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
