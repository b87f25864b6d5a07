//! The only owner of the compiled state: takes in what sources and discovery say, compiles, and brings the difference
//! to the kernel.
//!
//! It is synchronous and does no I/O of its own beside the [`Datapath`]; whoever drives it gives it the time. Nothing
//! is written before every source has listed everything once.

mod break_glass;
mod endpoints;
mod input;
mod kernel;
mod links;
mod live;
mod lives;
mod report;
#[cfg(test)]
mod tests;
mod usage;
mod watched;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use netpol_policy::{
    engine::{Engine, HookLevel, Recovered, Settings, TableOp},
    model::{Kind, SourceEvent},
};
use prometheus_client::metrics::histogram::Histogram;
use tracing::{debug, error, info, warn};

pub(crate) use self::report::BREAK_GLASS;
pub use self::{
    input::{Input, drive},
    kernel::Datapath,
};
use crate::{
    config::TrustTag,
    control::protocol::{Absence, Moment},
    datapath::Sizes,
    discovery::Discovered,
    memory,
    sources::{Located, SourceUpdate, appeared},
};

/// How often what the kernel refused is followed by what has to be closed for it before others are heard again.
const ROUNDS: usize = 4;
/// How often sets of backends that no flow uses any more are looked for.
const RELEASE: Duration = Duration::from_secs(60);
/// Faults of the past that are kept.
const FAULTS: usize = 32;
/// Changes that are not written yet whose times are kept; of a flood, what is beyond it is not measured.
const PENDING: usize = 4096;

/// What the reconciler is told once.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node's name.
    pub node: String,
    /// Where objects come from, for people.
    pub source: String,
    /// How local pods are found, for people.
    pub discovery: String,
    /// Whether the tag is believed behind a bridge.
    pub trust_tag: TrustTag,
    /// Sizes of the tables.
    pub sizes: Sizes,
    /// When an agent was last alive.
    pub alive: Option<Moment>,
    /// Where it is counted how long a change took until it was enforced.
    pub latencies: Histogram,
}

/// The owner of the state.
pub struct Reconciler<D> {
    options: Options,
    engine: Engine,
    datapath: D,
    /// What the source said last, without its events.
    report: SourceUpdate,
    discovered: Option<Discovered>,
    /// When the source was heard last.
    heard: Option<Instant>,
    /// When each change was read from the wire that is not written yet.
    pending: Vec<Instant>,
    /// Slots that an earlier agent had given.
    given: BTreeSet<u32>,
    absence: Option<Absence>,
    /// Interfaces that an earlier agent has hooked.
    inherited: BTreeSet<u32>,
    /// Interfaces that were there at the start, of pods that are not known: left alone until they are.
    strangers: BTreeSet<u32>,
    /// Interfaces that were there when it was looked first; what comes later is new.
    old: BTreeSet<u32>,
    /// Interfaces that a gate alone keeps closed, and until when.
    gated: BTreeMap<u32, Duration>,
    /// Interfaces that gates of an earlier agent close, until it is looked first whose they are.
    left_gates: BTreeSet<u32>,
    /// Interfaces whose gates could not be taken off, and why.
    closed: BTreeMap<String, String>,
    /// When that is tried again.
    open_at: Option<Duration>,
    /// Endpoints as the engine knows them, by interface index.
    endpoints: BTreeMap<u32, endpoints::Told>,
    /// The owners of the interfaces that were found, by interface index.
    resolved: BTreeMap<u32, endpoints::Resolved>,
    lives: lives::Lives,
    links: links::Links,
    /// Bridges as the datapath knows them.
    trusted: BTreeSet<u32>,
    /// Why slots are not hooked as they should be; the engine tries again.
    failed_hooks: BTreeMap<u32, String>,
    watched: watched::Watched,
    release_at: Duration,
    faults: VecDeque<String>,
    known_problems: Vec<Located>,
    /// Objects whose break-glass switch was set when it was last looked.
    switched_off: BTreeSet<(Kind, String)>,
    /// Times that something was written.
    revision: u64,
    /// Times that it was compiled: what an address or a set of backends is called may have changed though nothing was written.
    compiled: u64,
    /// Everything was written once.
    settled: bool,
    dirty: bool,
}

