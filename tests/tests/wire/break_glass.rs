//! The break-glass switch on real packets: it opens at once, says so, and is gone with its annotation.

use std::net::TcpStream;

use anyhow::{Result, anyhow};
use netpol_tests::probe::{
    ARRIVAL_PATIENCE, DROP_PATIENCE, Kind, Probe, exchange, expect_dropped, expect_reached,
};
use netpol_tests::{Laboratory, Link, Outcome, PodSpec, serve};
use serde_json::{Value, json};

use crate::setup::{ALLOWED, OTHER, Three, from_client, ingress_of_server};

/// The switch of a namespace or of the node.
fn switch(lab: &mut Laboratory, kind: &str, name: &str, value: Option<&str>) -> Result<()> {
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    if let Some(value) = value {
        object["metadata"]["annotations"] = json!({"netpol.io/break-glass": value});
    }
    lab.apply(&object)?;
    lab.settle()
}

fn text_of(lab: &Laboratory, arguments: &[&str]) -> Result<String> {
    let output = lab.agent()?.client(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn status(lab: &Laboratory) -> Result<Value> {
    lab.agent()?.status()
}

/// A policy closes the server to the stranger. While the switch is set they connect; it ends while the connections are
/// open.
fn opens_and_ends(kind: &str, name: &str) -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    let beyond = three.lab.add_pod(PodSpec::new("vault", "safe").label("app", "safe"))?;
    let _server = serve::tcp(&beyond, ALLOWED)?;
    let closed = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": []});
    three.lab.policy("vault", "closed", &closed)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let denied =
        [three.all_protocols(&three.stranger, ALLOWED), three.all_protocols(&three.client, OTHER)].concat();
    let allowed = three.all_protocols(&three.client, ALLOWED);
    let elsewhere = Probe::all(&three.stranger, Kind::Tcp, &beyond.sockets(ALLOWED));
    expect_dropped(&denied)?;
    expect_dropped(&elsewhere)?;

    switch(&mut three.lab, kind, name, Some("true"))?;
    expect_reached(&denied)?;
    if kind == "Node" {
        expect_reached(&elsewhere)?;
    } else {
        expect_dropped(&elsewhere)?;
    }
    let mut opened = Vec::new();
    for (from, port) in [(&three.stranger, ALLOWED), (&three.client, OTHER), (&three.client, ALLOWED)] {
        for to in three.server.sockets(port) {
            let stream = from.connect(to, ARRIVAL_PATIENCE);
            opened.push(stream.map_err(|outcome| anyhow!("cannot connect to {to}: {outcome:?}"))?);
        }
    }
    let over = |streams: &mut [TcpStream], patience| -> Vec<Outcome> {
        streams.iter_mut().map(|stream| exchange(stream, patience)).collect()
    };
    assert_eq!(over(&mut opened, ARRIVAL_PATIENCE), [Outcome::Reached; 6]);

    // It is said wherever one may look.
    let said = status(&three.lab)?;
    let pods = if kind == "Node" { json!(["shop/server", "vault/safe"]) } else { json!(["shop/server"]) };
    assert_eq!(said["breakGlass"], json!([{"kind": kind, "name": name, "pods": pods}]));
    let server = said["endpoints"].as_array().into_iter().flatten().find(|line| line["pod"] == "shop/server");
    assert_eq!(
        server.map(|line| (&line["ingress"], &line["hook"])),
        Some((&json!("break-glass"), &json!("full")))
    );
    let text = text_of(&three.lab, &["status"])?;
    assert!(text.contains("NO POLICY IS ENFORCED, as the break-glass switch is set:"), "{text}");
    let text = text_of(&three.lab, &["policy", "list"])?;
    assert!(text.contains(&format!("NO: break-glass of {kind} {name}")), "{text}");
    let text = text_of(&three.lab, &["explain", "shop/stranger", "shop/server", &format!("{ALLOWED}/TCP")])?;
    assert!(text.contains(": allowed (live: the same)"), "{text}");
    let against = format!("NOT ENFORCED: netpol.io/break-glass is set on {kind} {name}, against shop/server");
    assert!(text.contains(&against), "{text}");
    let log = three.lab.agent()?.log();
    assert!(log.contains("no policy is enforced for the pods there"), "{log}");

    // An agent that starts meanwhile leaves it as it is.
    three.lab.kill_agent();
    three.lab.start_agent()?;
    expect_reached(&denied)?;
    assert_eq!(over(&mut opened, ARRIVAL_PATIENCE), [Outcome::Reached; 6]);

    switch(&mut three.lab, kind, name, None)?;
    // Who opened a connection decides, whoever speaks first.
    let (cut, kept) = opened.split_at_mut(4);
    assert_eq!(over(cut, DROP_PATIENCE), [Outcome::TimedOut; 4]);
    assert_eq!(over(kept, ARRIVAL_PATIENCE), [Outcome::Reached; 2]);
    expect_dropped(&denied)?;
    expect_dropped(&elsewhere)?;
    expect_reached(&allowed)?;
    assert_eq!(status(&three.lab)?.get("breakGlass"), None);
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn break_glass_of_a_namespace_opens_its_pods_until_the_annotation_is_gone() -> Result<()> {
    opens_and_ends("Namespace", "shop")
}

#[test]
#[ignore = "needs root and BPF"]
fn break_glass_of_the_node_opens_all_its_pods_until_the_annotation_is_gone() -> Result<()> {
    opens_and_ends("Node", "node-1")
}

#[test]
#[ignore = "needs root and BPF"]
fn break_glass_that_ends_while_no_agent_runs_ends_with_the_next_one() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let denied = three.all_protocols(&three.stranger, ALLOWED);
    switch(&mut three.lab, "Namespace", "shop", Some("true"))?;
    expect_reached(&denied)?;
    three.lab.kill_agent();
    switch(&mut three.lab, "Namespace", "shop", None)?;
    expect_reached(&denied)?;
    three.lab.start_agent()?;
    expect_dropped(&denied)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_break_glass_switch_that_cannot_be_read_opens_nothing_and_is_said() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let denied = three.all_protocols(&three.stranger, ALLOWED);
    for value in ["yes", "True", ""] {
        switch(&mut three.lab, "Namespace", "shop", Some(value))?;
        expect_dropped(&denied)?;
        let text = text_of(&three.lab, &["status"])?;
        assert!(text.contains("metadata.annotations.netpol.io/break-glass: is "), "{text}");
    }
    switch(&mut three.lab, "Namespace", "shop", Some("true"))?;
    expect_reached(&denied)
}
