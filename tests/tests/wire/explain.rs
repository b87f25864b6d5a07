//! `netpol explain` against a running agent: what it says of the kernel's tables is what packets meet, and where
//! somebody else has changed them, that is said.

use std::{net::IpAddr, process::Output};

use anyhow::{Context as _, Result};
use netpol_agent::datapath::Peers;
use netpol_common::Addr;
use netpol_tests::deadline::wait_for;
use netpol_tests::laboratory::network::OUTSIDE;
use netpol_tests::probe::{ARRIVAL_PATIENCE, Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{Laboratory, Link, PodSpec, ServiceSpec, Setup};
use serde_json::{Value, json};

use crate::setup::{ALLOWED, OTHER, Three, app, egress_of_client, from_client, ingress_of_server, ports};

fn ask(lab: &Laboratory, arguments: &[&str]) -> Result<Output> {
    let arguments = [&["explain"], arguments].concat();
    lab.agent()?.client(&arguments).output().context("cannot start netpol explain")
}

/// The text and the exit code.
fn text(lab: &Laboratory, arguments: &[&str]) -> Result<(String, Option<i32>)> {
    let output = ask(lab, arguments)?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code()))
}

fn json_of(lab: &Laboratory, arguments: &[&str]) -> Result<Value> {
    let output = ask(lab, &[arguments, &["-o", "json"]].concat())?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
}

/// Takes the entry of an address out of the table of peers.
fn forget_peer(lab: &Laboratory, address: IpAddr) -> Result<()> {
    Ok(Peers::open(&lab.pins())?.remove(&Addr::from(address))?)
}

