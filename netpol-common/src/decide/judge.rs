//! What the policies in force say of a new flow: no memory, only tables.
//!
//! # Precedence
//!
//! 1. No policy set in that direction: allow.
//! 2. A rule for any peer and every port: allow, whatever stands behind the destination.
//! 3. Egress to a frontend of a Service: as its backends are judged, each at its own port.
//!    All allowed: allow. Some or all denied, but each of those is a pod of this node that can recognise the sender,
//!    and either some are allowed or the sender itself is among them: allow, and leave the rest to the destination.
//!    All denied: drop. Otherwise: drop, since which one it will be is not known here.
//! 4. Egress to an address that only Services use, without a frontend there: drop.
//! 5. The port set of the peer's class in the policy set, or else the one for any peer.

use super::Tables;
use crate::{
    flow::FlowKey,
    packet::{ICMP, ICMPV6},
    tables::{
        BACKEND_JUDGES_SENDER, BACKENDS_NONE, BACKENDS_OVERFLOW, CLASS_NONE, ENDPOINT_TAG_TRUSTED,
        FrontendKey, INLINE_RANGES, MAX_BACKENDS, PEER_FRONTEND, PEER_SERVICE_ONLY, PORTS_ALL,
        PORTS_FLAG_ALL, PORTS_FLAG_CHUNKS, PORTS_NONE, PortSet, Prefix, SET_CLOSED, SET_NONE, proto_bit,
        proto_number,
    },
    verdict::{Direction, Reason},
    verifier::forgotten,
};

/// What the policies say, and by which entries.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// The peer's class.
    pub class: u32,
    /// The port set that was consulted.
    pub port_set: u32,
    /// The set of backends that was consulted.
    pub backends: u32,
    /// [`Reason`] as a number.
    pub reason: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Some backend is allowed.
const SOME_ALLOWED: u64 = 1;
/// Some backend is denied.
const SOME_DENIED: u64 = 2;
/// Some backend is denied, and nobody behind us will judge again.
const SOME_LOST: u64 = 4;

impl Judged {
    /// Whether the flow passes.
    #[inline(always)]
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.reason < crate::verdict::FIRST_DROP
    }
}

/// Whether a port set allows a port of a protocol.
#[inline(always)]
pub fn permits<T: Tables>(tables: &T, id: u32, proto: u8, port: u16) -> bool {
    if id == PORTS_ALL {
        return true;
    }
    if id == PORTS_NONE {
        return false;
    }
    let Some(set) = tables.port_set(id) else {
        return false;
    };
    if set.flags & PORTS_FLAG_ALL != 0 {
        return true;
    }
    if set.protos & proto_bit(proto) == 0 {
        return false;
    }
    has_range::<INLINE_RANGES>(set, proto_number(proto), port)
        || set.flags & PORTS_FLAG_CHUNKS != 0 && tables.port_chunk(id, proto, port)
}

/// Ranges of a port set that are looked at before a call is made.
const AT_ONCE: usize = 3;

/// The same where the set has no more than [`AT_ONCE`] ranges, as most have, or one of these decides: so the kernel makes no
/// call. Nothing where more is to be looked at.
#[inline(always)]
pub(super) fn permits_at_once<T: Tables>(tables: &T, id: u32, proto: u8, port: u16) -> Option<bool> {
    if id == PORTS_ALL || id == PORTS_NONE {
        return Some(id == PORTS_ALL);
    }
    let set = tables.port_set(id)?;
    if set.flags != 0 {
        return None;
    }
    if set.protos & proto_bit(proto) == 0 {
        return Some(false);
    }
    if has_range::<AT_ONCE>(set, proto_number(proto), port) {
        return Some(true);
    }
    if set.range_protos < 1 << (2 * AT_ONCE) { Some(false) } else { None }
}

/// Whether one of a port set's first `COUNT` ranges has the port, of the protocol of this [`proto_number`].
#[inline(always)]
fn has_range<const COUNT: usize>(set: &PortSet, number: u16, port: u16) -> bool {
    let (mut protos, mut i) = (set.range_protos, 0);
    while i < COUNT {
        let range = &set.ranges[i];
        if protos & 3 == number && range.low <= port && port <= range.high {
            return true;
        }
        protos >>= 2;
        i += 1;
    }
    false
}

#[inline(always)]
fn port_set_of<T: Tables>(tables: &T, set: u32, class: u32, any_peer: u32) -> u32 {
    if class == CLASS_NONE { any_peer } else { tables.rule(set, class, any_peer) }
}

