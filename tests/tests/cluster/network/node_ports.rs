//! Services by addresses of nodes and from outside, ports of the host, and a pod that reaches itself by them.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster;
use netpol_tests::deadline::wait_for;
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use serde_json::{Value, json};

use crate::scene::{
    ALLOWED, FRONT, PATIENCE, Scene, app, blocks, both, egress_of, ingress_of, nothing, pod, ports, sockets,
    tcp,
};

/// A port of the host.
const HOST_PORT: u16 = 8088;

/// Addresses that nobody has, of the families that this cluster has, and no other scene's: two Services cannot share one.
fn externals(scene: &Scene) -> Result<Vec<IpAddr>> {
    let own = &scene.pod("server")?.addresses;
    let number = u16::from(scene.number);
    let all: [IpAddr; 2] =
        [[203, 0, 113, scene.number].into(), [0x2001, 0xdb8, 0x113, 0, 0, 0, 0, number].into()];
    Ok(all.into_iter().filter(|one| own.iter().any(|own| own.is_ipv4() == one.is_ipv4())).collect())
}

/// A Service `server` of type `NodePort`: its port on the nodes.
fn start(scene: &Scene, fields: &Value) -> Result<u16> {
    let mut all = json!({"type": "NodePort", "externalIPs": externals(scene)?});
    if let (Value::Object(all), Value::Object(more)) = (&mut all, fields) {
        all.extend(more.clone());
    }
    // Both protocols have one port.
    let port = |protocol: &str| {
        json!({"name": protocol.to_lowercase(), "protocol": protocol, "port": FRONT,
        "targetPort": ALLOWED})
    };
    all["ports"] = json!([port("TCP"), port("UDP")]);
    scene.service("server", Some("server"), &all)?;
    scene.node_port("server")
}

