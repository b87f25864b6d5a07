//! The example on a real cluster: its namespaces, pods and Services as objects of the API server, its policies by `kubectl
//! apply`, an agent on every node.

mod ask;
mod dns;
mod keep;
mod objects;
mod outside;
mod reader;
mod shell;
mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use netpol_tests::Outcome;
use netpol_tests::cluster::{self, Agents, Cluster, Node};
use netpol_tests::deadline::wait_for;

use crate::scenarios::{ROWS, Row, Scenario};
use crate::stage::{Family, Stage};
use objects::Example;
use outside::Outside;
use shell::Shell;

pub(crate) use keep::keep;
pub(crate) use watched::run as run_watched;

/// How long pods may take until they are ready, on a machine that is busy.
const READY: Duration = Duration::from_secs(120);

/// Where the pods run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// All of them on the first node.
    OneNode,
    /// Servers on the first node, their clients on the second one.
    TwoNodes,
}

impl Placement {
    /// The node, as an index, on which a pod runs.
    fn node_of(self, pod: &str) -> usize {
        let is_server = matches!(pod, "production/api" | "production/postgres");
        usize::from(self == Self::TwoNodes && !is_server)
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneNode => "all pods on one node",
            Self::TwoNodes => "API and database on one node, everybody else on another",
        })
    }
}

/// A pod that runs.
struct Running {
    node: usize,
    addresses: Vec<IpAddr>,
}

/// The example on a cluster. What it has made there, whoever watches it takes away.
pub(crate) struct OnCluster {
    pub(crate) cluster: Cluster,
    agents: Option<Agents>,
    example: Example,
    families: Vec<Family>,
    /// Held, not read.
    _outside: Outside,
    placement: Placement,
    running: BTreeMap<String, Running>,
    /// The addresses of Services, by `namespace/name`.
    services: BTreeMap<String, Vec<IpAddr>>,
    /// The files of the scenario that is in force.
    in_force: Vec<&'static str>,
}

impl OnCluster {
    /// Puts the example's namespaces and Services there, and the world outside, but no pods yet.
    pub(crate) fn build(cluster: Cluster, examples: &Path) -> Result<Self> {
        ensure!(cluster.nodes().len() > 1, "the demo wants a cluster of two nodes (`--nodes 2`)");
        let example = Example::read(examples)?;
        let families = match cluster.options().family {
            cluster::Family::Dual => Family::BOTH.to_vec(),
            cluster::Family::Ipv4 => vec![Family::V4],
            cluster::Family::Ipv6 => vec![Family::V6],
        };
        let outside = Outside::build(&cluster)?;
        let mut stage = Self {
            cluster,
            agents: None,
            example,
            families,
            _outside: outside,
            placement: Placement::OneNode,
            running: BTreeMap::new(),
            services: BTreeMap::new(),
            in_force: Vec::new(),
        };
        stage.make_namespaces()?;
        let objects = stage.example.services(&stage.families);
        stage.shell().apply("the example's Services, their addresses left to the API server", &objects)?;
        for key in objects::SERVICES {
            let addresses = stage.addresses("service", key, "{.spec.clusterIPs[*]}")?;
            stage.services.insert((*key).to_owned(), addresses);
        }
        Ok(stage)
    }

    fn make_namespaces(&self) -> Result<()> {
        let names = self.example.namespaces();
        let mine = format!("{}=true", objects::MARK);
        for name in &names {
            let there =
                self.cluster.kubectl(&["get", "namespace", name, "--ignore-not-found", "-o", "name"])?;
            let ours = self.cluster.kubectl(&["get", "namespace", "-l", &mine, "-o", "name"])?;
            if !there.is_empty() && !ours.contains(there.trim()) {
                bail!(
                    "the cluster has a namespace {name} that is not the demo's: delete it, or take another cluster"
                );
            }
        }
        // Those that a demo has left which was killed with whoever watched it.
        delete_namespaces(&self.cluster, true)?;
        self.shell().apply("the example's namespaces", &self.example.namespace_objects())?;
        for name in &names {
            wait_for(&format!("the account of namespace {name} is there"), READY, || {
                self.cluster.kubectl(&["get", "serviceaccount", "-n", name, "default"]).ok()
            })?;
        }
        Ok(())
    }

    /// Starts an agent on each node.
    pub(crate) fn start_agents(&mut self) -> Result<()> {
        self.agents = Some(Agents::start(&self.cluster, &[])?);
        Ok(())
    }

