//! What it costs to compile: the first time, and when one thing changes.

use std::time::Duration;

use anyhow::{Result, bail};
use netpol_common::Addr;
use netpol_policy::engine::{Engine, LocalEndpoint, Mirror, Recovered, Settings, TableOp};
use netpol_policy::model::{Kind, Object, SourceEvent};
use nix::time::ClockId;

use crate::cluster;
use crate::goals::{Answer, Bound, Goal, Only};
use crate::machine::cpu_nanoseconds;
use crate::statistics::Figure;

/// Writes to maps: each is a system call or a store. Generations that move are none: an addition in mapped memory.
fn writes_of(operations: &[TableOp]) -> usize {
    let is_generation = |one: &TableOp| matches!(one, TableOp::Generation(_) | TableOp::AllGenerations);
    operations.iter().filter(|one| !is_generation(one)).count()
}

/// What is measured: the time that it takes, and what it writes.
const ALL: [[Goal; 2]; 6] = {
    use Bound::AtMost;
    const fn time(name: &'static str, what: &'static str) -> Goal {
        Goal::told(name, what, "us").of("M5")
    }
    const fn writes(name: &'static str) -> Goal {
        Goal::told(name, "the same: writes", "").of("M5")
    }
    [
        [
            Goal::told("compile-start", "start: 10,000 pods and 1,000 policies taken in and compiled", "us")
                .must(AtMost(1e6)),
            Goal::told("compile-start-writes", "the same: writes", ""),
        ],
        [
            Goal::told("compile-restart", "restart over the same tables, nothing changed", "us"),
            Goal::told("compile-restart-writes", "restart over the same tables, nothing changed: writes", "")
                .of("M6")
                .must(AtMost(0.0)),
        ],
        // It has an address of each family.
        [
            time("compile-join", "a replica joins, 10,000 pods and 1,000 policies")
                .must(AtMost(100.0))
                .moonshot(AtMost(20.0)),
            writes("compile-join-writes").must(AtMost(2.0)),
        ],
        [
            time("compile-leave", "a replica leaves").must(AtMost(100.0)).moonshot(AtMost(20.0)),
            writes("compile-leave-writes").must(AtMost(2.0)),
        ],
        [
            time("compile-policy", "one policy changes a port").must(AtMost(20e3)).moonshot(AtMost(2e3)),
            writes("compile-policy-writes"),
        ],
        [
            time("compile-namespace", "a label of a namespace of 1,000 pods changes")
                .must(AtMost(100e3))
                .moonshot(AtMost(10e3)),
            writes("compile-namespace-writes"),
        ],
    ]
};

/// All goals.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    ALL.into_iter().flatten()
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

    /// Microseconds and writes of one change; what it leaves behind is collected afterwards.
    fn change(&mut self, event: SourceEvent) -> Result<(f64, usize)> {
        let start = thread_time()?;
        self.engine.apply(event);
        let operations = self.compile();
        let took = thread_time()? - start;
        self.settle();
        Ok((took, writes_of(&operations)))
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
pub(crate) fn run(only: &Only, rounds: u32) -> Result<Vec<Answer>> {
    if !all().any(|goal| only.wants_goal(&goal)) {
        return Ok(Vec::new());
    }
    let mut figures: [(Vec<f64>, usize); ALL.len()] = Default::default();
    let mut note = |index: usize, (took, writes): (f64, usize)| {
        figures[index].0.push(took);
        figures[index].1 = writes;
    };
    let mut node = None;
    for _ in 0..STARTS {
        let (objects, endpoints) = (cluster::objects()?, cluster::endpoints());
        let start = thread_time()?;
        let mut fresh = Node::new(Recovered::default(), objects, endpoints);
        let operations = fresh.compile();
        note(0, (thread_time()? - start, writes_of(&operations)));
        node = Some((fresh, operations));
    }
    let Some((mut node, operations)) = node else { bail!("no round") };
    for _ in 0..STARTS {
        let (objects, endpoints) = (cluster::objects()?, cluster::endpoints());
        let recovered = Recovered(operations.clone());
        let start = thread_time()?;
        let mut again = Node::new(recovered, objects, endpoints);
        let operations = again.compile();
        note(1, (thread_time()? - start, writes_of(&operations)));
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
    let answers = ALL.into_iter().zip(figures).flat_map(|([time, write], (took, writes))| {
        [
            Answer { goal: time, figure: Figure::of(&took) },
            Answer { goal: write, figure: Figure::exact(writes as f64) },
        ]
    });
    Ok(answers.filter(|answer| only.wants_goal(&answer.goal)).collect())
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
