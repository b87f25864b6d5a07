//! Agents that end between any two operations of theirs, one after the other: each starts from what the one before has left
//! half written, and gets one operation further.

use anyhow::{Context as _, Result, ensure};
use netpol_tests::laboratory::{agent_binary, other_agent_binary};
use netpol_tests::{Setup, figure};

use super::{Alive, change, nothing_aside};
use crate::agent::with_filters;

/// No start has more operations than this.
const MOST: u32 = 400;

/// Agents until one of them is ready; returns how many have ended on the way.
fn one_further_each(alive: &mut Alive) -> Result<u32> {
    for operations in 0..MOST {
        let ended = alive.three.lab.agent_that_ends_after(operations)?;
        alive.nothing_has_passed().with_context(|| format!("after {operations} operations"))?;
        if !ended {
            return Ok(operations);
        }
        if operations % 20 == 0 {
            alive.goes_on().with_context(|| format!("after {operations} operations"))?;
        }
    }
    anyhow::bail!("no agent came to an end with {MOST} operations")
}

/// While the layout of the tables changes, and then while policies do.
fn end_between_operations(setup: Setup, what: &str) -> Result<()> {
    let mut alive = Alive::start(setup)?;
    alive.three.lab.kill_agent();
    alive.three.lab.use_agent(other_agent_binary()?);
    let mut ended = one_further_each(&mut alive).context("another layout")?;
    alive.three.lab.start_agent()?;
    ensure!(nothing_aside(&alive.three.lab.pins()), "tables are left aside");
    alive.judges()?;
    for turn in 0..2 {
        alive.three.lab.kill_agent();
        change(&mut alive.three.lab, turn)?;
        ended += one_further_each(&mut alive).with_context(|| format!("other policies, turn {turn}"))?;
        alive.three.lab.start_agent()?;
        alive.judges()?;
    }
    alive.three.lab.kill_agent();
    alive.three.lab.use_agent(agent_binary()?);
    alive.three.lab.start_agent()?;
    figure(format_args!("{what}: {ended} agents ended, each one operation further"));
    alive.end(what, false)
}

#[test]
#[ignore = "needs root and BPF"]
fn agents_that_end_between_any_two_operations_break_nothing_and_let_nothing_pass() -> Result<()> {
    end_between_operations(Setup::default(), "agents end between any two operations")
}

#[test]
#[ignore = "needs root and BPF"]
fn agents_that_end_between_any_two_operations_break_nothing_with_filters() -> Result<()> {
    end_between_operations(with_filters(), "agents with filters end between any two operations")
}
