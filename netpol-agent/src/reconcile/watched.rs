//! What was seen of the hooks: those that somebody has taken off are attached again, and programs of others that
//! take packets first, or may move them past the classifiers, are said.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use tracing::{debug, error, info, warn};

use super::{Datapath, FAULTS, Reconciler, lives::Doubt};
use crate::{
    control::protocol::{EnforcerLine, Moment, RepairedLine},
    datapath::Attachment,
    discovery::{Cause, Unenforced, links},
    watch::{At, Enforcers, Foreign, Program, Sighting},
};

/// For how long it is said that a hook had to be attached again, in milliseconds.
const TOLD: i64 = 10 * 60 * 1000;
/// Programs of others that are said one by one.
const NAMED: usize = 8;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// When everything was written for the first time: what was seen before that may be what an earlier agent left.
    pub(super) since: Option<Instant>,
    ahead: BTreeMap<u32, BTreeSet<Program>>,
    elsewhere: BTreeSet<Foreign>,
    failed: Option<String>,
    /// The last hooks that had to be attached again.
    repaired: VecDeque<RepairedLine>,
    /// How many ever.
    count: u64,
    /// Why some could not be.
    broken: BTreeMap<Attachment, String>,
    enforcers: Enforcers,
    /// Why it cannot be told which engines there are.
    blind: Option<String>,
}

impl<D: Datapath> Reconciler<D> {
    /// Takes in what was seen of the hooks, and attaches again what is off.
    pub fn take_sighting(&mut self, mut sighting: Sighting) {
        if let Some(enforcers) = sighting.enforcers.take() {
            self.take_enforcers(enforcers);
        }
        if self.watched.since.is_none_or(|since| sighting.begun < since) {
            return;
        }
        let broken = std::mem::take(&mut self.watched.broken);
        if !sighting.lost.is_empty() {
            for (place, result) in self.datapath.mend(&sighting.lost) {
                match result {
                    Ok(()) => self.tell_repaired(place),
                    // A pod that goes takes its interface along before anything else is known of it.
                    Err(reason) if !links::is_there(place.ifindex) => {
                        debug!(?place, "an interface went before its hook was attached again: {reason}");
                    }
                    Err(reason) => {
                        if !broken.contains_key(&place) {
                            error!(
                                ?place,
                                "somebody has taken a hook off, and it cannot be attached again: {reason}"
                            );
                        }
                        self.watched.broken.insert(place, reason);
                    }
                }
            }
        }
        let watched = &mut self.watched;
        let before = (&watched.ahead, &watched.failed);
        self.dirty |= before != (&sighting.ahead, &sighting.failed);
        (watched.ahead, watched.failed) = (sighting.ahead, sighting.failed);
        if let Some(elsewhere) = sighting.elsewhere {
            self.dirty |= elsewhere != watched.elsewhere;
            watched.elsewhere = elsewhere;
        }
    }

    fn take_enforcers(&mut self, now: Result<Enforcers, String>) {
        let now = match now {
            Ok(now) => now,
            Err(reason) => {
                if self.watched.blind.as_ref() != Some(&reason) {
                    warn!("{reason}");
                }
                self.watched.blind = Some(reason);
                return;
            }
        };
        self.watched.blind = None;
        let before = std::mem::replace(&mut self.watched.enforcers, now);
        for (engine, traces) in &self.watched.enforcers {
            if !before.contains_key(engine) {
                let traces = traces.iter().cloned().collect::<Vec<_>>().join(", ");
                warn!(
                    engine,
                    traces,
                    "another engine seems to enforce policies on this node: {}",
                    EnforcerLine::MEANING
                );
            }
        }
        for engine in before.keys().filter(|engine| !self.watched.enforcers.contains_key(*engine)) {
            info!(engine, "nothing is left of another engine on this node");
        }
    }

    /// Why it cannot be told which other engines there are.
    pub(super) const fn blind(&self) -> Option<&String> {
        self.watched.blind.as_ref()
    }

    /// Other engines, with what was found of them.
    pub(super) fn enforcers(&self) -> Vec<EnforcerLine> {
        let line = |(engine, traces): (&&str, &BTreeSet<String>)| EnforcerLine {
            engine: (*engine).to_owned(),
            traces: traces.iter().cloned().collect(),
        };
        self.watched.enforcers.iter().map(line).collect()
    }

    fn tell_repaired(&mut self, place: Attachment) {
        let endpoint = self.engine.endpoint(place.slot);
        let local = endpoint.as_ref().map(|endpoint| &endpoint.local);
        let line = RepairedLine {
            pod: local.and_then(|local| local.pod.as_ref()).map(ToString::to_string).unwrap_or_default(),
            interface: local.map(|local| local.ifname.to_string()).unwrap_or_default(),
            direction: place.direction.name().to_owned(),
            time: Moment::now(),
        };
        warn!(
            pod = line.pod,
            interface = line.interface,
            direction = line.direction,
            "somebody had taken the classifier off a pod's interface: it is attached again, and the pod was not enforced in between"
        );
        self.watched.count += 1;
        if self.watched.repaired.len() == FAULTS {
            self.watched.repaired.pop_front();
        }
        self.watched.repaired.push_back(line);
    }

    /// The hooks that had to be attached again lately, and how many ever.
    pub(super) fn repaired(&self) -> (Vec<RepairedLine>, u64) {
        let from = Moment::now().milliseconds().saturating_sub(TOLD);
        let lately = self.watched.repaired.iter().filter(|line| line.time.milliseconds() >= from);
        (lately.cloned().collect(), self.watched.count)
    }

    /// What is off now and could not be attached again.
    pub(super) fn broken_hooks(&self) -> impl Iterator<Item = String> {
        self.watched.broken.iter().map(|(place, reason)| {
            format!(
                "somebody has taken the classifier ({}) off {}, and it cannot be attached again: {reason}",
                place.direction.name(),
                self.endpoint_name(place.slot)
            )
        })
    }

    /// What is doubtful of the programs that were seen.
    pub(super) fn doubt_programs(&self, doubts: &mut BTreeSet<Doubt>) {
        let list = |programs: &mut dyn Iterator<Item = String>| programs.collect::<Vec<_>>().join(", ");
        for (ifindex, programs) in &self.watched.ahead {
            let Some(told) = self.endpoints.get(ifindex) else { continue };
            doubts.insert(Doubt::Unenforced(Unenforced {
                pod: told.local.pod.clone(),
                interface: told.local.ifname.to_string(),
                cause: Cause::Ahead,
                detail: list(&mut programs.iter().map(ToString::to_string)),
            }));
        }
        // Discovery says those that are before a pod's classifier.
        let is_pods = |foreign: &&Foreign| {
            let found =
                self.discovered.as_ref().is_some_and(|found| found.pods.contains_key(&foreign.ifindex));
            foreign.program.at == At::Xdp && found
        };
        let others: Vec<&Foreign> = self.watched.elsewhere.iter().filter(|one| !is_pods(one)).collect();
        if !others.is_empty() {
            let name = |one: &&Foreign| format!("{}: {}", one.interface, one.program);
            let more = match others.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            doubts.insert(Doubt::Programs(format!(
                "programs of others on this host's interfaces ({}{more}): packets that such a program redirects straight into a pod's network namespace go past this engine, and are not known to be enforced",
                list(&mut others.iter().take(NAMED).map(name))
            )));
        }
        doubts.extend(self.watched.failed.clone().map(Doubt::Programs));
    }
}
