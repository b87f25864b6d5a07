//! Through a history, until two judges disagree.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use netpol_policy::{
    engine::{HookLevel, TableOp},
    spec,
};
use netpol_tests::kernel::Kernel;

use crate::{
    case::{Case, Sent},
    cluster::{Change, Cluster, NODE},
    compiled::{Compiled, GRACE, Said, Way},
    expected::{Place, places},
    flows::Open,
    history::{History, Step, Watched},
    prefixes::Prefixes,
    sight::Sight,
    tally::Tally,
};

/// Open flows that are followed, and how many of one sort.
const OPEN: usize = 20;
const OF_ONE_SORT: usize = 3;

/// Two judges disagree.
#[derive(Debug)]
#[expect(dead_code, reason = "it is there to be printed")]
pub(crate) struct Disagreement {
    /// When, and about what.
    pub(crate) what: String,
    /// What each of them says; the specification's word is in what it is about.
    pub(crate) said: Vec<(&'static str, Said)>,
}

/// Whether something gets lost.
pub(crate) type Loses<T> = fn(&T) -> bool;

/// What gets lost on its way to the compiler or to the tables, when it is tried whether anybody notices.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lost {
    pub(crate) change: Option<Loses<Change>>,
    pub(crate) operation: Option<Loses<TableOp>>,
}

/// Where one is in a history.
pub(crate) struct Walk<'a> {
    cluster: Cluster,
    /// The compiler that is asked, in its own time, with flows.
    pub(crate) compiled: Compiled,
    /// One that hears the same and comes to rest after every step.
    resting: Option<Compiled>,
    /// One that has started from nothing after the last step.
    fresh: Option<(Compiled, Sight)>,
    past: Vec<(Duration, Rc<spec::Cluster>)>,
    pub(crate) sight: Sight,
    pub(crate) flows: Vec<Open>,
    pub(crate) tally: &'a mut Tally,
}

/// Goes through a history, and gives the kernel back, its tables empty.
pub(crate) fn walk(
    history: &History,
    kernel: Option<Kernel>,
    lost: Lost,
    tally: &mut Tally,
) -> (Result<(), (usize, Disagreement)>, Option<Kernel>) {
    let cluster = history.beginning.clone();
    let mut compiled = Compiled::new(kernel);
    compiled.loses = lost.operation;
    compiled.replace(&cluster);
    let loses = lost.change.is_some() || lost.operation.is_some();
    let resting = (!loses).then(|| Compiled::of(&cluster, None));
    let sight = Sight::new(&cluster, Vec::new(), &compiled);
    let mut walk =
        Walk { cluster, compiled, resting, fresh: None, past: Vec::new(), sight, flows: Vec::new(), tally };
    let mut result = Ok(());
    for (n, step) in history.steps.iter().enumerate() {
        if let Err(disagreement) = walk.step(step, lost) {
            result = Err((n, disagreement));
            break;
        }
    }
    let mut compiled = walk.compiled;
    compiled.clear();
    // What is left behind would show in another history.
    if result.is_ok() {
        result = compare_with_kernel(&compiled).map_err(|left| (history.steps.len().saturating_sub(1), left));
    }
    tally.histories += 1;
    (result, compiled.kernel)
}

/// The kernel's tables hold what the operations say.
fn compare_with_kernel(compiled: &Compiled) -> Result<(), Disagreement> {
    let Some(kernel) = &compiled.kernel else { return Ok(()) };
    let of_endpoints = |line: &String| line.starts_with("endpoint") || line.starts_with("hook");
    let mut written = compiled.tables.content();
    written.retain(|line| !of_endpoints(line));
    compare(&kernel.tables().content(), &written, "the kernel's tables", |_| false)
}

/// Two tables hold the same, but for lines that do not count.
fn compare(
    kept: &BTreeSet<String>,
    new: &BTreeSet<String>,
    what: &str,
    ignored: impl Fn(&str) -> bool,
) -> Result<(), Disagreement> {
    let left: Vec<&String> = kept.difference(new).filter(|line| !ignored(line)).collect();
    let missing: Vec<&String> = new.difference(kept).filter(|line| !ignored(line)).collect();
    if left.is_empty() && missing.is_empty() {
        return Ok(());
    }
    Err(Disagreement { what: format!("{what}: left {left:#?} missing {missing:#?}"), said: Vec::new() })
}

