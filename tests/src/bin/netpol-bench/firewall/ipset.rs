//! iptables with sets of ipset, as kube-router writes them: a chain per pod, reached by a rule with its address; in it a rule
//! per policy that selects the pod; in the policy's chain a rule per port, for what comes from the set of its peers.
//!
//! `iptables-restore` is what the distribution has under this name: with Debian the one that writes nftables' rules.

use std::fmt::Write as _;

use anyhow::Result;

use super::engine::Run;
use super::rules::{LOCAL, Policy, Rules};

/// Reads sets.
const SETS: &[&str] = &["ipset", "restore"];
/// Reads chains and replaces all of the table.
const ALL: &[&str] = &["iptables-restore", "--wait"];
/// Reads chains and replaces those that it names.
const SOME: &[&str] = &["iptables-restore", "--wait", "--noflush"];

/// Everything.
pub(super) fn load(rules: &Rules) -> Result<Vec<Run>> {
    let (mut sets, mut chains, mut lines) = (String::new(), String::new(), String::new());
    for policy in &rules.policies {
        let name = peers_of(policy);
        create(&mut sets, &name, policy, rules)?;
        writeln!(chains, ":{} -", chain_of(policy))?;
        append_policy(&mut lines, policy)?;
    }
    lines.push_str("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n");
    for (number, pod) in LOCAL.iter().enumerate() {
        writeln!(chains, ":POD-{number} -")?;
        writeln!(lines, "-A FORWARD -d {pod}/32 -j POD-{number}")?;
        for policy in &rules.policies {
            writeln!(lines, "-A POD-{number} -j {}", chain_of(policy))?;
        }
        writeln!(lines, "-A POD-{number} -j DROP")?;
    }
    Ok(vec![
        Run { arguments: SETS, input: sets },
        Run { arguments: ALL, input: format!("*filter\n{chains}{lines}COMMIT\n") },
    ])
}

/// One policy that has changed: its set is exchanged as a whole, then its chain.
pub(super) fn update(rules: &Rules, policy: &Policy) -> Result<Vec<Run>> {
    let mut sets = String::new();
    create(&mut sets, "fresh", policy, rules)?;
    writeln!(sets, "swap fresh {}\ndestroy fresh", peers_of(policy))?;
    let mut lines = String::new();
    append_policy(&mut lines, policy)?;
    let chain = format!("*filter\n:{} -\n{lines}COMMIT\n", chain_of(policy));
    Ok(vec![Run { arguments: SETS, input: sets }, Run { arguments: SOME, input: chain }])
}

/// Nothing any more. The sets stay: without a rule that asks them no packet sees them.
pub(super) fn unload() -> Vec<Run> {
    vec![Run { arguments: ALL, input: "*filter\n:FORWARD ACCEPT\nCOMMIT\n".to_owned() }]
}

fn chain_of(policy: &Policy) -> String {
    format!("POLICY-{}", policy.number)
}

fn peers_of(policy: &Policy) -> String {
    format!("peers-{}", policy.number)
}

/// With the smallest table that the kernel makes: with that of ipset's own choice a thousand sets fill the caches.
fn create(sets: &mut String, name: &str, policy: &Policy, rules: &Rules) -> Result<()> {
    writeln!(sets, "create {name} hash:ip family inet hashsize 64")?;
    for peer in policy.peers(rules) {
        writeln!(sets, "add {name} {peer}")?;
    }
    Ok(())
}

fn append_policy(lines: &mut String, policy: &Policy) -> Result<()> {
    let (chain, peers) = (chain_of(policy), peers_of(policy));
    for port in &policy.ports {
        writeln!(lines, "-A {chain} -p tcp -m set --match-set {peers} src -m tcp --dport {port} -j ACCEPT")?;
    }
    Ok(())
}
