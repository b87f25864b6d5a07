//! Agents that are killed, of another version, or started again without an API server.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use netpol_tests::cluster;
use netpol_tests::laboratory::other_agent_binary;

use super::{Alive, brief, told};
use crate::faults::Dead;

/// How often the agents are killed.
const KILLS: usize = 100;
/// In a brief run.
const FEW_KILLS: usize = 20;
/// How long the API server is away.
const AWAY: Duration = Duration::from_mins(2);
/// In a brief run.
const SHORTLY_AWAY: Duration = Duration::from_secs(15);
/// The longest that an agent lives that is killed.
const LIFE: Duration = Duration::from_secs(2);

#[test]
#[ignore = "needs a cluster"]
fn agents_that_are_killed_at_random_instants_break_nothing_and_let_nothing_pass() -> Result<()> {
    let _guard = cluster::exclusive();
    let kills = if brief() { FEW_KILLS } else { KILLS };
    Alive::build("killed")?.through(
        &format!("agents of both nodes killed at {kills} random instants"),
        |alive| {
            let agents = alive.scene.agents.clone();
            told::by_agents_that_are_killed(alive)?;
            for _ in 0..kills {
                for node in alive.nodes() {
                    agents.kill(&node)?;
                    agents.launch(&node)?;
                }
                thread::sleep(LIFE.mul_f64(fastrand::f64()));
            }
            alive.nodes().iter().try_for_each(|node| agents.restart(node))
        },
    )
}

#[test]
#[ignore = "needs a cluster"]
fn an_upgrade_and_a_downgrade_across_another_layout_break_nothing_and_let_nothing_pass() -> Result<()> {
    let _guard = cluster::exclusive();
    let other = other_agent_binary()?;
    Alive::build("layouts")?.through("upgrade and downgrade across another layout", |alive| {
        let agents = alive.scene.agents.clone();
        for node in alive.nodes() {
            agents.kill(&node)?;
            agents.launch_program(&node, &other)?;
            agents.ready(&node)?;
            alive.goes_on()?;
        }
        alive.nodes().iter().try_for_each(|node| agents.restart(node))
    })
}

#[test]
#[ignore = "needs a cluster"]
fn agents_that_start_again_while_the_api_server_is_away_break_nothing_and_let_nothing_pass() -> Result<()> {
    let _guard = cluster::exclusive();
    let away = if brief() { SHORTLY_AWAY } else { AWAY };
    let what = format!("the API server away for {} s, agents restarted meanwhile", away.as_secs());
    Alive::build("away")?.through(&what, |alive| {
        let agents = alive.scene.agents.clone();
        let cluster = alive.scene.cluster.clone();
        let dead = Dead::new(&cluster)?;
        for node in alive.nodes() {
            agents.kill(&node)?;
            agents.launch(&node)?;
        }
        thread::sleep(away);
        alive.goes_on()?;
        drop(dead);
        alive.nodes().iter().try_for_each(|node| agents.ready(node))
    })
}
