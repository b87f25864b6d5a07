//! What somebody else does at tc on this host: a classifier that is taken off is attached again, and whatever may take
//! packets past ours is said.

mod held;
mod program;

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use netpol_agent::datapath::{Side, tcx_programs};
use netpol_tests::bpf::detach;
use netpol_tests::deadline::wait_for;
use netpol_tests::probe::{ARRIVAL_PATIENCE, DROP_PATIENCE, exchange, expect_dropped, expect_reached};
use netpol_tests::{Laboratory, Link, Outcome, Pod, Setup, eventually};
use serde_json::Value;

use self::program::{What, attach, index, tc};
use crate::setup::{ALLOWED, GRANTED, Three, from_client, ingress_of_server};

/// Within this time a hook that is off is to be back.
const REPAIRED: Duration = Duration::from_secs(5);
/// How long something may take to be said: it is looked at every ten seconds, and then it must stay so for three.
const SAID: Duration = Duration::from_secs(20);

/// The server is isolated, and only the client may call it.
fn isolated(setup: Setup) -> Result<Three> {
    let mut three = Three::with(setup)?;
    expect_reached(&three.all_protocols(&three.stranger, ALLOWED))?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    Ok(three)
}

fn with_filters() -> Setup {
    Setup { agent_flags: ["--attach", "filter"].map(str::to_owned).to_vec(), ..Setup::default() }
}

fn without_sys_admin() -> Setup {
    Setup { agent_capabilities: Some(GRANTED.to_vec()), ..Setup::default() }
}

fn status(lab: &Laboratory) -> Result<Value> {
    lab.agent()?.status()
}

/// The server's classifiers of both directions, as they are now.
type Carried = dyn Fn(&Laboratory, &Pod) -> Result<[usize; 2]>;

fn by_links(lab: &Laboratory, pod: &Pod) -> Result<[usize; 2]> {
    let ifindex = index(&lab.node, &pod.host_interface)?;
    let count = |side| -> Result<usize> { Ok(lab.node.run(|| tcx_programs(ifindex, side))??.len()) };
    Ok([count(Side::Egress)?, count(Side::Ingress)?])
}

fn by_filters(lab: &Laboratory, pod: &Pod) -> Result<[usize; 2]> {
    let count = |side: &str| -> Result<usize> {
        let said = tc(&lab.node, &["filter", "show", "dev", &pod.host_interface, side])?;
        Ok(said.lines().filter(|line| line.contains("netpol_entry")).count())
    };
    Ok([count("egress")?, count("ingress")?])
}

