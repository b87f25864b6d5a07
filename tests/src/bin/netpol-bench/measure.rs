//! Rounds: every figure is measured once in each, and beside it the empty classifier.

mod rounds;

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use netpol_agent::datapath::{Classifier, CommonShape, Counters, Cycle, Measured, TestRun};
use netpol_common::{Direction, Reason};
use nix::time::ClockId;

use crate::cases::{Case, Expected, Packets};
use crate::frames::{Ends, places};
use crate::machine::cpu_nanoseconds;
use crate::pins::Pins;
use crate::world::{
    ALLOWED_PORT, DENIED_PORT, EMPTY, HOT, INTERFACE, MANY, MANY_FLOWS, MANY_SLOTS, MANY_V6, World,
};

pub(crate) use rounds::{Line, Outcome};
use rounds::{Load, Rounds};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds at least.
    pub(crate) rounds: u32,
    /// Nanoseconds that one stretch of packets is to take.
    pub(crate) stretch: f64,
}

impl Effort {
    /// What a figure in a document is made with.
    pub(crate) const FULL: Self = Self { rounds: 27, stretch: 2e6 };
    /// A look.
    pub(crate) const QUICK: Self = Self { rounds: 9, stretch: 5e5 };
}

/// Times the wanted rounds, when a figure is noisy.
const PATIENCE: u32 = 3;
/// How often everything is loaded and filled anew, each time for a part of the rounds: code and tables lie somewhere else in
/// memory then, which alone makes some nanoseconds more or less.
const LOADS: u32 = 9;
/// Stretches of which the fastest counts: what disturbs only ever adds.
const STRETCHES: u32 = 3;
/// Beyond so many packets of an endpoint in a tick there are no events any more, whatever became of the packets.
const BEYOND_RATE: u32 = 4200;
/// Packets before a case's stretches at most.
const WARM_MOST: u32 = 1 << 18;
/// Packets in a stretch with an event for each: they fit into the ring, and into the rate.
const LOGGED_ALLOWED: u32 = 1024;
/// The same for denied ones.
const LOGGED_DENIED: u32 = 200;
/// After this time an endpoint may report again.
const TICK: Duration = Duration::from_millis(1100);

/// A case with its programs.
struct Ready {
    case: Case,
    world: usize,
    /// One for each turn.
    subjects: Vec<Measured>,
    /// The same that calls the empty classifier, where the subject is more than what is to be measured.
    twin: Option<Measured>,
    frame: Vec<u8>,
    packets: u32,
    turn: usize,
}

/// Everything loaded and filled.
struct Bench {
    worlds: Vec<World>,
    ready: Vec<Ready>,
    empty: Measured,
    /// Entries that call the empty classifier, by direction.
    entries: [Measured; 2],
}

/// Measures all rounds of these cases.
pub(crate) fn measure(cases: &[Case], effort: Effort) -> Result<Outcome> {
    let mut rounds = Rounds { cases, loads: Vec::new() };
    for _ in 0..LOADS {
        rounds.loads.push(Load::of(cases));
        Bench::prepare(cases)?.run(effort, effort.rounds.div_ceil(LOADS), &mut rounds)?;
    }
    Ok(rounds.outcome())
}

