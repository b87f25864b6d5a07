//! Random histories: after every step the tables say what the specification says, are what a compiler that starts
//! from nothing makes, and at no moment in between did any packet meet something that is neither old nor new.

use std::{net::IpAddr, time::Duration};

use netpol_common::{Direction, Reason};

use super::{
    build::NODE,
    lab::{Lab, local, settings},
    random::{Dice, LOCAL, NAMESPACES, Step, beginning, random_step},
    watched::{apply_watched, ask, compile_watched, questions},
};
use crate::{
    engine::{Mirror, TableOp},
    model::{Key, Protocol, SourceEvent},
    spec::{Answer, Cluster, Payload, Sender, Traffic},
};

/// How many seeds are tried; times `NETPOL_SEEDS`.
pub(super) fn seeds(few: u64) -> u64 {
    few * std::env::var("NETPOL_SEEDS").ok().and_then(|times| times.parse::<u64>().ok()).unwrap_or(1)
}

pub(super) fn key_of(i: usize) -> Key {
    Key::new(NAMESPACES[i % 3], &format!("p{i}"))
}

pub(super) fn compare_with_the_specification(lab: &Lab, slots: &[u32], exact_services: bool, what: &str) {
    compare(lab, slots, exact_services, true, what);
}

/// With `exact` off, less may be allowed than the specification says, never more.
fn compare(lab: &Lab, slots: &[u32], exact_services: bool, exact: bool, what: &str) {
    let cluster = Cluster::new(&lab.engine.store().objects(), NODE);
    for q in questions(slots) {
        let Some(pod) = lab.engine.endpoint(q.slot).unwrap().pod else {
            let switched_off = lab.engine.store().node(NODE).is_some_and(|node| node.break_glass);
            assert_eq!(ask(&lab.kernel, &q).passes(), switched_off, "{what}: an unknown pod is closed");
            continue;
        };
        let Some(own) = pod.addresses.iter().find(|a| a.is_ipv4() == q.peer.is_ipv4()) else { continue };
        let owns = |address: IpAddr| cluster.owner(address).is_some_and(|o| o.key == pod.key);
        if !owns(*own) || owns(q.peer) {
            continue;
        }
        let payload = Payload::Port(Protocol::Tcp, q.port);
        let judged = ask(&lab.kernel, &q);
        if judged.reason == Reason::UnknownFrontend as u8 {
            // The engine knows the ranges of Services.
            assert!(!exact || ip_in_services(q.peer), "{what}: {q:?}");
            continue;
        }
        let (src, dst) = match q.direction {
            Direction::Ingress => (q.peer, *own),
            Direction::Egress => (*own, q.peer),
        };
        let traffic = Traffic { src: Sender::Address(src), dst, payload };
        let said = match q.direction {
            Direction::Ingress => cluster.allows(&traffic).ingress,
            Direction::Egress => match cluster.answer(&traffic) {
                Answer::Direct(verdict) if judged.backends == 0 => verdict.egress,
                Answer::Backends(all) if exact_services => {
                    let others: Vec<bool> =
                        all.iter().filter(|b| !owns(b.backend.address)).map(|b| b.verdict.egress).collect();
                    let itself = others.len() != all.len();
                    if all.is_empty() {
                        continue;
                    }
                    let reason = Reason::from_number(judged.reason).unwrap();
                    let fits = if !others.contains(&false) {
                        itself || judged.passes()
                    } else if !others.contains(&true) && !itself {
                        !judged.passes()
                    } else {
                        matches!(reason, Reason::Deferred | Reason::BackendsDiffer | Reason::PolicyDenied)
                    };
                    assert!(fits, "{what}: {q:?}: {reason:?}, but {all:?}");
                    continue;
                }
                _ => continue,
            },
        };
        assert!(judged.passes() == said || !exact && said, "{what}: {q:?}: {judged:?}, but {said} {pod:?}");
    }
}

fn ip_in_services(peer: IpAddr) -> bool {
    settings().service_cidrs.iter().any(|c| c.contains(&peer))
}

/// The operations that would write what the tables hold.
pub(crate) fn dump(m: &Mirror) -> Vec<TableOp> {
    let mut all = Vec::new();
    all.extend(m.interned.iter().map(|(&(kind, id), d)| TableOp::Intern { kind, id, digest: *d }));
    for (&id, &value) in &m.port_sets {
        let chunks = m.port_chunks.values().filter(|c| c.key.port_set == id).copied().collect();
        all.push(TableOp::PortSet { id, value: Box::new(value), chunks });
    }
    all.extend(m.policy_sets.iter().map(|(&id, &value)| TableOp::PolicySet { id, value }));
    all.extend(m.rules.values().map(|r| TableOp::Rule(*r)));
    all.extend(m.peers().map(TableOp::Peer));
    all.extend(m.prefixes.iter().map(|(&cidr, &value)| TableOp::Prefix { cidr, value }));
    all.extend(m.backends.values().map(|b| TableOp::Backends(Box::new(*b))));
    all.extend(m.members.iter().map(|k| TableOp::Member(*k)));
    all.extend(m.frontends.iter().map(|(k, b)| TableOp::Frontend(crate::engine::mirror::frontend(*k, *b))));
    for (&slot, e) in &m.endpoints {
        for direction in Direction::ALL {
            all.push(TableOp::Judgement { slot, direction, judgement: e.judgements[direction.index()] });
        }
        if e.flags != 0 {
            all.push(TableOp::Endpoint { slot, value: Box::new(*e) });
        }
    }
    for (&slot, sources) in &m.sources {
        all.extend(sources.iter().map(|&cidr| TableOp::Source { slot, cidr }));
    }
    all.extend(m.hooks.iter().map(|(&slot, &(ifindex, level))| TableOp::Hook { slot, ifindex, level }));
    all
}

