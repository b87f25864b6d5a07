//! Somebody takes classifiers off while the agent runs.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netpol_tests::steady::Steady;
use netpol_tests::{bpf, cluster, eventually, figure};

use super::Alive;
use crate::held::pins_of;

/// Within this time a classifier that is off is to be back.
const REPAIRED: Duration = Duration::from_secs(10);

/// Until it is back nothing judges in its place: what passes meanwhile is counted, and said.
#[test]
#[ignore = "needs a cluster"]
fn classifiers_that_somebody_detaches_are_attached_again_and_no_connection_breaks() -> Result<()> {
    let _guard = cluster::exclusive();
    Alive::build("detached")?.through("every classifier at the pods' ingress detached", |alive| {
        let agents = alive.scene.agents.clone();
        let repaired = |alive: &Alive| -> u64 {
            let nodes = alive.scene.cluster.nodes().iter();
            let count = |node| agents.status(node).unwrap_or_default()["hooksRepaired"].as_u64();
            nodes.filter_map(count).sum()
        };
        let before = repaired(alive);
        let (mut off, began) = (0, Instant::now());
        for node in alive.nodes() {
            for entry in fs::read_dir(pins_of(&node).join("links")).context("there are no links")? {
                let pin = entry?.path();
                if pin.to_string_lossy().ends_with("-ingress") {
                    bpf::detach(&pin)?;
                    off += 1;
                }
            }
        }
        ensure!(off > 0, "no pod has a classifier at its ingress");
        eventually("all are attached again", REPAIRED, &(before + off), || repaired(alive))?;
        let took = began.elapsed().as_secs_f64();
        // What has passed is heard.
        alive.steady.iter().try_for_each(Steady::goes_on)?;
        let passed = alive.have_passed();
        ensure!(passed > 0, "the classifiers were not off");
        alive.passed = passed;
        figure(format_args!(
            "{off} classifiers detached: attached again after {took:.1} s, {passed} datagrams passed meanwhile"
        ));
        Ok(())
    })
}