impl Bench {
    /// Loads the programs over tables of every size that is asked for, and opens the flows. Nothing is pinned
    /// afterwards.
    fn prepare(cases: &[Case]) -> Result<Self> {
        let mut empty = Measured::empty()?;
        let pins = Pins::new()?;
        let mut contents = Vec::new();
        let mut worlds = Vec::new();
        let mut tables = BTreeSet::new();
        let mut ready = Vec::new();
        for case in cases.iter().copied() {
            let world = match contents.iter().position(|known| *known == case.contents) {
                Some(world) => world,
                None => {
                    worlds.push(World::build(
                        &pins,
                        &format!("{}", worlds.len()),
                        &case.contents,
                        &mut empty,
                    )?);
                    contents.push(case.contents);
                    worlds.len() - 1
                }
            };
            let slots = match case.packets {
                Packets::Random { slots, .. } => slots.max(case.turns),
                Packets::Same => case.turns,
            };
            let is_endpoint = |slot: &u32| *slot != EMPTY && !case.is_common();
            for slot in (case.ends.slot..).take(slots as usize).filter(is_endpoint) {
                if tables.insert((world, slot)) {
                    worlds[world].datapath.make_flow_table(slot)?;
                }
            }
            ready.push(Ready::new(case, world, &mut worlds[world])?);
        }
        let first = worlds.first().context("nothing to measure")?;
        let entries = [
            first.datapath.entry(EMPTY, Direction::Ingress)?,
            first.datapath.entry(EMPTY, Direction::Egress)?,
        ];
        Ok(Self { worlds, ready, empty, entries })
    }

    /// Adds so many rounds to the last load, and some more where all so far are noisy.
    fn run(&mut self, effort: Effort, wanted: u32, rounds: &mut Rounds<'_>) -> Result<()> {
        for ready in &mut self.ready {
            ready.calibrate(&mut self.worlds[ready.world], effort)?;
        }
        for round in 0..wanted * PATIENCE {
            if round >= wanted && !rounds.is_noisy() {
                break;
            }
            let call = self.call_overhead()?;
            let load = rounds.loads.last_mut().context("no load to add rounds to")?;
            for (ready, series) in self.ready.iter_mut().zip(&mut load.series) {
                let world = &mut self.worlds[ready.world];
                let many = (effort.stretch / 25.0) as u32;
                let empty = fastest(call, many, || timed(&mut self.empty, &ready.frame, many))?;
                // An engine of the common shape attaches its programs themselves.
                let entry = &mut self.entries[ready.case.direction.index()];
                let base = if ready.case.is_common() { &mut self.empty } else { entry };
                let cost = ready.measure(world, base, call, many)?;
                load.empties.push(empty);
                series.absolute.push(cost);
                series.net.push(cost - empty);
                series.ratio.push(cost / empty);
            }
            load.count += 1;
        }
        Ok(())
    }

    /// What it costs to start a test run at all.
    fn call_overhead(&mut self) -> Result<f64> {
        let Some(ready) = self.ready.first() else { return Ok(0.0) };
        let mut least = f64::INFINITY;
        for _ in 0..200 {
            least = least.min(timed(&mut self.empty, &ready.frame, 1)?);
        }
        Ok(least)
    }
}

impl Case {
    /// Packets before the stretches, so that the processor's caches hold what they hold while such packets go on, and not
    /// what the case before has left: each peer or flow is met twice. Nothing where every packet is to have its event, since
    /// events of an endpoint are limited; where none is to have one, there are none from here on in this tick.
    fn warm_up(&self) -> Option<u32> {
        let least = match self.expected {
            Expected::Logged(_) => return None,
            Expected::Counted(_) => BEYOND_RATE,
            Expected::Uncounted => 0,
        };
        let met = match self.packets {
            Packets::Same => 1,
            Packets::Random { peers, slots, .. } => peers.saturating_mul(slots),
        };
        Some(met.saturating_mul(2).clamp(least, WARM_MOST))
    }
}

