//! Bridges whose packets do not pass the node's tables, and ports that send nothing back.

use anyhow::Result;
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{Link, Setup};
use serde_json::json;

use crate::setup::{ALLOWED, OTHER, Three, app, egress_of_client, from_client, ingress_of_server, ports};

/// Between ports of one bridge nothing but our classifiers sees a packet: neither tables nor the kernel's conntrack.
#[test]
#[ignore = "needs root and BPF"]
fn policies_hold_where_bridged_packets_pass_no_tables() -> Result<()> {
    let mut three = Three::with(Setup { link: Link::Bridge, bridge_netfilter: false, ..Setup::default() })?;
    let (client, stranger) = (three.client.clone(), three.stranger.clone());
    let allowed = three.all_protocols(&client, ALLOWED);
    let other = three.all_protocols(&client, OTHER);
    let strangers = three.all_protocols(&stranger, ALLOWED);
    expect_reached(&[allowed.clone(), other.clone(), strangers.clone()].concat())?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    expect_reached(&allowed)?;
    expect_dropped(&[other.clone(), strangers.clone()].concat())?;
    three.no_policy("server")?;
    three.policy("client", &egress_of_client(&json!([{"to": app("server"), "ports": ports(ALLOWED)}])))?;
    expect_reached(&[allowed, strangers].concat())?;
    expect_dropped(&other)?;
    let node = three.lab.node.clone();
    expect_reached(&Probe::all(&node, Kind::Tcp, &three.server.sockets(OTHER)))
}
