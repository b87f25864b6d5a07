//! Other engines on the node, by the chains that they make.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use netpol_tests::{Laboratory, Link, command, eventually};
use serde_json::{Value, json};

use crate::setup::Three;

/// They are looked for every half a minute.
const SAID: Duration = Duration::from_secs(45);

fn run(lab: &Laboratory, program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    lab.node.enter(&mut command);
    command::feed_command(command, "")
}

fn enforcers(lab: &Laboratory) -> Value {
    let status = lab.agent().and_then(|agent| agent.status()).unwrap_or_default();
    status.get("enforcers").cloned().unwrap_or_else(|| json!([]))
}

#[test]
#[ignore = "needs root and BPF"]
fn another_engine_is_named_by_its_chains_while_they_are_there() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    // What kube-proxy makes is no engine.
    run(&three.lab, "nft", &["add table ip kube-proxy; add chain ip kube-proxy KUBE-FORWARD"])?;
    assert_eq!(enforcers(&three.lab), json!([]));
    let log = |lab: &Laboratory| lab.agent().map(|agent| agent.log()).unwrap_or_default();
    assert!(!log(&three.lab).contains("another engine"));

    run(
        &three.lab,
        "nft",
        &["add table inet kube-network-policies; add chain inet kube-network-policies forward"],
    )?;
    run(&three.lab, "iptables-nft", &["-N", "cali-FORWARD"])?;
    run(&three.lab, "ip6tables-nft", &["-N", "cali-FORWARD"])?;
    run(&three.lab, "iptables-legacy", &["-N", "WEAVE-NPC"])?;
    run(&three.lab, "ip6tables-legacy", &["-N", "WEAVE-NPC"])?;
    let rules = run(&three.lab, "nft", &["list", "ruleset"])?;
    three.lab.kill_agent();
    three.lab.start_agent()?;
    let all = json!([
        {"engine": "Calico", "traces": ["chains cali-* of the table ip filter", "chains cali-* of the table ip6 filter"]},
        {"engine": "Weave Net", "traces": ["chains WEAVE-NPC* of the table ip filter", "chains WEAVE-NPC* of the table ip6 filter"]},
        {"engine": "kube-network-policies", "traces": ["the table inet kube-network-policies of nftables"]},
    ]);
    eventually("all are named at the start", SAID, &all, || enforcers(&three.lab))?;
    assert!(
        log(&three.lab).contains("another engine seems to enforce policies on this node"),
        "{}",
        log(&three.lab)
    );
    let text = three.lab.agent()?.client(&["status"]).output()?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("a packet must pass both engines"), "{text}");
    assert_eq!(three.lab.agent()?.status()?["ready"], true, "a warning");
    assert_eq!(run(&three.lab, "nft", &["list", "ruleset"])?, rules, "nothing of theirs is changed");

    run(&three.lab, "nft", &["delete table inet kube-network-policies"])?;
    for program in ["iptables-nft", "ip6tables-nft"] {
        run(&three.lab, program, &["-X", "cali-FORWARD"])?;
    }
    for program in ["iptables-legacy", "ip6tables-legacy"] {
        run(&three.lab, program, &["-X", "WEAVE-NPC"])?;
    }
    eventually("nothing is named any more", SAID, &json!([]), || enforcers(&three.lab))?;
    assert!(log(&three.lab).contains("nothing is left of another engine"), "{}", log(&three.lab));
    Ok(())
}
