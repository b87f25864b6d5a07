//! The node's own traffic to its pods always passes; the pods' to the node is theirs.

use std::net::SocketAddr;

use anyhow::Result;
use netpol_tests::laboratory::network::NODE;
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{Link, serve};
use serde_json::json;

use crate::setup::{ALLOWED, Three};

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
