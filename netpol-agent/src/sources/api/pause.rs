//! How long to wait before the server is asked again.
//!
//! Many agents lose the same server in the same moment, and must not come back in the same one; but each must have
//! converged within five seconds of the server's return. So pauses are random, and short. So is the one before the first list
//! of an agent that finds enforced what an earlier one has left: whoever replaces all agents at once starts them at once. An
//! agent that finds nothing lists at once, as its node's pods wait for it, and nodes do not come up in one moment.

use std::time::Duration;

/// The first pause after something went wrong.
const FIRST: Duration = Duration::from_millis(250);
/// The longest one. With a connection that is given up after two seconds (see `connect`) and the wait before a new list,
/// a server that is back is heard within five seconds.
const LONGEST: Duration = Duration::from_secs(2);
/// Over how long the agents spread that were told to list anew: that is work for the server, unlike a watch that goes on.
const SPREAD: Duration = Duration::from_secs(1);
/// The same for agents that start while what is pinned stays in force. Short, since pods that started while no agent ran
/// are open for so much longer.
const STARTS: Duration = Duration::from_millis(500);

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

/// The wait before the first list, where what is in force stays so meanwhile.
pub(crate) fn before_the_first_list() -> Duration {
    STARTS.mul_f64(fastrand::f64())
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
        assert!(before_a_list() <= SPREAD && before_the_first_list() <= STARTS);
    }
}