fn everybody() -> Value {
    json!([{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}])
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_that_asks_its_own_node_is_judged_by_the_backends_and_one_that_asks_another_by_that() -> Result<()> {
    let _guard = cluster::shared();
    let scene = Scene::build("nodeport", &[pod("client", 0), pod("server", 1)])?;
    let port = start(&scene, &json!({}))?;
    let (first, last) = (&scene.cluster.nodes()[0], scene.cluster.nodes().last().context("no nodes")?);
    let own = both(&sockets(first.addresses(), port));
    let external = both(&sockets(&externals(&scene)?, FRONT));
    let elsewhere = both(&sockets(last.addresses(), port));
    scene.reaches("client", "server", &[own.clone(), external.clone(), elsewhere.clone()].concat())?;

    let to_server = json!({"to": app("server"), "ports": ports(ALLOWED)});
    let to_nodes = json!({"to": blocks(&[first.addresses(), last.addresses()].concat())});
    scene.policy("client", &egress_of("client", &json!([to_server])))?;
    scene.reaches("client", "server", &[own.clone(), external.clone()].concat())?;
    scene.policy("client", &egress_of("client", &json!([to_nodes])))?;
    scene.is_dropped("client", &[own.clone(), external].concat())?;
    if first.name() != last.name() {
        scene.reaches("client", "server", &elsewhere)?;
        scene.policy("client", &egress_of("client", &json!([to_server])))?;
        scene.is_dropped("client", &elsewhere)?;
    }
    scene.policy("client", &nothing())?;
    scene.is_dropped("client", &[own, elsewhere].concat())
}

/// What comes from outside carries the address of the node that it came by: it is not the node's own.
#[test]
#[ignore = "needs a cluster"]
fn what_nodes_send_on_with_their_address_is_judged() -> Result<()> {
    let _guard = cluster::shared();
    let scene = Scene::build("outside", &[pod("client", 0), pod("server", 0)])?;
    let port = start(&scene, &json!({}))?;
    let outside = scene.cluster.network().clone();
    let mut probes = Vec::new();
    for node in scene.cluster.nodes() {
        probes.extend(Probe::all(&outside, Kind::Connect, &sockets(node.addresses(), port)));
    }
    // The server's own node, too: its traffic always passes.
    let node = scene.pod("server")?.node.clone();
    let own = Probe::all(node.network(), Kind::Connect, &sockets(node.addresses(), port));
    wait_for("the node's port answers", PATIENCE, || expect_reached(&probes).ok())?;
    expect_reached(&own)?;
    scene.policy("server", &ingress_of("server", &json!([{"from": [{"namespaceSelector": {}}]}])))?;
    expect_dropped(&probes)?;
    expect_reached(&own)?;
    scene.reaches("client", "server", &both(&scene.pod("server")?.sockets(ALLOWED)))?;
    // As pods are seen that are led there by the node: not as pods.
    scene.is_dropped("client", &tcp(&sockets(node.addresses(), port)))?;
    scene
        .policy("server", &ingress_of("server", &json!([{"from": everybody(), "ports": ports(ALLOWED)}])))?;
    expect_reached(&[probes, own].concat())
}

/// With an external policy of Local the caller's address arrives.
#[test]
#[ignore = "needs a cluster"]
fn with_an_external_policy_of_local_rules_see_who_calls() -> Result<()> {
    let _guard = cluster::shared();
    let scene = Scene::build("external", &[pod("client", 0), pod("server", 0)])?;
    let port = start(&scene, &json!({"externalTrafficPolicy": "Local"}))?;
    let node = scene.pod("server")?.node.clone();
    let to = sockets(node.addresses(), port);
    let probes = Probe::all(scene.cluster.network(), Kind::Connect, &to);
    wait_for("the node's port answers", PATIENCE, || expect_reached(&probes).ok())?;
    let from = scene.cluster.options().control_addresses();
    scene.policy("server", &ingress_of("server", &json!([{"from": app("client")}])))?;
    expect_dropped(&probes)?;
    // A pod of the cluster is not masqueraded either.
    scene.reaches("client", "server", &tcp(&to))?;
    scene.policy(
        "server",
        &ingress_of("server", &json!([{"from": blocks(&from), "ports": ports(ALLOWED)}])),
    )?;
    expect_reached(&probes)?;
    scene.is_dropped("client", &tcp(&to))
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_reaches_itself_by_every_address_of_its_service_and_nobody_else_does() -> Result<()> {
    let _guard = cluster::shared();
    let scene = Scene::build("itself", &[pod("server", 0), pod("other", 0)])?;
    let port = start(&scene, &json!({}))?;
    let vips = scene.service("plain", Some("server"), &json!({}))?;
    let node = scene.pod("server")?.node.clone();
    let ways = [sockets(&vips, FRONT), sockets(node.addresses(), port), sockets(&externals(&scene)?, FRONT)];
    let to = both(&ways.concat());
    scene.reaches("server", "server", &to)?;
    scene.reaches("other", "server", &to)?;
    scene.policy("nothing", &nothing())?;
    scene.reaches("server", "server", &to)?;
    scene.is_dropped("other", &to)
}

#[test]
#[ignore = "needs a cluster"]
fn a_port_of_the_host_leads_to_its_pod_as_the_policies_say() -> Result<()> {
    let _guard = cluster::shared();
    let port =
        |protocol: &str| json!({"containerPort": ALLOWED, "hostPort": HOST_PORT, "protocol": protocol});
    let server = pod("server", 0).container(json!({"ports": [port("TCP"), port("UDP")]}));
    let scene = Scene::build("hostport", &[pod("client", 0), server])?;
    let node = scene.pod("server")?.node.clone();
    let to = sockets(node.addresses(), HOST_PORT);
    let from = |network| [Kind::Connect, Kind::Udp].map(|kind| Probe::all(network, kind, &to)).concat();
    let (outside, own) = (from(scene.cluster.network()), from(node.network()));
    let to = both(&to);
    expect_reached(&[outside.clone(), own.clone()].concat())?;
    for from in ["client", "server"] {
        scene.reaches(from, "server", &to)?;
    }
    // The server's side: the node reaches it, and it itself.
    scene.policy("server", &ingress_of("server", &json!([])))?;
    expect_dropped(&outside)?;
    expect_reached(&own)?;
    scene.is_dropped("client", &to)?;
    scene.reaches("server", "server", &to)?;
    let from = scene.cluster.options().control_addresses();
    scene.policy(
        "server",
        &ingress_of("server", &json!([{"from": blocks(&from), "ports": ports(ALLOWED)}])),
    )?;
    expect_reached(&[outside, own].concat())?;
    scene.no_policy("server")?;
    // The client's side: what counts is the pod, not the node.
    scene.policy("client", &egress_of("client", &json!([{"to": blocks(node.addresses())}])))?;
    scene.is_dropped("client", &to)?;
    scene.policy("client", &egress_of("client", &json!([{"to": app("server"), "ports": ports(ALLOWED)}])))?;
    scene.reaches("client", "server", &to)?;
    ensure!(!to.is_empty(), "a node without addresses");
    Ok(())
}
