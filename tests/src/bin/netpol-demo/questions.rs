//! What netpol itself says about what happened: the verdict of a denied and of an allowed flow, and why.

use std::process::Output;

use anyhow::{Context as _, Result};

use crate::cluster::Cluster;

/// Prints the answers; whether they were as expected.
pub(crate) fn ask(cluster: &Cluster) -> Result<bool> {
    let mut right = true;
    let observed = run(cluster, &["observe"])?;
    let text = String::from_utf8_lossy(&observed.stdout).into_owned();
    println!("\n$ netpol observe");
    for (what, ends) in [
        ("a denied flow", ["production/debug", "production/api"]),
        ("an allowed flow", ["production/frontend", "production/api"]),
    ] {
        let denied = what == "a denied flow";
        let line = text.lines().rev().find(|line| {
            let lower = line.to_lowercase();
            ends.iter().all(|end| line.contains(end))
                && (lower.contains("drop") || lower.contains("denied")) == denied
        });
        if let Some(line) = line {
            println!("{line}");
        } else {
            println!("DIFFERENT: no line of {what} from {} to {}", ends[0], ends[1]);
            right = false;
        }
    }
    for (from, code) in [("production/frontend", 0), ("production/debug", 1)] {
        let question = ["explain", from, "production/api", "8080/TCP"];
        println!("\n$ netpol {}", question.join(" "));
        let output = run(cluster, &question)?;
        print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.code() != Some(code) {
            println!("DIFFERENT: expected exit code {code}, seen {}", output.status);
            right = false;
        }
    }
    Ok(right)
}

fn run(cluster: &Cluster, arguments: &[&str]) -> Result<Output> {
    cluster.lab.agent()?.client(arguments).output().context("cannot start netpol")
}