impl Walk<'_> {
    fn step(&mut self, step: &Step, lost: Lost) -> Result<(), Disagreement> {
        let before = Prefixes::new(self, step);
        let old = self.sight.clone();
        for change in &step.changes {
            let told = self.cluster.change(change);
            for one in told {
                if let Some(resting) = &mut self.resting {
                    resting.hear(one.clone());
                }
                if lost.change.is_none_or(|lost| !lost(change)) {
                    self.compiled.hear(one);
                }
            }
        }
        self.past.insert(0, (self.compiled.now + GRACE, old.spec));
        self.look();
        self.tally.clusters += 1;
        step.kinds.iter().for_each(|kind| self.tally.changed(kind));

        let operations = self.compiled.operations();
        match step.watched {
            _ if self.compiled.loses.is_some() => self.compiled.write(&operations),
            Watched::Afterwards => self.compiled.write(&operations),
            Watched::Tables | Watched::Kernel => before.replay(self, step, &operations)?,
        }
        self.compiled.written();
        self.compare_with_nothing(step)?;

        let half = step.cases.len() / 2;
        self.judge_all(&step.cases[..half])?;
        if step.rests {
            self.compiled.rest(false);
            self.past.clear();
        } else {
            self.compiled.wait(step.wait);
            let now = self.compiled.now;
            self.past.retain(|(until, _)| *until > now);
        }
        self.look();
        self.judge_all(&step.cases[half..])?;
        if step.rests { self.compare_at_rest() } else { Ok(()) }
    }

    fn look(&mut self) {
        let past = self.past.iter().map(|(_, spec)| spec.clone()).collect();
        self.sight = Sight::new(&self.cluster, past, &self.compiled);
        let emptied = std::mem::take(&mut self.compiled.emptied);
        self.flows.retain(|flow| !emptied.contains(&flow.way.slot()));
    }

    fn judge_all(&mut self, cases: &[Case]) -> Result<(), Disagreement> {
        // What was emptied since the last look.
        self.look();
        self.judge_flows()?;
        self.judge_cases(cases)
    }

    /// Packets that open flows, as all judges see them; some of the flows are kept.
    fn judge_cases(&mut self, cases: &[Case]) -> Result<(), Disagreement> {
        let meant =
            spec::Cluster::new(&self.cluster.as_meant(), NODE).with_given_addresses(self.cluster.given());
        let exactly = self.cluster.meant.iter().all(|(_, exactly)| *exactly);
        for case in cases {
            let (read, meant) = (self.sight.spec.allows(&case.traffic()), meant.allows(&case.traffic()));
            let wider = read.egress && !meant.egress || read.ingress && !meant.ingress;
            if wider || exactly && read != meant {
                let what = format!("{case:?}: {meant:?} was meant, {read:?} was read");
                return Err(Disagreement { what, said: Vec::new() });
            }
            if let Some((fresh, sight)) = &mut self.fresh {
                judge_places(sight, fresh, *case)?;
            }
            let judged = judge_places(&self.sight, &mut self.compiled, *case)?;
            for (n, (place, said)) in judged.iter().enumerate() {
                self.tally.judged(said);
                self.flows.retain(|flow| (flow.way.slot(), flow.key()) != (place.way.slot(), place.key()));
                // What has no ports is one flow wherever it is met.
                let again = judged[n + 1..]
                    .iter()
                    .any(|(later, _)| (later.way.slot(), later.key()) == (place.way.slot(), place.key()));
                if !again {
                    self.keep_or_forget(place, said);
                }
            }
        }
        Ok(())
    }

    fn keep_or_forget(&mut self, place: &Place, said: &Said) {
        if said.passes
            && self.compiled.hook(place.way.slot()) == HookLevel::Full
            && self.flows.len() < OPEN
            && let Some(open) = Open::new(&self.sight, &self.compiled, place)
            && self.flows.iter().filter(|flow| flow.sort() == open.sort()).count() < OF_ONE_SORT
        {
            self.flows.push(open);
        } else {
            self.compiled.forget(place.way, &place.case);
        }
    }

    /// The next packets of every open flow, in both directions.
    fn judge_flows(&mut self) -> Result<(), Disagreement> {
        for mut flow in std::mem::take(&mut self.flows) {
            let Some(expected) = flow.expected(&self.sight) else {
                self.compiled.forget(flow.way, &flow.case);
                continue;
            };
            if self.compiled.hook(flow.way.slot()) == HookLevel::Full {
                for (way, sent) in flow.packets() {
                    let fits = |said: &Said| expected.fits(said);
                    let about = || format!("a packet by {way:?} of {flow:?}, {expected:?}");
                    let said = judge(way, &sent, &mut self.compiled, fits, about)?;
                    self.tally.judged(&said);
                    self.tally.of_flows += 1;
                    if let Some(fate) = flow.judged(&said, &self.sight, &self.compiled) {
                        self.tally.fared(fate);
                    }
                }
            }
            self.flows.push(flow);
        }
        Ok(())
    }

    /// What was kept up to date is what is compiled from nothing.
    fn compare_with_nothing(&mut self, step: &Step) -> Result<(), Disagreement> {
        let Some(resting) = &mut self.resting else { return Ok(()) };
        if !step.changes.is_empty() {
            resting.rest(true);
        }
        let fresh = Compiled::of(&self.cluster, None);
        let (kept, new) = (resting.tables.content(), fresh.tables.content());
        let sight = Sight::new(&self.cluster, Vec::new(), &fresh);
        self.fresh = Some((fresh, sight));
        compare(&kept, &new, "tables compiled step by step", |_| false)
    }

    /// So it is of the compiler that is asked, but for what open flows keep.
    fn compare_at_rest(&self) -> Result<(), Disagreement> {
        let Some((fresh, _)) = &self.fresh else { return Ok(()) };
        let (kept, new) = (self.compiled.tables.content(), fresh.tables.content());
        let holds = self.flows.iter().any(Open::is_to_service);
        let of_flows = |line: &str| {
            holds && ["interned 4", "backends", "member", "hook"].iter().any(|kind| line.starts_with(kind))
        };
        compare(&kept, &new, "tables at rest", of_flows)?;
        compare_with_kernel(&self.compiled)
    }
}