impl<D: Datapath> Reconciler<D> {
    /// Starts from what the tables hold.
    #[must_use]
    pub fn new(options: Options, settings: Settings, recovered: Recovered, datapath: D) -> Self {
        let inherited = recovered
            .0
            .iter()
            .filter_map(|op| match op {
                TableOp::Hook { ifindex, level, .. } if *level != HookLevel::None => Some(*ifindex),
                _ => None,
            })
            .collect();
        let given = recovered
            .0
            .iter()
            .filter_map(|op| match op {
                TableOp::Endpoint { slot, .. } | TableOp::Hook { slot, .. } => Some(*slot),
                _ => None,
            })
            .collect();
        let trusted = datapath.trusted_bridges();
        let left_gates = datapath.gates().unwrap_or_else(|error| {
            warn!("cannot tell which interfaces an earlier agent closed: {error}");
            BTreeSet::new()
        });
        Self {
            options,
            engine: Engine::new(settings, recovered),
            datapath,
            report: SourceUpdate::default(),
            discovered: None,
            heard: None,
            pending: Vec::new(),
            given,
            absence: None,
            inherited,
            strangers: BTreeSet::new(),
            old: BTreeSet::new(),
            gated: BTreeMap::new(),
            left_gates,
            closed: BTreeMap::new(),
            open_at: None,
            endpoints: BTreeMap::new(),
            resolved: BTreeMap::new(),
            lives: lives::Lives::default(),
            links: links::Links::default(),
            trusted,
            failed_hooks: BTreeMap::new(),
            watched: watched::Watched::default(),
            release_at: RELEASE,
            faults: VecDeque::new(),
            known_problems: Vec::new(),
            switched_off: BTreeSet::new(),
            revision: 0,
            compiled: 0,
            settled: false,
            dirty: false,
        }
    }

    /// The compiled state, to read.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What the source said last, without its events.
    pub const fn report(&self) -> &SourceUpdate {
        &self.report
    }

    /// Takes in what the source says.
    pub fn take_objects(&mut self, mut update: SourceUpdate) {
        for problem in appeared(&self.report.problems, &update.problems) {
            warn!(target: "netpol", "{problem}");
        }
        self.heard = Some(Instant::now());
        let room = PENDING - self.pending.len();
        self.pending.extend(std::mem::take(&mut update.read).into_iter().take(room));
        for event in std::mem::take(&mut update.events) {
            self.lives.hear(&event, &self.options.node);
            let pods_are_listed = matches!(event, SourceEvent::Listed(Kind::Pod));
            self.engine.apply(event);
            if pods_are_listed {
                self.lives.keep(|key| self.engine.store().has_pod(key));
            }
            self.dirty = true;
        }
        if update.synced && !self.report.synced {
            info!(source = %self.options.source, "all objects are listed");
            // What listing took is free now, and the first compile takes most.
            memory::give_back();
            self.dirty = true;
        }
        let unreadable =
            |update: &SourceUpdate| update.problems.iter().any(|problem| problem.kind.is_empty());
        if !update.synced && unreadable(&update) {
            error!("not ready: nothing is enforced anew before every file can be read");
        }
        if update.skipped != self.report.skipped && !update.skipped.is_empty() {
            let text: Vec<String> =
                update.skipped.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            info!("objects of kinds that decide nothing: {}", crate::text::escape(&text.join(", ")));
        }
        self.report = update;
    }

    /// Takes in which interfaces there are.
    pub fn take_interfaces(&mut self, mut discovered: Discovered) {
        let known = self.discovered.as_ref().map_or(&[][..], |d| &d.problems);
        for problem in discovered.problems.iter().filter(|p| !known.contains(p)) {
            warn!(target: "netpol", "{}", crate::text::escape(problem));
        }
        // Whoever has the index of what is gone is another one.
        let is_there =
            |ifindex: &u32| discovered.veths.contains_key(ifindex) || discovered.pods.contains_key(ifindex);
        let is_another = |ifindex: &u32| {
            self.discovered
                .as_ref()
                .is_some_and(|known| known.incarnations.get(ifindex) != discovered.incarnations.get(ifindex))
        };
        self.inherited.retain(|ifindex| is_there(ifindex) && !is_another(ifindex));
        self.old.retain(|ifindex| !is_another(ifindex));
        self.strangers.retain(|ifindex| !is_another(ifindex));
        // What an earlier agent enforced is not opened because nobody says any more whose it is.
        for ifindex in self.inherited.iter().filter(|ifindex| !discovered.pods.contains_key(ifindex)) {
            if let Some(name) = discovered.veths.get(ifindex) {
                discovered.waiting.insert(*ifindex, name.clone());
            }
        }
        if self.discovered.is_none() {
            let Discovered { pods, waiting, veths, .. } = &discovered;
            self.old = veths.keys().chain(pods.keys()).chain(waiting.keys()).copied().collect();
        }
        self.discovered = Some(discovered);
        self.dirty = true;
    }

    /// When [`settle`](Self::settle) has something to do even if nothing happens.
    pub fn deadline(&self) -> Option<Duration> {
        if !self.may_write() {
            return None;
        }
        let deadlines = [
            self.engine.next_deadline(),
            Some(self.release_at),
            self.lives.deadline(),
            self.links.deadline(),
        ];
        deadlines.into_iter().flatten().chain(self.gates_due()).min()
    }

    /// When there is something to do about gates.
    fn gates_due(&self) -> Option<Duration> {
        self.gated.values().copied().chain(self.open_at).min()
    }

    /// Looks again what there is to do, although nothing was said.
    pub const fn look_again(&mut self) {
        self.dirty = true;
    }

    const fn may_write(&self) -> bool {
        self.report.synced && self.discovered.is_some()
    }

