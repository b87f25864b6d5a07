//! The path between pods: narrower links, and bridges that pass the node's tables or not.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use netpol_prober::{Probe, Protocol};
use netpol_tests::cluster::{self, Node};
use netpol_tests::not_run;
use serde_json::json;

use crate::scene::{
    ALLOWED, FRONT, OTHER, Scene, app, both, egress_of, ingress_of, pod, ports, sockets, tcp,
};

/// What a narrower link carries: less than the interfaces on both sides, and enough for IPv6.
const NARROW: &str = "1300";
/// Many packets of any size.
const LARGE: usize = 300_000;

/// A route of a node that says that its link is narrower than it is; as it was when this is dropped.
struct Narrow<'a> {
    node: &'a Node,
    family: &'static str,
    route: Vec<String>,
}

impl<'a> Narrow<'a> {
    /// The route of a node to an address.
    fn new(node: &'a Node, to: &IpAddr) -> Result<Self> {
        let family = if to.is_ipv4() { "-4" } else { "-6" };
        let said = node.command("ip", &[family, "-o", "route", "show", "match", &to.to_string()])?;
        // The longest one is last or first; the default is never meant.
        let route = said.lines().find(|line| !line.starts_with("default"));
        let route = route.with_context(|| format!("no route leads to {to}: {said}"))?;
        let words = route.split_whitespace().map(str::to_owned).collect();
        let narrow = Self { node, family, route: words };
        narrow.replace(&["mtu", NARROW])?;
        Ok(narrow)
    }

    fn replace(&self, more: &[&str]) -> Result<()> {
        let route: Vec<&str> = self.route.iter().map(String::as_str).collect();
        let words = [&[self.family, "route", "replace"], &route[..], more].concat();
        self.node.command("ip", &words).map(drop)
    }
}

impl Drop for Narrow<'_> {
    fn drop(&mut self) {
        // `mtu 0` takes it off again.
        drop(self.replace(&["mtu", "0"]));
    }
}

/// How often a node had a packet that was too big to go on: of IPv4 those that may not be cut, of IPv6 its messages.
fn too_big(node: &Node) -> Result<[u64; 2]> {
    let read = || -> Result<[u64; 2]> {
        // The files of `/proc/net` are those of the thread that leads the process.
        let v4 = fs::read_to_string("/proc/thread-self/net/snmp")?;
        let v6 = fs::read_to_string("/proc/thread-self/net/snmp6").unwrap_or_default();
        let mut lines = v4.lines().filter(|line| line.starts_with("Ip:"));
        let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let place = names.split_whitespace().position(|name| name == "FragFails").context("no IP")?;
        let uncut = values.split_whitespace().nth(place).context("no count of IP")?.parse()?;
        let said = v6.lines().find_map(|line| line.strip_prefix("Icmp6OutPktTooBigs"));
        Ok([uncut, said.map_or(Ok(0), |count| count.trim().parse())?])
    };
    node.run(read)?
}

#[test]
#[ignore = "needs a cluster"]
fn a_narrower_link_between_nodes_is_told_to_isolated_pods() -> Result<()> {
    let _guard = cluster::exclusive();
    let scene = Scene::build("narrow", &[pod("client", 0), pod("server", 1)])?;
    if scene.cluster.nodes().len() < 2 {
        not_run("path MTU between nodes, which needs two of them");
        return Ok(());
    }
    let (client, server) = (scene.pod("client")?, scene.pod("server")?);
    let vips = scene.service("server", Some("server"), &json!({}))?;
    let to = [server.sockets(ALLOWED), sockets(&vips, FRONT)].concat();
    let rule = |who: &str| json!([{who: app(if who == "to" { "server" } else { "client" }), "ports": ports(ALLOWED)}]);
    scene.policy("client", &egress_of("client", &rule("to")))?;
    scene.policy("server", &ingress_of("server", &rule("from")))?;
    scene.reaches("client", "server", &both(&to))?;
    scene.is_dropped("client", &both(&server.sockets(OTHER)))?;

    let large: Vec<Probe> =
        to.iter().map(|to| Probe { size: LARGE, ..Probe::new(Protocol::Tcp, *to, 20_000) }).collect();
    let transfer = || -> Result<()> {
        let outcomes = client.prober.probe(&large)?;
        ensure!(outcomes.iter().all(|one| one.who() == Some("server")), "{outcomes:?}");
        Ok(())
    };
    let on_both = || Ok::<_, anyhow::Error>([too_big(&client.node)?, too_big(&server.node)?]);
    // The control: as wide as it is, nothing is too big for it.
    let before = on_both()?;
    transfer()?;
    let after = on_both()?;
    ensure!(after == before, "packets were too big for a path that is wide: {before:?}, then {after:?}");

    let there = server.addresses.iter().map(|address| Narrow::new(&client.node, address));
    let back = client.addresses.iter().map(|address| Narrow::new(&server.node, address));
    let _narrow = there.chain(back).collect::<Result<Vec<_>>>()?;
    transfer()?;
    let after = on_both()?;
    for (family, is_of) in [IpAddr::is_ipv4, IpAddr::is_ipv6].iter().enumerate() {
        let told = (0..2).all(|node| after[node][family] > before[node][family]);
        ensure!(
            told || !server.addresses.iter().any(is_of),
            "the path was not narrow: {before:?}, then {after:?}"
        );
    }
    Ok(())
}

/// Where bridged packets pass no tables, policies hold between the pods of a node as well.
#[test]
#[ignore = "needs a cluster"]
fn policies_hold_whether_bridged_packets_pass_the_nodes_tables_or_not() -> Result<()> {
    let _guard = cluster::exclusive();
    let scene = Scene::build("bridge", &[pod("client", 0), pod("server", 0)])?;
    let server = scene.pod("server")?;
    let (to, other) = (both(&server.sockets(ALLOWED)), both(&server.sockets(OTHER)));
    let rules = |who: &str| json!([{who: app(if who == "to" { "server" } else { "client" }), "ports": ports(ALLOWED)}]);
    let node = server.node.clone();
    for on in [false, true] {
        node.set_bridge_netfilter(on)?;
        scene.reaches("client", "server", &[to.clone(), other.clone()].concat())?;
        scene.policy("server", &ingress_of("server", &rules("from")))?;
        scene.reaches("client", "server", &to)?;
        scene.is_dropped("client", &other)?;
        scene.no_policy("server")?;
        scene.policy("client", &egress_of("client", &rules("to")))?;
        scene.reaches("client", "server", &to)?;
        scene.is_dropped("client", &other)?;
        scene.no_policy("client")?;
    }
    ensure!(!tcp(&server.sockets(OTHER)).is_empty(), "a pod without addresses");
    Ok(())
}
