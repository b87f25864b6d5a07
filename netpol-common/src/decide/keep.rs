//! Keeping flows and fragments up to date.

use super::{
    access::{Flows, Tables},
    arrival::Arrival,
    judge,
    steps::Case,
};
use crate::{
    flow::{
        FIN_PEER, FIN_POD, Flow, FlowKey, FragmentKey, REFRESH, STATE_CLOSING, STATE_ESTABLISHED,
        STATE_OPENING, table::age,
    },
    packet::{KIND_FIRST_FRAGMENT, Packet, TCP_FIN, TCP_RST},
    tables::{revision_of, set_of},
    verdict::{Direction, Reason},
};

/// Copies a flow into `out` if it is known and has not been silent for too long.
#[inline(always)]
pub(super) fn living<F: Flows>(flows: &mut F, arrival: &Arrival, key: &FlowKey, out: &mut Flow) -> bool {
    flows.get(arrival.slot, key, out)
        && age(arrival.now, out.last_seen) <= flows.timeout(key.proto, out.state)
}

/// Brings an allowed flow up to date with a packet of it, its time and its state; says whether anything is to be written.
/// Other protocols than TCP have none of its flags.
#[inline(always)]
pub const fn keep_up(flow: &mut Flow, now: u32, tcp_flags: u8, egress: bool, reply: bool) -> bool {
    let mut changed = age(now, flow.last_seen) >= REFRESH;
    if tcp_flags & (TCP_FIN | TCP_RST) != 0 {
        let fins = flow.fins | if egress { FIN_POD } else { FIN_PEER };
        let closing = tcp_flags & TCP_RST != 0 || fins == FIN_POD | FIN_PEER;
        if fins != flow.fins || closing && flow.state != STATE_CLOSING {
            flow.fins = fins;
            if closing {
                flow.state = STATE_CLOSING;
            }
            changed = true;
        }
    }
    if reply && flow.state == STATE_OPENING {
        flow.state = STATE_ESTABLISHED;
        changed = true;
    }
    if changed {
        flow.last_seen = now;
    }
    changed
}

#[inline(always)]
const fn fragment_key(packet: &Packet, slot: u32, direction: Direction) -> FragmentKey {
    FragmentKey {
        src: packet.src,
        dst: packet.dst,
        id: packet.fragment_id,
        slot_and_direction: slot | (direction as u32) << 31,
        // IPv6 reassembles by addresses and identification alone.
        proto: if packet.src.is_v4() { packet.proto as u32 } else { 0 },
    }
}

/// What became of a first fragment is kept for the later ones.
#[inline(always)]
pub(super) fn remember_first_fragment<T: Tables, F: Flows>(case: &mut Case<'_, T, F>) {
    let Case { packet, arrival, direction, .. } = *case;
    if packet.kind == KIND_FIRST_FRAGMENT {
        let key = fragment_key(packet, arrival.slot, direction);
        case.flows.remember_fragment(&key, arrival.now, !case.out.passes());
    }
}

/// 5. A later fragment.
#[inline(always)]
pub(super) fn later_fragment<T: Tables, F: Flows>(case: &mut Case<'_, T, F>) {
    let Case { tables, packet, arrival, direction, .. } = *case;
    let (out, key) = (&mut *case.out, &case.work.key);
    let fragment = fragment_key(packet, arrival.slot, direction);
    match case.flows.fragment(&fragment, arrival.now) {
        1 => return out.pass_as(Reason::Fragment),
        2 => return out.drop_as(Reason::FragmentDenied),
        _ => {}
    }
    let word = tables.judgement(arrival.slot, direction);
    let other = tables.judgement(arrival.slot, direction.reverse());
    out.set = set_of(word);
    out.revision = revision_of(word);
    if judge::some_port(tables, set_of(word), key, packet.proto)
        || judge::some_port(tables, set_of(other), key, packet.proto)
    {
        out.pass_as(Reason::Fragment);
    } else {
        out.drop_as(Reason::FragmentDenied);
    }
}
