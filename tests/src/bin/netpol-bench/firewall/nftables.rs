//! nftables with sets, and a map of verdicts from a pod's address to its chain; in that a rule per policy that selects the
//! pod; in the policy's chain a rule per port, for what comes from the set of its peers.

use std::fmt::Write as _;

use anyhow::Result;

use super::engine::Run;
use super::rules::{LOCAL, Policy, Rules};

/// Reads everything into one transaction.
const NFT: &[&str] = &["nft", "-f", "-"];
const TABLE: &str = "ip firewall";

/// Everything.
pub(super) fn load(rules: &Rules) -> Result<Vec<Run>> {
    let mut text = format!("table {TABLE} {{\n");
    for policy in &rules.policies {
        let number = policy.number;
        writeln!(
            text,
            "set peers-{number} {{ type ipv4_addr; elements = {{ {} }}; }}",
            peers(rules, policy)
        )?;
        writeln!(text, "chain policy-{number} {{\n{}}}", lines(policy, "")?)?;
    }
    let mut pods = Vec::new();
    for (number, pod) in LOCAL.iter().enumerate() {
        writeln!(text, "chain pod-{number} {{")?;
        for policy in &rules.policies {
            writeln!(text, "jump policy-{}", policy.number)?;
        }
        writeln!(text, "drop\n}}")?;
        pods.push(format!("{pod} : jump pod-{number}"));
    }
    writeln!(text, "map pods {{ type ipv4_addr : verdict; elements = {{ {} }}; }}", pods.join(", "))?;
    text.push_str(
        "chain forward {
         type filter hook forward priority filter; policy accept;
         ct state established,related accept
         ip daddr vmap @pods
         }\n}\n",
    );
    Ok(vec![Run { arguments: NFT, input: text }])
}

/// One policy that has changed: what its set and its chain hold is exchanged.
pub(super) fn update(rules: &Rules, policy: &Policy) -> Result<Vec<Run>> {
    let number = policy.number;
    let mut text = format!("flush chain {TABLE} policy-{number}\nflush set {TABLE} peers-{number}\n");
    writeln!(text, "add element {TABLE} peers-{number} {{ {} }}", peers(rules, policy))?;
    text.push_str(&lines(policy, &format!("add rule {TABLE} policy-{number} "))?);
    Ok(vec![Run { arguments: NFT, input: text }])
}

/// Nothing any more.
pub(super) fn unload() -> Vec<Run> {
    vec![Run { arguments: NFT, input: format!("delete table {TABLE}\n") }]
}

fn peers(rules: &Rules, policy: &Policy) -> String {
    policy.peers(rules).map(|peer| peer.to_string()).collect::<Vec<_>>().join(", ")
}

fn lines(policy: &Policy, before: &str) -> Result<String> {
    let mut lines = String::new();
    for port in &policy.ports {
        writeln!(lines, "{before}ip saddr @peers-{} tcp dport {port} accept", policy.number)?;
    }
    Ok(lines)
}
