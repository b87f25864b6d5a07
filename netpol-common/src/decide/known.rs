//! A packet of a known flow (7).

use super::{
    access::{Flows, Tables},
    judge::{judge, judge_sender},
    keep::keep_up,
    open::is_deferred,
    steps::Case,
};
use crate::{
    flow::{Origin, REFRESH, table::age},
    tables::{BACKENDS_NONE, revision_of, set_of},
    verdict::{Direction, Reason},
};

/// 7. As the flow was judged, or is judged now. `error` says that the packet only speaks of it.
#[inline(always)]
pub(super) fn known_flow<T: Tables, F: Flows>(case: &mut Case<'_, T, F>, error: bool) {
    let Case { tables, packet, arrival, .. } = *case;
    let (out, key, flow) = (&mut *case.out, &case.work.key, &mut case.work.flow);
    let egress = matches!(case.direction, Direction::Egress);
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
            judge_sender(tables, set_of(sender_word), key, judged);
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
        case.flows.put(slot, key, flow);
    }
    if allowed {
        out.reason = if error { Reason::IcmpError as u8 } else { Reason::Flow as u8 };
        if !error && keep_up(flow, arrival.now, packet.tcp_flags, egress, out.reply != 0) {
            case.flows.touch(slot, key, flow);
        }
        return;
    }
    out.reason = if was_denied || !current { Reason::FlowDenied as u8 } else { judged.reason };
    // As long as an end speaks, the entry stays: forgotten, it would be opened anew by the other end.
    if !error && age(arrival.now, flow.last_seen) >= REFRESH {
        flow.last_seen = arrival.now;
        case.flows.touch(slot, key, flow);
    }
    out.report = 1;
    // The node's own packets always reach its pod, whatever became of a flow that the pod opened.
    if !egress && arrival.is_from_node() {
        out.report = 0;
        out.reason = Reason::Node as u8;
    }
}