#[test]
#[ignore = "needs root and BPF"]
fn the_live_tables_say_the_same_as_the_objects_and_as_packets() -> Result<()> {
    the_same(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn the_live_tables_say_the_same_where_each_pod_has_a_route() -> Result<()> {
    the_same(Link::Routed)
}

fn the_same(link: Link) -> Result<()> {
    let mut three = Three::start(link)?;
    let service = ServiceSpec::new("shop", "server", 80, "app", "server").port("TCP", 80, ALLOWED);
    three.lab.add_service(service.clone())?;
    three.lab.policy("shop", "server", &ingress_of_server(&from_client()))?;
    let blocks = json!([{"ipBlock": {"cidr": "203.0.113.0/24"}}]);
    let rules = json!([{"to": app("server"), "ports": ports(ALLOWED)}, {"to": blocks}]);
    three.policy("client", &egress_of_client(&rules))?;
    let (lab, allowed, other) = (&three.lab, format!("{ALLOWED}/TCP"), format!("{OTHER}/TCP"));

    let outside = OUTSIDE.map(|address| address.to_string());
    let [v4, v6] = [three.server.v4, three.client.v4].map(|address| address.to_string());
    for (from, to, port, code) in [
        ("shop/client", "shop/server", &*allowed, 0),
        ("shop/client", "shop/server", &*other, 1),
        ("shop/stranger", "shop/server", &*allowed, 1),
        ("shop/client", "svc/shop/server", "80/TCP", 0),
        ("shop/stranger", "svc/shop/server", "80/TCP", 1),
        ("shop/server", "svc/shop/server", "80/TCP", 0),
        ("shop/client", &outside[0], "443/TCP", 0),
        ("shop/client", &outside[1], "443/TCP", 1),
        ("shop/client", "world", "443/TCP", 1),
        ("node", "shop/server", &*other, 0),
        ("world", "shop/server", &*allowed, 1),
        ("world", "shop/stranger", &*allowed, 0),
        (&*v6, &*v4, &*allowed, 0),
        ("shop/client", "shop/server", "icmp", 1),
    ] {
        let (said, exit) = text(lab, &[from, to, port])?;
        assert_eq!(exit, Some(code), "{said}");
        assert!(said.lines().next().is_some_and(|line| line.ends_with("(live: the same)")), "{said}");
        assert!(said.contains("live"), "{said}");
    }
    expect_reached(&Probe::all(&three.client, Kind::Tcp, &three.server.sockets(ALLOWED)))?;
    expect_dropped(&Probe::all(&three.client, Kind::Tcp, &three.server.sockets(OTHER)))?;
    expect_dropped(&Probe::all(&three.stranger, Kind::Tcp, &three.server.sockets(ALLOWED)))?;
    expect_reached(&Probe::all(&three.client, Kind::Tcp, &service.sockets(80)))?;

    let said = json_of(lab, &["shop/client", "shop/server", &allowed])?;
    let live = &said["flows"][0]["live"];
    assert_eq!((&said["outcome"], &said["liveDiffers"]), (&json!("allowed"), &json!(false)), "{said:#}");
    assert_eq!(live.as_array().map(Vec::len), Some(2), "both families: {live:#}");
    assert_eq!(live[0]["ingress"]["reason"], "policy", "{live:#}");
    assert_eq!(live[0]["ingress"]["policies"], json!(["shop/server"]), "{live:#}");
    assert!(live[0]["ingress"]["knownFlows"].as_u64() > Some(0), "the probe's flow is known: {live:#}");
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn an_entry_that_somebody_took_out_of_the_kernels_table_is_found() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let allowed = format!("{ALLOWED}/TCP");
    let question = ["shop/client", "shop/server", &*allowed];
    assert_eq!(json_of(&three.lab, &question)?["liveDiffers"], false);

    forget_peer(&three.lab, three.client.v4.into())?;
    let (said, code) = text(&three.lab, &question)?;
    assert!(said.contains("shop/client -> shop/server 7000/TCP: allowed (live: DIFFERS)"), "{said}");
    assert!(
        said.contains("differs: ingress of shop/server: the policies allow it, and it is dropped"),
        "{said}"
    );
    assert!(
        said.contains(&format!(
            "PEER_BUCKETS holds class 0 (one that policies do not name) for {}",
            three.client.v4
        )),
        "{said}"
    );
    assert_eq!(code, Some(1), "{said}");
    // Packets meet what is said: one family is gone, the other is as it was.
    let [v4, v6] = [0, 1].map(|family| three.server.sockets(ALLOWED)[family]);
    expect_dropped(&Probe::all(&three.client, Kind::Tcp, &[v4]))?;
    expect_reached(&Probe::all(&three.client, Kind::Tcp, &[v6]))?;

    let (matrix, code) = text(&three.lab, &["--all", "shop", "--port", &allowed])?;
    let row = |name: &str| -> Vec<String> {
        let line = matrix.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    };
    // The columns are client, server, stranger.
    assert_eq!(row("shop/client"), ["shop/client", ".", "+!", "+"], "{matrix}");
    assert_eq!(row("shop/stranger"), ["shop/stranger", "+", "i", "."], "{matrix}");
    assert_eq!(row("world"), ["world", "+", "i", "+"], "{matrix}");
    assert_eq!(row("node"), ["node", "node-1", "+", "+", "+"], "{matrix}");
    assert_eq!(code, Some(0));

    // A new agent reads the tables and writes what differs.
    three.lab.kill_agent();
    three.lab.start_agent()?;
    assert_eq!(json_of(&three.lab, &question)?["liveDiffers"], false);
    expect_reached(&Probe::all(&three.client, Kind::Tcp, &[v4, v6]))
}

#[test]
#[ignore = "needs root and BPF"]
fn a_classifier_that_somebody_took_off_is_missed() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let status = three.lab.agent()?.status()?;
    let endpoints = status["endpoints"].as_array().context("no endpoints")?;
    let line = endpoints.iter().find(|line| line["pod"] == "shop/server").context("no server")?;
    let pin = three.lab.pins().join(format!("links/{}-ingress", line["slot"]));
    let allowed = format!("{ALLOWED}/TCP");
    let missed = || {
        // The pin is all that holds the link; the agent may have looked in between, and made a new one.
        drop(std::fs::remove_file(&pin));
        let (said, _) = text(&three.lab, &["shop/stranger", "shop/server", &allowed]).ok()?;
        said.contains("(live: DIFFERS)").then_some(said)
    };
    let said = wait_for("the classifier is missed", ARRIVAL_PATIENCE, missed)?;
    assert!(
        said.contains("the policies deny it, and it is let through: somebody has taken our classifier off"),
        "{said}"
    );
    // The agent sees that itself.
    let the_same = || {
        let (said, _) = text(&three.lab, &["shop/stranger", "shop/server", &allowed]).ok()?;
        said.contains("(live: the same)").then_some(())
    };
    wait_for("it is attached again", ARRIVAL_PATIENCE, the_same)?;
    expect_dropped(&Probe::all(&three.stranger, Kind::Tcp, &three.server.sockets(ALLOWED)))
}

#[test]
#[ignore = "needs root and BPF"]
fn what_a_table_could_not_take_in_is_the_difference() -> Result<()> {
    let agent_flags = ["--table-rules", "16"].map(str::to_owned).to_vec();
    let mut three = Three::with(Setup { agent_flags, ..Setup::default() })?;
    let rule = |n: usize| json!({"from": [{"ipBlock": {"cidr": format!("198.51.100.{n}/32")}}], "ports": ports(1000 + n as u16)});
    let rules: Vec<Value> = (0..64).map(rule).collect();
    three.lab.policy("shop", "server", &ingress_of_server(&json!(rules)))?;
    let asked = |n: usize| {
        json_of(&three.lab, &[&format!("198.51.100.{n}"), "shop/server", &format!("{}/TCP", 1000 + n)])
    };
    let refused = || {
        let said = asked(63).ok()?;
        (0..64).any(|n| asked(n).is_ok_and(|said| said["liveDiffers"] == true)).then_some(said)
    };
    wait_for("a row is refused", ARRIVAL_PATIENCE, refused)?;
    for n in 0..64 {
        let said = asked(n)?;
        assert_eq!(said["outcome"], "allowed", "{said:#}");
        let live = &said["flows"][0]["live"][0];
        let dropped = live["ingress"]["verdict"] == "dropped";
        assert_eq!(said["liveDiffers"], dropped, "{said:#}");
        if dropped {
            let why = live["differences"][0].as_str().unwrap_or_default();
            assert!(why.contains("RULE_BUCKETS") && why.contains("the kernel refused it"), "{why}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn no_control_character_of_a_name_reaches_the_terminal() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    let evil = "\u{1b}[2J\u{202e}evil\r\n";
    let spec = json!({"podSelector": {}, "ingress": [
        {"from": [{"podSelector": {"matchLabels": {evil: evil}}}], "ports": [{"port": evil}]}]});
    // The name of the file is ours, that of the object is not.
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": evil}, "spec": spec});
    three.lab.apply_file("evil.json", &policy.to_string())?;
    three.lab.add_pod(PodSpec::new("shop", "labelled").label("x", evil))?;
    three.lab.settle()?;
    let (said, _) = text(&three.lab, &["shop/client", "shop/server", "80/TCP"])?;
    assert!(said.contains("\\u{1b}[2J\\u{202e}evil\\u{d}\\u{a}"), "escaped, not left out: {said}");
    for question in [
        vec!["shop/client", "shop/server", "80/TCP"],
        vec!["shop/labelled", "shop/server", "icmp"],
        vec!["--all", "shop"],
        vec!["shop/\u{1b}[2Jnobody", "shop/server", "80/TCP"],
        vec!["shop/\u{1b}=\u{202e}", "shop/server", "80/TCP"],
        vec!["node/\u{1b}", "shop/server", "80/TCP"],
        vec!["--all", "\u{1b}[2J"],
    ] {
        for format in ["text", "json"] {
            let output = ask(&three.lab, &[&question[..], &["-o", format]].concat())?;
            for said in [&output.stdout, &output.stderr] {
                let said = String::from_utf8_lossy(said);
                let hostile = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
                assert!(!said.contains(hostile), "{question:?}: {said:?}");
            }
        }
    }
    Ok(())
}
