//! What the start of a pod waits for: from when its interface appears until its endpoint carries both classifiers and its
//! gate is open; and what its plugin's steps take with the engine, as a ratio to the same without.
//!
//! Two laboratories are alike but for the engine, and take turns: the same pods come and go in each, alone or all at once.
//! In the middle the engine moves from the one to the other. While it is the other's turn the agent stands still. What is
//! pinned is looked at from outside; nothing that is asked there waits for the lock that interfaces are made under.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::maps::{HashMap, Map, MapData};
use netpol_common::{Direction, tables::Interface};
use netpol_tests::{Laboratory, Link, Namespace, Pod, PodSpec, Setup, Start};
use nix::net::if_::if_nametoindex;
use serde_json::json;

use crate::goals::{Answer, Goal, Only};
use crate::statistics::Figure;

/// Pods that start at the same time.
const TOGETHER: usize = 30;
/// Between two looks.
const LOOK: Duration = Duration::from_micros(100);
/// How long a start may take at most.
const PATIENCE: Duration = Duration::from_mins(1);

const fn told(name: &'static str, what: &'static str) -> Goal {
    Goal::told(name, what, "ms")
}

/// Without an aim: these steps are a few milliseconds of what a runtime takes. What a whole start grows by is measured on a
/// cluster (`cargo xtask test --cluster start`).
const fn ratio(name: &'static str, what: &'static str) -> Goal {
    Goal::told(name, what, "")
}

/// What is measured, by how many start at once, and in how many rounds: appearance to judged, in the median and at most; the
/// plugins' steps.
const ALL: [(usize, u32, [Goal; 3]); 2] = [
    (
        1,
        40,
        [
            told("pod-start-one-p50", "one pod, its veth's appearance to hooked and open: half within"),
            told("pod-start-one-most", "the same: all within"),
            ratio("pod-start-one-plugin", "one pod, its plugin's steps, engine on / off"),
        ],
    ),
    (
        TOGETHER,
        10,
        [
            told("pod-start-30-p50", "30 pods at once, each as above: half within"),
            told("pod-start-30-most", "the same: all within"),
            ratio("pod-start-30-plugin", "30 pods at once, until the last plugin returns, engine on / off"),
        ],
    ),
];

/// All goals.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    ALL.into_iter().flat_map(|(_, _, goals)| goals)
}

/// Measures what of it is wanted.
pub(crate) fn run(only: &Only) -> Result<Vec<Answer>> {
    let is_wanted = |goals: &[Goal; 3]| goals.iter().any(|goal| only.wants_goal(goal));
    if !ALL.iter().any(|(_, _, goals)| is_wanted(goals)) {
        return Ok(Vec::new());
    }
    let mut sides = [Side::new()?, Side::new()?];
    let mut values: [(Vec<f64>, Vec<f64>); 2] = Default::default();
    for engine in [0, 1] {
        sides[engine].lab.start_agent()?;
        for ((count, rounds, goals), (judged, ratios)) in ALL.iter().zip(&mut values) {
            if !is_wanted(goals) {
                continue;
            }
            for round in 0..rounds.div_ceil(2) {
                let mut took = [0.0; 2];
                // Who is first changes: what one turn leaves behind is in the other's next.
                for turn in 0..2 {
                    let side = (turn + round as usize) % 2;
                    sides[engine].set_standing_still(side != engine)?;
                    took[side] = if side == engine {
                        let (plugins, each) = sides[side].judged_start(*count)?;
                        judged.extend(each);
                        plugins
                    } else {
                        sides[side].start(*count)?
                    };
                }
                ratios.push(took[engine] / took[1 - engine]);
            }
        }
        sides[engine].switch_off()?;
    }
    let lines = ALL.into_iter().zip(values).flat_map(|((_, _, [half, most, plugin]), (judged, ratios))| {
        [
            Answer { goal: half, figure: Figure::quantile_of(&judged, 0.5) },
            Answer { goal: most, figure: Figure::quantile_of(&judged, 1.0) },
            Answer { goal: plugin, figure: Figure::of(&ratios) },
        ]
    });
    Ok(lines.filter(|answer| only.wants_goal(&answer.goal)).collect())
}

/// A node on which the same pods come and go.
struct Side {
    lab: Laboratory,
    pods: Vec<Pod>,
}

impl Side {
    fn new() -> Result<Self> {
        let agent_flags = ["--sandbox-namespace", "npl-*-starter*"].map(str::to_owned).to_vec();
        let mut lab = Laboratory::with(Setup { link: Link::Bridge, agent_flags, ..Setup::default() })?;
        let spec = json!({
            "podSelector": {"matchLabels": {"app": "starter"}},
            "policyTypes": ["Ingress", "Egress"],
        });
        lab.policy("shop", "starter", &spec)?;
        let mut pods = Vec::new();
        for number in 0..TOGETHER {
            let spec = PodSpec::new("shop", &format!("starter-{number}")).label("app", "starter");
            let pod = lab.prepare_pod(spec)?;
            lab.announce_pod(&pod)?;
            pods.push(pod);
        }
        Ok(Self { lab, pods })
    }

