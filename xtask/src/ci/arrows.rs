//! The direction of the arrows between crates: netpol-ebpf → netpol-common ← netpol-policy ← netpol-agent ← netpol-tests.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Fine;
use crate::{process, project};

/// What a crate may know of the others.
struct Rule {
    name: &'static str,
    may_use: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule { name: "netpol-common", may_use: &[] },
    Rule { name: "netpol-ebpf", may_use: &["netpol-common"] },
    Rule { name: "netpol-policy", may_use: &["netpol-common"] },
    // The programs are no library of the agent: its build script compiles them, and must know when they change.
    Rule { name: "netpol-agent", may_use: &["netpol-common", "netpol-policy", "netpol-ebpf (build)"] },
    Rule {
        name: "netpol-tests",
        may_use: &["netpol-common", "netpol-policy", "netpol-agent", "netpol-image", "netpol-prober"],
    },
    Rule { name: "netpol-prober", may_use: &[] },
    Rule { name: "netpol-vm", may_use: &[] },
    Rule { name: "netpol-image", may_use: &[] },
    Rule { name: "xtask", may_use: &["netpol-image"] },
];

/// What the pure core must not reach, directly or through another crate: the kernel, the API server, tasks, flags.
const NOT_IN_THE_CORE: &[&str] =
    &["aya", "aya-obj", "kube", "kube-client", "kube-runtime", "tokio", "clap", "hyper"];

/// What the code that runs in the kernel and everywhere else may use from outside: layouts of plain data.
const COMMON_MAY_USE: &[&str] = &["bytemuck", "zerocopy"];

pub(crate) fn check(members: &[Value]) -> Result<Fine> {
    let mut wrong = Vec::new();
    for member in members {
        let name = text(member, "name")?;
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
            wrong.push(format!("{name} has no rule: add it to xtask/src/ci/arrows.rs"));
            continue;
        };
        for dependency in member["dependencies"].as_array().context("a package without dependencies")? {
            let used = text(dependency, "name")?;
            // "normal" is told as null.
            let kind = dependency["kind"].as_str().unwrap_or("normal");
            let is_ours = dependency["path"].is_string();
            let as_written = if kind == "build" { format!("{used} (build)") } else { used.to_owned() };
            if is_ours && !rule.may_use.contains(&as_written.as_str()) {
                wrong.push(format!("{name} must not depend on {as_written}"));
            }
            if !is_ours && name == "netpol-common" && kind != "dev" && !COMMON_MAY_USE.contains(&used) {
                wrong.push(format!("netpol-common must not depend on {used}: it is compiled for the kernel"));
            }
        }
    }
    for reached in core_reaches()? {
        wrong.push(format!(
            "netpol-policy reaches {reached}: see `cargo tree --package netpol-policy --edges normal --invert {reached}`"
        ));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    Ok(Fine::Checked(format!("between {} crates", members.len())))
}

/// The forbidden crates among everything that `netpol-policy` is compiled with.
fn core_reaches() -> Result<BTreeSet<&'static str>> {
    let mut tree = project::cargo();
    tree.args(["tree", "--locked", "--package", "netpol-policy", "--edges", "normal", "--prefix", "none"]);
    let text = process::read(tree.args(["--format", "{p}"]))?;
    let names: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    Ok(NOT_IN_THE_CORE.iter().copied().filter(|name| names.contains(name)).collect())
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field].as_str().with_context(|| format!("`cargo metadata` gives no {field}"))
}
