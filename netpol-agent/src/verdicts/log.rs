//! The last verdicts, and those that come: a reader that is too slow misses some and is told how many; it never holds
//! anybody up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::broadcast;

use crate::control::protocol::Verdict;

/// Verdicts that wait for a follower before it misses some.
const WAITING: usize = 4096;

/// The log.
#[derive(Debug)]
pub struct Log {
    past: Mutex<VecDeque<Arc<Verdict>>>,
    size: usize,
    coming: broadcast::Sender<Arc<Verdict>>,
}

impl Log {
    /// Keeps the last `size`.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self { past: Mutex::new(VecDeque::new()), size: size.max(1), coming: broadcast::Sender::new(WAITING) }
    }

    /// Adds a verdict.
    pub fn add(&self, verdict: Verdict) {
        let verdict = Arc::new(verdict);
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == self.size {
            past.pop_front();
        }
        past.push_back(verdict.clone());
        // Under the lock, so that `follow` sees each verdict once. Without followers nobody hears it.
        let _heard = self.coming.send(verdict);
    }

    /// What there was, the oldest first, and what comes after it.
    #[must_use]
    pub fn follow(&self) -> (Vec<Arc<Verdict>>, broadcast::Receiver<Arc<Verdict>>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        (past.iter().cloned().collect(), self.coming.subscribe())
    }
}
