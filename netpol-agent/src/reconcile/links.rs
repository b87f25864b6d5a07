//! Entries of new interfaces are held by filters until nothing starts: then links hold them, one after the other.

use std::time::Duration;

use tracing::warn;

use super::{Datapath, Reconciler};
use crate::datapath::Attachment;

/// How long nothing must have been hooked before. A pod is seldom longer in starting.
const QUIET: Duration = Duration::from_secs(3);
/// Between two of them: each keeps everybody waiting who changes interfaces.
const BETWEEN: Duration = Duration::from_millis(50);
/// When those are tried again that failed.
const AGAIN: Duration = Duration::from_secs(60);

/// How far this is.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// When there is something to do.
    at: Option<Duration>,
    /// The last one that was tried.
    last: Option<Attachment>,
    failed: bool,
}

impl Links {
    pub(super) const fn deadline(&self) -> Option<Duration> {
        self.at
    }

    /// Takes in that something was hooked.
    pub(super) fn hooked(&mut self, now: Duration) {
        *self = Self { at: Some(now + QUIET), ..Self::default() };
    }
}

impl<D: Datapath> Reconciler<D> {
    /// Lets a link hold the next entry that a filter holds, if it is time and nothing starts.
    pub(super) fn hold_by_links(&mut self, now: Duration) {
        if self.links.at.is_none_or(|at| at > now) {
            return;
        }
        if !self.gated.is_empty() {
            self.links.hooked(now);
            return;
        }
        let Some((place, result)) = self.datapath.hold_by_link(self.links.last) else {
            let again = self.links.failed.then_some(now + AGAIN);
            self.links = Links { at: again, ..Links::default() };
            return;
        };
        if let Err(error) = result {
            warn!(?place, "a filter goes on to hold what a link is to hold: {error}");
            self.links.failed = true;
        }
        self.links.at = Some(now + BETWEEN);
        self.links.last = Some(place);
    }
}
