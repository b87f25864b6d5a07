//! The tables between two operations: no packet meets something that is neither old nor new.

use std::net::IpAddr;

use netpol_common::{
    Addr, Direction,
    decide::{Judged, Tables, judge},
    flow::FlowKey,
    tables::{Endpoint, revision_of, set_of},
};

use super::{
    build::ip,
    lab::{Lab, TCP, judged_by},
    random::{FRONTENDS, PODS, PORTS, WORLD, address},
};
use crate::engine::{Mirror, TableOp};

/// A question to the tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) slot: u32,
    pub(super) direction: Direction,
    pub(super) peer: IpAddr,
    pub(super) port: u16,
}

pub(super) fn questions(slots: &[u32]) -> Vec<Question> {
    let mut all = Vec::new();
    let peers = (0..PODS).flat_map(address).chain(WORLD.iter().map(ToString::to_string));
    let peers: Vec<(IpAddr, &[u16])> = peers.map(|p| (ip(&p), &PORTS[..3])).collect();
    for &slot in slots {
        for direction in Direction::ALL {
            for (peer, ports) in &peers {
                all.extend(ports.iter().map(|port| Question { slot, direction, peer: *peer, port: *port }));
            }
        }
        let direction = Direction::Egress;
        all.extend(FRONTENDS.map(|(a, port)| Question { slot, direction, peer: ip(a), port }));
        all.push(Question { slot, direction, peer: ip("fd00:1::1"), port: 80 });
    }
    all
}

pub(super) fn ask(tables: &Mirror, q: &Question) -> Judged {
    judged_by(tables, q.slot, q.direction, q.peer.into(), TCP, q.port)
}

/// Asks again for a flow that was judged by a set of backends.
pub(super) fn ask_again(tables: &Mirror, q: &Question, backends: u32) -> Judged {
    let key = FlowKey {
        pod: Addr::NONE,
        peer: q.peer.into(),
        pod_port: q.port,
        peer_port: q.port,
        proto: TCP,
        reserved: [0; 3],
    };
    let mut out = Judged::default();
    let set = set_of(tables.judgement(q.slot, q.direction));
    judge(tables, q.slot, q.direction, set, &key, backends, &mut out);
    out
}

pub(super) fn is_own(endpoint: &Endpoint, peer: IpAddr) -> bool {
    let peer = Addr::from(peer);
    peer == endpoint.v6 || peer.is_v4() && peer.0[3] == endpoint.v4
}

/// Whether a flow passes, and what it remembers of that: revision, generation and set of backends.
pub(super) type Stamp = (bool, u32, u32, u32);

/// What a flow that is judged now would remember.
pub(super) fn stamp(tables: &Mirror, q: &Question) -> Stamp {
    let judged = ask(tables, q);
    let revision = revision_of(tables.judgement(q.slot, q.direction));
    (judged.passes(), revision, tables.generation(&q.peer.into()), judged.backends)
}

/// Applies operations one by one. At every moment every flow is judged as before or as after, or as after some of the
/// changes (`None`: nobody knows how that would be), and one that is judged otherwise than after is judged again: its
/// revision or its generation moves on.
pub(super) fn apply_watched(
    kernel: &mut Mirror,
    ops: &[TableOp],
    slots: &[u32],
    between: Option<&[Mirror]>,
    what: &str,
) {
    let mut all = questions(slots);
    // A pod always reaches itself, whatever is judged.
    let own = |q: &Question| kernel.endpoint(q.slot).is_some_and(|e| is_own(e, q.peer));
    all.retain(|q| !own(q));
    let before: Vec<_> = all.iter().map(|q| stamp(kernel, q)).collect();
    let mut after = kernel.clone();
    for op in ops {
        assert!(after.apply(op), "{what}: changes nothing: {op:?}");
    }
    let last: Vec<_> = all.iter().map(|q| stamp(&after, q)).collect();
    let watch = |kernel: &Mirror, moment: &str| {
        for ((q, old), new) in all.iter().zip(&before).zip(&last) {
            let now = stamp(kernel, q);
            // A Service is closed for a moment rather than open.
            let closes = now.3 != 0 || new.3 != 0 || old.3 != 0;
            if let Some(between) = between
                && (!closes || now.0)
                && now.0 != old.0
                && now.0 != new.0
            {
                let mut between = between.iter().map(|tables| stamp(tables, q));
                let fits = between.any(|some| some.0 == now.0 || some.3 != 0 && !now.0);
                assert!(fits, "{what}: {q:?} is {now:?} {moment}; {old:?} {new:?}\n{ops:#?}");
            }
            let finally = ask_again(&after, q, now.3).passes();
            if finally != now.0 && (now.0 || !closes) {
                assert_ne!(
                    (now.1, now.2),
                    (new.1, new.2),
                    "{what}: {q:?} stays as judged {moment}\n{ops:#?}"
                );
            }
        }
    };
    watch(kernel, "at first");
    for op in ops {
        kernel.apply(op);
        watch(kernel, &format!("after {op:?}"));
    }
}

pub(super) fn compile_watched(lab: &mut Lab, slots: &[u32], between: &[Mirror], what: &str) {
    let ops = lab.engine.compile(lab.now);
    apply_watched(&mut lab.kernel, &ops, slots, Some(between), what);
    assert_eq!(lab.kernel.content(), lab.engine.tables().content());
    lab.engine.applied(lab.now, &[]);
}