    /// Brings the kernel up to date, as far as there is anything to do. `now` is any clock that only goes forward.
    pub fn settle(&mut self, now: Duration) {
        if !self.may_write() {
            return;
        }
        let due = |engine: &Engine| engine.next_deadline().is_some_and(|at| at <= now);
        for doubt in self.lives.ripe(now) {
            warn!(target: "netpol", "{doubt}");
        }
        self.dirty |= self.gates_due().is_some_and(|at| at <= now);
        if !self.dirty && !due(&self.engine) && now < self.release_at {
            self.hold_by_links(now);
            return;
        }
        if std::mem::take(&mut self.dirty) {
            self.tell_endpoints(now);
            self.doubt(now);
        }
        if now >= self.release_at {
            self.release_at = now + RELEASE;
            let used = self.datapath.referenced_backends();
            self.engine.release_backends(&|id| used.contains(&id));
        }
        for _ in 0..ROUNDS {
            self.write(now);
            if !due(&self.engine) {
                break;
            }
        }
        self.open_gates(now);
        self.tell_bridges();
        let written = Instant::now();
        for read in self.pending.drain(..) {
            self.options.latencies.observe(written.saturating_duration_since(read).as_secs_f64());
        }
        if !self.settled {
            self.settled = true;
            self.watched.since = Some(Instant::now());
            self.absence = self.tell_absence();
            info!(endpoints = self.endpoints.len(), "everything is written");
            // What it took to find out what is to be written is free now.
            memory::give_back();
        }
        self.log_problems();
        self.log_break_glass();
    }

    /// The time without an agent that ends now, with the pods that are new since.
    fn tell_absence(&self) -> Option<Absence> {
        let new = self.engine.endpoints().filter(|endpoint| !self.given.contains(&endpoint.slot));
        let pods: Vec<String> =
            new.filter_map(|endpoint| endpoint.local.pod.as_ref().map(ToString::to_string)).collect();
        let absence = Absence { since: self.options.alive?, until: Moment::now(), pods };
        if !absence.pods.is_empty() {
            warn!(since = %absence.since, pods = absence.pods.join(", "), "pods that started without an agent were open until now");
        }
        Some(absence)
    }

    /// Compiles once, and writes what comes of it.
    fn write(&mut self, now: Duration) {
        self.compiled += 1;
        let mut operations = self.engine.compile(now);
        if !self.settled {
            operations.extend(self.renewed_hooks(&operations));
        }
        let mut refused = Vec::new();
        let start = Instant::now();
        if !operations.is_empty() {
            for operation in &operations {
                if let TableOp::Hook { slot, .. } | TableOp::RemoveEndpoint { slot } = operation {
                    self.failed_hooks.remove(slot);
                }
                if let TableOp::Hook { level: HookLevel::SourceCheck | HookLevel::Full, .. } = operation {
                    self.links.hooked(now);
                }
            }
            for (operation, reason) in self.datapath.apply(&operations) {
                self.refuse(&operation, &reason);
                refused.push(operation);
            }
            self.revision += 1;
            debug!(count = operations.len(), took = ?start.elapsed(), "written");
        }
        self.engine.applied(now, &refused);
    }

    /// What an earlier agent has hooked is hooked again, in place: with the programs of this version, and where
    /// somebody took a hook off meanwhile.
    fn renewed_hooks(&self, operations: &[TableOp]) -> Vec<TableOp> {
        let hooked: BTreeSet<u32> = operations
            .iter()
            .filter_map(|op| if let TableOp::Hook { slot, .. } = op { Some(*slot) } else { None })
            .collect();
        self.engine
            .endpoints()
            .filter(|e| e.hook != HookLevel::None && !hooked.contains(&e.slot))
            .map(|e| TableOp::Hook { slot: e.slot, ifindex: e.local.ifindex, level: e.hook })
            .collect()
    }

    fn refuse(&mut self, operation: &TableOp, reason: &str) {
        let line = if let TableOp::Hook { slot, .. } = operation {
            // A pod that goes takes its interface along before its endpoint is known to be gone: nothing is left to hook.
            let Some(endpoint) = self.engine.endpoint(*slot) else {
                debug!(?operation, "an interface went before it was hooked: {reason}");
                return;
            };
            self.failed_hooks.insert(*slot, reason.to_owned());
            format!("cannot hook the interface {}: {reason}", endpoint.local.ifname)
        } else {
            format!("the kernel refused {}: {reason}", report::name_of(operation))
        };
        error!(?operation, "the kernel refused a change: {reason}");
        if self.faults.len() == FAULTS {
            self.faults.pop_front();
        }
        self.faults.push_back(line);
    }

    fn log_problems(&mut self) {
        let problems: Vec<Located> =
            self.engine.problems().iter().map(|p| Located::of(p, None, None)).collect();
        for problem in appeared(&self.known_problems, &problems) {
            warn!(target: "netpol", "{problem}");
        }
        self.known_problems = problems;
    }
}
