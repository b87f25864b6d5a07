//! The node's own traffic to its pods always passes; the pods' to the node is theirs.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use netpol_tests::laboratory::network::{GATEWAY4, GATEWAY6, NODE, OUTSIDE};
use netpol_tests::probe::{ARRIVAL_PATIENCE, Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{Link, command, packet, serve};
use serde_json::json;

use crate::setup::{ALLOWED, Three, egress_of_client, ports};

fn node_traffic(link: Link) -> Result<()> {
    let mut three = Three::start(link)?;
    let node = three.lab.node.clone();
    let outside = three.lab.outside.clone();
    let _on_node = serve::tcp(&node, ALLOWED)?;
    let mut probes_of_node = three.all_protocols(&node, ALLOWED);
    probes_of_node.extend(Probe::all(&node, Kind::Ping, &three.server.sockets(0)));
    let from_outside = three.all_protocols(&outside, ALLOWED);
    let to_node =
        Probe::all(&three.client, Kind::Tcp, &NODE.map(|address| SocketAddr::new(address, ALLOWED)));

    expect_reached(&[probes_of_node.clone(), from_outside.clone(), to_node.clone()].concat())?;
    three.policy("all", &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))?;
    expect_reached(&probes_of_node)?;
    expect_dropped(&[from_outside, to_node.clone()].concat())?;

    // A block of addresses may allow the node, as any other place.
    let blocks = json!([{"ipBlock": {"cidr": "172.18.0.2/32"}}, {"ipBlock": {"cidr": "fd00:172:18::2/128"}}]);
    let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": blocks}]});
    three.policy("to-node", &spec)?;
    expect_reached(&to_node)
}

/// What comes from outside and is masqueraded carries the node's address, and is not the node's own.
fn masqueraded_traffic(link: Link) -> Result<()> {
    let mut three = Three::start(link)?;
    let rules = "table inet uplink { chain postrouting { type nat hook postrouting priority srcnat;
        ip saddr 203.0.113.0/24 masquerade; ip6 saddr 2001:db8:113::/64 masquerade; }; }";
    let namespace = format!("--net={}", three.lab.node.path().display());
    command::feed("nsenter", &[namespace.as_str(), "nft", "-f", "-"], rules)?;
    let probes = three.all_protocols(&three.lab.outside, ALLOWED);
    let watch = three.server.watch()?;
    expect_reached(&probes)?;
    let of_the_node = |bytes: &[u8]| {
        packet::read(bytes).is_some_and(|(src, _, _, payload)| {
            let gateways = [IpAddr::from(GATEWAY4), IpAddr::from(GATEWAY6)];
            gateways.contains(&src) && packet::read_ports(payload).is_some_and(|(_, port)| port == ALLOWED)
        })
    };
    assert!(watch.wait(ARRIVAL_PATIENCE, of_the_node).is_some(), "it carries the node's address");

    three.policy("all", &json!({"podSelector": {}, "policyTypes": ["Ingress"]}))?;
    expect_dropped(&probes)?;
    expect_reached(&three.all_protocols(&three.lab.node, ALLOWED))
}

#[test]
#[ignore = "needs root and BPF"]
fn masqueraded_traffic_is_not_the_nodes_own_over_a_bridge() -> Result<()> {
    masqueraded_traffic(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn masqueraded_traffic_is_not_the_nodes_own_by_routes() -> Result<()> {
    masqueraded_traffic(Link::Routed)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_narrower_link_behind_the_node_is_told_to_an_isolated_pod() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    let outside = three.lab.outside.clone();
    let _echo = serve::tcp(&outside, ALLOWED)?;
    // The world announces segments for a wider link than the one that it is reached by: the node must say so, by ICMP.
    three.lab.node.batch("link set eth0 mtu 1300\n")?;
    let to = OUTSIDE.map(|address| SocketAddr::new(address, ALLOWED));
    let blocks = json!([{"ipBlock": {"cidr": "203.0.113.0/24"}}, {"ipBlock": {"cidr": "2001:db8:113::/64"}}]);
    let rules = json!([{"to": blocks, "ports": ports(ALLOWED)}]);
    three.lab.policy("shop", "client", &egress_of_client(&rules))?;
    three.policy("all", &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))?;
    for to in to {
        let watch = three.client.watch()?;
        let stream = three.client.connect(to, ARRIVAL_PATIENCE);
        let mut stream = stream.map_err(|outcome| anyhow!("cannot connect to {to}: {outcome:?}"))?;
        let sent = vec![7; 40_000];
        stream.set_read_timeout(Some(ARRIVAL_PATIENCE))?;
        let mut back = vec![0; sent.len()];
        thread::scope(|scope| -> Result<()> {
            let mut writer = stream.try_clone()?;
            scope.spawn(move || writer.write_all(&sent));
            stream.read_exact(&mut back).with_context(|| format!("nothing large passes to {to}"))
        })?;
        let too_big = |bytes: &[u8]| {
            packet::read(bytes).is_some_and(|(_, _, protocol, payload)| match protocol {
                packet::ICMP => payload.starts_with(&[3, 4]),
                packet::ICMPV6 => payload.starts_with(&[2, 0]),
                _ => false,
            })
        };
        assert!(watch.wait(ARRIVAL_PATIENCE, too_big).is_some(), "the node said that a packet is too big");
    }
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn the_nodes_own_traffic_passes_over_a_bridge() -> Result<()> {
    node_traffic(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn the_nodes_own_traffic_passes_by_routes() -> Result<()> {
    node_traffic(Link::Routed)
}
