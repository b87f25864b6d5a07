//! A verdict as the log keeps it: nearly all of it is the same for every packet of its kind, and shared, so that a verdict
//! that nobody reads costs next to nothing.

use std::sync::Arc;

use netpol_common::event::Event;

use crate::control::protocol::{End, Moment, Outcome, Verdict};

/// A verdict.
#[derive(Clone, Debug)]
pub struct Kept {
    kind: Arc<Verdict>,
    /// When: of repeated ones, the last.
    pub time: Moment,
    /// When the first of them was, if there are several.
    pub first: Option<Moment>,
    /// How many packets.
    pub count: u64,
    /// Whether there may have been more.
    pub at_least: bool,
    /// Source and destination, where the protocol has ports.
    ports: (Option<u16>, Option<u16>),
    length: u32,
}

impl Kept {
    /// One packet's: what `kind` says, but for what is the packet's own.
    #[must_use]
    pub fn of(kind: Arc<Verdict>, time: Moment, event: &Event) -> Self {
        let ports =
            (kind.source.port.and(Some(event.src_port)), kind.destination.port.and(Some(event.dst_port)));
        Self { kind, time, first: None, count: 1, at_least: false, ports, length: event.length }
    }

    /// What it shares with others of its kind. Time, counts, ports and length are not those of this one.
    #[must_use]
    pub fn kind(&self) -> &Verdict {
        &self.kind
    }

    /// The whole.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::clone(&self.kind);
        (verdict.time, verdict.first) = (self.time, self.first);
        (verdict.count, verdict.at_least) = (self.count, self.at_least);
        (verdict.source.port, verdict.destination.port) = self.ports;
        verdict.length = self.length;
        verdict
    }

    /// Whether two verdicts of a flow say the same: names and labels may have changed meanwhile.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let (one, two) = (&*self.kind, &*other.kind);
        let same_names = || {
            one.endpoint == two.endpoint
                && is_same_end(&one.source, &two.source)
                && is_same_end(&one.destination, &two.destination)
                && one.isolated_by == two.isolated_by
                && one.nearest == two.nearest
                && one.changed_since == two.changed_since
                && one.reply == two.reply
        };
        self.ports == other.ports && (Arc::ptr_eq(&self.kind, &other.kind) || same_names())
    }

    /// Whether the packet was dropped.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.kind.verdict == Outcome::Dropped
    }
}

/// Whether two ends are the same, whatever their ports.
fn is_same_end(one: &End, two: &End) -> bool {
    one.kind == two.kind && one.name == two.name && one.address == two.address && one.labels == two.labels
}

impl From<Verdict> for Kept {
    fn from(verdict: Verdict) -> Self {
        Self {
            time: verdict.time,
            first: verdict.first,
            count: verdict.count,
            at_least: verdict.at_least,
            ports: (verdict.source.port, verdict.destination.port),
            length: verdict.length,
            kind: Arc::new(verdict),
        }
    }
}
