//! With real packets: the suite's pods in the laboratory, with the addresses that its policies speak of.
//!
//! Not all cases, as most of them differ in little: each that has a tag which none before it had, and every 23rd. Of
//! those, every step and every probe.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use netpol_policy::model::Protocol;
use netpol_tests::conformance::{Case, PlacedPod, Probe, Step, cases};
use netpol_tests::probe::{self, ARRIVAL_PATIENCE, Kind};
use netpol_tests::serve::{self, Server};
use netpol_tests::{Laboratory, Link, Outcome, Pod, Setup, counted};
use serde_json::Value;

use crate::text;

/// See above.
const EVERY: u64 = 23;
/// How long an answer is waited for that must not come. Those that must come are waited for far longer, and most of
/// each step's do: so a machine on which nothing answers in time is not taken for one that drops.
const PATIENCE: Duration = Duration::from_millis(500);

fn choice(suite: Vec<Case>) -> Vec<Case> {
    let mut met = BTreeSet::new();
    let mut chosen = Vec::new();
    for case in suite {
        let before = met.len();
        met.extend(case.tags.iter().cloned());
        if met.len() > before || case.id.is_multiple_of(EVERY) {
            chosen.push(case);
        }
    }
    chosen
}

/// A pod that runs, with everything that listens in it.
struct Running {
    placed: PlacedPod,
    pod: Pod,
    _servers: Vec<Server>,
}

struct Cluster {
    lab: Laboratory,
    running: BTreeMap<String, Running>,
    documents: Vec<Value>,
}

impl Cluster {
    fn new() -> Result<Self> {
        // By routes, as the suite's addresses are of several networks.
        let mut lab = Laboratory::with(Setup { link: Link::Routed, ..Setup::default() })?;
        lab.start_agent()?;
        Ok(Self { lab, running: BTreeMap::new(), documents: Vec::new() })
    }

    /// The cluster becomes that of a step, by what has changed.
    fn turn_into(&mut self, step: &Step) -> Result<()> {
        let before = std::mem::replace(&mut self.documents, step.documents.clone());
        for document in &before {
            let [kind, namespace, name] = id(document);
            if !step.documents.iter().any(|one| id(one) == [kind, namespace, name]) {
                self.lab.delete(kind, namespace, name)?;
            }
        }
        for document in step.documents.iter().filter(|one| !before.contains(one)) {
            self.lab.apply(document)?;
        }
        let gone = |key: &String| !step.pods.iter().any(|pod| pod.key() == *key);
        for key in self.running.keys().filter(|key| gone(key)).cloned().collect::<Vec<_>>() {
            self.running.remove(&key);
            self.lab.remove_pod(&key)?;
        }
        for placed in &step.pods {
            match self.running.get_mut(&placed.key()) {
                Some(running) if running.placed == *placed => {}
                Some(running) => {
                    assert_eq!(running.placed.address, placed.address, "a pod keeps its address");
                    let labels = &placed.spec.labels;
                    let labels: Vec<_> = labels.iter().map(|(key, value)| (&**key, &**value)).collect();
                    self.lab.relabel(&placed.key(), &labels)?;
                    running.placed = placed.clone();
                }
                None => self.add(placed)?,
            }
        }
        self.lab.settle()
    }

    fn add(&mut self, placed: &PlacedPod) -> Result<()> {
        let mut pod = self.lab.prepare_pod(placed.spec.clone())?;
        pod.v4 = placed.address;
        self.lab.announce_pod(&pod)?;
        self.lab.connect_pod(&pod)?;
        let serve = |(_, protocol, port): &(String, String, u16)| match protocol.as_str() {
            "TCP" => serve::tcp(&pod, *port),
            "UDP" => serve::udp(&pod, *port),
            "SCTP" => serve::sctp(&pod, *port),
            other => bail!("nobody serves {other}"),
        };
        let servers = placed.spec.ports.iter().map(serve).collect::<Result<_>>()?;
        let running = Running { placed: placed.clone(), pod, _servers: servers };
        self.running.insert(placed.key(), running);
        Ok(())
    }

    /// Asks everything of a step at the same time, and says how many were answered as expected.
    fn ask(&self, case: &Case, step: &Step) -> Result<u64> {
        let ask = |one: &Probe| {
            let patience = if one.expected.passes() { ARRIVAL_PATIENCE } else { PATIENCE };
            let to = IpAddr::V4(step.pods[one.destination].address);
            let kind = match one.protocol {
                Protocol::Tcp => Kind::Tcp,
                Protocol::Udp => Kind::Udp,
                Protocol::Sctp => Kind::Sctp,
            };
            let from = self.running[&step.pods[one.source].key()].pod.clone();
            let question = probe::Probe { from: (*from).clone(), kind, to: SocketAddr::new(to, one.port) };
            question.ask(patience)
        };
        let seen: Vec<Outcome> = thread::scope(|scope| {
            let asked: Vec<_> = step.probes.iter().map(|one| scope.spawn(move || ask(one))).collect();
            asked.into_iter().map(|answer| answer.join().expect("an answer")).collect()
        });
        let expected = |one: &Probe| if one.expected.passes() { Outcome::Reached } else { Outcome::TimedOut };
        let wrong: Vec<String> = step
            .probes
            .iter()
            .zip(&seen)
            .filter(|(one, seen)| **seen != expected(one))
            .map(|(one, seen)| format!("{}: {seen:?}", text(case, step, one)))
            .collect();
        if !wrong.is_empty() {
            bail!("{} of {} probes went wrong:\n{}", wrong.len(), seen.len(), wrong.join("\n"));
        }
        Ok(seen.len() as u64)
    }
}

/// Kind, namespace and name.
fn id(document: &Value) -> [&str; 3] {
    let metadata = &document["metadata"];
    [&document["kind"], &metadata["namespace"], &metadata["name"]].map(|one| one.as_str().unwrap_or_default())
}

#[test]
#[ignore = "needs root and BPF"]
fn real_packets_meet_what_the_suite_expects() -> Result<()> {
    let chosen = choice(cases().unwrap());
    let (mut probes, mut steps) = (0, 0);
    if !chosen.is_empty() {
        assert!(chosen.len() >= 20, "only {} cases", chosen.len());
        let mut cluster = Cluster::new()?;
        for case in &chosen {
            for step in &case.steps {
                cluster.turn_into(step)?;
                probes += cluster.ask(case, step)?;
                steps += 1;
            }
        }
    }
    counted(&[
        (probes, "conformance probes on real packets"),
        (chosen.len() as u64, "conformance cases on real packets"),
        (steps, "conformance steps on real packets"),
    ]);
    Ok(())
}
