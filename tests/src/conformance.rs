//! The cases of a published conformance suite as data, when they lie beside the project (see the README in their
//! folder): objects step by step, and what the suite's own oracle expects of every probe.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};
use netpol_policy::model::{Object, Protocol};
use netpol_policy::read::{Read, read_document};
use netpol_policy::spec::Verdict;
use serde_json::{Value, json};

use crate::{PodSpec, not_run};

/// The variable that names the folder with the cases.
const FOLDER: &str = "NETPOL_CONFORMANCE";
/// Where the folder is otherwise: beside the project's.
const BESIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance");

/// A case: a cluster that changes step by step.
#[derive(Debug)]
pub struct Case {
    /// Its number in the suite.
    pub id: u64,
    /// What it is about.
    pub description: String,
    /// The suite's words for what it is about.
    pub tags: Vec<String>,
    /// Its steps in order, at least one.
    pub steps: Vec<Step>,
}

/// The whole cluster after a step, and what is asked then.
#[derive(Debug)]
pub struct Step {
    /// Namespaces and policies as manifests.
    pub documents: Vec<Value>,
    /// The pods.
    pub pods: Vec<PlacedPod>,
    /// The probes between different pods.
    pub probes: Vec<Probe>,
}

/// A pod with the address that policies may speak of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedPod {
    /// What it is made from.
    pub spec: PodSpec,
    /// Its only address.
    pub address: Ipv4Addr,
}

/// A cell of the matrix: one new flow between two pods.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// The sender, as an index of the step's pods.
    pub source: usize,
    /// The receiver, in the same way.
    pub destination: usize,
    /// With what.
    pub protocol: Protocol,
    /// To which port.
    pub port: u16,
    /// What each side says of it.
    pub expected: Verdict,
}

/// All cases; none, and a line that says so, when the folder is not there.
///
/// # Errors
/// When the file is there and is not what it should be, or the variable names a folder without it.
pub fn cases() -> Result<Vec<Case>> {
    let named = env::var_os(FOLDER).map(PathBuf::from);
    let file = named.clone().unwrap_or_else(|| BESIDE.into()).join("cyclonus-cases.json");
    if named.is_none() && !file.exists() {
        not_run(format!("a published suite: {BESIDE} is not there, and {FOLDER} names no folder"));
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let suite: Value = serde_json::from_str(&text).with_context(|| format!("in {}", file.display()))?;
    let cases: Vec<Case> = list(&suite, "cases")?.iter().map(case).collect::<Result<_>>()?;
    ensure!(!cases.is_empty(), "{} holds no cases", file.display());
    Ok(cases)
}

impl Step {
    /// Every object; the pods are those of a node.
    ///
    /// # Errors
    /// When a manifest has a problem.
    pub fn objects(&self, node: &str) -> Result<Vec<Object>> {
        let pods = self.pods.iter().map(|pod| pod.manifest(node));
        self.documents.iter().cloned().chain(pods).map(|document| object(&document)).collect()
    }
}

impl PlacedPod {
    /// `namespace/name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.spec.namespace, self.spec.name)
    }

    fn manifest(&self, node: &str) -> Value {
        let PodSpec { namespace, name, labels, ports, .. } = &self.spec;
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        let port = |(name, protocol, number): &(String, String, u16)| json!({"name": name, "protocol": protocol, "containerPort": number});
        let ports: Vec<Value> = ports.iter().map(port).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "labels": labels},
            "spec": {"nodeName": node, "containers": [{"name": "main", "ports": ports}]},
            "status": {"phase": "Running", "podIPs": [{"ip": self.address}]},
        })
    }
}

fn object(document: &Value) -> Result<Object> {
    match read_document(document).as_slice() {
        [Read::Object { object, problems }] if problems.is_empty() => Ok(object.clone()),
        other => bail!("{document} was read as {other:?}"),
    }
}

fn case(case: &Value) -> Result<Case> {
    let id = case["id"].as_u64().context("a case without a number")?;
    let tags = list(case, "tags")?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut policies = Vec::new();
    let mut read = |one: &Value| {
        for action in list(one, "actions")? {
            act(action, &mut policies)?;
        }
        step(one, &policies)
    };
    let steps: Vec<Step> = list(case, "steps")?.iter().map(&mut read).collect::<Result<_>>()?;
    ensure!(!steps.is_empty(), "case {id} has no steps");
    Ok(Case { id, description: text(case, "description")?, tags, steps })
}

