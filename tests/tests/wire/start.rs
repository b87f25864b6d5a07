//! From the first instant: what a pod's processes send before anybody could know the pod.
//!
//! Nothing of a pod runs in its sandbox before its CNI plugin has returned and its runtime has made its containers. Here a
//! sender runs in the sandbox before there is an interface at all, so that what the agent has closed, and when, is seen on
//! the wire. What is asserted is the promise: nothing forbidden that was sent from the first instruction on arrives. What
//! was sent earlier is counted and printed.

mod arrivals;
mod sender;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netpol_tests::deadline::wait_for;
use netpol_tests::{Laboratory, Link, Pod, PodSpec, Setup, Start, counted, figure};
use serde_json::json;

use self::arrivals::{Arrivals, Tally};
use self::sender::Sender;

/// From the object to the veth, as it was seen on a node.
const OBJECT_BEFORE: Duration = Duration::from_millis(340);
/// For how long a pod goes on sending after its first instruction.
const SENDS: Duration = Duration::from_millis(150);
/// How long what is allowed may take to arrive, on a machine that is busy.
const ARRIVES: Duration = Duration::from_secs(60);
/// Pods that start at the same time.
const TOGETHER: u8 = 10;
/// The last part of the first one's addresses.
const FIRST: u8 = 200;

/// When the object of a starting pod is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    /// Before its sandbox, as usual.
    Before,
    /// After its network is complete.
    After,
    /// Not as long as it is looked at.
    Never,
}

/// What has become of some starts.
#[derive(Debug, Default)]
struct Seen {
    starts: usize,
    /// Forbidden packets that arrived, and were sent from the first instruction on.
    leaked: usize,
    /// Forbidden packets that arrived, but were sent before.
    early: usize,
    /// How long after its veth began to be made the last of those was sent.
    latest: Duration,
    /// The shortest time from there to a first instruction.
    shortest: Option<Duration>,
}

struct Scene {
    lab: Laboratory,
    allowed: Arrivals,
    forbidden: Arrivals,
    places: [Pod; 2],
}

impl Scene {
    fn new(link: Link) -> Result<Self> {
        // Whoever is isolated no more loses its classifiers at once, and gets them anew.
        let flags =
            ["--sandbox-namespace", "npl-*-starter*", "--hook-linger", "0"].map(str::to_owned).to_vec();
        let mut lab = Laboratory::with(Setup { link, agent_flags: flags, ..Setup::default() })?;
        let mut place = |name: &str| lab.add_pod(PodSpec::new("shop", name).label("app", name));
        let places = [place("allowed")?, place("forbidden")?];
        lab.start_agent()?;
        let [allowed, forbidden] = [Arrivals::at(&places[0])?, Arrivals::at(&places[1])?];
        Ok(Self { lab, allowed, forbidden, places })
    }

    fn isolate(&mut self) -> Result<()> {
        let spec = json!({
            "podSelector": {"matchLabels": {"app": "starter"}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "allowed"}}}]}],
        });
        self.lab.policy("shop", "starter", &spec)?;
        self.lab.settle()
    }

    /// Starts some pods at once that send from before their first instant, watches them, and ends them.
    fn starts(&mut self, object: Object, isolated: bool, seen: &mut Seen) -> Result<()> {
        let mut pods = Vec::new();
        for turn in 0..TOGETHER {
            let spec =
                PodSpec::new("shop", &format!("starter-{turn}")).label("app", "starter").at(FIRST + turn);
            pods.push(self.lab.prepare_pod(spec)?);
        }
        if object == Object::Before {
            for pod in &pods {
                self.lab.announce_pod(pod)?;
            }
            thread::sleep(OBJECT_BEFORE);
        }
        let epoch = Instant::now();
        self.allowed.begin();
        self.forbidden.begin();
        let senders: Result<Vec<Sender>> =
            pods.iter().map(|pod| Sender::start(pod, &self.places, epoch)).collect();
        let started = self.lab.connect_together(&pods)?;
        if object == Object::After {
            for pod in &pods {
                self.lab.announce_pod(pod)?;
            }
        }
        thread::sleep(SENDS);
        for pod in &pods {
            if object != Object::Never {
                let arrived = || self.allowed.of(pod).is_complete().then_some(());
                wait_for("what is allowed arrives", ARRIVES, arrived)
                    .with_context(|| format!("{}: {:?}", pod.key(), self.allowed.of(pod)))?;
            }
            if !isolated {
                wait_for("without isolation all arrives", ARRIVES, || {
                    self.forbidden.of(pod).is_complete().then_some(())
                })
                .with_context(|| format!("{}: {:?}", pod.key(), self.forbidden.of(pod)))?;
            }
        }
        drop(senders);
        // What is being hooked is hooked before it goes.
        self.lab.settle()?;
        for (pod, start) in pods.iter().zip(&started) {
            seen.count(&self.forbidden.of(pod), start, epoch);
            if object == Object::Never {
                // Nobody knows what it may do, so it may do nothing.
                seen.count(&self.allowed.of(pod), start, epoch);
            }
        }
        seen.starts += pods.len();
        for pod in &pods {
            self.lab.disconnect_pod(&pod.key())?;
            if object != Object::Never {
                self.lab.delete("Pod", &pod.spec.namespace, &pod.spec.name)?;
            }
        }
        self.lab.settle()
    }
}