/// `off`: takes the server's ingress off, at least.
fn attached_again(
    setup: Setup,
    carried: &Carried,
    off: &dyn Fn(&Laboratory, &Pod) -> Result<()>,
) -> Result<()> {
    let three = isolated(setup)?;
    let denied = three.all_protocols(&three.stranger, ALLOWED);
    expect_dropped(&denied)?;
    assert_eq!(carried(&three.lab, &three.server)?, [1, 1]);
    assert_eq!(status(&three.lab)?["hooksRepaired"], 0);

    // While the agent stands still, it is seen what its absence means.
    three.lab.freeze_agent()?;
    off(&three.lab, &three.server)?;
    assert_eq!(carried(&three.lab, &three.server)?[0], 0, "it is off");
    expect_reached(&denied)?;
    let mut between = Vec::new();
    for to in three.server.sockets(ALLOWED) {
        let stream = three.stranger.connect(to, ARRIVAL_PATIENCE);
        between.push(stream.map_err(|outcome| anyhow!("cannot connect to {to}: {outcome:?}"))?);
    }
    for stream in &mut between {
        assert_eq!(exchange(stream, ARRIVAL_PATIENCE), Outcome::Reached);
    }

    three.lab.thaw_agent()?;
    let took = eventually("it is attached again", REPAIRED, &[1, 1], || {
        carried(&three.lab, &three.server).unwrap_or_default()
    })?;
    println!("attached again after {took:?}");
    expect_dropped(&denied)?;
    // What opened in between is judged by who opened it, although the server has spoken since.
    for stream in &mut between {
        assert_eq!(exchange(stream, DROP_PATIENCE), Outcome::TimedOut);
    }
    expect_reached(&three.all_protocols(&three.client, ALLOWED))?;

    let said = status(&three.lab)?;
    let lines = said["repaired"].as_array().context("nothing is said of it")?;
    assert!(
        lines.iter().any(|line| line["pod"] == "shop/server" && line["direction"] == "ingress"),
        "{lines:?}"
    );
    assert!(said["hooksRepaired"].as_u64() >= Some(1) && said["ready"] == true, "{said:#}");
    let log = three.lab.agent()?.log();
    assert!(log.contains("somebody had taken the classifier off a pod's interface"), "{log}");
    // As long as it takes while the agent runs.
    let count = || status(&three.lab).unwrap_or_default()["hooksRepaired"].as_u64();
    let before = count();
    off(&three.lab, &three.server)?;
    let took = eventually("it is attached once more", REPAIRED, &true, || {
        count() > before && carried(&three.lab, &three.server).unwrap_or_default() == [1, 1]
    })?;
    println!("attached once more after {took:?}");
    expect_dropped(&denied)?;
    let text = three.lab.agent()?.client(&["status"]).output()?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("Taken off by somebody, and attached again:\n  shop/server "), "{text}");
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn a_classifier_whose_link_somebody_detaches_is_attached_again() -> Result<()> {
    attached_again(Setup::default(), &by_links, &|lab, pod| {
        // Each pin until it is the one: the agent cannot say now which slot is the server's.
        for entry in std::fs::read_dir(lab.pins().join("links"))? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with("-ingress") && by_links(lab, pod)?[0] != 0 {
                detach(&path)?;
            }
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs root and BPF"]
fn a_classifier_whose_queueing_discipline_somebody_deletes_is_attached_again() -> Result<()> {
    attached_again(with_filters(), &by_filters, &|lab, pod| {
        tc(&lab.node, &["qdisc", "del", "dev", &pod.host_interface, "clsact"]).map(drop)
    })
}

#[test]
#[ignore = "needs root and BPF"]
fn a_classifier_whose_filter_somebody_deletes_is_attached_again() -> Result<()> {
    attached_again(with_filters(), &by_filters, &|lab, pod| {
        tc(&lab.node, &["filter", "del", "dev", &pod.host_interface, "egress"]).map(drop)
    })
}

/// What is said of the server in `unenforced`: causes and messages.
fn unenforced(lab: &Laboratory) -> Vec<(String, String)> {
    let status = status(lab).unwrap_or_default();
    let lines = status["unenforced"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_server = lines.iter().filter(|line| line["pod"] == "shop/server");
    of_server.map(|line| (text(&line["cause"]), text(&line["message"]))).collect()
}

fn said_while_ahead(setup: Setup, named: bool) -> Result<()> {
    let three = isolated(setup)?;
    let denied = three.all_protocols(&three.stranger, ALLOWED);
    expect_dropped(&denied)?;
    assert_eq!(unenforced(&three.lab), []);
    let foreign = attach(&three.lab.node, &three.server.host_interface, What::FirstAtEgress)?;
    // It lets everything pass, and nobody behind it is asked.
    expect_reached(&denied)?;
    let (cause, message) = wait_for("it is said", SAID, || unenforced(&three.lab).into_iter().next())?;
    assert_eq!(cause, "program-ahead");
    assert!(message.contains("TCX egress program "), "{message}");
    assert_eq!(message.contains("(somebody)"), named, "{message}");
    assert_eq!(status(&three.lab)?["ready"], true);
    drop(foreign);
    eventually("it is taken back", SAID, &true, || unenforced(&three.lab).is_empty())?;
    expect_dropped(&denied)?;
    expect_reached(&three.all_protocols(&three.client, ALLOWED))
}

#[test]
#[ignore = "needs root and BPF"]
fn a_program_ahead_of_ours_is_said_as_long_as_it_is_there() -> Result<()> {
    said_while_ahead(Setup::default(), true)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_program_ahead_of_our_filters_is_said_as_long_as_it_is_there() -> Result<()> {
    said_while_ahead(with_filters(), true)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_program_ahead_of_ours_is_said_with_the_rights_that_the_daemonset_has() -> Result<()> {
    said_while_ahead(without_sys_admin(), false)
}

/// The line on programs of others on this host, without what it means.
fn others(lab: &Laboratory) -> Option<String> {
    let status = status(lab).ok()?;
    let faults = status["faults"].as_array()?;
    let line = faults.iter().filter_map(Value::as_str).find(|line| line.starts_with("programs of others"))?;
    Some(line.split_once('(')?.1.split_once("): ")?.0.to_owned())
}

/// The programs in that line, without their numbers.
fn listed(lab: &Laboratory) -> Vec<String> {
    let line = others(lab).unwrap_or_default();
    let plain = |word: &&str| word.parse::<u32>().is_err();
    let parts = line.split(", ").filter(|part| !part.is_empty());
    parts.map(|part| part.split(' ').filter(plain).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
#[ignore = "needs root and BPF"]
fn programs_of_others_that_could_redirect_into_pods_are_said_of_the_node() -> Result<()> {
    let three = isolated(Setup { link: Link::Bridge, ..Setup::default() })?;
    let denied = three.all_protocols(&three.stranger, ALLOWED);
    let node = &three.lab.node;
    let mut attached = vec![attach(node, "eth0", What::Xdp)?, attach(node, "eth0", What::AtIngress)?];
    // Behind our own, it sees only what ours lets pass.
    attached.push(attach(node, &three.server.host_interface, What::LastAtEgress)?);
    // Nothing of ours is among them.
    let mut expected = vec![
        "eth0: XDP program (somebody)".to_owned(),
        "eth0: TCX ingress program (somebody)".to_owned(),
        format!("{}: TCX egress program (somebody)", three.server.host_interface),
    ];
    eventually("all of them are said", SAID, &expected, || listed(&three.lab))?;
    let said = status(&three.lab)?;
    assert_eq!(said["ready"], true, "a warning");
    assert_eq!(unenforced(&three.lab), [], "none of them takes packets first");
    expect_dropped(&denied)?;
    expect_reached(&three.all_protocols(&three.client, ALLOWED))?;
    let log = three.lab.agent()?.log();
    assert!(log.contains("programs of others on this host's interfaces"), "{log}");
    drop(attached.remove(0));
    expected.remove(0);
    eventually("one is taken back", SAID, &expected, || listed(&three.lab))?;
    attached.clear();
    eventually("all are taken back", SAID, &None, || others(&three.lab))?;
    expect_dropped(&denied)
}
