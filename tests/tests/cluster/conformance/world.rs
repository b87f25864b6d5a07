//! The suite's namespaces, pods and Services in the real cluster, which goes from step to step by what has changed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_policy::spec::Verdict;
use netpol_tests::cluster::{Agents, Cluster, Node};
use netpol_tests::conformance::{PlacedPod, Probe, Step};
use netpol_tests::deadline::wait_for;
use serde_json::{Value, json};

use super::ask::{self, Done};
use super::expected::Expected;
use super::objects::{self, id};

/// How long new pods may take until they are ready, on a machine that is busy.
const READY: Duration = Duration::from_secs(120);
/// How long agents may take until they enforce what was written.
const ENFORCED: Duration = Duration::from_secs(30);
/// Where the policy is that tells when others have been heard.
const MARKED: &str = "x";

/// A pod that runs, with its prober.
pub(super) struct Running {
    placed: PlacedPod,
    pub(super) node: Node,
    pub(super) addresses: Vec<IpAddr>,
    /// Of its Service.
    pub(super) frontends: Vec<IpAddr>,
}

/// The cluster as the suite sees it; its namespaces go when this is dropped.
pub(super) struct World<'a> {
    cluster: &'a Cluster,
    agents: &'a Agents,
    /// Namespaces and policies that are there.
    documents: Vec<Value>,
    running: BTreeMap<String, Running>,
    /// Everything without policies.
    base: Step,
    expected: Option<Expected>,
    turn: u64,
}

impl<'a> World<'a> {
    /// The namespaces and pods of a step, without its policies.
    pub(super) fn build(cluster: &'a Cluster, agents: &'a Agents, step: &Step) -> Result<Self> {
        let allowed = Verdict { egress: true, ingress: true };
        let base = Step {
            documents: step.documents.iter().filter(|one| one["kind"] == "Namespace").cloned().collect(),
            pods: step.pods.clone(),
            probes: step.probes.iter().map(|probe| Probe { expected: allowed, ..*probe }).collect(),
        };
        ensure!(base.pods.len() == 9, "the suite has {} pods", base.pods.len());
        let (documents, running) = (Vec::new(), BTreeMap::new());
        let world = Self { cluster, agents, documents, running, base, expected: None, turn: 0 };
        // An interrupted run may have left them.
        world.delete_namespaces(&["x", "y", "z"])?;
        Ok(world)
    }

    /// Takes all policies away and asks everything: how many probes arrived, which is all of them.
    pub(super) fn control(&mut self) -> Result<u64> {
        let Step { documents, pods, probes } = &self.base;
        let base = Step { documents: documents.clone(), pods: pods.clone(), probes: probes.clone() };
        self.turn_into(&base).context("without policies")?;
        let done = self.ask(&base).context("without policies")?;
        ensure!(done.denied == 0, "{} probes are to be denied without a policy", done.denied);
        Ok(done.probes)
    }

    /// The cluster becomes that of a step, by what has changed; the agents enforce it when this returns.
    pub(super) fn turn_into(&mut self, step: &Step) -> Result<()> {
        let documents = self.translated(&step.documents)?;
        let before = std::mem::replace(&mut self.documents, documents.clone());
        self.remove(&before, &documents, step)?;
        let mut changed: Vec<Value> = documents.iter().filter(|one| !before.contains(one)).cloned().collect();
        for placed in &step.pods {
            if self.running.get(&placed.key()).is_none_or(|running| running.placed != *placed) {
                changed.extend(objects::of_pod(placed, self.node_of(&placed.key()).name()));
            }
        }
        self.turn += 1;
        changed.push(objects::marker(MARKED, self.turn));
        self.apply(&changed)?;
        self.find_pods(step)?;
        self.settle()
    }

    /// Asks everything of a step, by both families and of pods and Services.
    pub(super) fn ask(&self, step: &Step) -> Result<Done> {
        let expected = self.expected.as_ref().context("nothing is there yet")?;
        let blocks = step.documents.iter().any(|document| document.to_string().contains("ipBlock"));
        ask::all(step, &self.running, expected, blocks)
    }

    /// The suite's blocks, as they are here: the pods of the second node, without two of them.
    fn translated(&self, documents: &[Value]) -> Result<Vec<Value>> {
        if !documents.iter().any(objects::has_block) {
            return Ok(documents.to_vec());
        }
        let mut excepted = Vec::new();
        for key in objects::EXCEPTED {
            let running = self.running.get(key).with_context(|| format!("{key} does not run"))?;
            excepted.extend(running.addresses.iter().filter(|one| one.is_ipv4()).copied());
        }
        let node = self.node_of("y/a").name();
        let ranges = self.cluster.kubectl(&["get", "node", node, "-o", "jsonpath={.spec.podCIDRs[*]}"])?;
        // Where pods have no IPv4 addresses it means nobody, whatever it says.
        let Some(block) = ranges.split_whitespace().find(|range| range.contains('.')) else {
            return Ok(documents.to_vec());
        };
        let translate = |document: &Value| {
            let mut document = document.clone();
            objects::replace_blocks(&mut document, block, &excepted);
            document
        };
        Ok(documents.iter().map(translate).collect())
    }

    /// The pods of x run on the first node, all others on the second one, as in the suite's own cluster.
    fn node_of(&self, key: &str) -> &Node {
        let nodes = self.cluster.nodes();
        if key.starts_with("x/") { &nodes[0] } else { &nodes[nodes.len() - 1] }
    }