pub(super) fn step(lab: &mut Lab, dice: &mut Dice) -> String {
    take(lab, &random_step(dice))
}

fn take(lab: &mut Lab, step: &Step) -> String {
    match step {
        Step::Put(object) => {
            lab.put(object.clone());
            format!("put {} {}", object.kind().name(), object.key())
        }
        Step::Gone(kind, key) => {
            lab.delete(*kind, key);
            format!("delete {} {key}", kind.name())
        }
    }
}

fn run(seed: u64, steps: usize, watched: bool) {
    let mut dice = Dice(seed * 7919 + 1);
    for _ in 0..20 {
        dice.roll(2);
    }
    let mut lab = Lab::new();
    lab.engine.apply(SourceEvent::Reset(beginning(&mut dice)));
    let mut slots: Vec<u32> =
        (0..LOCAL).map(|i| lab.engine.set_endpoint(local(&key_of(i))).unwrap()).collect();
    for i in 0..steps {
        let mut what = format!("seed {seed} step {i}: ");
        // What two changes at once lead through is neither old nor new: see below.
        for _ in 0..1 + if watched { 0 } else { dice.roll(2) } {
            what += &step(&mut lab, &mut dice);
            what += "; ";
        }
        if dice.one_in(12) {
            let i = dice.roll(LOCAL);
            let endpoint = local(&key_of(i));
            what += &format!("interface of p{i} again; ");
            lab.engine.remove_endpoint(&endpoint.ifname);
            if dice.one_in(2) {
                lab.compile();
                // Its slot is given to nobody else, or without a trace of it.
                if dice.one_in(2) {
                    compare_with_nothing(&mut lab, &what);
                }
            }
            slots[i] = lab.engine.set_endpoint(endpoint).unwrap();
        }
        if watched {
            compile_watched(&mut lab, &slots, &[], &what);
        } else {
            lab.compile();
        }
        compare_with_the_specification(&lab, &slots, false, &what);
        lab.now += Duration::from_millis([10, 120, 2000, 15_000][dice.roll(4)]);
        if dice.one_in(5) {
            if watched {
                let end = lab.now + Duration::from_secs(600);
                compile_watched(&mut lab, &slots, &[], &format!("{what} settling"));
                while let Some(at) = lab.engine.next_deadline().filter(|at| *at < end) {
                    lab.now = lab.now.max(at);
                    compile_watched(&mut lab, &slots, &[], &format!("{what} settling"));
                }
            } else {
                lab.settle();
            }
            compare_with_the_specification(&lab, &slots, true, &format!("{what} settled"));
            compare_with_nothing(&mut lab, &what);
        }
        if dice.one_in(10) {
            restart(&mut lab, &what);
        }
    }
}

/// Until nothing waits any more, and no flow needs a set of backends.
fn come_to_rest(lab: &mut Lab) {
    lab.settle();
    lab.now += Duration::from_secs(1);
    lab.compile();
    lab.engine.release_backends(&|_| false);
    lab.settle();
}

/// What was kept up to date is what is compiled from nothing.
pub(super) fn compare_with_nothing(lab: &mut Lab, what: &str) {
    come_to_rest(lab);
    let mut fresh = fresh(lab, &[]);
    come_to_rest(&mut fresh);
    let (kept, new) = (lab.kernel.content(), fresh.kernel.content());
    let left: Vec<_> = kept.difference(&new).collect();
    let missing: Vec<_> = new.difference(&kept).collect();
    assert!(left.is_empty() && missing.is_empty(), "{what}: left {left:#?} missing {missing:#?}");
}

pub(super) fn fresh(lab: &Lab, found: &[TableOp]) -> Lab {
    let mut fresh = Lab::with(settings(), found);
    fresh.now = lab.now;
    fresh.engine.apply(SourceEvent::Reset(lab.engine.store().objects()));
    for endpoint in lab.engine.endpoints() {
        fresh.engine.set_endpoint(endpoint.local.clone());
    }
    fresh
}

/// The agent starts again over the tables as they are: they stay as they are.
fn restart(lab: &mut Lab, what: &str) {
    come_to_rest(lab);
    let found = dump(&lab.kernel);
    let mut new = fresh(lab, &found);
    let ops = new.compile();
    assert!(ops.is_empty(), "{what}: after a restart {ops:#?}");
    let ops = new.settle();
    assert!(ops.is_empty(), "{what}: after a restart {ops:#?}");
    *lab = new;
}