impl Seen {
    /// Takes in what has arrived of a pod; `epoch`: what the packets' times are reckoned from.
    fn count(&mut self, tally: &Tally, start: &Start, epoch: Instant) {
        let begun = start.begun.saturating_duration_since(epoch);
        let first = start.first.saturating_duration_since(epoch);
        self.shortest = Some(self.shortest.map_or(first - begun, |shortest| shortest.min(first - begun)));
        for sent in &tally.sent {
            if *sent >= first {
                self.leaked += 1;
            } else {
                self.early += 1;
                self.latest = self.latest.max(sent.saturating_sub(begun));
            }
        }
    }

    fn say(&self) {
        figure(format_args!(
            "{} starts: {} forbidden packets arrived that were sent before the first instruction, the last of them {} ms after \
             its pod's interfaces began to be made; the first instruction came after {} ms at least",
            self.starts,
            self.early,
            self.latest.as_millis(),
            self.shortest.unwrap_or_default().as_millis(),
        ));
    }
}

/// Pods whose policy comes and goes while others start.
const BYSTANDERS: u8 = 6;
/// The last part of the first one's addresses.
const FIRST_BYSTANDER: u8 = 20;

/// `busy`: the agent hooks and unhooks many other pods all the time.
fn nothing_leaks(link: Link, rounds: usize, busy: bool) -> Result<()> {
    let mut scene = Scene::new(link)?;
    for turn in 0..BYSTANDERS * u8::from(busy) {
        let spec = PodSpec::new("shop", &format!("bystander-{turn}")).label("app", "bystander");
        scene.lab.add_pod(spec.at(FIRST_BYSTANDER + turn))?;
    }
    // The same attempts arrive where nothing forbids them.
    scene.starts(Object::Before, false, &mut Seen::default())?;
    scene.isolate()?;
    let mut seen = Seen::default();
    for round in 0..rounds {
        let object = [Object::Before, Object::Before, Object::After, Object::Never][round % 4];
        scene
            .starts(object, true, &mut seen)
            .with_context(|| format!("round {round}, the object {object:?}"))?;
    }
    seen.say();
    counted(&[(seen.starts as u64, "starts of pods that send from their first instant")]);
    assert_eq!(seen.leaked, 0, "forbidden packets arrived: {seen:?}");
    Ok(())
}

/// Rounds of ten starts each: a thousand starts in the long run.
fn rounds() -> usize {
    if std::env::var_os("NETPOL_LONG").is_some() { 100 } else { 12 }
}

#[test]
#[ignore = "needs root and BPF"]
fn nothing_forbidden_leaves_pods_that_start_together() -> Result<()> {
    nothing_leaks(Link::Bridge, rounds(), false)
}

#[test]
#[ignore = "needs root and BPF"]
fn nothing_forbidden_leaves_routed_pods_that_start_together() -> Result<()> {
    nothing_leaks(Link::Routed, 4, false)
}

#[test]
#[ignore = "needs root and BPF"]
fn nothing_forbidden_leaves_pods_that_start_while_many_others_are_hooked() -> Result<()> {
    nothing_leaks(Link::Bridge, 4, true)
}

#[test]
#[ignore = "needs root and BPF"]
fn without_an_agent_what_starts_is_open() -> Result<()> {
    let mut scene = Scene::new(Link::Bridge)?;
    scene.isolate()?;
    scene.lab.kill_agent();
    scene.starts(Object::Before, false, &mut Seen::default())
}
