//! Two agents at once: the second one is told, and the first one goes on.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::Setup;

use super::Alive;

/// What it says of why it does not start.
fn refused(mut command: Command) -> Result<String> {
    let output = command.output().context("cannot start netpol")?;
    ensure!(!output.status.success(), "it has started");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
#[ignore = "needs root and BPF"]
fn a_second_agent_is_refused_by_any_socket_and_so_is_taking_down_what_one_works_on() -> Result<()> {
    let mut alive = Alive::start(Setup::default())?;
    let agent = alive.three.lab.agent()?;
    let elsewhere = |name: &str| {
        let mut agent = agent.clone();
        agent.socket.set_file_name(name);
        agent
    };
    for command in [agent.command(), elsewhere("second.sock").command(), agent.uninstall()] {
        let said = refused(command)?;
        ensure!(said.contains("another agent works on the pins in"), "{said}");
        alive.goes_on()?;
    }
    // Many at the same time: one of them, and it may be any.
    alive.three.lab.kill_agent();
    let mut all = Vec::new();
    for number in 0..8 {
        all.push(alive.three.lab.start(elsewhere(&format!("{number}.sock")).command())?);
    }
    alive.goes_on()?;
    let lives = netpol_tests::deadline::wait_for(
        "all but one have ended",
        netpol_tests::probe::ARRIVAL_PATIENCE,
        || {
            let lives = all.iter_mut().filter_map(|one| one.ended().is_none().then_some(())).count();
            (lives <= 1).then_some(lives)
        },
    )?;
    ensure!(lives == 1, "none of them lives");
    drop(all);
    alive.three.lab.start_agent()?;
    alive.end("two agents at once", true)
}
