//! What the classifiers report of a packet: numbers only; user space adds the names.

use crate::addr::Addr;

/// Which verdicts make an event, as bits: what is allowed.
pub const REPORTS_ALLOWED: u32 = 1;
/// Which verdicts make an event, as bits: what is dropped.
pub const REPORTS_DROPPED: u32 = 2;

/// CPUs that there are rings for. Events of others are counted as lost.
pub const RINGS_MOST: u32 = 1024;

pod! {
    /// How far the ring of a CPU is written and read, in events since it was made. A cache line for each of the two who write.
    ///
    /// A ring has one writer, the classifiers of its CPU, of which none interrupts another, and one reader, the agent: so
    /// plain loads and stores are enough. The event is stored before `written` says so, and is read before `read` does.
    #[derive(Default)]
    #[repr(align(64))]
    pub struct Ring {
        /// Written by the classifiers.
        pub written: u64,
        /// Zero.
        pub beside_written: [u64; 7],
        /// Written by the agent.
        pub read: u64,
        /// Zero.
        pub beside_read: [u64; 7],
    }
}

pod! {
    /// One verdict, as it stands in the ring of the CPU that gave it.
    ///
    /// Allowed packets are reported once per flow, dropped ones up to a rate per endpoint.
    pub struct Event {
        /// Nanoseconds of `CLOCK_MONOTONIC`.
        pub at: u64,
        /// The packet's source.
        pub src: Addr,
        /// The packet's destination.
        pub dst: Addr,
        /// Source port in host order; the identifier for an ICMP echo; 0 where the protocol has none.
        pub src_port: u16,
        /// Destination port in host order; 0 where the protocol has none.
        pub dst_port: u16,
        /// The endpoint's slot.
        pub slot: u32,
        /// The endpoint's revision in that direction.
        pub revision: u32,
        /// The policy set that judged.
        pub set: u32,
        /// The peer's class.
        pub class: u32,
        /// The port set that was consulted.
        pub port_set: u32,
        /// The set of backends that the flow was judged by; 0 when it does not go to a Service.
        pub backends: u32,
        /// The packet's length in bytes.
        pub length: u32,
        /// IP protocol number.
        pub proto: u8,
        /// [`Direction`](crate::Direction) as a number.
        pub direction: u8,
        /// [`Reason`](crate::Reason) as a number.
        pub reason: u8,
        /// TCP flags.
        pub tcp_flags: u8,
        /// ICMP type.
        pub icmp_type: u8,
        /// ICMP code.
        pub icmp_code: u8,
        /// 1 when the packet is a reply of its flow.
        pub reply: u8,
        /// Zero.
        pub reserved: u8,
    }
}
