//! What several agents tell, in the order of its time.
//!
//! Their streams come side by side, and each agent tells of some things a little after others: so what comes waits for a
//! short time, in which what is older may still come. What comes later than that stands where it comes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::control::protocol::{Gap, Moment, Verdict};

/// How long what comes waits for older things: denials that repeat are told once a second.
pub const WINDOW: Duration = Duration::from_millis(1200);

/// What an agent tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tale {
    /// A verdict.
    Verdict(Box<Verdict>),
    /// Some are missing.
    Gap(Box<Gap>),
}

impl Tale {
    const fn time(&self) -> Moment {
        match self {
            Self::Verdict(verdict) => verdict.time,
            Self::Gap(gap) => gap.time,
        }
    }

    const fn is_verdict(&self) -> bool {
        matches!(self, Self::Verdict(_))
    }
}

/// What a node's agent tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The node.
    pub node: String,
    /// What.
    pub tale: Tale,
}

/// What waits.
#[derive(Debug)]
pub struct Order {
    /// By time, then as it came.
    waiting: BTreeMap<(Moment, u64), Told>,
    /// As it came, with when.
    came: BTreeMap<u64, (Instant, Moment)>,
    next: u64,
    verdicts: usize,
    /// How many verdicts of the past are wanted.
    last: usize,
    /// Since when what waits is let go.
    open: Option<Instant>,
}

impl Order {
    /// Holds everything until [`open`](Self::open) says that all agents tell what they know of the past. Of that it keeps
    /// the last verdicts, so many.
    #[must_use]
    pub const fn new(last: usize) -> Self {
        Self { waiting: BTreeMap::new(), came: BTreeMap::new(), next: 0, verdicts: 0, last, open: None }
    }

    /// Takes in what came.
    pub fn take(&mut self, told: Told, now: Instant) {
        let key = (told.tale.time(), self.next);
        self.verdicts += usize::from(told.tale.is_verdict());
        self.came.insert(self.next, (now, key.0));
        self.waiting.insert(key, told);
        self.next += 1;
        while self.open.is_none() && self.verdicts > self.last {
            self.pop();
        }
    }

    /// From now on what has waited is let go.
    pub fn open(&mut self, now: Instant) {
        self.open.get_or_insert(now);
    }

    /// When something is to be let go.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let (_, (came, _)) = self.came.first_key_value()?;
        Some((*came).max(self.open?) + WINDOW)
    }

    /// What has waited, and what is older than that.
    pub fn ripe(&mut self, now: Instant) -> Vec<Told> {
        let Some(open) = self.open else { return Vec::new() };
        let has_waited = |came: Instant| came.max(open) + WINDOW <= now;
        let ripe = self.came.values().take_while(|(came, _)| has_waited(*came));
        let Some(newest) = ripe.map(|(_, time)| *time).max() else { return Vec::new() };
        let mut told = Vec::new();
        while self.waiting.first_key_value().is_some_and(|((time, _), _)| *time <= newest) {
            told.extend(self.pop());
        }
        told
    }

    /// All that waits.
    pub fn rest(&mut self) -> Vec<Told> {
        std::iter::from_fn(|| self.pop()).collect()
    }

    fn pop(&mut self) -> Option<Told> {
        let ((_, number), told) = self.waiting.pop_first()?;
        self.came.remove(&number);
        self.verdicts -= usize::from(told.tale.is_verdict());
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{control::protocol::Cause, verdicts::text::tests::denied};

    fn at(node: &str, milliseconds: i64) -> Told {
        let verdict = Verdict { time: Moment::from_milliseconds(milliseconds), ..denied() };
        Told { node: node.to_owned(), tale: Tale::Verdict(Box::new(verdict)) }
    }

    fn times(told: &[Told]) -> Vec<i64> {
        told.iter().map(|told| told.tale.time().milliseconds()).collect()
    }

    #[test]
    fn what_comes_within_the_window_stands_in_the_order_of_its_time() {
        let begin = Instant::now();
        let mut order = Order::new(usize::MAX);
        order.open(begin);
        for (after, node, time) in [(0, "a", 300), (100, "b", 100), (200, "a", 400), (300, "b", 200)] {
            order.take(at(node, time), begin + Duration::from_millis(after));
        }
        assert_eq!(order.due(), Some(begin + WINDOW));
        assert!(order.ripe(begin + WINDOW - Duration::from_millis(1)).is_empty());
        // The first has waited; what is older need not wait, what is newer must.
        assert_eq!(times(&order.ripe(begin + WINDOW)), [100, 200, 300]);
        assert_eq!(order.due(), Some(begin + Duration::from_millis(200) + WINDOW));
        assert_eq!(times(&order.ripe(begin + Duration::from_secs(9))), [400]);
        assert_eq!(order.due(), None);
    }

    #[test]
    fn what_comes_too_late_is_told_all_the_same() {
        let begin = Instant::now();
        let mut order = Order::new(usize::MAX);
        order.open(begin);
        order.take(at("a", 300), begin);
        assert_eq!(times(&order.ripe(begin + WINDOW)), [300]);
        order.take(at("b", 100), begin + WINDOW);
        assert_eq!(times(&order.ripe(begin + WINDOW * 2)), [100]);
    }

    #[test]
    fn nothing_is_told_before_every_agent_tells_of_the_past_and_of_that_only_the_last_verdicts_are() {
        let begin = Instant::now();
        let mut order = Order::new(2);
        for (node, time) in [("slow", 400), ("a", 100), ("a", 300), ("b", 200)] {
            order.take(at(node, time), begin);
        }
        assert!(order.due().is_none() && order.ripe(begin + Duration::from_secs(60)).is_empty());
        order.open(begin + Duration::from_secs(5));
        assert_eq!(order.due(), Some(begin + Duration::from_secs(5) + WINDOW));
        assert_eq!(times(&order.rest()), [300, 400]);
    }

    #[test]
    fn gaps_stand_between_verdicts_and_count_for_none() {
        let gap = Gap {
            time: Moment::from_milliseconds(250),
            since: Moment::from_milliseconds(200),
            cause: Cause::RingFull,
            count: 3,
            endpoint: String::new(),
        };
        let mut order = Order::new(2);
        order.take(at("a", 300), Instant::now());
        order.take(Told { node: "b".to_owned(), tale: Tale::Gap(Box::new(gap)) }, Instant::now());
        order.take(at("a", 200), Instant::now());
        assert_eq!(times(&order.rest()), [200, 250, 300]);
    }
}
