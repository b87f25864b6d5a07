//! Allowed and denied TCP, UDP, SCTP and ICMP, both families, both directions of policy, over a bridge and by routes.

use anyhow::Result;
use netpol_tests::Link;
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use serde_json::json;

use crate::setup::{ALLOWED, OTHER, Three, app, egress_of_client, from_client, ingress_of_server, ports};

fn ingress_rules(link: Link) -> Result<()> {
    let mut three = Three::start(link)?;
    let (client, stranger) = (three.client.clone(), three.stranger.clone());
    let allowed = three.all_protocols(&client, ALLOWED);
    let mut denied = three.all_protocols(&client, OTHER);
    denied.extend(three.all_protocols(&stranger, ALLOWED));
    // A rule with ports never allows ICMP.
    denied.extend(Probe::all(&client, Kind::Ping, &three.server.sockets(0)));

    expect_reached(&[allowed.clone(), denied.clone()].concat())?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    expect_reached(&allowed)?;
    expect_dropped(&denied)?;
    three.no_policy("server")?;
    expect_reached(&[allowed, denied].concat())
}

fn egress_rules(link: Link) -> Result<()> {
    let mut three = Three::start(link)?;
    let client = three.client.clone();
    let allowed = three.all_protocols(&client, ALLOWED);
    let mut denied = three.all_protocols(&client, OTHER);
    denied.extend(Probe::all(&client, Kind::Ping, &three.server.sockets(0)));
    let of_others = three.all_protocols(&three.stranger, OTHER);

    expect_reached(&[allowed.clone(), denied.clone()].concat())?;
    let rules = json!([{"to": app("server"), "ports": ports(ALLOWED)}]);
    three.policy("client", &egress_of_client(&rules))?;
    expect_reached(&[allowed.clone(), of_others].concat())?;
    expect_dropped(&denied)?;
    three.no_policy("client")?;
    expect_reached(&[allowed, denied].concat())
}

#[test]
#[ignore = "needs root and BPF"]
fn ingress_rules_over_a_bridge() -> Result<()> {
    ingress_rules(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn ingress_rules_by_routes() -> Result<()> {
    ingress_rules(Link::Routed)
}

#[test]
#[ignore = "needs root and BPF"]
fn egress_rules_over_a_bridge() -> Result<()> {
    egress_rules(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn egress_rules_by_routes() -> Result<()> {
    egress_rules(Link::Routed)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_rule_without_ports_allows_every_protocol() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    let (client, stranger) = (three.client.clone(), three.stranger.clone());
    let everything = |three: &Three, from| {
        let mut probes = three.all_protocols(from, OTHER);
        probes.extend(Probe::all(from, Kind::Ping, &three.server.sockets(0)));
        probes
    };
    expect_reached(&everything(&three, &stranger))?;
    three.policy("server", &ingress_of_server(&json!([{"from": app("client")}])))?;
    expect_reached(&everything(&three, &client))?;
    expect_dropped(&everything(&three, &stranger))
}

#[test]
#[ignore = "needs root and BPF"]
fn replies_pass_when_both_ends_are_isolated() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    let back = netpol_tests::serve::tcp(&three.client, ALLOWED)?;
    let there = three.all_protocols(&three.client, ALLOWED);
    // The other way round is another flow, which nobody allows.
    let from_server = Probe::all(&three.server, Kind::Tcp, &three.client.sockets(ALLOWED));
    expect_reached(&[there.clone(), from_server.clone()].concat())?;

    let heard = back.heard();
    three.lab.policy("shop", "all", &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    // The server may receive, but the client may not send yet.
    expect_dropped(&there)?;
    let rules = json!([{"to": app("server"), "ports": ports(ALLOWED)}]);
    three.policy("client", &egress_of_client(&rules))?;
    expect_reached(&there)?;
    expect_dropped(&from_server)?;
    assert_eq!(back.heard(), heard);
    Ok(())
}
