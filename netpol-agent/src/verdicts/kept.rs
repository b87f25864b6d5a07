//! A verdict as the log keeps it: nearly all of it is the same for every packet of its kind, and shared, and its texts are made
//! when somebody reads it, so that a verdict that nobody reads costs next to nothing.

use std::sync::{Arc, OnceLock};

use netpol_common::{Reason, event::Event, verdict::FIRST_DROP};

use super::naming::{Decided, Seen, has_ports};
use crate::control::protocol::{End, Moment, Verdict};

/// What verdicts of a kind share.
#[derive(Debug)]
pub struct Kind {
    seen: Seen,
    /// Who decided, once somebody has asked: finding it out takes longest, and readers of a flood ask of one kind often.
    decided: OnceLock<Box<Decided>>,
}

// Of each verdict that is kept there may be one.
const _: () = assert!(size_of::<Kind>() <= 320);

impl From<Seen> for Kind {
    fn from(seen: Seen) -> Self {
        Self { seen, decided: OnceLock::new() }
    }
}

/// A verdict.
#[derive(Clone, Debug)]
pub struct Kept {
    kind: Arc<Kind>,
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
    pub fn of(kind: Arc<Kind>, time: Moment, event: &Event) -> Self {
        let port = |port| has_ports(event.proto).then_some(port);
        let ports = (port(event.src_port), port(event.dst_port));
        Self { kind, time, first: None, count: 1, at_least: false, ports, length: event.length }
    }

    /// All but who decided, which takes far longer to find out: see [`attribute`](Self::attribute).
    #[must_use]
    pub fn named(&self) -> Verdict {
        let mut verdict = self.kind.seen.named();
        (verdict.time, verdict.first) = (self.time, self.first);
        (verdict.count, verdict.at_least) = (self.count, self.at_least);
        (verdict.source.port, verdict.destination.port) = self.ports;
        verdict.length = self.length;
        verdict
    }

    /// Says in a verdict who decided this one.
    pub fn attribute(&self, verdict: &mut Verdict) {
        self.kind.decided.get_or_init(|| Box::new(self.kind.seen.decided())).tell(verdict);
    }

    /// The whole.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut verdict = self.named();
        self.attribute(&mut verdict);
        verdict
    }

    /// The name of the endpoint that judged.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.kind.seen.endpoint()
    }

    /// Where it was to go.
    #[must_use]
    pub fn destination(&self) -> End {
        End { port: self.ports.1, ..self.kind.seen.destination() }
    }

    /// Whether two verdicts of a flow say the same: names and labels may have changed meanwhile. What they are named by is
    /// compared, so that nothing has to be named.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.ports == other.ports
            && (Arc::ptr_eq(&self.kind, &other.kind) || self.kind.seen.is_named_as(&other.kind.seen))
    }

    /// Whether the packet was dropped.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.kind.seen.reason() >= FIRST_DROP
    }

    /// Whether that is why.
    #[must_use]
    pub fn is_for(&self, reason: Reason) -> bool {
        self.kind.seen.reason() == reason as u8
    }
}
