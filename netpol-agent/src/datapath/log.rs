//! Log lines from the programs, for debugging them: only with the feature `bpf-log`, which also compiles them in.

use std::{thread, time::Duration};

use aya::Ebpf;
use aya_log::EbpfLogger;

/// How often the programs' lines are fetched.
const EVERY: Duration = Duration::from_millis(50);

/// Writes what the programs say to the agent's log, from a thread of its own.
pub(super) fn follow(object: &mut Ebpf) {
    match EbpfLogger::init(object) {
        Ok(mut logger) => {
            thread::spawn(move || {
                loop {
                    logger.flush();
                    thread::sleep(EVERY);
                }
            });
        }
        Err(error) => tracing::warn!(%error, "the programs' log lines cannot be read"),
    }
}
