//! The decision function: one packet, one endpoint, one verdict.
//!
//! Written once, for both families and both directions, generic over the tables that it reads ([`Tables`]) and the
//! flows that it keeps ([`Flows`]): BPF maps in the kernel, ordinary maps in a test and in `explain`. Everything is
//! inlined, results are written through `&mut`, and structs are plain: what the verifiers of old kernels accept.
//!
//! # Precedence
//!
//! The first line that applies decides. The numbers stand again at the branches.
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
#[cfg(any(test, feature = "std"))]
mod memory;
mod open;
#[cfg(test)]
mod tests;

use crate::{
    flow::{Flow, FlowKey, Origin, REFRESH, STATE_CLOSING, table::age},
    packet::{ICMP_ERROR, ICMP_OTHER, ICMP_REPLY, KIND_LATER_FRAGMENT, LINK_CONTROL_SERVES, Packet},
    tables::{BACKENDS_NONE, TAG_DEFERRED, revision_of, set_of},
    verdict::{Direction, Reason},
};

#[cfg(any(test, feature = "std"))]
pub use self::memory::Memory;
pub use self::{
    access::{Flows, Tables},
    arrival::{Arrival, is_judged, source_check},
    judge::{Judged, judge, judge_backends, permits},
    keep::keep_up,
    open::{Opener, open},
};
use self::{
    arrival::{Sender, addresses, sender_of},
    keep::{later_fragment, living, remember_first_fragment},
    open::is_deferred,
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

/// The flow that a packet belongs to, as the endpoint sees it.
#[inline(always)]
const fn own_key(packet: &Packet, egress: bool) -> FlowKey {
    let proto = packet.proto;
    let reserved = [0; 3];
    if egress {
        FlowKey {
            pod: packet.src,
            peer: packet.dst,
            pod_port: packet.src_port,
            peer_port: packet.dst_port,
            proto,
            reserved,
        }
    } else {
        FlowKey {
            pod: packet.dst,
            peer: packet.src,
            pod_port: packet.dst_port,
            peer_port: packet.src_port,
            proto,
            reserved,
        }
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
    let Work { key, flow } = work;
    *out = Decision::default();
    let slot = arrival.slot;
    let egress = matches!(direction, Direction::Egress);
    let Some(endpoint) = tables.endpoint(slot) else {
        return out.drop_as(Reason::UnknownEndpoint); // 1
    };

    *key = own_key(packet, egress);
    // A pod asks for an address; it does not give them to others.
    let link_control =
        if egress && packet.link_control == LINK_CONTROL_SERVES { 0 } else { packet.link_control };

    // 2. Addresses that cannot be there, or that decide alone.
    match addresses(tables, endpoint, packet, arrival, egress, link_control) {
        // Silent: a bridge floods what it has not learned, to every port.
        Some(Reason::NotForThisPod) => {
            out.reason = Reason::NotForThisPod as u8;
            return;
        }
        Some(reason) if reason.is_drop() => return out.drop_as(reason),
        Some(reason) => return out.pass_as(reason),
        None => {}
    }

    // 3. Link control.
    if link_control != 0 {
        return out.pass_as(Reason::LinkControl);
    }

    // 4. The node, and the pod itself; kept as a flow below, so that replies pass.
    let from_node = !egress && arrival.is_from_node();

    // 5. Later fragments.
    if packet.kind == KIND_LATER_FRAGMENT {
        if from_node {
            return out.pass_as(Reason::Node);
        }
        if !egress && sender_of(tables, arrival).slot == slot {
            return out.pass_as(Reason::Itself);
        }
        return later_fragment(tables, flows, packet, arrival, direction, key, out);
    }

    // 6. ICMP errors speak of another flow.
    // They go to who sent the packet that they quote; otherwise anything could be said to anybody in their name.
    let error =
        packet.icmp_kind == ICMP_ERROR && packet.quoted_proto != 0 && packet.dst.same(&packet.quoted_src);
    if error {
        // The quoted packet went the other way: an error that comes in quotes what the pod sent.
        if egress {
            key.pod = packet.quoted_dst;
            key.peer = packet.quoted_src;
            key.pod_port = packet.quoted_dst_port;
            key.peer_port = packet.quoted_src_port;
        } else {
            key.pod = packet.quoted_src;
            key.peer = packet.quoted_dst;
            key.pod_port = packet.quoted_src_port;
            key.peer_port = packet.quoted_dst_port;
        }
        key.proto = packet.quoted_proto;
    }

    // 7. Known flows.
    let syn = packet.is_pure_syn();
    *flow = Flow::default();
    let mut known = living(flows, arrival, key, flow);
    let old_syn_flow = known && syn;
    if old_syn_flow {
        known = false;
    }
    if error && !known {
        *key = own_key(packet, egress);
    }

    if known {
        known_flow(tables, flows, packet, arrival, egress, error, key, flow, out);
    } else {
        // 8. New.
        let seen = if egress || from_node { Sender::NONE } else { sender_of(tables, arrival) };
        let origin = if egress {
            Origin::Pod
        } else if from_node {
            Origin::Node
        } else if seen.slot == slot {
            Origin::Itself
        } else {
            Origin::Peer
        };
        let opener = Opener {
            origin,
            sender: if seen.judged || seen.slot == slot { 0 } else { seen.slot },
            is_kept: packet.icmp_kind != ICMP_ERROR
                && packet.icmp_kind != ICMP_OTHER
                && packet.icmp_kind != ICMP_REPLY,
            // A SYN on a living flow of the same origin renews it as it is; otherwise the tuple starts anew.
            renews: old_syn_flow
                && flow.origin == origin as u8
                && flow.denied == 0
                && flow.state != STATE_CLOSING,
        };
        open(tables, flows, slot, arrival.now, direction, opener, key, flow, out);
    }
    remember_first_fragment(flows, packet, arrival, direction, out);
}

/// A packet of a known flow (7): `key` is the flow's, `flow` what is kept of it, and `error` says that the packet only speaks
/// of it.
#[expect(clippy::too_many_arguments, reason = "a part of `decide`, of which it is inlined")]
#[inline(always)]
fn known_flow<T: Tables, F: Flows>(
    tables: &T,
    flows: &mut F,
    packet: &Packet,
    arrival: &Arrival,
    egress: bool,
    error: bool,
    key: &FlowKey,
    flow: &mut Flow,
    out: &mut Decision,
) {
    let slot = arrival.slot;
    let by_pod = flow.origin == Origin::Pod as u8;
    let original = if by_pod { Direction::Egress } else { Direction::Ingress };
    // Revisions and the generation are read before any class is.
    let word = tables.judgement(slot, original);
    let generation = tables.generation(&key.peer);
    let sender = u32::from(flow.sender);
    let sender_word = if sender == 0 { 0 } else { tables.judgement(sender, Direction::Egress) };
    out.set = set_of(word);
    out.revision = revision_of(word);
    let privileged = !by_pod && flow.origin != Origin::Peer as u8;
    let current = flow.revision == revision_of(word)
        && flow.generation == generation
        && flow.sender_revision == revision_of(sender_word);
    let judged = &mut out.judged;
    if privileged {
        judged.reason = Reason::Flow as u8;
    } else if current {
        judged.reason = if flow.denied == 0 { Reason::Flow as u8 } else { Reason::FlowDenied as u8 };
        judged.backends = flow.backends;
    } else {
        judge(tables, slot, original, set_of(word), key, flow.backends, judged);
        if sender != 0 && judged.passes() {
            judge::judge_sender(tables, set_of(sender_word), key, judged);
        }
    }
    let allowed = judged.passes();
    let backends = judged.backends;
    out.deferred = is_deferred(egress, backends);
    out.reply = u8::from(egress != by_pod);
    let was_denied = flow.denied != 0;
    if !current && !privileged {
        out.report = u8::from(was_denied == allowed);
        flow.revision = revision_of(word);
        flow.generation = generation;
        flow.sender_revision = revision_of(sender_word);
        flow.denied = u8::from(!allowed);
        // Kept while nothing asks for them and while they are denied: translation has pinned the flow to one of them.
        if backends != BACKENDS_NONE {
            flow.backends = backends;
        }
        flows.put(slot, key, flow);
    }
    if allowed {
        out.reason = if error { Reason::IcmpError as u8 } else { Reason::Flow as u8 };
        if !error && keep_up(flow, arrival.now, packet.proto, packet.tcp_flags, egress, out.reply != 0) {
            flows.touch(slot, key, flow);
        }
        return;
    }
    out.reason = if was_denied || !current { Reason::FlowDenied as u8 } else { judged.reason };
    // As long as an end speaks, the entry stays: forgotten, it would be opened anew by the other end.
    if !error && age(arrival.now, flow.last_seen) >= REFRESH {
        flow.last_seen = arrival.now;
        flows.touch(slot, key, flow);
    }
    out.report = 1;
    // The node's own packets always reach its pod, whatever became of a flow that the pod opened.
    if !egress && arrival.is_from_node() {
        out.report = 0;
        out.reason = Reason::Node as u8;
    }
}