/// Judges a flow in the direction in which it was opened. `backends` is the set that the flow was judged by before,
/// or [`BACKENDS_NONE`] for one that is new.
#[inline(always)]
pub fn judge<T: Tables>(
    tables: &T,
    slot: u32,
    direction: Direction,
    set: u32,
    key: &FlowKey,
    backends: u32,
    out: &mut Judged,
) {
    if set == SET_NONE {
        out.reason = Reason::NotIsolated as u8; // 1
        return;
    }
    out.reason = Reason::PolicyDenied as u8;
    if set == SET_CLOSED {
        return;
    }
    let any_peer = tables.any_peer(set);
    if any_peer == PORTS_ALL {
        out.port_set = PORTS_ALL;
        out.reason = Reason::Policy as u8; // 2
        return;
    }
    let mut peer = Prefix { class: CLASS_NONE, flags: 0 };
    tables.peer(&key.peer, &mut peer);
    let mut port = key.pod_port;
    if matches!(direction, Direction::Egress) {
        port = key.peer_port;
        let mut behind = backends;
        if behind == BACKENDS_NONE && peer.flags & PEER_FRONTEND != 0 {
            behind = tables.frontend(&FrontendKey { addr: key.peer, port, proto: key.proto, reserved: 0 });
        }
        if behind != BACKENDS_NONE {
            out.backends = behind;
            out.reason = tables.judge_backends(slot, set, any_peer, behind, key.proto) as u8; // 3
            return;
        }
        if peer.flags & PEER_SERVICE_ONLY != 0 {
            out.reason = Reason::UnknownFrontend as u8; // 4
            return;
        }
    }
    out.class = peer.class;
    out.port_set = port_set_of(tables, set, peer.class, any_peer);
    let permitted = match permits_at_once(tables, out.port_set, key.proto, port) {
        Some(answer) => answer,
        None => tables.permits(out.port_set, key.proto, port),
    };
    if permitted {
        out.reason = Reason::Policy as u8; // 5
    }
}

/// 3. Judges a flow to a Service by everything that may stand behind it.
#[inline(always)]
pub fn judge_backends<T: Tables>(
    tables: &T,
    slot: u32,
    set: u32,
    any_peer: u32,
    id: u32,
    proto: u8,
) -> Reason {
    let Some(backends) = tables.backends(id) else {
        return Reason::TableInconsistent;
    };
    if backends.flags & BACKENDS_OVERFLOW != 0 {
        return Reason::BackendsDiffer;
    }
    let mut tally = 0;
    let mut i = 0;
    while i < MAX_BACKENDS {
        if i as u32 >= backends.count {
            break;
        }
        let backend = &backends.backends[i];
        let ports = if backend.class == CLASS_NONE {
            any_peer
        } else {
            tables.rule_of_many(set, backend.class, any_peer)
        };
        let allowed = tables.permits(ports, proto, backend.port);
        tally |= if allowed {
            SOME_ALLOWED
        } else if backend.flags & BACKEND_JUDGES_SENDER != 0 {
            SOME_DENIED
        } else {
            SOME_DENIED | SOME_LOST
        };
        tally = forgotten(tally, id.into());
        i += 1;
    }
    if tally == 0 {
        return Reason::NoBackend;
    }
    if tally & SOME_DENIED == 0 {
        return Reason::Policy;
    }
    let trusted = tables.endpoint(slot).is_some_and(|endpoint| endpoint.flags & ENDPOINT_TAG_TRUSTED != 0);
    let recognised = tally & SOME_LOST == 0 && trusted;
    if recognised && (tally & SOME_ALLOWED != 0 || tables.member(id, slot)) {
        return Reason::Deferred;
    }
    if tally & SOME_ALLOWED == 0 { Reason::PolicyDenied } else { Reason::BackendsDiffer }
}

/// Judges, at the destination, the egress of the local pod that sent the packet. `key` is the destination's.
#[inline(always)]
pub(super) fn judge_sender<T: Tables>(tables: &T, set: u32, key: &FlowKey, out: &mut Judged) {
    if set == SET_NONE {
        return;
    }
    if set != SET_CLOSED {
        let any_peer = tables.any_peer(set);
        let mut own = Prefix { class: CLASS_NONE, flags: 0 };
        tables.peer(&key.pod, &mut own);
        if tables.permits(port_set_of(tables, set, own.class, any_peer), key.proto, key.pod_port) {
            return;
        }
    }
    out.reason = Reason::SenderDenied as u8;
}

/// Whether some port of a protocol is allowed with the peer of a flow; for a Service, whose port is not known from a
/// later fragment, whether there is anything behind the address at all.
#[inline(always)]
pub(super) fn some_port<T: Tables>(tables: &T, set: u32, key: &FlowKey, proto: u8) -> bool {
    if set == SET_NONE {
        return true;
    }
    if set == SET_CLOSED {
        return false;
    }
    let any_peer = tables.any_peer(set);
    let mut peer = Prefix { class: CLASS_NONE, flags: 0 };
    tables.peer(&key.peer, &mut peer);
    if peer.flags & PEER_FRONTEND != 0 && proto != ICMP && proto != ICMPV6 {
        return true;
    }
    match port_set_of(tables, set, peer.class, any_peer) {
        PORTS_ALL => true,
        PORTS_NONE => false,
        id => match tables.port_set(id) {
            Some(ports) => ports.flags & PORTS_FLAG_ALL != 0 || ports.protos & proto_bit(proto) != 0,
            None => false,
        },
    }
}
