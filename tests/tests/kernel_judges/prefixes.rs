//! No packet meets half a policy: what is judged after each operation of a change.

use netpol_policy::engine::{HookLevel, TableOp};

use crate::{
    case::Case,
    compiled::{Said, Way},
    expected::{Expected, Place, places},
    history::{Step, Watched},
    walk::{Disagreement, Walk, judge},
};

/// Packets that are sent after each operation.
const CASES: usize = 6;

/// What was to be judged how before a change.
pub(crate) struct Prefixes {
    places: Vec<Place>,
    /// By the place of the open flow in the list of them.
    flows: Vec<Option<Expected>>,
}

/// A packet on its way while the tables change.
struct Probe {
    way: Way,
    case: Case,
    old: Expected,
    new: Expected,
    /// Its flow is asked about until the end: it is no other probe's, and no Service's, whose backends would stay as
    /// they were.
    lasts: bool,
    left_to_it: bool,
}

fn cases(step: &Step) -> &[Case] {
    &step.cases[..step.cases.len().min(CASES)]
}

impl Prefixes {
    pub(crate) fn new(walk: &Walk<'_>, step: &Step) -> Self {
        if step.watched == Watched::Afterwards {
            return Self { places: Vec::new(), flows: Vec::new() };
        }
        Self {
            places: cases(step).iter().flat_map(|case| places(&walk.sight, *case)).collect(),
            flows: walk.flows.iter().map(|flow| flow.expected(&walk.sight)).collect(),
        }
    }

    /// What is there before and after. At a place that is there only then or now an interface comes or goes, or is
    /// another pod's: nobody says what is right in between.
    fn probes(&self, walk: &Walk<'_>, step: &Step) -> Vec<Probe> {
        // What has no ports is one flow with every other packet like it: none that is open is asked about anew.
        let is_open = |place: &Place| {
            walk.flows.iter().any(|flow| (flow.way.slot(), flow.key()) == (place.way.slot(), place.key()))
        };
        let now: Vec<Place> = cases(step)
            .iter()
            .flat_map(|case| places(&walk.sight, *case))
            .filter(|place| !place.led && !is_open(place))
            .collect();
        let both = self.places.iter().filter_map(|old| {
            let new = now.iter().find(|new| (new.way, new.case) == (old.way, old.case))?;
            let lasts = !old.expected.is_services() && !new.expected.is_services() && new.case.is_one_flow();
            let Place { way, case, left_to_it, .. } = *new;
            Some(Probe { way, case, old: old.expected, new: new.expected, lasts, left_to_it })
        });
        both.collect()
    }

    /// Applies the operations one by one, to the kernel as well if it is watched, and asks after each of them.
    pub(crate) fn replay(
        self,
        walk: &mut Walk<'_>,
        step: &Step,
        operations: &[TableOp],
    ) -> Result<(), Disagreement> {
        let probes = self.probes(walk, step);
        // What the kernel does not see must leave no trace in the flows.
        let aside = (step.watched == Watched::Tables).then(|| {
            let kernel = walk.compiled.kernel.take();
            (kernel, walk.compiled.memory.clone(), walk.flows.clone())
        });
        let mut result = self.ask(walk, &probes, 0, "before the first operation");
        for (n, operation) in operations.iter().enumerate() {
            walk.compiled.write(std::slice::from_ref(operation));
            if result.is_ok() {
                result = self.ask(walk, &probes, n + 1, &format!("after {operation:?}"));
            }
            walk.tally.prefixes += 1;
        }
        if result.is_ok() {
            result = finally(walk, &probes);
        }
        for probe in &probes {
            walk.compiled.forget(probe.way, &probe.case);
        }
        if let Some((kernel, memory, flows)) = aside {
            (walk.compiled.kernel, walk.compiled.memory, walk.flows) = (kernel, memory, flows);
            for slot in walk.compiled.emptied.clone() {
                walk.compiled.memory.forget_all(slot);
            }
            walk.compiled.write_to_kernel(operations);
        }
        result
    }

    /// One moment: every packet gets the old verdict or the new one.
    fn ask(
        &self,
        walk: &mut Walk<'_>,
        probes: &[Probe],
        turn: usize,
        moment: &str,
    ) -> Result<(), Disagreement> {
        for (n, probe) in probes.iter().enumerate() {
            let Probe { way, case, old, new, .. } = *probe;
            if !judges(walk, probe) {
                continue;
            }
            // Some flows are opened anew, others are asked about again.
            let opens = !probe.lasts || (n + turn).is_multiple_of(3);
            let sent = if opens { case.opens() } else { case.follows() };
            if opens {
                walk.compiled.forget(way, &case);
            }
            let fits = |said: &Said| old.or_fits(new, said);
            let about = || format!("{moment}: by {way:?} {case:?}, {old:?} before and {new:?} after");
            let said = judge(way, &sent, &mut walk.compiled, fits, about)?;
            walk.count(&said);
        }
        for n in 0..walk.flows.len() {
            let mut flow = walk.flows[n].clone();
            if walk.compiled.emptied.contains(&flow.way.slot())
                || walk.compiled.hook(flow.way.slot()) != HookLevel::Full
            {
                continue;
            }
            let (Some(old), Some(new)) = (self.flows[n], flow.expected(&walk.sight)) else { continue };
            let [(way, sent), _] = flow.packets();
            let fits = |said: &Said| old.or_fits(new, said);
            let about = || format!("{moment}: of {flow:?}, {old:?} before and {new:?} after");
            let said = judge(way, &sent, &mut walk.compiled, fits, about)?;
            walk.count(&said);
            let _fate = flow.judged(&said, &walk.sight, &walk.compiled);
            walk.flows[n] = flow;
        }
        Ok(())
    }
}

/// A neighbour that carries no classifier yet cannot be told from a stranger, and what it opens then is a stranger's: it
/// is asked about when its own classifier is there.
fn judges(walk: &Walk<'_>, probe: &Probe) -> bool {
    let Way::Between(to, from) = probe.way else { return true };
    walk.compiled.hook(from) != HookLevel::None
        && (!probe.left_to_it || walk.compiled.hook(to) == HookLevel::Full)
}

/// What was judged in the middle of the change is judged by its end now.
fn finally(walk: &mut Walk<'_>, probes: &[Probe]) -> Result<(), Disagreement> {
    for probe in probes.iter().filter(|probe| probe.lasts) {
        let Probe { way, case, new, .. } = *probe;
        if judges(walk, probe) {
            let fits = |said: &Said| new.fits(said);
            let about = || format!("judged during the change: by {way:?} {case:?}, {new:?} now");
            let said = judge(way, &case.follows(), &mut walk.compiled, fits, about)?;
            walk.count(&said);
        }
    }
    Ok(())
}

impl Walk<'_> {
    /// Counts what was judged by all three.
    fn count(&mut self, said: &Said) {
        if self.compiled.kernel.is_some() {
            self.tally.judged(said);
        }
    }
}
