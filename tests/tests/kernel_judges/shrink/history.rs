//! The shortest history in which two judges still disagree.

use std::time::{Duration, Instant};

use netpol_tests::kernel::Kernel;

use super::smaller as smaller_clusters;
use crate::{
    history::{History, Watched},
    tally::Tally,
    walk::{Disagreement, Lost, walk},
};

/// How long it is tried to find a shorter one.
const PATIENCE: Duration = Duration::from_secs(60);

type Found = (usize, Disagreement);

/// Removes steps, packets and objects while some judges still disagree. `None` when they do not on the whole history.
pub(crate) fn shrink(mut history: History, step: usize, kernel: Option<Kernel>) -> Option<(History, Found)> {
    let mut kernel = kernel;
    history.steps.truncate(step + 1);
    // Without the kernel it is quicker.
    if walk(&history, None, Lost::default(), &mut Tally::default()).0.is_err() {
        kernel = None;
    }
    let mut found_in = |history: &History| {
        let (result, back) = walk(history, kernel.take(), Lost::default(), &mut Tally::default());
        kernel = back;
        result.err()
    };
    let mut found = found_in(&history)?;
    let end = Instant::now() + PATIENCE;
    let mut changed = true;
    while changed {
        changed = false;
        for shorter in shorter(&history) {
            if Instant::now() > end {
                return Some((history, found));
            }
            if let Some(disagreement) = found_in(&shorter) {
                (history, found, changed) = (shorter, disagreement, true);
                break;
            }
        }
    }
    Some((history, found))
}

/// The history with something less, the most first.
fn shorter(history: &History) -> Vec<History> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut History)| {
        let mut shorter = history.clone();
        change(&mut shorter);
        // The first step makes the cluster.
        if let Some(first) = shorter.steps.first_mut() {
            first.watched = Watched::Afterwards;
        }
        all.push(shorter);
    };
    for n in (0..history.steps.len()).rev() {
        with(&|history| drop(history.steps.remove(n)));
    }
    for (n, step) in history.steps.iter().enumerate() {
        // Quarters, and then one by one.
        let size = if step.cases.len() > 8 { step.cases.len().div_ceil(4) } else { 1 };
        for from in (0..step.cases.len()).step_by(size) {
            let until = (from + size).min(step.cases.len());
            with(&|history| drop(history.steps[n].cases.drain(from..until)));
        }
        if step.watched != Watched::Afterwards {
            with(&|history| history.steps[n].watched = Watched::Afterwards);
        }
        for change in 0..step.changes.len() {
            with(&|history| drop(history.steps[n].changes.remove(change)));
        }
        if step.rests {
            with(&|history| history.steps[n].rests = false);
        }
    }
    for n in 0..history.beginning.interfaces.len() {
        with(&|history| drop(history.beginning.interfaces.remove(n)));
    }
    for cluster in smaller_clusters(&history.beginning) {
        with(&|history| history.beginning = cluster.clone());
    }
    all
}
