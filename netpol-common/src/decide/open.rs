//! A flow that nobody knows yet (8).

use super::{
    Decision,
    access::{Flows, Tables},
    arrival::{Arrival, Sender, sender_of},
    judge::{judge, judge_sender},
    steps::Case,
};
use crate::{
    flow::{Flow, FlowKey, Origin, STATE_CLOSING, STATE_OPENING},
    packet::{ICMP_ERROR, ICMP_OTHER, ICMP_REPLY},
    tables::{BACKENDS_NONE, revision_of, set_of},
    verdict::{Direction, Reason},
};

/// 4 and 8. Who opens a flow; `again` says that it is known, and a SYN opens it once more.
#[inline(always)]
pub(super) fn find_opener<T: Tables, F: Flows>(case: &mut Case<'_, T, F>, again: bool) {
    let Case { tables, arrival, direction, .. } = *case;
    let flow = &mut case.work.flow;
    let slot = arrival.slot;
    let egress = matches!(direction, Direction::Egress);
    let from_node = !egress && arrival.is_from_node();
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
    // A SYN on a living flow of the same origin renews it as it is; otherwise the tuple starts anew.
    let renews = again && flow.origin == origin as u8 && flow.denied == 0 && flow.state != STATE_CLOSING;
    if !renews {
        flow.state = STATE_OPENING;
    }
    flow.opened_by(origin, if seen.judged || seen.slot == slot { 0 } else { seen.slot });
}

/// 8. What does not belong to a flow, nor opens one, is judged and not kept.
#[inline(always)]
pub(super) fn open_flow<T: Tables, F: Flows>(case: &mut Case<'_, T, F>) {
    let Case { tables, packet, arrival, direction, .. } = *case;
    let (out, key, flow) = (&mut *case.out, &case.work.key, &mut case.work.flow);
    if open(tables, arrival.slot, direction, key, flow, out)
        && packet.icmp_kind != ICMP_ERROR
        && packet.icmp_kind != ICMP_OTHER
        && packet.icmp_kind != ICMP_REPLY
    {
        keep(case.flows, arrival, key, flow);
    }
}

impl Flow {
    /// By whom it was opened: `sender` is the slot of the local pod whose egress is to be judged here; 0 for none.
    #[inline(always)]
    pub const fn opened_by(&mut self, origin: Origin, sender: u32) {
        self.fins = 0;
        self.denied = 0;
        self.origin = origin as u8;
        self.sender = sender as u16;
    }
}

/// Judges what opens a flow, in the direction in which it passes the pod; says whether it is allowed. `flow` says who opens
/// it, and is what is to be kept then, but for the time.
#[inline(always)]
pub fn open<T: Tables>(
    tables: &T,
    slot: u32,
    direction: Direction,
    key: &FlowKey,
    flow: &mut Flow,
    out: &mut Decision,
) -> bool {
    // Revisions and the generation are read before any class is.
    let word = tables.judgement(slot, direction);
    let generation = tables.generation(&key.peer);
    let sender = u32::from(flow.sender);
    let sender_word = if sender == 0 { 0 } else { tables.judgement(sender, Direction::Egress) };
    out.set = set_of(word);
    out.revision = revision_of(word);
    let judged = &mut out.judged;
    if flow.origin == Origin::Node as u8 {
        judged.reason = Reason::Node as u8;
    } else if flow.origin == Origin::Itself as u8 {
        judged.reason = Reason::Itself as u8;
    } else {
        judge(tables, slot, direction, set_of(word), key, BACKENDS_NONE, judged);
        if sender != 0 && judged.passes() {
            judge_sender(tables, set_of(sender_word), key, judged);
        }
    }
    out.reason = judged.reason;
    out.report = 1;
    out.deferred = is_deferred(matches!(direction, Direction::Egress), judged.backends);
    if !judged.passes() {
        return false;
    }
    flow.sender_revision = revision_of(sender_word);
    flow.revision = revision_of(word);
    flow.generation = generation;
    flow.backends = judged.backends;
    true
}

/// Keeps a flow that was opened.
#[inline(always)]
pub fn keep<F: Flows>(flows: &mut F, arrival: &Arrival, key: &FlowKey, flow: &mut Flow) {
    flow.last_seen = arrival.now;
    flows.put(arrival.slot, key, flow);
}

/// Where translation chooses, the destination looks again: harmless when all backends agree, exact when not.
#[inline(always)]
pub(super) const fn is_deferred(egress: bool, backends: u32) -> u8 {
    (egress && backends != BACKENDS_NONE) as u8
}