impl Ready {
    fn new(case: Case, world: usize, tables: &mut World) -> Result<Self> {
        if case.is_common() {
            match (case.expected, case.packets) {
                (Expected::Uncounted, Packets::Same) => tables.establish_common(&case.ends, 1, 1)?,
                (Expected::Uncounted, Packets::Random { peers, slots, .. }) => {
                    tables.establish_common(&case.ends, slots, peers)?;
                }
                _ => drop(tables.common(case.ends.slot)?),
            }
        } else if case.ends.slot == HOT {
            tables.establish(&case.ends)?;
        } else if matches!(case.ends.slot, MANY | MANY_V6) {
            tables.establish_many(case.ends.family)?;
        }
        let mut subjects = Vec::new();
        for turn in 0..case.turns {
            subjects.push(load(&case, case.ends.slot + turn, tables)?);
        }
        let twin = match case.packets {
            Packets::Same if !case.is_common() => None,
            _ => Some(load(&case, EMPTY, tables)?),
        };
        if case.ends.port == DENIED_PORT {
            // Beside connections: what is denied is looked for among them, whichever other cases run. Those of the common shape are
            // another pod's, as it has one table for all and its first packets are to be new.
            let frame = Ends { port: ALLOWED_PORT, ..case.ends }.frame(case.direction, case.kind);
            for turn in 0..case.turns {
                let slot = case.ends.slot + turn + u32::from(case.is_common());
                timed(&mut load(&case, slot, tables)?, &frame, MANY_SLOTS * MANY_FLOWS)?;
            }
        }
        let frame = case.ends.frame(case.direction, case.kind);
        Ok(Self { case, world, subjects, twin, frame, packets: 0, turn: 0 })
    }

    /// Chooses how many packets a stretch has.
    fn calibrate(&mut self, world: &mut World, effort: Effort) -> Result<()> {
        self.packets = match self.case.expected {
            Expected::Logged(reason) if reason.is_drop() => LOGGED_DENIED,
            Expected::Logged(_) => LOGGED_ALLOWED,
            Expected::Uncounted | Expected::Counted(_) => {
                let tried = 10_000;
                let each = self.stretch(world, tried)?.unwrap_or(1e6) / f64::from(tried);
                (effort.stretch / each).clamp(1000.0, 1e6) as u32
            }
        };
        Ok(())
    }

    /// Nanoseconds of one packet.
    fn measure(&mut self, world: &mut World, base: &mut Measured, call: f64, many: u32) -> Result<f64> {
        if let Some(packets) = self.case.warm_up() {
            timed(&mut self.subjects[0], &self.frame, packets)?;
        }
        let mut least = f64::INFINITY;
        for _ in 0..STRETCHES {
            let mut patience = self.case.turns + 1;
            loop {
                self.turn = (self.turn + 1) % self.subjects.len();
                if let Some(took) = self.stretch(world, self.packets)? {
                    least = least.min((took - call) / f64::from(self.packets));
                    break;
                }
                patience -= 1;
                match patience {
                    0 => bail!("{}: not every packet gets an event", self.case.name),
                    1 => sleep(TICK),
                    _ => {}
                }
            }
        }
        let Some(twin) = &mut self.twin else { return Ok(least) };
        let other = fastest(call, self.packets, || timed(twin, &self.frame, self.packets))?;
        let base = fastest(call, many, || timed(base, &self.frame, many))?;
        Ok(least - other + base)
    }

    /// Runs packets, and makes sure that what should happen to them happened; `None` when they should all have been
    /// reported and were not.
    fn stretch(&mut self, world: &mut World, packets: u32) -> Result<Option<f64>> {
        if self.case.is_common() {
            return self.common_stretch(world.common(self.case.ends.slot)?, packets).map(Some);
        }
        world.events.drain(&mut |_, _| {});
        let before = world.datapath.counters()?;
        let took = timed(&mut self.subjects[self.turn], &self.frame, packets)?;
        let after = world.datapath.counters()?;
        let name = self.case.name;
        let (all, packets) = (counted(&after) - counted(&before), u64::from(packets));
        if after.flow_full != before.flow_full {
            bail!("{name}: a table of flows refused flows");
        }
        match self.case.expected {
            Expected::Uncounted if all != 0 => bail!("{name}: {all} of {packets} packets were judged anew"),
            Expected::Uncounted => Ok(Some(took)),
            Expected::Counted(reason) | Expected::Logged(reason) => {
                let so = counted_as(&after, reason) - counted_as(&before, reason);
                // A random UDP packet can meet a flow that is still known.
                if so.abs_diff(packets) > packets / 100 || all != so {
                    bail!(
                        "{name}: {so} of {packets} packets were counted as {}, {all} at all",
                        reason.name()
                    );
                }
                let seen = world.events.drain(&mut |_, _| {}) as u64;
                let complete = !matches!(self.case.expected, Expected::Logged(_)) || seen == packets;
                Ok(complete.then_some(took))
            }
        }
    }

