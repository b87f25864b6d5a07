//! What the reader of the reference scenarios does by hand: a debug pod, wget and nslookup in it, and the policies read back.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::objects::IMAGE;
use super::shell::{Ran, Shell};
use super::{OnCluster, split};
use crate::scenarios::Scenario;

/// The pod from which a user tests by hand.
pub(super) const DEBUG: &str = "production/debug";
/// A pod that the policies let through.
const FRONTEND: &str = "production/frontend";
const WGET: &[&str] = &["wget", "-qO-", "--timeout=3", "http://api.production.svc:8080/health"];
const NSLOOKUP: &[&str] = &["nslookup", "api.production.svc.cluster.local"];
/// Who must answer.
const ANSWER: &str = "production/api";
/// A program that gives up earlier was refused.
const PATIENCE: Duration = Duration::from_millis(2500);

/// Runs the debug pod.
pub(super) fn run_debug(shell: &Shell<'_>, node: &str) -> Result<()> {
    let (namespace, name) = split(DEBUG)?;
    let overrides = json!({"spec": {"nodeName": node, "terminationGracePeriodSeconds": 1}}).to_string();
    let (image, overrides) = (format!("--image={IMAGE}"), format!("--overrides={overrides}"));
    let flags = ["run", name, "-n", namespace, "--labels=app=debug", &image, &overrides];
    let command = ["--restart=Never", "--command", "--", "/prober", "serve", "--name", DEBUG];
    shell.run(&[&flags[..], &command].concat()).map(drop)
}

/// What must come of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Must {
    Answer,
    TimeOut,
}

/// Does it in the scenarios in which it shows something; whether it was as expected.
pub(super) fn read(stage: &OnCluster, scenario: &Scenario) -> Result<bool> {
    let shell = stage.shell();
    let api = stage.services.get("production/api").map(|all| all[0].to_string()).unwrap_or_default();
    let questions: &[(&str, &[&str], &str, Must)] = match scenario.column {
        "none" => &[(DEBUG, WGET, ANSWER, Must::Answer), (DEBUG, NSLOOKUP, &api, Must::Answer)],
        // It finds the name, and is let in no further.
        "20" => &[(DEBUG, NSLOOKUP, &api, Must::Answer), (DEBUG, WGET, ANSWER, Must::TimeOut)],
        "all" => &[
            (DEBUG, WGET, ANSWER, Must::TimeOut),
            (DEBUG, NSLOOKUP, &api, Must::TimeOut),
            (FRONTEND, WGET, ANSWER, Must::Answer),
            (FRONTEND, NSLOOKUP, &api, Must::Answer),
        ],
        _ => return Ok(true),
    };
    let mut right = true;
    for (pod, command, answer, must) in questions {
        let (namespace, name) = split(pod)?;
        let ran = shell.try_run(&[&["exec", "-n", namespace, name, "--"], *command].concat())?;
        right &= judge(&ran, answer, *must);
    }
    if scenario.column == "all" {
        right &= read_back(&shell, scenario)?;
    }
    println!();
    Ok(right)
}

fn judge(ran: &Ran, answer: &str, must: Must) -> bool {
    let seconds = ran.took.as_secs_f64();
    let answered = ran.code == Some(0) && ran.text.contains(answer);
    match must {
        Must::Answer if !answered => println!("DIFFERENT: {answer} was expected in the answer"),
        Must::TimeOut if answered => println!("DIFFERENT: no answer was expected"),
        Must::TimeOut if ran.took < PATIENCE => {
            println!("DIFFERENT: it gave up after {seconds:.1} s: it must time out, and not be refused");
        }
        Must::TimeOut => {
            println!("    (timed out after {seconds:.1} s)");
            return true;
        }
        Must::Answer => return true,
    }
    false
}

/// The policies, as the API server has them.
fn read_back(shell: &Shell<'_>, scenario: &Scenario) -> Result<bool> {
    let list = shell.run(&["get", "netpol", "-n", "production"])?;
    let described = shell.run(&["describe", "netpol", "-n", "production"])?;
    let lines = list.text.lines().filter(|line| !line.starts_with("NAME ")).count();
    let parts = described.text.lines().filter(|line| line.starts_with("Name: ")).count();
    let expected = scenario.files.len();
    if (lines, parts) != (expected, expected) {
        println!("DIFFERENT: {expected} policies were expected, {lines} are listed and {parts} described");
    }
    Ok((lines, parts) == (expected, expected))
}
