//! Agents of two versions follow each other, whose tables have different layouts: pod by pod the next one takes over, with
//! the connections that are open.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::laboratory::{agent_binary, other_agent_binary};
use netpol_tests::{Setup, eventually};
use serde_json::Value;

use super::{Alive, nothing_aside};
use crate::agent::with_filters;

/// How long the next agent may take for all pods.
const SWITCHED: Duration = Duration::from_secs(20);

/// What happens to the pins while no agent runs.
type Meanwhile = fn(&mut Alive) -> Result<()>;

fn nothing(_: &mut Alive) -> Result<()> {
    Ok(())
}

/// The next agent cannot read the flows of the one before. As pods of the laboratory hang on a bridge, it asks their sockets
/// where netfilter does not see what passes that.
fn flows_are_lost(alive: &mut Alive) -> Result<()> {
    Ok(fs::remove_file(alive.three.lab.pins().join("maps/HASHING"))?)
}

/// Where the open connections of each pod were taken from.
fn taken(alive: &Alive) -> Result<Vec<Value>> {
    let status = alive.three.lab.agent()?.status()?;
    let lines = status["endpoints"].as_array().cloned().unwrap_or_default();
    Ok(lines.iter().map(|line| line["takenOver"].clone()).collect())
}

fn follow_each_other(setup: Setup, meanwhile: Meanwhile, from: &[&str], what: &str) -> Result<()> {
    let (own, other): (PathBuf, PathBuf) = (agent_binary()?, other_agent_binary()?);
    let mut alive = Alive::start(setup)?;
    for (turn, next) in [&other, &own, &other, &own].into_iter().enumerate() {
        alive.three.lab.kill_agent();
        meanwhile(&mut alive)?;
        alive.three.lab.use_agent(next.clone());
        alive.three.lab.start_agent().with_context(|| format!("turn {turn}"))?;
        let pins = alive.three.lab.pins();
        eventually("the tables of the one before are gone", SWITCHED, &true, || nothing_aside(&pins))
            .with_context(|| alive.three.lab.agent().map(|agent| agent.log()).unwrap_or_default())?;
        alive.goes_on().with_context(|| format!("turn {turn}"))?;
        alive.judges().with_context(|| format!("turn {turn}"))?;
        // Of both ends.
        let taken = taken(&alive)?;
        let from_there: u64 =
            taken.iter().flat_map(|taken| from.iter().filter_map(|from| taken[from].as_u64())).sum();
        ensure!(from_there >= 400, "not all were taken over from {from:?} in turn {turn}: {taken:?}");
    }
    alive.end(what, false)
}

#[test]
#[ignore = "needs root and BPF"]
fn an_upgrade_and_a_downgrade_across_another_layout_break_nothing_and_let_nothing_pass() -> Result<()> {
    follow_each_other(
        Setup::default(),
        nothing,
        &["table"],
        "upgrade and downgrade across another layout, twice",
    )
}

#[test]
#[ignore = "needs root and BPF"]
fn an_upgrade_and_a_downgrade_across_another_layout_break_nothing_with_filters() -> Result<()> {
    follow_each_other(with_filters(), nothing, &["table"], "upgrade and downgrade with filters, twice")
}

#[test]
#[ignore = "needs root and BPF"]
fn an_upgrade_and_a_downgrade_that_cannot_read_the_flows_take_them_from_conntrack_or_sockets() -> Result<()> {
    follow_each_other(
        Setup::default(),
        flows_are_lost,
        &["conntrack", "sockets"],
        "upgrade and downgrade by conntrack and sockets alone, twice",
    )
}