    /// The same through the common shape, which counts nothing: its events and its last verdict tell.
    fn common_stretch(&mut self, common: &mut CommonShape, packets: u32) -> Result<f64> {
        common.drain()?;
        let (took, passed) = timed_verdict(&mut self.subjects[self.turn], &self.frame, packets)?;
        let (name, seen) = (self.case.name, common.drain()?);
        let (passes, events) = match self.case.expected {
            Expected::Uncounted => (true, 0),
            Expected::Counted(reason) => (!reason.is_drop(), 0),
            Expected::Logged(reason) => (!reason.is_drop(), packets as usize),
        };
        // A random packet can meet a connection that is still known: it keeps some hundred thousand of some ten million.
        if passed != passes || seen > events || events - seen > events / 25 {
            bail!("{name}: the last of {packets} packets passed: {passed}; {seen} events");
        }
        Ok(took)
    }
}

/// What runs a case's packets through a slot.
pub(crate) fn load(case: &Case, slot: u32, world: &World) -> Result<Measured> {
    let Packets::Random { peers, slots, ports } = case.packets else {
        return Ok(world.datapath.entry(slot, case.direction)?);
    };
    let (family, ends) = (case.ends.family, &case.ends);
    let (src_at, dst_at, port_at) = places(family);
    let (pod_at, peer_at) =
        if case.direction == Direction::Egress { (src_at, dst_at) } else { (dst_at, src_at) };
    // The twin's packets are the same; only who is called differs.
    let pod_slot = if slot == EMPTY { ends.slot } else { slot };
    let cycle = Cycle {
        slot,
        slots,
        direction: case.direction,
        pod_at,
        pod: crate::frames::Range::Pods.base(family) + pod_slot,
        peer_at,
        peer: ends.range.base(family),
        peers,
        port_at: if ports { port_at } else { 0 },
    };
    Ok(world.datapath.cycle(&cycle)?)
}

/// Nanoseconds of this thread that packets took, with starting them.
pub(crate) fn timed(program: &mut Measured, frame: &[u8], packets: u32) -> Result<f64> {
    Ok(timed_verdict(program, frame, packets)?.0)
}

/// The same, and whether the last one passed.
fn timed_verdict(program: &mut Measured, frame: &[u8], packets: u32) -> Result<(f64, bool)> {
    let clock = ClockId::CLOCK_THREAD_CPUTIME_ID;
    let run = TestRun {
        classifier: Classifier::ToPod,
        slot: 0,
        ingress_ifindex: INTERFACE,
        tag: 0,
        frame,
        repeat: packets,
    };
    let start = cpu_nanoseconds(clock)?;
    let ran = program.run(run)?;
    Ok(((cpu_nanoseconds(clock)? - start) as f64, ran.passes()))
}

/// Nanoseconds of one packet in the fastest of some stretches.
pub(crate) fn fastest(call: f64, packets: u32, mut stretch: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..STRETCHES {
        least = least.min((stretch()? - call) / f64::from(packets));
    }
    Ok(least)
}

fn counted(counters: &Counters) -> u64 {
    counters.verdicts.iter().map(|(_, _, count)| count).sum()
}

fn counted_as(counters: &Counters, wanted: Reason) -> u64 {
    counters.verdicts.iter().filter(|(_, reason, _)| *reason == wanted).map(|(_, _, count)| count).sum()
}
