//! How long to wait before the server is asked again.
//!
//! Many agents lose the same server in the same moment, and must not come back in the same one; but each must have
//! converged within five seconds of the server's return. So pauses are random, and short. The very first list needs none:
//! agents start as their nodes do and as a DaemonSet's update goes on, and the server streams a list from its memory.

use std::time::Duration;

/// The first pause after something went wrong.
const FIRST: Duration = Duration::from_millis(250);
/// The longest one. With a connection that is given up after two seconds (see `connect`) and the wait before a new list,
/// a server that is back is heard within five seconds.
const LONGEST: Duration = Duration::from_secs(2);
/// Over how long the agents spread that were told to list anew: that is work for the server, unlike a watch that goes on.
const SPREAD: Duration = Duration::from_secs(1);

/// Pauses that double.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pause {
    /// The next one: between half of what it could be and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let longest = self.0;
        self.0 = (longest * 2).min(LONGEST);
        longest.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
    }
}

/// The wait before everything is listed anew.
pub(super) fn before_a_list() -> Duration {
    SPREAD.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_longest_and_two_agents_do_not_wait_alike() {
        let pauses = || -> Vec<Duration> {
            let mut pause = Pause::default();
            std::iter::repeat_with(|| pause.next()).take(8).collect()
        };
        let (one, other) = (pauses(), pauses());
        let mut longest = FIRST;
        for pause in &one {
            assert!(*pause >= longest / 2 && *pause <= longest, "{one:?}");
            longest = (longest * 2).min(LONGEST);
        }
        assert_ne!(one, other);
        assert!(before_a_list() <= SPREAD);
    }
}
