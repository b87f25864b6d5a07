//! kubectl as a reader would type it: the command is printed, then what it says.

use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use netpol_tests::Namespace;
use netpol_tests::cluster::Cluster;
use serde_json::{Value, json};

/// The namespace that policies without one are meant for.
const NAMESPACE: &str = "production";

/// Runs kubectl against a cluster.
pub(super) struct Shell<'a>(&'a Cluster);

/// What came of a command.
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    /// Both streams.
    pub(super) text: String,
    pub(super) took: Duration,
}

impl<'a> Shell<'a> {
    pub(super) const fn new(cluster: &'a Cluster) -> Self {
        Self(cluster)
    }

    /// Runs kubectl, whatever comes of it.
    pub(super) fn try_run(&self, arguments: &[&str]) -> Result<Ran> {
        println!("$ kubectl {}", arguments.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(" "));
        let start = Instant::now();
        let mut command = self.0.kubectl_command(arguments)?;
        Namespace::die_with_thread(&mut command);
        let Output { status, stdout, stderr } = command.output().context("cannot start kubectl")?;
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        print!("{text}");
        if !text.is_empty() && !text.ends_with('\n') {
            println!();
        }
        Ok(Ran { code: status.code(), text, took: start.elapsed() })
    }

    /// Runs kubectl, which must succeed.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<Ran> {
        let ran = self.try_run(arguments)?;
        match ran.code {
            Some(0) => Ok(ran),
            _ => bail!("`kubectl {}` failed: {}", arguments.join(" "), ran.text.trim()),
        }
    }

    /// Applies or deletes files. One that names no namespace is meant for production.
    pub(super) fn files(&self, verb: &str, paths: &[String]) -> Result<()> {
        let mut arguments = vec![verb, "-n", NAMESPACE];
        for path in paths {
            arguments.extend(["-f", path]);
        }
        self.run(&arguments).map(drop)
    }

    /// Applies objects that are in no file; said in words, as they would fill the screen.
    pub(super) fn apply(&self, what: &str, objects: &[Value]) -> Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        println!("$ kubectl apply -f -    # {what}");
        self.0.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())
    }
}

/// An argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+".contains(c);
    if argument.chars().all(plain) { argument.to_owned() } else { format!("'{argument}'") }
}
