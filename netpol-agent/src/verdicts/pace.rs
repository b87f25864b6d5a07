//! How often a follower hears of a flow that is denied again and again: the first time at once, then once a second,
//! with the count so far.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::{
    kept::Kept,
    log::{Flow, concerns},
};
use crate::control::protocol::Gap;

/// The shortest time between two lines of one flow.
const PERIOD: Duration = Duration::from_secs(1);
/// Flows that are remembered. What is beyond is told each time.
const REMEMBERED: usize = 4096;

/// What one follower was told.
#[derive(Debug, Default)]
pub struct Pace {
    told: HashMap<Flow, Told>,
    /// By the time at which it is told, and a number of its own.
    due: BTreeMap<(Instant, u64), Flow>,
    next: u64,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    waits: Option<Kept>,
}

impl Pace {
    /// Takes in a verdict, and gives it back if it is to be told now.
    pub fn take(&mut self, flow: Flow, verdict: Kept, now: Instant) -> Option<Kept> {
        if let Some(told) = self.told.get_mut(&flow) {
            let due = told.at + PERIOD;
            if told.waits.is_some() || now < due {
                if told.waits.replace(verdict).is_none() {
                    self.due.insert((due, self.next), flow);
                    self.next += 1;
                }
                return None;
            }
            told.at = now;
            return Some(verdict);
        }
        if self.told.len() >= REMEMBERED {
            self.told.retain(|_, told| told.waits.is_some() || now < told.at + PERIOD);
        }
        if self.told.len() < REMEMBERED {
            self.told.insert(flow, Told { at: now, waits: None });
        }
        Some(verdict)
    }

    /// When there is something to tell.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// What is to be told now.
    pub fn ripe(&mut self, now: Instant) -> Vec<Kept> {
        let mut ripe = Vec::new();
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            if let Some(told) = self.told.get_mut(&first.remove()) {
                told.at = now;
                ripe.extend(told.waits.take());
            }
        }
        ripe
    }

    /// Some are missing: what waits may be more than was counted.
    pub fn doubt(&mut self, gap: &Gap) {
        for verdict in self.told.values_mut().filter_map(|told| told.waits.as_mut()) {
            if concerns(gap, verdict) {
                verdict.at_least = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
