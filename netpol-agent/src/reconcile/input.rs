//! What the reconciler's thread hears, and the loop that it runs.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tracing::debug;

use super::{Datapath, Reconciler};
use crate::{
    control::protocol::{Moment, Request, Response},
    datapath::Told,
    discovery::Discovered,
    sources::SourceUpdate,
    verdicts::{
        gaps::Gaps,
        log::{Flow, Log},
        naming,
        rings::Batch,
    },
    watch::Sighting,
};

/// How long to sleep when there is no deadline.
const IDLE: Duration = Duration::from_secs(60);
/// How often the two clocks are compared: the time of day may be set.
const CLOCK: Duration = Duration::from_secs(1);

/// Until when after the start verdicts wait for what they are named by: what the kernel kept while no agent ran comes before
/// objects are listed.
const NAMES: Duration = Duration::from_secs(5);
/// And how many batches of them.
const WAITING: usize = 64;

/// What may happen.
#[derive(Debug)]
pub enum Input {
    /// The source has something to say.
    Objects(SourceUpdate),
    /// The interfaces have changed.
    Interfaces(Discovered),
    /// The hooks were looked at.
    Hooks(Sighting),
    /// A new interface could not be closed: it is hooked at once.
    GateFailed,
    /// The kernel has judged.
    Verdicts(Batch),
    /// The command line asks.
    Ask(Request, oneshot::Sender<Response>),
    /// A part has ended that must not; why.
    Failed(String),
    /// Enough.
    Stop,
}

/// Runs until it is told to stop.
///
/// # Errors
/// When another part has failed.
pub fn drive<D: Datapath>(
    reconciler: &mut Reconciler<D>,
    inputs: &Receiver<Input>,
    log: &Arc<Log>,
    told: &Told,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut clock = (naming::Clock::now(), Instant::now());
    let mut memory = naming::Memory::of(&reconciler.options.node);
    // Before the first agent nothing can be missing.
    let mut gaps = Gaps::after(told.missing(), reconciler.options.alive.unwrap_or_else(Moment::now));
    let mut verdicts: Vec<Batch> = Vec::new();
    tell_gaps(reconciler, &mut gaps, Duration::ZERO, log, told);
    loop {
        let now = start.elapsed();
        if gaps.deadline().is_some_and(|at| at <= now) {
            tell_gaps(reconciler, &mut gaps, now, log, told);
        }
        let named = (!verdicts.is_empty()).then_some(NAMES);
        let deadline = [reconciler.deadline(), gaps.deadline(), named].into_iter().flatten().min();
        let wait = deadline.map_or(IDLE, |at| at.saturating_sub(now));
        let first = match inputs.recv_timeout(wait) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        // What has come meanwhile is one change.
        for input in first.into_iter().chain(inputs.try_iter()) {
            match input {
                Input::Objects(update) => {
                    memory.forget();
                    reconciler.take_objects(update);
                }
                Input::Interfaces(discovered) => {
                    memory.forget();
                    reconciler.take_interfaces(discovered);
                }
                Input::Hooks(sighting) => reconciler.take_sighting(sighting),
                Input::GateFailed => reconciler.look_again(),
                Input::Verdicts(batch) => {
                    verdicts.push(batch);
                    // A flood of these holds up no change.
                    break;
                }
                Input::Ask(request, reply) => {
                    reconciler.settle(start.elapsed());
                    // Nobody waits any more: no harm.
                    let _gone = reply.send(reconciler.answer(&request, start.elapsed()));
                }
                Input::Failed(reason) => anyhow::bail!("{reason}"),
                Input::Stop => return Ok(()),
            }
        }
        let before = reconciler.compiled;
        reconciler.settle(start.elapsed());
        if reconciler.compiled != before {
            memory.forget();
        }
        if verdicts.is_empty() || !reconciler.settled && start.elapsed() < NAMES && verdicts.len() < WAITING {
            continue;
        }
        if clock.1.elapsed() > CLOCK {
            clock = (naming::Clock::now(), Instant::now());
        }
        // Objects that have come before are in the tables by now: they are compared with what the kernel says it has judged
        // by.
        let now = start.elapsed();
        for batch in verdicts.drain(..) {
            for event in &batch.events {
                let verdict = naming::look_up(reconciler.engine(), &mut memory, clock.0, event);
                gaps.heard(verdict.time, now);
                log.add(verdict, Flow::of_drop(event));
            }
            told.hand_on(batch.events.len() as u64);
        }
    }
}

/// Looks at what the kernel could not report.
fn tell_gaps<D: Datapath>(
    reconciler: &Reconciler<D>,
    gaps: &mut Gaps,
    now: Duration,
    log: &Log,
    told: &Told,
) {
    match reconciler.datapath.counters() {
        Ok(counters) => {
            for gap in gaps.look(&counters, Moment::now(), now) {
                log.add_gap(gap);
            }
            told.say_missing(&counters);
        }
        // `status` says it, whenever it is asked.
        Err(error) => {
            debug!("cannot read the counters: {error}");
            gaps.put_off(now);
        }
    }
}
