//! What it costs to compile: the first time, and when one thing changes.

use std::time::Duration;

use anyhow::{Result, bail};
use netpol_common::Addr;
use netpol_policy::engine::{Engine, LocalEndpoint, Mirror, Recovered, Settings, TableOp};
use netpol_policy::model::{Kind, Object, SourceEvent};
use nix::time::ClockId;

use crate::cluster;
use crate::machine::cpu_nanoseconds;
use crate::statistics::Figure;

/// One line.
pub(crate) struct Compiled {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Microseconds of processor time.
    pub(crate) took: Figure,
    /// What the last round wrote.
    pub(crate) cost: Cost,
    pub(crate) aim: Aim,
}

/// What a change writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Writes to maps: each is a system call or a store.
    pub(crate) writes: usize,
    /// Generations that move, each of which is an addition in mapped memory.
    pub(crate) generations: usize,
}

impl Cost {
    fn of(operations: &[TableOp]) -> Self {
        let is_generation = |one: &&TableOp| matches!(one, TableOp::Generation(_) | TableOp::AllGenerations);
        let generations = operations.iter().filter(is_generation).count();
        Self { writes: operations.len() - generations, generations }
    }
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Aim {
    /// Less than so many microseconds.
    pub(crate) microseconds: Option<f64>,
    /// No more writes than this.
    pub(crate) writes: Option<usize>,
}

impl Aim {
    const NONE: Self = Self { microseconds: None, writes: None };

    const fn below(microseconds: f64) -> Self {
        Self { microseconds: Some(microseconds), writes: None }
    }
}

impl Compiled {
    /// Whether it is within its aim.
    pub(crate) fn is_met(&self) -> bool {
        self.aim.microseconds.is_none_or(|most| self.took.median < most)
            && self.aim.writes.is_none_or(|most| self.cost.writes <= most)
    }
}

/// What is measured: its name, what that means, what is aimed at.
const ALL: [(&str, &str, Aim); 6] = [
    ("compile-start", "start: all objects taken in and compiled", Aim::below(1e6)),
    (
        "compile-restart",
        "restart over the same tables, nothing changed",
        Aim { writes: Some(0), ..Aim::NONE },
    ),
    // It has an address of each family.
    ("compile-join", "a replica joins", Aim { writes: Some(2), ..Aim::below(100.0) }),
    ("compile-leave", "a replica leaves", Aim { writes: Some(2), ..Aim::NONE }),
    ("compile-policy", "one policy changes a port", Aim::below(20e3)),
    ("compile-namespace", "a label of a namespace of 1,000 pods changes", Aim::below(100e3)),
];

/// All names with what they mean.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALL.into_iter().map(|(name, what, _)| (name, what))
}

/// Rounds at least: a change takes so little that a single one says nothing.
pub(crate) const ROUNDS: u32 = 51;
/// Rounds of the two that take long.
const STARTS: u32 = 5;

/// An engine with a clock of its own, which moves past every grace period between two changes.
struct Node {
    engine: Engine,
    now: Duration,
}

impl Node {
    fn new(recovered: Recovered, objects: Vec<Object>, endpoints: Vec<LocalEndpoint>) -> Self {
        let settings = Settings { node: cluster::NODE.into(), ..Settings::default() };
        let mut engine = Engine::new(settings, recovered);
        for endpoint in endpoints {
            engine.set_endpoint(endpoint);
        }
        engine.apply(SourceEvent::Reset(objects));
        Self { engine, now: Duration::ZERO }
    }

    fn compile(&mut self) -> Vec<TableOp> {
        let operations = self.engine.compile(self.now);
        self.engine.applied(self.now, &[]);
        operations
    }

    /// Microseconds and cost of one change; what it leaves behind is collected afterwards.
    fn change(&mut self, event: SourceEvent) -> Result<(f64, Cost)> {
        let start = thread_time()?;
        self.engine.apply(event);
        let operations = self.compile();
        let took = thread_time()? - start;
        self.settle();
        Ok((took, Cost::of(&operations)))
    }

    /// Lets grace periods pass until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.now += Duration::from_secs(600);
            self.compile();
        }
    }
}

/// Measures what of it is wanted.
pub(crate) fn run(wanted: &dyn Fn(&str) -> bool, rounds: u32) -> Result<Vec<Compiled>> {
    if !ALL.iter().any(|(name, ..)| wanted(name)) {
        return Ok(Vec::new());
    }
    let mut figures: [(Vec<f64>, Cost); ALL.len()] = Default::default();
    let mut note = |index: usize, (took, cost): (f64, Cost)| {
        figures[index].0.push(took);
        figures[index].1 = cost;
    };
    let mut node = None;
    for _ in 0..STARTS {
        let (objects, endpoints) = (cluster::objects()?, cluster::endpoints());
        let start = thread_time()?;
        let mut fresh = Node::new(Recovered::default(), objects, endpoints);
        let operations = fresh.compile();
        note(0, (thread_time()? - start, Cost::of(&operations)));
        node = Some((fresh, operations));
    }
    let Some((mut node, operations)) = node else { bail!("no round") };
    for _ in 0..STARTS {
        let (objects, endpoints) = (cluster::objects()?, cluster::endpoints());
        let recovered = Recovered(operations.clone());
        let start = thread_time()?;
        let mut again = Node::new(recovered, objects, endpoints);
        let operations = again.compile();
        note(1, (thread_time()? - start, Cost::of(&operations)));
    }
    node.settle();
    for round in 0..rounds {
        // A replica of the first pod of the large namespace, as another node has it.
        let mut pod = cluster::pod(cluster::PODS + round);
        let model = cluster::pod(5);
        pod.key.namespace = model.key.namespace;
        pod.labels = model.labels;
        let (key, addresses) = (pod.key.clone(), pod.addresses.clone());
        note(2, node.change(SourceEvent::Apply(Object::Pod(pod)))?);
        if !addresses.iter().all(|address| is_peer(node.engine.tables(), (*address).into())) {
            bail!("the replica that joined is in no table");
        }
        note(3, node.change(SourceEvent::Delete(Kind::Pod, key))?);
        let port = 9000 + (round % 1000) as u16;
        note(4, node.change(SourceEvent::Apply(Object::Policy(cluster::policy(0, port)?)))?);
        let team = if round.is_multiple_of(2) { "red" } else { "blue" };
        note(5, node.change(SourceEvent::Apply(Object::Namespace(cluster::namespace(0, team))))?);
    }
    Ok(ALL
        .into_iter()
        .zip(figures)
        .filter(|((name, ..), _)| wanted(name))
        .map(|((name, what, aim), (took, cost))| Compiled { name, what, took: Figure::of(&took), cost, aim })
        .collect())
}

fn is_peer(tables: &Mirror, address: Addr) -> bool {
    use netpol_common::decide::Tables as _;
    let mut peer = netpol_common::tables::Prefix { class: 0, flags: 0 };
    tables.peer(&address, &mut peer);
    peer.class != 0
}

/// Microseconds of this thread.
fn thread_time() -> Result<f64> {
    Ok(cpu_nanoseconds(ClockId::CLOCK_THREAD_CPUTIME_ID)? as f64 / 1e3)
}
