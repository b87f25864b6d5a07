//! Waiting for a condition, never for a time.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `look` gives something.
///
/// # Errors
/// When the deadline passes first; the error says what was waited for.
pub fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if start.elapsed() > deadline {
            bail!("waited {:.1} s in vain for this: {what}", deadline.as_secs_f64());
        }
        thread::sleep(PAUSE);
    }
}

/// Looks until `look` gives `expected`, and returns how long that took.
///
/// # Errors
/// When the deadline passes first; the error says what was seen last.
pub fn eventually<T: PartialEq + Debug>(
    what: &str,
    deadline: Duration,
    expected: &T,
    mut look: impl FnMut() -> T,
) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let seen = look();
        if seen == *expected {
            return Ok(start.elapsed());
        }
        if start.elapsed() > deadline {
            bail!("{what}: expected {expected:?} within {:.1} s, last seen {seen:?}", deadline.as_secs_f64());
        }
        thread::sleep(PAUSE);
    }
}
