//! Verdicts that never came: the kernel counts what found no room in a ring and what was beyond a pod's rate.

use std::time::Duration;

use crate::{
    control::protocol::{Cause, Gap, Moment},
    datapath::Counters,
};

/// How long after a verdict the counters are looked at: what is lost is said together.
const PERIOD: Duration = Duration::from_secs(1);

/// What has been counted, and when to look again.
#[derive(Debug)]
pub struct Gaps {
    /// What was counted as lost, and as beyond a pod's rate, when it was last looked at.
    known: (u64, u64),
    /// The first verdict that came since.
    since: Option<Moment>,
    look_at: Option<Duration>,
}

impl Gaps {
    /// Goes on where an agent has looked last, at `since`.
    #[must_use]
    pub const fn after(known: (u64, u64), since: Moment) -> Self {
        Self { known, since: Some(since), look_at: None }
    }

    /// A verdict has come: where there is one, others may have been lost.
    pub fn heard(&mut self, time: Moment, now: Duration) {
        self.since = Some(self.since.map_or(time, |since| since.min(time)));
        self.look_at.get_or_insert(now + PERIOD);
    }

    /// When to look.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        self.look_at
    }

    /// It could not be looked now.
    pub fn put_off(&mut self, now: Duration) {
        self.look_at = Some(now + PERIOD);
    }

    /// Compares with what was counted when it was last looked at.
    pub fn look(&mut self, counters: &Counters, time: Moment, now: Duration) -> Vec<Gap> {
        let counted = (counters.lost, counters.limited);
        let known = std::mem::replace(&mut self.known, counted);
        let since = self.since.take().unwrap_or(time).min(time);
        let gap = |cause, before: u64, after: u64| {
            let count = after.checked_sub(before).filter(|count| *count > 0)?;
            Some(Gap { time, since, cause, count, endpoint: String::new() })
        };
        let found: Vec<Gap> =
            [gap(Cause::RingFull, known.0, counted.0), gap(Cause::RateLimit, known.1, counted.1)]
                .into_iter()
                .flatten()
                .collect();
        // As long as some are lost, more may be, with nothing that comes to say so.
        self.look_at = (!found.is_empty()).then(|| now + PERIOD);
        if !found.is_empty() {
            self.since = Some(time);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(lost: u64, limited: u64) -> Counters {
        Counters { lost, limited, ..Counters::default() }
    }

    #[test]
    fn what_was_lost_is_said_exactly_and_once() {
        let at = Moment::from_milliseconds;
        let mut gaps = Gaps::after((3, 7), at(500));
        let found = gaps.look(&counters(5, 7), at(1000), Duration::ZERO);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].cause, found[0].count, found[0].since),
            (Cause::RingFull, 2, at(500)),
            "by nobody"
        );
        assert!(gaps.look(&counters(5, 7), at(1500), Duration::ZERO).is_empty());
        assert_eq!(gaps.deadline(), None);
        gaps.heard(at(2000), Duration::from_secs(2));
        gaps.heard(at(1900), Duration::from_secs(2));
        assert_eq!(gaps.deadline(), Some(Duration::from_secs(3)));
        let found = gaps.look(&counters(6, 107), at(3000), Duration::from_secs(3));
        let found: Vec<_> = found.iter().map(|gap| (gap.cause, gap.count, gap.since, gap.time)).collect();
        assert_eq!(
            found,
            [(Cause::RingFull, 1, at(1900), at(3000)), (Cause::RateLimit, 100, at(1900), at(3000))]
        );
        assert_eq!(gaps.deadline(), Some(Duration::from_secs(4)), "more may be lost");
        assert!(gaps.look(&counters(6, 107), at(4000), Duration::from_secs(4)).is_empty());
        assert_eq!(gaps.deadline(), None);
    }
}
