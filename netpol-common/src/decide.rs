//! The decision function: one packet, one endpoint, one verdict.
//!
//! Written once, for both families and both directions, generic over the tables that it reads ([`Tables`]) and the
//! flows that it keeps ([`Flows`]): BPF maps in the kernel, ordinary maps in a test and in `explain`. It goes in [`Steps`],
//! each of which is a function of its own in the kernel; within them everything is inlined. Results are written through
//! `&mut`, and structs are plain: what the verifiers of old kernels accept.
//!
//! # Precedence
//!
//! The first line that applies decides. The numbers stand again at the branches and at the steps.
//!
//! 1. The endpoint is not known: drop.
//! 2. An address that cannot be there: egress with a source that is not the pod's, ingress for somebody else, a
//!    multicast or loopback source: drop. The pod to its own address, unless a Service has it: allow.
//! 3. Link control (neighbour discovery, MLD, IGMP, DHCP): allow.
//! 4. Ingress from the node itself, or from the pod itself through a Service: allow, and keep the flow.
//! 5. A later fragment: as its first one; without that, allow only if some port of its protocol is allowed with the
//!    peer in either direction, since without the first nothing is ever delivered.
//! 6. An ICMP error: as the flow that it quotes, if there is one; else as any other ICMP.
//! 7. A packet of a known flow that is not a pure SYN: as the flow was judged; judged again, in its original
//!    direction and by its origin, when the endpoint's revision or the generation of the peer's address has moved.
//! 8. Anything else is new: [`open`](open::open) judges it by the policy set of its direction, and, where the sender
//!    left its judgement to us, by the sender's egress too. What is allowed is kept as a flow.

mod access;
mod arrival;
mod judge;
mod keep;
mod known;
mod look;
#[cfg(any(test, feature = "std"))]
mod memory;
mod open;
mod steps;
#[cfg(test)]
mod tests;

use crate::{
    flow::{Flow, FlowKey},
    packet::Packet,
    tables::TAG_DEFERRED,
    verdict::{Direction, Reason},
};

#[cfg(any(test, feature = "std"))]
pub use self::memory::Memory;
pub use self::{
    access::{Flows, Tables},
    arrival::{Arrival, is_judged, source_check},
    judge::{Judged, judge, judge_backends, permits},
    keep::keep_up,
    open::{keep, open},
    steps::{Case, Left, Steps, go},
};

/// What was decided, and by what.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What the policies said, where they were asked.
    pub judged: Judged,
    /// The policy set that judged.
    pub set: u32,
    /// The endpoint's revision in the direction that judged.
    pub revision: u32,
    /// [`Reason`] as a number; says whether the packet passes.
    pub reason: u8,
    /// 1 when the verdict is worth an event: a new flow, a changed one, a drop.
    pub report: u8,
    /// 1 when the packet is a reply of its flow.
    pub reply: u8,
    /// 1 when the destination has to judge the sender's egress: see [`Decision::tag`].
    pub deferred: u8,
}

impl Decision {
    /// Whether the packet passes.
    #[inline(always)]
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.reason < crate::verdict::FIRST_DROP
    }

    /// The tag that an allowed packet carries away from its sender.
    #[inline(always)]
    #[must_use]
    pub const fn tag(&self, slot: u32) -> u32 {
        if self.deferred == 0 { slot } else { slot | TAG_DEFERRED }
    }

    #[inline(always)]
    const fn drop_as(&mut self, reason: Reason) {
        self.reason = reason as u8;
        self.report = 1;
    }

    #[inline(always)]
    const fn pass_as(&mut self, reason: Reason) {
        self.reason = reason as u8;
    }
}

/// What a decision works with: too large for the stack of a program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    key: FlowKey,
    flow: Flow,
}

impl Work {
    /// A flow that nothing is known of.
    #[inline(always)]
    pub fn no_flow(&mut self) -> &mut Flow {
        self.flow = Flow::default();
        &mut self.flow
    }
}

/// Decides one packet; `out` is always filled in whole, and what `work` holds is of no meaning.
#[inline(always)]
pub fn decide<T: Tables, F: Flows>(
    tables: &T,
    flows: &mut F,
    packet: &Packet,
    arrival: &Arrival,
    direction: Direction,
    work: &mut Work,
    out: &mut Decision,
) {
    go(&mut Case { tables, flows, packet, arrival, direction, work, out });
}