#[test]
fn the_tables_say_what_the_specification_says_after_every_step() {
    for seed in 0..seeds(40) {
        run(seed, 40, false);
    }
}

#[test]
fn no_packet_meets_half_a_change_and_what_was_judged_by_the_old_one_is_judged_again() {
    for seed in 1000..1000 + seeds(8) {
        run(seed, 12, true);
    }
}

#[test]
fn what_two_changes_at_once_lead_through_is_as_after_one_of_them() {
    for seed in 4000..4000 + seeds(8) {
        let mut dice = Dice(seed * 7919 + 1);
        let mut lab = Lab::new();
        lab.engine.apply(SourceEvent::Reset(beginning(&mut dice)));
        let slots: Vec<u32> =
            (0..LOCAL).map(|i| lab.engine.set_endpoint(local(&key_of(i))).unwrap()).collect();
        lab.settle();
        for i in 0..12 {
            let steps = [random_step(&mut dice), random_step(&mut dice)];
            let between = steps.each_ref().map(|step| {
                let mut other = fresh(&lab, &[]);
                other.settle();
                take(&mut other, step);
                other.compile();
                other.kernel
            });
            let what = steps.each_ref().map(|step| take(&mut lab, step)).join("; ");
            compile_watched(&mut lab, &slots, &between, &format!("seed {seed} step {i}: {what}"));
            lab.settle();
        }
    }
}

/// Whether a write needs room in a table that can be full.
fn needs_room(kernel: &Mirror, op: &TableOp) -> bool {
    match op {
        TableOp::Intern { .. } => true,
        TableOp::Rule(rule) => !kernel.rules.contains_key(&rule.key),
        TableOp::Peer(peer) => kernel.own_peer(&peer.addr).is_none(),
        TableOp::Prefix { cidr, .. } => !kernel.prefixes.contains_key(cidr),
        TableOp::Backends(set) => !kernel.backends.contains_key(&set.id),
        TableOp::Frontend(frontend) => !kernel.frontends.contains_key(&frontend.key),
        _ => false,
    }
}

#[test]
fn full_tables_never_allow_more() {
    for seed in 3000..3000 + seeds(20) {
        let mut dice = Dice(seed * 7919 + 1);
        let mut lab = Lab::new();
        lab.engine.apply(SourceEvent::Reset(beginning(&mut dice)));
        let slots: Vec<u32> =
            (0..LOCAL).map(|i| lab.engine.set_endpoint(local(&key_of(i))).unwrap()).collect();
        for i in 0..15 {
            let mut what = format!("seed {seed} step {i}: ");
            what += &step(&mut lab, &mut dice);
            for _ in 0..3 {
                let mut refused = Vec::new();
                for op in lab.engine.compile(lab.now) {
                    if needs_room(&lab.kernel, &op) && dice.one_in(6) {
                        refused.push(op);
                    } else {
                        lab.kernel.apply(&op);
                    }
                }
                lab.engine.applied(lab.now, &refused);
                // What a refusal closes is closed by the next operations.
                if lab.engine.next_deadline() != Some(Duration::ZERO) {
                    compare(&lab, &slots, false, false, &what);
                }
                lab.now += Duration::from_millis(300);
            }
        }
        // There is room again.
        for _ in 0..4 {
            lab.now += Duration::from_secs(2);
            for op in lab.engine.compile(lab.now) {
                lab.kernel.apply(&op);
            }
            lab.engine.applied(lab.now, &[]);
        }
        compare_with_the_specification(&lab, &slots, false, &format!("seed {seed} in the end"));
        assert_eq!(lab.kernel.content(), lab.engine.tables().content(), "seed {seed}");
    }
}

#[test]
fn a_restart_over_other_objects_ends_with_the_right_tables() {
    for seed in 2000..2000 + seeds(30) {
        let mut dice = Dice(seed * 7919 + 1);
        let mut lab = Lab::new();
        lab.engine.apply(SourceEvent::Reset(beginning(&mut dice)));
        for i in 0..LOCAL {
            lab.engine.set_endpoint(local(&key_of(i)));
        }
        lab.compile();
        let found = dump(&lab.kernel);
        // While the agent is away.
        let mut what = format!("seed {seed} ");
        for _ in 0..6 {
            what += &step(&mut lab, &mut dice);
        }
        let mut new = fresh(&lab, &found);
        new.engine.remove_endpoint(&local(&key_of(0)).ifname);
        let ops = new.engine.compile(new.now);
        let slots: Vec<u32> = new.engine.endpoints().map(|e| e.slot).collect();
        // Many changes at once; what was judged by the old ones is judged again nevertheless.
        apply_watched(&mut new.kernel, &ops, &slots, None, &what);
        new.engine.applied(new.now, &[]);
        compare_with_the_specification(&new, &slots, true, &what);
        compare_with_nothing(&mut new, &what);
    }
}