/// A packet that opens a flow, at every place that it gets to.
pub(crate) fn judge_places(
    sight: &Sight,
    compiled: &mut Compiled,
    case: Case,
) -> Result<Vec<(Place, Said)>, Disagreement> {
    let mut judged: Vec<(Place, Said)> = Vec::new();
    for place in places(sight, case) {
        let full = compiled.hook(place.way.slot()) == HookLevel::Full;
        let stopped = judged.first().is_some_and(|(_, said)| !said.passes);
        if place.led && stopped || place.left_to_it && !full {
            continue;
        }
        compiled.forget(place.way, &place.case);
        let fits = |said: &Said| place.expected.fits(said);
        let said = judge(place.way, &place.case.opens(), compiled, fits, || format!("{place:?}"))?;
        judged.push((place, said));
    }
    Ok(judged)
}

/// Asks the decision function and, where there is one, the kernel.
pub(crate) fn judge(
    way: Way,
    sent: &Sent,
    compiled: &mut Compiled,
    fits: impl Fn(&Said) -> bool,
    about: impl Fn() -> String,
) -> Result<Said, Disagreement> {
    let decided = compiled.decides(way, sent);
    let mut said = vec![("the decision function", decided)];
    let mut agree = fits(&decided);
    if let Some(ran) = compiled.runs(way, sent) {
        said.push(("the programs in the kernel", ran));
        // Beyond its rate an endpoint's verdicts have no event.
        let same = ran.by.is_none() || decided.by.is_none() || ran.by == decided.by;
        agree &= ran.passes == decided.passes && same;
    }
    if agree { Ok(decided) } else { Err(Disagreement { what: about(), said }) }
}
