//! What is sent: each packet follows from its number, so that whoever hears the number knows everything.

use std::time::Duration;

/// Packets per second.
pub(super) const RATE: f64 = 10_000.0;
/// Packets that are sent at once: ten to each family.
pub(super) const BATCH: u64 = 20;
/// Between two batches.
pub(super) const PERIOD: Duration = Duration::from_millis(2);

/// What a packet is sent for; each has a port of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Allowed by all states.
    Always,
    /// Denied by the server's, allowed by the client's.
    NeverIn,
    /// Allowed by the server's, denied by the client's.
    NeverOut,
    /// Allowed by the client's, and by one of the server's.
    OutA,
    OutB,
    InA,
    InB,
}

impl Kind {
    pub(super) const ALL: [Self; 7] =
        [Self::Always, Self::NeverIn, Self::NeverOut, Self::OutA, Self::OutB, Self::InA, Self::InB];

    /// Of the server.
    pub(super) const fn port(self) -> u16 {
        7100 + self as u16
    }
}

/// The kinds of a batch, for each family.
const KINDS: [Kind; 10] = [
    Kind::Always,
    Kind::InA,
    Kind::OutA,
    Kind::Always,
    Kind::NeverIn,
    Kind::Always,
    Kind::InB,
    Kind::OutB,
    Kind::NeverOut,
    Kind::Always,
];

/// Flows that live from the first packet to the last one are sent from these ports of the client and answered.
pub(super) const LIVING: [u16; 4] = [20_000, 20_001, 20_002, 20_003];
/// Every other packet has a port of its own, which comes back when the flow is long forgotten.
const FRESH: (u16, u64) = (30_000, 30_000);

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) kind: Kind,
    /// 0 for IPv4, 1 for IPv6.
    pub(super) family: usize,
    /// Of a flow that lives, and is answered.
    pub(super) living: bool,
    /// The sender's port.
    pub(super) port: u16,
}

/// The packet with this number.
pub(super) fn datagram(number: u64) -> Datagram {
    let (batch, place) = (number / BATCH, number % BATCH);
    let (turn, family) = ((place / 2) as usize, (place % 2) as usize);
    let kind = KINDS[turn];
    // What is always allowed has both in each batch, the others in turn.
    let living = if kind == Kind::Always { turn < 4 } else { batch.is_multiple_of(2) };
    let port = if living {
        LIVING[(batch / 2 + turn as u64) as usize % LIVING.len()]
    } else {
        FRESH.0 + (number % FRESH.1) as u16
    };
    Datagram { kind, family, living, port }
}
