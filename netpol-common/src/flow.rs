//! Conntrack: flows of one endpoint, found with one lookup from either direction.

pub mod table;

use crate::addr::Addr;

pod! {
    /// A flow as the endpoint sees it, whichever direction a packet has. The slot is not part of it: every endpoint
    /// has tables of its own.
    #[derive(Default)]
    #[repr(align(8))]
    pub struct FlowKey {
        /// The pod's end.
        pub pod: Addr,
        /// The other end; a Service's address as long as the packet carries it.
        pub peer: Addr,
        /// Host order. For an ICMP query: the identifier on the side of the one that asks, 0 on the other.
        pub pod_port: u16,
        /// As `pod_port`.
        pub peer_port: u16,
        /// IP protocol number.
        pub proto: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }
}

/// Who opened a flow, which decides what it is judged by.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The pod: judged by its egress rules.
    Pod = 1,
    /// The peer: judged by the pod's ingress rules.
    Peer = 2,
    /// The node itself: always allowed.
    Node = 3,
    /// The pod, to itself through a Service: always allowed.
    Itself = 4,
}

/// [`Flow::state`]: one direction was seen.
pub const STATE_OPENING: u8 = 0;
/// [`Flow::state`]: both directions were seen.
pub const STATE_ESTABLISHED: u8 = 1;
/// [`Flow::state`]: reset, or closed from both ends.
pub const STATE_CLOSING: u8 = 2;

/// [`Flow::fins`]: the pod has closed its end.
pub const FIN_POD: u8 = 1;
/// [`Flow::fins`]: the peer has closed its end.
pub const FIN_PEER: u8 = 2;

/// A flow, and what it was judged under. When the endpoint's revision or the generation of the peer's address has moved
/// on, it is judged again, in its original direction. In a table it is an [`Entry`](table::Entry) and a
/// [`Life`](table::Life).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The endpoint's revision in the direction of the origin.
    pub revision: u32,
    /// The generation of the peer's address.
    pub generation: u32,
    /// The set of backends that it was judged by; 0 when it does not go to a Service.
    pub backends: u32,
    /// When it was last seen, in [`ticks`], of which a table keeps [`TICK_MASK`](table::TICK_MASK); refreshed coarsely.
    pub last_seen: u32,
    /// The revision of the sender's egress, where that was judged here; 0 otherwise.
    pub sender_revision: u32,
    /// The slot of the sender whose egress was judged here; 0 otherwise.
    pub sender: u16,
    /// [`Origin`] as a number.
    pub origin: u8,
    /// `STATE_*`.
    pub state: u8,
    /// 1 when the flow is denied now.
    pub denied: u8,
    /// `FIN_*`.
    pub fins: u8,
}

/// Nanoseconds to ticks of 2^30 ns (1.07 s): no division in the packet path.
#[inline(always)]
#[must_use]
pub const fn ticks(nanoseconds: u64) -> u32 {
    (nanoseconds >> 30) as u32
}

/// The kernel's jiffies to ticks, each jiffy of so many nanoseconds. Where time starts is nobody's business: only
/// differences are looked at.
#[inline(always)]
#[must_use]
pub const fn ticks_of_jiffies(jiffies: u64, nanoseconds: u32) -> u32 {
    // times nanoseconds / 2^30
    (jiffies.wrapping_mul(nanoseconds as u64 * 4) >> 32) as u32
}

/// Ticks that a flow's time may lag behind before it is written again.
pub const REFRESH: u32 = 4;

pod! {
    /// Idle time in [`ticks`] after which a flow is forgotten, by what it is.
    pub struct Timeouts {
        /// A TCP connection that both ends speak on.
        pub tcp_established: u32,
        /// A TCP connection of which only one direction was seen.
        pub tcp_opening: u32,
        /// A TCP connection that was reset or closed.
        pub tcp_closing: u32,
        /// UDP and every other protocol, both directions seen.
        pub established: u32,
        /// UDP and every other protocol, one direction seen.
        pub opening: u32,
    }
}

impl Timeouts {
    /// The source of the values is Linux's own conntrack, rounded. Established TCP outlives any keepalive (a day); the
    /// retries of a SYN take two minutes.
    pub const DEFAULT: Self =
        Self { tcp_established: 80_000, tcp_opening: 120, tcp_closing: 10, established: 180, opening: 30 };

    /// The idle time after which a flow of that protocol and state is forgotten, in [`ticks`].
    #[inline(always)]
    #[must_use]
    pub const fn of(&self, proto: u8, state: u8) -> u32 {
        if proto == crate::packet::TCP {
            match state {
                STATE_ESTABLISHED => self.tcp_established,
                STATE_CLOSING => self.tcp_closing,
                _ => self.tcp_opening,
            }
        } else if state == STATE_ESTABLISHED {
            self.established
        } else {
            self.opening
        }
    }
}

pod! {
    /// Which fragmented packet.
    pub struct FragmentKey {
        /// Source.
        pub src: Addr,
        /// Destination.
        pub dst: Addr,
        /// The packet's identification; 16 bits in IPv4.
        pub id: u32,
        /// The endpoint's slot, with the [`Direction`](crate::Direction) in the top bit.
        pub slot_and_direction: u32,
        /// IP protocol number.
        pub proto: u32,
    }
}

pod! {
    /// What became of the first fragment.
    pub struct Fragment {
        /// The key's `id`, repeated.
        pub id: u32,
        /// When, in [`ticks`].
        pub at: u32,
        /// 1 when it was dropped.
        pub denied: u32,
    }
}

/// Ticks for which a first fragment is remembered: the kernel's own reassembly waits 30 s.
pub const FRAGMENT_TIMEOUT: u32 = 30;

#[cfg(test)]
mod tests {
    use super::{ticks, ticks_of_jiffies};

    #[test]
    fn a_day_has_as_many_ticks_by_either_clock() {
        for hz in [100, 250, 300, 1000] {
            // As Linux starts: so that 32 bits of them wrap five minutes after boot.
            let start = (1_u64 << 32) - 300 * hz;
            let jiffy = 1_000_000_000 / hz as u32;
            let day =
                ticks_of_jiffies(start + 86_400 * hz, jiffy).wrapping_sub(ticks_of_jiffies(start, jiffy));
            assert!(day.abs_diff(ticks(86_400_000_000_000)) <= 1, "{hz} Hz: {day}");
        }
    }
}
