//! Pins that are missing, somebody else's, or of a version that nobody knows: what they enforce goes on until the next
//! agent has made them anew.

use std::time::Duration;

use anyhow::{Context as _, Result};
use netpol_tests::damage;
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{PodSpec, Setup, eventually, figure, serve};

use super::{Alive, nothing_aside};
use crate::agent::with_filters;
use crate::setup::ALLOWED;

/// How soon it is said that a pod is not hooked.
const SAID: Duration = Duration::from_secs(15);

fn damaged(setup: Setup, what: &str) -> Result<()> {
    let mut alive = Alive::start(setup)?;
    for (what, damage) in damage::ALL {
        alive.three.lab.kill_agent();
        damage(&alive.three.lab.pins())?;
        alive.three.lab.start_agent().context(what)?;
        alive.goes_on().context(what)?;
        alive.judges().context(what)?;
        anyhow::ensure!(nothing_aside(&alive.three.lab.pins()), "{what}: tables are left aside");
    }
    figure(format_args!("{what}: {} kinds of damage", damage::ALL.len()));
    alive.end(what, false)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_full_bpffs_leaves_all_in_force_and_says_which_new_pods_it_keeps_from_being_enforced() -> Result<()> {
    let mut alive = Alive::start(Setup::default())?;
    let lab = &mut alive.three.lab;
    lab.kill_agent();
    lab.fill_pins(true);
    lab.start_agent()?;
    let late = lab.add_pod(PodSpec::new("shop", "late").label("app", "server"))?;
    let _echo = serve::tcp(&late, ALLOWED)?;
    let is_said = |alive: &Alive| {
        let status = alive.three.lab.agent().and_then(|agent| agent.status()).unwrap_or_default();
        let faults = status["faults"].to_string();
        faults.contains("cannot hook the interface") && status["ready"] == false
    };
    eventually("it is said that the new pod is not hooked", SAID, &true, || is_said(&alive)).with_context(
        || format!("{:#}", alive.three.lab.agent().and_then(|agent| agent.status()).unwrap_or_default()),
    )?;
    alive.goes_on()?;
    alive.judges()?;
    let lab = &mut alive.three.lab;
    lab.kill_agent();
    lab.fill_pins(false);
    lab.start_agent()?;
    lab.settle()?;
    expect_reached(&Probe::all(&alive.three.client, Kind::Tcp, &late.sockets(ALLOWED)))?;
    expect_dropped(&Probe::all(&alive.three.stranger, Kind::Tcp, &late.sockets(ALLOWED)))?;
    alive.end("a full bpffs", false)
}

#[test]
#[ignore = "needs root and BPF"]
fn pins_that_are_missing_or_foreign_or_of_an_unknown_version_are_made_anew_and_nothing_breaks() -> Result<()>
{
    damaged(Setup::default(), "pins truncated, foreign, of an unknown version")
}

#[test]
#[ignore = "needs root and BPF"]
fn pins_that_are_missing_or_foreign_are_made_anew_with_filters() -> Result<()> {
    damaged(with_filters(), "pins truncated or foreign, with filters")
}
