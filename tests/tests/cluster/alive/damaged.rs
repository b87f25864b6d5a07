//! Pins that are missing, somebody else's, or of a version that nobody knows; and a file system for pins that takes no more.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::command::Killed;
use netpol_tests::laboratory::Namespace;
use netpol_tests::probe::{ARRIVAL_PATIENCE, DROP_PATIENCE};
use netpol_tests::{Outcome, cluster, damage, eventually, serve};

use super::{ALLOWED, Alive, network};
use crate::held::{PINS, pins_of};
use crate::scene::pod;

/// How soon it is said that a pod is not hooked.
const SAID: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs a cluster"]
fn pins_that_are_missing_or_foreign_or_of_an_unknown_version_are_made_anew_and_nothing_breaks() -> Result<()>
{
    let _guard = cluster::exclusive();
    let what =
        format!("pins truncated, foreign, of an unknown version ({} kinds of damage)", damage::ALL.len());
    Alive::build("damaged")?.through(&what, |alive| {
        for (what, damage) in damage::ALL {
            alive.meanwhile(|node| damage(&pins_of(node))).context(what)?;
            alive.goes_on().context(what)?;
        }
        Ok(())
    })
}

/// A BPF file system has no size of its own, and to fill the kernel's memory would hit others: to these agents it is read
/// only, so that nothing new can be pinned.
#[test]
#[ignore = "needs a cluster"]
fn a_full_bpffs_leaves_all_in_force_and_says_which_new_pods_it_keeps_from_being_enforced() -> Result<()> {
    let _guard = cluster::exclusive();
    Alive::build("full")?.through("a full bpffs", |alive| {
        let agents = alive.scene.agents.clone();
        let node = alive.scene.node(0).clone();
        agents.kill(&node)?;
        let mut full = agents.another(&node, &[])?;
        Namespace::keep_from_making(&mut full, PINS.as_ref())?;
        let full = Killed(full.spawn().context("cannot start netpol")?);
        let late = pod("late", 0).label("app", "server-0");
        alive.scene.put(&alive.scene.object(&late))?;
        alive.scene.meet("late", &node)?;
        let is_said = || {
            let status = agents.status(&node).unwrap_or_default();
            status["faults"].to_string().contains("cannot hook the interface") && status["ready"] == false
        };
        eventually("it is said that the new pod is not hooked", SAID, &true, is_said)
            .with_context(|| format!("{:#}", agents.status(&node).unwrap_or_default()))?;
        alive.goes_on()?;
        drop(full);
        eventually("it has ended", SAID, &true, || agents.status(&node).is_err())?;
        agents.launch(&node)?;
        agents.ready(&node)?;
        alive.scene.agents.settled()?;
        // What was not enforced is now.
        let (to, _echo) = (
            alive.scene.pod("late")?.sockets(ALLOWED),
            serve::tcp(&network(&alive.scene, "late")?, ALLOWED)?,
        );
        for to in to {
            let opens = |from: &str, patience| -> Result<Outcome> {
                Ok(network(&alive.scene, from)?.tcp(to, patience))
            };
            ensure!(
                opens("client-1", ARRIVAL_PATIENCE)? == Outcome::Reached,
                "the client does not reach {to}"
            );
            ensure!(opens("stranger-1", DROP_PATIENCE)? == Outcome::TimedOut, "the stranger reaches {to}");
        }
        alive.scene.kubectl(&["delete", "pod", "late"]).map(drop)
    })
}