    /// Removes what a step does not have.
    fn remove(&mut self, before: &[Value], documents: &[Value], step: &Step) -> Result<()> {
        let gone = |kind: &str| -> Vec<[&str; 2]> {
            let is_gone =
                |one: &&Value| one["kind"] == *kind && !documents.iter().any(|other| id(other) == id(one));
            before.iter().filter(is_gone).map(|one| [id(one)[1], id(one)[2]]).collect()
        };
        for [namespace, name] in gone("NetworkPolicy") {
            let which = ["delete", "networkpolicy", "-n", namespace, name, "--ignore-not-found"];
            self.cluster.kubectl(&which)?;
        }
        let namespaces: Vec<&str> = gone("Namespace").into_iter().map(|[_, name]| name).collect();
        self.delete_namespaces(&namespaces)?;
        let is_gone = |key: &&String| !step.pods.iter().any(|pod| pod.key() == **key);
        for key in self.running.keys().filter(is_gone).cloned().collect::<Vec<_>>() {
            self.running.remove(&key);
            let (namespace, name) = key.split_once('/').context("a pod without a namespace")?;
            if !namespaces.contains(&namespace) {
                let service = format!("service/{}", objects::service_of(namespace, name));
                self.cluster.kubectl(&["delete", "-n", namespace, &format!("pod/{name}"), &service])?;
            }
        }
        Ok(())
    }

    fn delete_namespaces(&self, names: &[&str]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        self.cluster.kubectl(&[&["delete", "namespace", "--ignore-not-found"], names].concat()).map(drop)
    }

    /// Creates or changes objects. A namespace that is new has no account for its pods yet, which they need.
    fn apply(&self, objects: &[Value]) -> Result<()> {
        let list = |objects: &[&Value]| {
            self.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())
        };
        let (namespaces, others): (Vec<&Value>, Vec<&Value>) =
            objects.iter().partition(|one| one["kind"] == "Namespace");
        if !namespaces.is_empty() {
            list(&namespaces)?;
            for namespace in namespaces.iter().map(|namespace| id(namespace)[2]) {
                let account = ["get", "serviceaccount", "-n", namespace, "default"];
                wait_for(&format!("the account of namespace {namespace} is there"), READY, || {
                    self.cluster.kubectl(&account).ok()
                })?;
            }
        }
        list(&others)
    }

    /// Waits until the pods of a step are ready, and notes their addresses and those of their Services.
    fn find_pods(&mut self, step: &Step) -> Result<()> {
        for placed in &step.pods {
            let key = placed.key();
            if let Some(running) = self.running.get_mut(&key) {
                running.placed = placed.clone();
                continue;
            }
            let (namespace, name) = (&placed.spec.namespace, &placed.spec.name);
            let (pod, service) =
                (format!("pod/{name}"), format!("service/{}", objects::service_of(namespace, name)));
            let timeout = format!("--timeout={}s", READY.as_secs());
            self.cluster.kubectl(&["wait", "--for=condition=Ready", &timeout, "-n", namespace, &pod])?;
            let addresses = self.addresses(namespace, &pod, "{.status.podIPs[*].ip}")?;
            let frontends = self.addresses(namespace, &service, "{.spec.clusterIPs[*]}")?;
            let node = self.node_of(&key).clone();
            self.running.insert(key, Running { placed: placed.clone(), node, addresses, frontends });
        }
        Ok(())
    }

    fn addresses(&self, namespace: &str, what: &str, path: &str) -> Result<Vec<IpAddr>> {
        let path = format!("jsonpath={path}");
        let text = self.cluster.kubectl(&["get", "-n", namespace, what, "-o", &path])?;
        let addresses: Result<Vec<IpAddr>, _> = text.split_whitespace().map(str::parse).collect();
        addresses.with_context(|| format!("{what} of {namespace} has the addresses {text:?}"))
    }

    /// Reads what the API server has, which the evaluator judges by, and waits until every agent enforces that.
    fn settle(&mut self) -> Result<()> {
        let (list, expected) = wait_for("every Service has its backend", READY, || match self.read() {
            Ok((_, expected)) if !expected.has_backends(self.running.values()) => None,
            result => Some(result),
        })??;
        self.expected = Some(expected);
        let newest = newest(&list);
        for node in self.cluster.nodes() {
            let mut last = Value::Null;
            let enforces = wait_for("an agent enforces what was written", ENFORCED, || {
                let status = self.agents.status(node).ok()?;
                let taken_in = |(kind, version): (&&str, &u64)| {
                    status["newest"][kind].as_u64().is_some_and(|one| one >= *version)
                };
                let enforces = status["ready"] == true && newest.iter().all(taken_in);
                last = status;
                enforces.then_some(())
            });
            enforces.with_context(|| {
                let (why, taken_in) = (&last["notReady"], &last["newest"]);
                format!("{}: not ready for {why}, taken in {taken_in}, written {newest:?}", node.name())
            })?;
        }
        Ok(())
    }

    fn read(&self) -> Result<(Value, Expected)> {
        let kinds = "namespaces,pods,services,endpointslices,networkpolicies";
        let text = self.cluster.kubectl(&["get", kinds, "-A", "-o", "json"])?;
        let list: Value = serde_json::from_str(&text).context("kubectl gave no JSON")?;
        let expected = Expected::read(&list)?;
        Ok((list, expected))
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        // What could not be removed is removed by the next run.
        let gone = ["delete", "namespace", "--ignore-not-found", "--wait=false", "x", "y", "z"];
        drop(self.cluster.kubectl(&gone));
    }
}

/// Of each kind the newest version.
fn newest(list: &Value) -> BTreeMap<&str, u64> {
    let mut newest = BTreeMap::new();
    for item in list["items"].as_array().into_iter().flatten() {
        let version = item["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
        let entry = newest.entry(id(item)[0]).or_insert(0);
        *entry = version.unwrap_or(0).max(*entry);
    }
    newest
}
