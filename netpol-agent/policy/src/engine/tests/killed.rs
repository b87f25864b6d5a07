//! Agents that are killed between any two operations. The tables stay as they are, and the next agent starts from what
//! is half written: at no moment do they let through what neither the old state nor the new one does, and in the end
//! they say what the objects say.

use netpol_common::decide::Tables as _;

use super::{
    history::{compare_with_nothing, compare_with_the_specification, dump, fresh, key_of, seeds, step},
    lab::{Lab, local},
    random::{Dice, LOCAL, beginning},
    watched::{Question, Stamp, ask_again, is_own, questions, stamp},
};
use crate::{
    engine::{Mirror, TableOp},
    model::SourceEvent,
};

/// What flows remember that were judged at some moment.
struct Watch {
    all: Vec<Question>,
    before: Vec<Stamp>,
    /// With the place of the question in the list.
    seen: Vec<(usize, Stamp, String)>,
    last: Vec<Stamp>,
}

impl Watch {
    fn new(kernel: &Mirror, slots: &[u32]) -> Self {
        let mut all = questions(slots);
        // A pod always reaches itself, whatever is judged.
        all.retain(|q| !kernel.endpoint(q.slot).is_some_and(|e| is_own(e, q.peer)));
        let before: Vec<Stamp> = all.iter().map(|q| stamp(kernel, q)).collect();
        Self { all, last: before.clone(), before, seen: Vec::new() }
    }

    fn look(&mut self, kernel: &Mirror, moment: &str) {
        for (n, q) in self.all.iter().enumerate() {
            let now = stamp(kernel, q);
            if now != self.last[n] {
                self.last[n] = now;
                self.seen.push((n, now, moment.to_owned()));
            }
        }
    }

    /// Compares every moment with the state before and the one that was to be; says how often a moment was closed
    /// that both of them are open.
    fn end(self, after: &Mirror, what: &str) -> u64 {
        let mut closed = 0;
        let first = self.before.iter().enumerate().map(|(n, stamp)| (n, *stamp, "at first".to_owned()));
        for (n, now, moment) in first.chain(self.seen) {
            let (q, old, new) = (&self.all[n], self.before[n], stamp(after, &self.all[n]));
            let what = format!("{what}: {q:?} is {now:?} {moment}; {old:?} before, {new:?} after");
            assert!(!now.0 || old.0 || new.0, "more open: {what}");
            closed += u64::from(!now.0 && old.0 && new.0);
            let finally = ask_again(after, q, now.3).passes();
            // A Service is closed for a moment rather than open.
            let is_services = now.3 != 0 || new.3 != 0 || old.3 != 0;
            if finally != now.0 && (now.0 || !is_services) {
                assert_ne!((now.1, now.2), (new.1, new.2), "stays as judged: {what}");
            }
        }
        closed
    }
}

/// An agent writes some of its operations, as many of them as `until` says, and is killed. Says how many there were.
fn writes(lab: &mut Lab, watch: &mut Watch, until: &mut dyn FnMut(usize) -> usize) -> usize {
    let ops = lab.engine.compile(lab.now);
    for op in &ops[..until(ops.len())] {
        lab.kernel.apply(op);
        watch.look(&lab.kernel, &format!("after {op:?}"));
    }
    ops.len()
}

/// The agent after one that was killed: it knows what the tables hold, and nothing else of the past.
fn next(lab: &Lab, watch: &mut Watch) -> Lab {
    let mut next = fresh(lab, &dump(&lab.kernel));
    next.kernel = lab.kernel.clone();
    // As the datapath does when it is opened.
    next.kernel.apply(&TableOp::AllGenerations);
    watch.look(&next.kernel, "at a start");
    next
}

/// Some changes, and agents that are killed while they write them: each after as many operations as `until` says of it, until
/// `agents` are dead. Returns how many operations the first one had, and the moments that were closed.
fn run(seed: u64, agents: usize, until: &mut dyn FnMut(usize, usize) -> usize) -> (usize, u64) {
    let mut dice = Dice(seed * 7919 + 1);
    let mut lab = Lab::new();
    lab.engine.apply(SourceEvent::Reset(beginning(&mut dice)));
    let slots: Vec<u32> = (0..LOCAL).map(|i| lab.engine.set_endpoint(local(&key_of(i))).unwrap()).collect();
    lab.settle();
    let mut what = format!("seed {seed}");
    for _ in 0..3 {
        what += ", ";
        what += &step(&mut lab, &mut dice);
    }
    let mut watch = Watch::new(&lab.kernel, &slots);
    let mut first = 0;
    for agent in 0..agents {
        let count = writes(&mut lab, &mut watch, &mut |count| until(agent, count));
        if agent == 0 {
            first = count;
        }
        lab = next(&lab, &mut watch);
    }
    writes(&mut lab, &mut watch, &mut |count| count);
    lab.engine.applied(lab.now, &[]);
    compare_with_the_specification(&lab, &slots, true, &what);
    let closed = watch.end(&lab.kernel, &what);
    compare_with_nothing(&mut lab, &what);
    (first, closed)
}

#[test]
fn an_agent_that_is_killed_after_any_operation_leaves_nothing_more_open_than_before_or_after() {
    for seed in 5000..5000 + seeds(4) {
        let mut cut = 0;
        loop {
            let (count, _) = run(seed, 1, &mut |_, _| cut);
            if cut == count {
                break;
            }
            cut += 1;
        }
    }
}

#[test]
fn agents_that_are_killed_one_after_the_other_leave_nothing_more_open_than_before_or_after() {
    let mut closed = 0;
    for seed in 6000..6000 + seeds(40) {
        let mut dice = Dice(seed * 7919 + 3);
        closed += run(seed, 4, &mut |_, count| dice.roll(count + 1)).1;
    }
    // An agent does not know what the one before was leaving.
    println!("{closed} answers were closed for a moment that are open before and after");
}

#[test]
fn agents_that_write_one_operation_each_come_to_an_end() {
    for seed in 7000..7000 + seeds(4) {
        let (count, _) = run(seed, 0, &mut |_, count| count);
        let _done = run(seed, 2 * count, &mut |_, count| count.min(1));
    }
}
