//! The cases of a published suite as real objects and pods, when they lie beside the project: namespaces, policies and labels
//! by the API server, pods on two nodes, and a prober in each that asks all others by both families, at their own and
//! at their Services' addresses.
//!
//! What must come of a probe is said by the literal evaluator of the specification over the objects as the API server has
//! them; where the suite says it too, both must agree. That a probe can arrive at all is looked at without a policy,
//! before the first case, after the last one and between them.

mod ask;
mod expected;
mod objects;
mod world;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use netpol_tests::cluster::{self, Agents, Cluster};
use netpol_tests::conformance::{Case, cases};
use netpol_tests::counted;

use world::World;

/// Cases of every kind of rule, for each combination of proxy and CNI.
const SAMPLE: [u64; 15] = [7, 9, 20, 22, 32, 65, 138, 173, 192, 195, 197, 199, 216, 220, 229];
/// In one combination: those, each that has a tag which none before it had, and each so many-th.
const EVERY: u64 = 6;
/// How many of them there are at least.
const AT_LEAST: usize = 60;
/// After so many cases all policies are gone for a moment, and everything must arrive.
const CONTROL: usize = 12;

static TURN: Mutex<()> = Mutex::new(());

fn choice(suite: Vec<Case>) -> Vec<Case> {
    let mut met = BTreeSet::new();
    let mut is_chosen = |case: &Case| {
        let before = met.len();
        met.extend(case.tags.iter().cloned());
        met.len() > before || case.id.is_multiple_of(EVERY) || SAMPLE.contains(&case.id)
    };
    suite.into_iter().filter(|case| is_chosen(case)).collect()
}

/// Plays cases one after the other.
fn play(cases: &[Case], what: &str) -> Result<()> {
    let (mut probes, mut denied, mut steps) = (0, 0, 0);
    if !cases.is_empty() {
        // Both tests have the suite's namespaces.
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let _shared = cluster::shared();
        let cluster = Cluster::running()?;
        let agents = Agents::start(&cluster, &[])?;
        let mut world = World::build(&cluster, &agents, &cases[0].steps[0])?;
        let mut controls = world.control()?;
        for (number, case) in cases.iter().enumerate() {
            for (turn, step) in case.steps.iter().enumerate() {
                let name = format!("case {} ({}), step {}", case.id, case.description, turn + 1);
                world.turn_into(step).map_err(|error| error.context(name.clone()))?;
                let done = world.ask(step).map_err(|error| error.context(name))?;
                probes += done.probes;
                denied += done.denied;
                steps += 1;
            }
            if (number + 1) % CONTROL == 0 || number + 1 == cases.len() {
                controls += world.control()?;
            }
        }
        ensure!(denied > 0 && controls > 0, "{denied} probes were denied, and {controls} had a control");
        probes += controls;
    }
    counted(&[
        (probes, "conformance probes between real pods"),
        (denied, "conformance probes between real pods that were denied"),
        (cases.len() as u64, what),
        (steps, "conformance steps with real pods"),
    ]);
    Ok(())
}

#[test]
#[ignore = "needs a cluster"]
fn published_cases_hold_between_real_pods() -> Result<()> {
    let chosen = choice(cases()?);
    ensure!(chosen.is_empty() || chosen.len() >= AT_LEAST, "only {} cases", chosen.len());
    play(&chosen, "conformance cases with real pods")
}

#[test]
#[ignore = "needs a cluster"]
fn a_sample_of_published_cases_holds_in_each_combination() -> Result<()> {
    let chosen: Vec<Case> = cases()?.into_iter().filter(|case| SAMPLE.contains(&case.id)).collect();
    ensure!(chosen.is_empty() || chosen.len() == SAMPLE.len(), "only {} cases", chosen.len());
    play(&chosen, "conformance cases of the sample with real pods")
}