    /// Lets the pods run there, those anew that ran elsewhere, and waits until they can do everything without policies.
    pub(crate) fn place(&mut self, placement: Placement) -> Result<()> {
        self.placement = placement;
        self.drop_policies()?;
        let shell = self.shell();
        let moved: Vec<String> = self
            .running
            .iter()
            .filter(|(key, running)| running.node != placement.node_of(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &moved {
            let (namespace, name) = split(key)?;
            shell.run(&["delete", "pod", "-n", namespace, name])?;
        }
        let new: Vec<String> = self
            .example
            .pods()
            .filter(|key| !self.running.contains_key(*key) || moved.iter().any(|one| one == key))
            .map(str::to_owned)
            .collect();
        let node = |key: &str| self.cluster.nodes()[placement.node_of(key)].name();
        let applied = new.iter().filter(|key| *key != reader::DEBUG);
        let objects: Vec<_> = applied.map(|key| self.example.pod(key, node(key))).collect::<Result<_>>()?;
        shell.apply("the example's pods, with an image and a node", &objects)?;
        if new.iter().any(|key| key == reader::DEBUG) {
            reader::run_debug(&shell, node(reader::DEBUG))?;
        }
        for key in new {
            let (namespace, name) = split(&key)?;
            let pod = format!("pod/{name}");
            let timeout = format!("--timeout={}s", READY.as_secs());
            self.cluster.kubectl(&["wait", "-n", namespace, "--for=condition=Ready", &timeout, &pod])?;
            let addresses = self.addresses("pod", &key, "{.status.podIPs[*].ip}")?;
            self.running.insert(key.clone(), Running { node: placement.node_of(&key), addresses });
        }
        self.wait_until_everything_arrives()
    }

    /// Without policies, until kube-proxy knows the new backends.
    fn wait_until_everything_arrives(&self) -> Result<()> {
        let end = Instant::now() + READY;
        loop {
            let answers = self.ask(ROWS)?;
            let is_missing =
                |(_, answers): &(&Row, &Vec<Outcome>)| answers.iter().any(|one| *one != Outcome::Reached);
            let missing: Vec<String> = ROWS
                .iter()
                .zip(&answers)
                .filter(is_missing)
                .map(|(row, answers)| format!("{} {}: {answers:?}", row.from, row.what))
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "without policies this does not arrive: {}", missing.join("; "));
        }
    }

    /// What the seed's reader does by hand, where a scenario shows it; whether it was as expected.
    pub(crate) fn read_by_hand(&self, scenario: &Scenario) -> Result<bool> {
        reader::read(self, scenario)
    }

    fn drop_policies(&mut self) -> Result<()> {
        let files = std::mem::take(&mut self.in_force);
        if !files.is_empty() {
            self.shell().files("delete", &self.example.paths(&files))?;
        }
        self.settle()
    }

    /// Waits until every agent enforces what was written.
    fn settle(&self) -> Result<()> {
        self.agents.as_ref().map_or(Ok(()), Agents::settled)
    }

    fn shell(&self) -> Shell<'_> {
        Shell::new(&self.cluster)
    }

    fn node_of(&self, pod: &str) -> Result<&Node> {
        Ok(&self.cluster.nodes()[self.pod(pod)?.node])
    }

    fn pod(&self, key: &str) -> Result<&Running> {
        self.running.get(key).with_context(|| format!("no pod {key} runs"))
    }

    fn pod_address(&self, key: &str, family: Family) -> Result<IpAddr> {
        of_family(&self.pod(key)?.addresses, family).with_context(|| format!("pod {key}"))
    }

    fn service_address(&self, key: &str, family: Family) -> Result<IpAddr> {
        let addresses = self.services.get(key).with_context(|| format!("there is no Service {key}"))?;
        of_family(addresses, family).with_context(|| format!("Service {key}"))
    }

    fn addresses(&self, kind: &str, key: &str, path: &str) -> Result<Vec<IpAddr>> {
        let (namespace, name) = split(key)?;
        let path = format!("jsonpath={path}");
        let text = self.cluster.kubectl(&["get", kind, "-n", namespace, name, "-o", &path])?;
        let addresses: Result<Vec<IpAddr>, _> = text.split_whitespace().map(str::parse).collect();
        addresses.with_context(|| format!("{kind} {key} has the addresses {text:?}"))
    }
}

impl Stage for OnCluster {
    fn families(&self) -> &[Family] {
        &self.families
    }

    fn enforce(&mut self, scenario: &Scenario) -> Result<()> {
        let old = std::mem::replace(&mut self.in_force, scenario.files.to_vec());
        let gone: Vec<&str> = old.iter().filter(|file| !scenario.files.contains(file)).copied().collect();
        let new: Vec<&str> = scenario.files.iter().filter(|file| !old.contains(file)).copied().collect();
        for (verb, files) in [("delete", gone), ("apply", new)] {
            if !files.is_empty() {
                self.shell().files(verb, &self.example.paths(&files))?;
            }
        }
        self.settle()
    }

    fn ask(&self, rows: &[Row]) -> Result<Vec<Vec<Outcome>>> {
        ask::ask(self, rows)
    }

    fn netpol(&self, pod: &str, arguments: &[&str]) -> Result<Output> {
        let agents = self.agents.as_ref().context("no agent runs")?;
        agents.client(self.node_of(pod)?, arguments)?.output().context("cannot start netpol")
    }
}

/// Deletes the namespaces of the example, and waits until they are gone if asked to.
fn delete_namespaces(cluster: &Cluster, wait: bool) -> Result<()> {
    let (mine, wait) = (format!("{}=true", objects::MARK), format!("--wait={wait}"));
    cluster.kubectl(&["delete", "namespace", "-l", &mine, &wait]).map(drop)
}

fn of_family(addresses: &[IpAddr], family: Family) -> Result<IpAddr> {
    let found = addresses.iter().find(|one| one.is_ipv4() == (family == Family::V4));
    found.copied().with_context(|| format!("no address of {family:?} among {addresses:?}"))
}

/// `namespace/name`.
fn split(key: &str) -> Result<(&str, &str)> {
    key.split_once('/').with_context(|| format!("{key} has no namespace"))
}