    /// Starts some pods and ends them; milliseconds until the last of their plugins has returned.
    fn start(&mut self, count: usize) -> Result<f64> {
        let plugins = plugins(&self.lab.connect_together(&self.pods[..count])?)?;
        self.end(count)?;
        Ok(plugins)
    }

    /// The same, and how long each waited until it was judged, in milliseconds.
    fn judged_start(&mut self, count: usize) -> Result<(f64, Vec<f64>)> {
        let pods = &self.pods[..count];
        let looking = Looking::new(&self.lab, pods)?;
        let (started, waited) = thread::scope(|scope| {
            let looking = scope.spawn(|| looking.run());
            let started = self.lab.connect_together(pods);
            (started, looking.join().map_err(|_| anyhow!("a thread that looks panicked")))
        });
        let plugins = plugins(&started?)?;
        let waited = waited??;
        self.end(count)?;
        Ok((plugins, waited))
    }

    fn end(&mut self, count: usize) -> Result<()> {
        for pod in &self.pods[..count] {
            self.lab.disconnect_pod(&pod.key())?;
        }
        self.lab.settle()
    }

    fn switch_off(&mut self) -> Result<()> {
        self.set_standing_still(false)?;
        self.lab.uninstall_agent()
    }

    fn set_standing_still(&self, still: bool) -> Result<()> {
        if still { self.lab.freeze_agent() } else { self.lab.thaw_agent() }
    }
}

/// From the first interface to the last plugin's return.
fn plugins(started: &[Start]) -> Result<f64> {
    let begun = started.iter().map(|start| start.begun).min().context("no pod was started")?;
    let returned = started.iter().map(|start| start.returned).max().context("no pod was started")?;
    Ok(returned.saturating_duration_since(begun).as_secs_f64() * 1e3)
}

/// The kernel's table of interfaces: kind and slot behind the index, which is repeated.
type Interfaces = HashMap<MapData, u32, [u32; size_of::<Interface>() / 4]>;

/// Looks at starting pods from outside.
struct Looking {
    node: Namespace,
    pins: PathBuf,
    interfaces: Interfaces,
    names: Vec<String>,
}

/// How far a pod has come.
#[derive(Clone, Copy)]
enum Step {
    Awaited,
    Appeared(u32, Instant),
    /// After so long.
    Judged(Duration),
}

impl Looking {
    fn new(lab: &Laboratory, pods: &[Pod]) -> Result<Self> {
        let path = lab.pins().join("maps/INTERFACES");
        let map = MapData::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self {
            node: lab.node.clone(),
            pins: lab.pins(),
            interfaces: HashMap::try_from(Map::HashMap(map))?,
            names: pods.iter().map(|pod| pod.host_interface.clone()).collect(),
        })
    }

    /// From the appearance of each interface until it is judged, in milliseconds.
    fn run(&self) -> Result<Vec<f64>> {
        self.node.run(|| {
            let begun = Instant::now();
            let mut steps = vec![Step::Awaited; self.names.len()];
            while !steps.iter().all(|step| matches!(step, Step::Judged(_))) {
                if begun.elapsed() > PATIENCE {
                    bail!("a pod is not hooked and open after {PATIENCE:?}");
                }
                for (step, name) in steps.iter_mut().zip(&self.names) {
                    match *step {
                        Step::Awaited => {
                            if let Ok(index) = if_nametoindex(name.as_str()) {
                                *step = Step::Appeared(index, Instant::now());
                            }
                        }
                        Step::Appeared(index, at) if self.is_judged(index) => {
                            *step = Step::Judged(at.elapsed());
                        }
                        Step::Appeared(..) | Step::Judged(_) => {}
                    }
                }
                thread::sleep(LOOK);
            }
            let waited = steps.into_iter().filter_map(|step| match step {
                Step::Judged(after) => Some(after.as_secs_f64() * 1e3),
                Step::Awaited | Step::Appeared(..) => None,
            });
            Ok(waited.collect())
        })?
    }

    /// Whether it carries both classifiers, and no gate. That it once had one is the tests' to say.
    fn is_judged(&self, ifindex: u32) -> bool {
        let Ok([_, _, slot]) = self.interfaces.get(&ifindex, 0) else { return false };
        let pinned = |path: &str| Path::new(&self.pins).join(path).exists();
        Direction::ALL.iter().all(|direction| pinned(&format!("links/{slot}-{}", direction.name())))
            && !pinned(&format!("gates/{ifindex}"))
    }
}
