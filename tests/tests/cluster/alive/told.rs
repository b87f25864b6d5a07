//! What agents tell of denials before they are killed, against what the kernel has counted.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{Agents, Node};
use netpol_tests::command::Killed;
use netpol_tests::figure;
use netpol_tests::held::denied;
use netpol_tests::steady::PROBES_PER_SECOND;
use serde_json::Value;

use super::Alive;
use crate::held::pins_of;
use crate::scene::PATIENCE;

/// How often the agent of each node is killed while it is followed.
const KILLS: u64 = 3;
/// What may stand in an agent's log and not have been written to its follower: of a hundredth of a second, each time.
const FEW: u64 = KILLS * PROBES_PER_SECOND as u64 / 100;
/// How long to look for an instant at which none is on its way.
const SETTLES: Duration = Duration::from_secs(5);
/// Between two tries to follow an agent that is not there.
const AGAIN: Duration = Duration::from_millis(5);
/// What each agent is asked for: what it has heard before, and what comes, one by one.
const FOLLOW: [&str; 9] =
    ["observe", "--follow", "--since", "1h", "--no-fold", "--reason", "policy-denied", "-o", "json"];

/// Denials that a follower has heard of, one by one or as a number of which nothing else is known.
#[derive(Default)]
struct Told {
    verdicts: AtomicU64,
    missing: AtomicU64,
}

/// Follows the agents of a node, each from its start to its end.
struct Follower {
    node: Node,
    told: Arc<Told>,
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

    /// Waits for an instant at which each denial that the kernel has counted is told of; the counters began with the first
    /// agent. More come all the time, so what is once lost unsaid stays behind for ever. Returns how many are told of, how
    /// many said to be missing, and how many lost unsaid.
    fn all(&self) -> Result<(u64, u64, u64)> {
        let mut last = (0, 0, u64::MAX);
        let began = Instant::now();
        while last.2 > 0 && began.elapsed() < if last.2 > FEW { PATIENCE } else { SETTLES } {
            let (told, missing) = self.told.load();
            let unsaid = denied(&pins_of(&self.node))?.saturating_sub(told + missing);
            last = (told, missing, last.2.min(unsaid));
            thread::sleep(AGAIN);
        }
        ensure!(last.2 <= FEW, "{}: told of, said to be missing, lost: {last:?}", self.node.name());
        Ok(last)
    }
}

impl Told {
    fn load(&self) -> (u64, u64) {
        (self.verdicts.load(Ordering::Relaxed), self.missing.load(Ordering::Relaxed))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn hear(agents: &Agents, node: &Node, told: &Told) -> Result<()> {
    let mut command = agents.client(node, &FOLLOW)?;
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut follower = Killed(command.spawn().context("cannot start netpol")?);
    let lines = follower.0.stdout.take().context("no output")?;
    for line in BufReader::new(lines).lines() {
        let line: Value = serde_json::from_str(&line?)?;
        let of = if line["type"] == "gap" { &told.missing } else { &told.verdicts };
        of.fetch_add(line["count"].as_u64().unwrap_or_default(), Ordering::Relaxed);
    }
    Ok(())
}

/// Whoever follows the agents hears of every denial, or of how many an agent had not told of when it was killed.
pub(super) fn by_agents_that_are_killed(alive: &Alive) -> Result<()> {
    let agents = &alive.scene.agents;
    let followers: Vec<_> = alive.nodes().iter().map(|node| Follower::new(agents, node)).collect();
    for _ in 0..KILLS {
        for follower in &followers {
            follower.all()?;
            agents.restart(&follower.node)?;
        }
    }
    for follower in &followers {
        let (told, missing, lost) = follower.all()?;
        figure(format_args!(
            "{}: {told} denials told of by an agent, {missing} said to be missing, {lost} lost unsaid, {KILLS} agents killed",
            follower.node.name()
        ));
    }
    Ok(())
}
