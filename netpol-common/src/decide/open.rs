//! A flow that nobody knows yet (8).

use super::{
    Decision,
    access::{Flows, Tables},
    judge::{judge, judge_sender},
};
use crate::{
    flow::{Flow, FlowKey, Origin, STATE_OPENING},
    tables::{BACKENDS_NONE, revision_of, set_of},
    verdict::{Direction, Reason},
};

/// Who opens a flow, and what becomes of it when it is allowed.
#[derive(Clone, Copy)]
pub struct Opener {
    /// Who it is.
    pub origin: Origin,
    /// The slot of the local pod whose egress is to be judged here; 0 for none.
    pub sender: u32,
    /// Whether it is a flow at all, to which later packets belong.
    pub is_kept: bool,
    /// Whether it is an old one anew, whose state goes on.
    pub renews: bool,
}

/// Judges what opens a flow, in the direction in which it passes the pod, and keeps it as a flow if it is allowed. `flow` is
/// what was kept under the key before.
#[expect(clippy::too_many_arguments, reason = "a part of `decide`, of which it is inlined")]
#[inline(always)]
pub fn open<T: Tables, F: Flows>(
    tables: &T,
    flows: &mut F,
    slot: u32,
    now: u32,
    direction: Direction,
    opener: Opener,
    key: &FlowKey,
    flow: &mut Flow,
    out: &mut Decision,
) {
    // Revisions and the generation are read before any class is.
    let word = tables.judgement(slot, direction);
    let generation = tables.generation(&key.peer);
    let sender_word = if opener.sender == 0 { 0 } else { tables.judgement(opener.sender, Direction::Egress) };
    out.set = set_of(word);
    out.revision = revision_of(word);
    let judged = &mut out.judged;
    match opener.origin {
        Origin::Node => judged.reason = Reason::Node as u8,
        Origin::Itself => judged.reason = Reason::Itself as u8,
        Origin::Pod | Origin::Peer => {
            judge(tables, slot, direction, set_of(word), key, BACKENDS_NONE, judged);
            if opener.sender != 0 && judged.passes() {
                judge_sender(tables, set_of(sender_word), key, judged);
            }
        }
    }
    out.reason = judged.reason;
    out.report = 1;
    out.deferred = is_deferred(matches!(direction, Direction::Egress), judged.backends);
    if !judged.passes() || !opener.is_kept {
        return;
    }
    if !opener.renews {
        flow.state = STATE_OPENING;
    }
    flow.fins = 0;
    flow.denied = 0;
    flow.origin = opener.origin as u8;
    flow.sender = opener.sender as u16;
    flow.sender_revision = revision_of(sender_word);
    flow.revision = revision_of(word);
    flow.generation = generation;
    flow.backends = judged.backends;
    flow.last_seen = now;
    flows.put(slot, key, flow);
}

/// Where translation chooses, the destination looks again: harmless when all backends agree, exact when not.
#[inline(always)]
pub(super) const fn is_deferred(egress: bool, backends: u32) -> u8 {
    (egress && backends != BACKENDS_NONE) as u8
}
