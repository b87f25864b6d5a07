//! The network between the nodes: a bridge in the control plane's namespace, which is the world to them as well.
//!
//! ```text
//!   node-1 eth0 ── node-1 ┐
//!                         ├ cluster0 ─ control plane, and addresses of the world beyond
//!   node-2 eth0 ── node-2 ┘
//! ```

use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::Result;

use super::options::Options;
use crate::command;
use crate::laboratory::Namespace;
use crate::laboratory::network::{OUTSIDE, PRIVATE};

/// The bridge's name.
const BRIDGE: &str = "cluster0";

/// Connects the nodes with the control plane and with each other, and their pods' ranges.
pub(super) fn wire(control: &Namespace, nodes: &[(String, Namespace)], options: &Options) -> Result<()> {
    prepare(control)?;
    // Frames between nodes are not the control plane's packets.
    for family in ["iptables", "ip6tables", "arptables"] {
        // Absent where bridges never ask netfilter.
        drop(control.sysctl(&format!("net/bridge/bridge-nf-call-{family}"), "0"));
    }
    let mut lines = format!("link add {BRIDGE} type bridge\nlink set {BRIDGE} up\n");
    for address in options.control_addresses() {
        writeln!(lines, "{}", add(address, length(address), BRIDGE))?;
    }
    for address in OUTSIDE.iter().chain(&PRIVATE) {
        writeln!(lines, "{}", add(*address, if address.is_ipv4() { 32 } else { 128 }, "lo"))?;
    }
    for (node, network) in nodes {
        let path = network.path().display();
        writeln!(lines, "link add {node} type veth peer name eth0 netns {path}")?;
        writeln!(lines, "link set {node} master {BRIDGE} up")?;
    }
    control.batch(&lines)?;
    let mut to_pods = Vec::new();
    for number in 1..=options.nodes {
        let addresses = options.node_addresses(number);
        let routes: Vec<String> = options
            .node_pod_ranges(number)
            .iter()
            .zip(&addresses)
            .map(|(range, gateway)| format!("route add {range} via {gateway}\n"))
            .collect();
        to_pods.push(routes.concat());
    }
    for (index, (number, (_, network))) in (1..=options.nodes).zip(nodes).enumerate() {
        prepare(network)?;
        let mut lines = String::from("link set eth0 up\n");
        for address in options.node_addresses(number) {
            writeln!(lines, "{}", add(address, length(address), "eth0"))?;
        }
        for gateway in options.control_addresses() {
            let all = if gateway.is_ipv4() { "default" } else { "::/0" };
            writeln!(lines, "route add {all} via {gateway}")?;
        }
        for (_, routes) in to_pods.iter().enumerate().filter(|(other, _)| *other != index) {
            lines.push_str(routes);
        }
        network.batch(&lines)?;
        masquerade(network, &options.pod_ranges())?;
    }
    control.batch(&to_pods.concat())
}

/// What each of these namespaces is before it has a link.
fn prepare(network: &Namespace) -> Result<()> {
    for (path, value) in [
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        // A forged source must be stopped by netpol alone, or its control would prove nothing.
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
    ] {
        network.sysctl(path, value)?;
    }
    network.batch("link set lo up\n")
}

/// Pods reach what is no pod under their node's address, as with every CNI that routes between nodes.
fn masquerade(network: &Namespace, ranges: &[String]) -> Result<()> {
    let mut rules = String::from(
        "table inet cluster {\n chain leaving {\n  type nat hook postrouting priority srcnat;\n  \
         ip daddr 224.0.0.0/4 accept\n  ip6 daddr ff00::/8 accept\n",
    );
    for range in ranges {
        let family = if range.contains(':') { "ip6" } else { "ip" };
        writeln!(rules, "  {family} saddr {range} {family} daddr != {range} masquerade")?;
    }
    rules.push_str(" }\n}\n");
    let mut nft = std::process::Command::new("nft");
    nft.args(["-f", "-"]);
    network.enter(&mut nft);
    command::feed_command(nft, &rules).map(drop)
}

/// How long the prefix of the nodes' network is.
const fn length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}

/// A line that adds an address, which may be used at once: an IPv6 address would be tentative for a while.
fn add(address: IpAddr, length: u8, interface: &str) -> String {
    let nodad = if address.is_ipv6() { " nodad" } else { "" };
    format!("address add {address}/{length} dev {interface}{nodad}")
}