/// What an action does to the policies. The state after the step says what became of namespaces and pods.
fn act(action: &Value, policies: &mut Vec<Value>) -> Result<()> {
    let same = |policy: &Value| {
        policy["metadata"]["name"] == action["name"] && policy["metadata"]["namespace"] == action["namespace"]
    };
    match text(action, "type")?.as_str() {
        "createPolicy" | "updatePolicy" => {
            policies.retain(|policy| !same(policy));
            policies.push(action["policy"].clone());
        }
        "deletePolicy" => policies.retain(|policy| !same(policy)),
        "deleteNamespace" => policies.retain(|policy| policy["metadata"]["namespace"] != action["namespace"]),
        "createNamespace" | "createPod" | "deletePod" | "setPodLabels" | "setNamespaceLabels" => {}
        other => bail!("nobody knows the action {other}"),
    }
    Ok(())
}

fn step(step: &Value, policies: &[Value]) -> Result<Step> {
    let state = &step["state"];
    let namespaces = state["namespaces"].as_object().context("a state without namespaces")?;
    let namespace = |(name, labels): (&String, &Value)| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let documents = namespaces.iter().map(namespace).chain(policies.iter().cloned()).collect();
    let pods: Vec<PlacedPod> = list(state, "pods")?.iter().map(pod).collect::<Result<_>>()?;
    let at = |key: &Value| {
        pods.iter().position(|pod| *key == pod.key()).with_context(|| format!("no pod is called {key}"))
    };
    let order: Vec<usize> = list(step, "order")?.iter().map(at).collect::<Result<_>>()?;
    let mut probes = Vec::new();
    for (name, rows) in step["matrix"].as_object().context("a step without a matrix")? {
        let (protocol, port) = payload(name)?;
        let rows = rows.as_array().context("a matrix without rows")?;
        for (&source, row) in order.iter().zip(rows) {
            let row = row.as_str().context("a row that is no text")?;
            for (&destination, cell) in order.iter().zip(row.chars()) {
                if source != destination {
                    probes.push(Probe { source, destination, protocol, port, expected: verdict(cell)? });
                }
            }
        }
    }
    ensure!(!probes.is_empty(), "a step without probes");
    Ok(Step { documents, pods, probes })
}

fn pod(pod: &Value) -> Result<PlacedPod> {
    let mut spec = PodSpec::new(&text(pod, "namespace")?, &text(pod, "name")?);
    for (key, value) in pod["labels"].as_object().into_iter().flatten() {
        spec = spec.label(key, value.as_str().context("a label that is no text")?);
    }
    for one in list(pod, "containers")? {
        let number = one["port"].as_u64().context("a container without a port")?;
        spec = spec.port(&text(one, "portName")?, &text(one, "protocol")?, u16::try_from(number)?);
    }
    Ok(PlacedPod { spec, address: text(pod, "ip")?.parse().context("an address")? })
}

/// `TCP/80`.
fn payload(name: &str) -> Result<(Protocol, u16)> {
    let (protocol, port) = name.split_once('/').with_context(|| format!("{name} is no port"))?;
    let known = Protocol::ALL.into_iter().find(|one| one.name() == protocol);
    Ok((known.with_context(|| format!("nobody knows the protocol {protocol}"))?, port.parse()?))
}

fn verdict(cell: char) -> Result<Verdict> {
    Ok(match cell {
        '.' => Verdict { egress: true, ingress: true },
        'i' => Verdict { egress: true, ingress: false },
        'e' => Verdict { egress: false, ingress: true },
        'b' => Verdict { egress: false, ingress: false },
        other => bail!("nobody knows the verdict {other}"),
    })
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a [Value]> {
    let list = value[field].as_array().with_context(|| format!("no list of {field}"))?;
    Ok(list)
}

fn text(value: &Value, field: &str) -> Result<String> {
    Ok(value[field].as_str().with_context(|| format!("no {field}"))?.to_owned())
}
