//! What `netpol observe` says of real packets: both ends by their names, and who decided.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use netpol_tests::deadline::wait_for;
use netpol_tests::laboratory::network::OUTSIDE;
use netpol_tests::probe::{ARRIVAL_PATIENCE, Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{Laboratory, Link, ServiceSpec, serve};
use serde_json::{Value, json};

use crate::setup::{ALLOWED, OTHER, Three, app, egress_of_client, from_client, ingress_of_server, ports};

/// The verdict of this direction between these ends (as `kind name`), with this destination port.
fn verdict(lab: &Laboratory, direction: &str, from: &str, to: &str, port: u16) -> Result<Value> {
    let agent = lab.agent()?;
    let end = |end: &Value| {
        let name = end["name"].as_str().unwrap_or_default();
        format!("{} {name}", end["kind"].as_str().unwrap_or_default()).trim_end().to_owned()
    };
    let look = || {
        let output = agent.client(&["observe", "-o", "json"]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|verdict| {
            verdict["direction"] == direction
                && end(&verdict["source"]) == from
                && end(&verdict["destination"]) == to
                && verdict["destination"]["port"] == port
        })
    };
    wait_for(&format!("a verdict on {direction} from {from} to {to}:{port}"), ARRIVAL_PATIENCE, look)
        .with_context(|| format!("{:?}", agent.client(&["observe"]).output()))
}

#[test]
#[ignore = "needs root and BPF"]
fn verdicts_name_both_ends_and_who_decided() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    let service = ServiceSpec::new("shop", "server", 80, "app", "server").port("TCP", 80, ALLOWED);
    three.lab.add_service(service.clone())?;
    let _on_outside = serve::tcp(&three.lab.outside, ALLOWED)?;
    three.lab.policy("shop", "server", &ingress_of_server(&from_client()))?;
    let blocks = json!([{"ipBlock": {"cidr": "203.0.113.0/24"}}, {"ipBlock": {"cidr": "2001:db8:113::/64"}}]);
    let rules = json!([{"to": app("server"), "ports": ports(ALLOWED)}, {"to": blocks}]);
    three.policy("client", &egress_of_client(&rules))?;
    let (lab, client, stranger) = (&three.lab, &three.client, &three.stranger);
    let outside = OUTSIDE.map(|address| SocketAddr::new(address, ALLOWED));

    expect_reached(&Probe::all(client, Kind::Tcp, &three.server.sockets(ALLOWED)))?;
    let seen = verdict(lab, "ingress", "pod shop/client", "pod shop/server", ALLOWED)?;
    assert_eq!(seen["verdict"], "allowed", "{seen}");
    assert_eq!(part(&seen), ("shop/server", "spec.ingress[0]"), "{seen}");
    let seen = verdict(lab, "egress", "pod shop/client", "pod shop/server", ALLOWED)?;
    assert_eq!(part(&seen), ("shop/client", "spec.egress[0]"), "{seen}");

    expect_dropped(&Probe::all(stranger, Kind::Tcp, &three.server.sockets(ALLOWED)))?;
    let seen = verdict(lab, "ingress", "pod shop/stranger", "pod shop/server", ALLOWED)?;
    assert_eq!((&seen["verdict"], &seen["reason"]), (&json!("dropped"), &json!("policy-denied")), "{seen}");
    assert_eq!(names(&seen, "isolatedBy"), ["shop/server"], "{seen}");
    let nearest = &seen["nearest"][0];
    assert_eq!(
        (&nearest["policy"], &nearest["number"], &nearest["miss"]),
        (&json!("shop/server"), &json!(1), &json!("peer"))
    );
    assert_eq!(seen["source"]["labels"], json!({"app": "stranger"}), "{seen}");

    expect_dropped(&Probe::all(client, Kind::Udp, &three.server.sockets(OTHER)))?;
    let seen = verdict(lab, "egress", "pod shop/client", "pod shop/server", OTHER)?;
    assert_eq!(names(&seen, "isolatedBy"), ["shop/client"], "{seen}");

    expect_reached(&Probe::all(client, Kind::Tcp, &service.sockets(80)))?;
    let seen = verdict(lab, "egress", "pod shop/client", "service shop/server", 80)?;
    assert_eq!(part(&seen), ("shop/client", "spec.egress[0]"), "{seen}");
    assert!(names(&seen, "backends").iter().any(|backend| backend.contains("shop/server")), "{seen}");

    expect_reached(&Probe::all(client, Kind::Tcp, &outside))?;
    let seen = verdict(lab, "egress", "pod shop/client", "world", ALLOWED)?;
    assert_eq!(part(&seen), ("shop/client", "spec.egress[1]"), "{seen}");

    expect_reached(&Probe::all(&lab.node, Kind::Tcp, &three.server.sockets(OTHER)))?;
    let seen = verdict(lab, "ingress", "node node-1", "pod shop/server", OTHER)?;
    assert_eq!((&seen["verdict"], &seen["reason"]), (&json!("allowed"), &json!("node")), "{seen}");
    Ok(())
}

/// The policy and the rule that allowed it.
fn part(verdict: &Value) -> (&str, &str) {
    let part = &verdict["allowedBy"][0];
    (part["policy"].as_str().unwrap_or_default(), part["rule"].as_str().unwrap_or_default())
}

fn names<'a>(verdict: &'a Value, field: &str) -> Vec<&'a str> {
    verdict[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
