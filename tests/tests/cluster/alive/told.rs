//! What agents tell of denials before they are killed, against what the kernel has counted.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netpol_tests::cluster::{Agents, Node};
use netpol_tests::command::Killed;
use netpol_tests::deadline::wait_for;
use netpol_tests::figure;
use netpol_tests::held::denied;
use netpol_tests::steady::PROBES_PER_SECOND;
use serde_json::Value;

use super::Alive;
use crate::held::pins_of;
use crate::scene::PATIENCE;

/// How often the agent of each node is killed while it is followed.
const KILLS: u64 = 3;
/// What agents may have handed on to a follower's task, which had not written it yet: of a hundredth of a second, each time.
const FEW: u64 = KILLS * PROBES_PER_SECOND as u64 / 100;
/// Between two tries to follow an agent that is not there.
const AGAIN: Duration = Duration::from_millis(5);
/// What each agent is asked for: what it has heard before, and what comes, one by one.
const FOLLOW: [&str; 9] =
    ["observe", "--follow", "--since", "1h", "--no-fold", "--reason", "policy-denied", "-o", "json"];

/// Follows the agents of a node, each from its start to its end.
struct Follower {
    node: Node,
    told: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Follower {
    fn new(agents: &Agents, node: &Node) -> Self {
        let follower = Self { node: node.clone(), told: Arc::default(), stop: Arc::default() };
        let (told, stop) = (Arc::clone(&follower.told), Arc::clone(&follower.stop));
        let (agents, node) = (agents.clone(), node.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // Until the agent ends.
                drop(hear(&agents, &node, &told));
                thread::sleep(AGAIN);
            }
        });
        follower
    }

    /// Waits until but a few denials have been told of by an agent; the counters began with the first one. Returns how many
    /// are missing, of how many.
    fn all_but_a_few(&self) -> Result<(u64, u64)> {
        let mut last = (0, 0);
        let missing = || {
            let told = self.told.load(Ordering::Relaxed);
            let counted = denied(&pins_of(&self.node)).ok()?;
            last = (counted.saturating_sub(told), counted);
            (last.0 <= FEW).then_some(())
        };
        let waited = wait_for("the denials are told of", PATIENCE, missing);
        waited.with_context(|| format!("{}: {} of {} are missing", self.node.name(), last.0, last.1))?;
        Ok(last)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn hear(agents: &Agents, node: &Node, told: &AtomicU64) -> Result<()> {
    let mut command = agents.client(node, &FOLLOW)?;
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut follower = Killed(command.spawn().context("cannot start netpol")?);
    let lines = follower.0.stdout.take().context("no output")?;
    for line in BufReader::new(lines).lines() {
        // A verdict, or a gap with how many are missing.
        let line: Value = serde_json::from_str(&line?)?;
        told.fetch_add(line["count"].as_u64().unwrap_or_default(), Ordering::Relaxed);
    }
    Ok(())
}

/// Whoever follows the agents hears of every denial, or of how many an agent had not told of when it was killed.
pub(super) fn by_agents_that_are_killed(alive: &Alive) -> Result<()> {
    let agents = &alive.scene.agents;
    let followers: Vec<_> = alive.nodes().iter().map(|node| Follower::new(agents, node)).collect();
    for _ in 0..KILLS {
        for follower in &followers {
            follower.all_but_a_few()?;
            agents.restart(&follower.node)?;
        }
    }
    for follower in &followers {
        let (missing, counted) = follower.all_but_a_few()?;
        figure(format_args!(
            "{}: of {counted} denials all but {missing} told of by an agent or said to be missing, {KILLS} of which were killed",
            follower.node.name()
        ));
    }
    Ok(())
}
