//! The real agent on every node, in the node's namespaces, with the rights that it is given by `deploy/rbac.yaml` and the
//! capabilities of its DaemonSet.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Cluster, Node, PartHandle};
use crate::deadline::wait_for;
use crate::laboratory::Namespace;

/// What the agent may ask of the API server.
const RIGHTS: &str = include_str!("../../../deploy/rbac.yaml");
/// The name under which a node's first process keeps it.
const PART: &str = "netpol-agent";
/// Where the marks are by which agents are seen to have heard everything.
const MARKS: &str = "netpol-marks";
/// How long an agent may take to be ready, and to enforce what was written; machines are shared.
const READY: Duration = Duration::from_secs(60);
/// CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF.
const CAPABILITIES: [u8; 4] = [12, 21, 38, 39];

/// Those that run, and how they were called: tests side by side use the same ones.
static RUNNING: Mutex<Weak<Running>> = Mutex::new(Weak::new());

/// The agents of a cluster's nodes. When the last copy is dropped they end, and nothing of them is left on the nodes.
#[derive(Debug, Clone)]
pub struct Agents(Arc<Running>);

#[derive(Debug)]
struct Running {
    cluster: Cluster,
    binary: PathBuf,
    flags: Vec<String>,
}

impl Agents {
    /// Starts an agent on every node and waits until all are ready. Where another test of this process has them running with
    /// the same flags, those are taken.
    ///
    /// # Errors
    /// When one is not ready in time: with what it logged.
    pub fn start(cluster: &Cluster, flags: &[&str]) -> Result<Self> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        if let Some(there) = running.upgrade()
            && there.flags == flags
            && there.cluster.name() == cluster.name()
        {
            let agents = Self(there);
            for node in cluster.nodes() {
                if agents.part(node).pid().is_none() {
                    agents.launch(node)?;
                }
            }
            agents.wait_until_ready()?;
            return Ok(agents);
        }
        cluster.apply(RIGHTS)?;
        let binary = crate::laboratory::agent_binary()?;
        let agents = Self(Arc::new(Running { cluster: cluster.clone(), binary, flags }));
        for node in cluster.nodes() {
            // A process that was killed may have left its own.
            agents.0.remove(node)?;
            agents.launch(node)?;
        }
        agents.wait_until_ready()?;
        *running = Arc::downgrade(&agents.0);
        Ok(agents)
    }

    fn wait_until_ready(&self) -> Result<()> {
        self.0.cluster.nodes().iter().try_for_each(|node| self.ready(node))
    }

    /// Starts the agent of a node without waiting for anything.
    ///
    /// # Errors
    /// When it runs already.
    pub fn launch(&self, node: &Node) -> Result<()> {
        self.launch_program(node, &self.0.binary)
    }

    /// Starts an agent of another version on a node.
    ///
    /// # Errors
    /// When one runs already.
    pub fn launch_program(&self, node: &Node, program: &Path) -> Result<()> {
        let mut command = vec![program.to_string_lossy().into_owned()];
        command.extend(self.0.arguments(node));
        self.part(node).start_command(command, &CAPABILITIES)
    }

    /// The same agent as a command on the node, not started yet, which may listen elsewhere.
    ///
    /// # Errors
    /// When the node has ended.
    pub fn another(&self, node: &Node, flags: &[&str]) -> Result<Command> {
        let mut arguments = self.0.arguments(node);
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self.0.netpol(node, &arguments)
    }

    /// Waits until the agent of a node is ready.
    ///
    /// # Errors
    /// When it is not in time: with what it logged.
    pub fn ready(&self, node: &Node) -> Result<()> {
        let ready = wait_for(&format!("the agent of {} is ready", node.name()), READY, || {
            if self.part(node).pid().is_none() {
                return Some(false);
            }
            let ready = self.status(node).is_ok_and(|status| status["ready"] == Value::Bool(true));
            if !ready {
                std::thread::sleep(Duration::from_millis(50));
            }
            ready.then_some(true)
        });
        match ready {
            Ok(true) => Ok(()),
            Ok(false) => bail!("the agent of {} has ended:\n{}", node.name(), self.log(node)),
            Err(error) => Err(error.context(format!("{:?}\n{}", self.status(node), self.log(node)))),
        }
    }

    /// Kills the agent of a node: no handler runs, and what it pinned stays in force.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn kill(&self, node: &Node) -> Result<()> {
        self.part(node).kill()
    }

    /// Ends the agent of a node and takes down what it left: nothing is enforced there any more.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn uninstall(&self, node: &Node) -> Result<()> {
        self.0.remove(node)
    }

    /// Kills the agent of a node, starts it again and waits until it is ready.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn restart(&self, node: &Node) -> Result<()> {
        self.kill(node)?;
        self.launch(node)?;
        self.ready(node)
    }

    /// The process of a node's agent.
    #[must_use]
    pub fn part(&self, node: &Node) -> PartHandle {
        node.other_part(PART)
    }

    /// Another command of netpol against the agent of a node, not started yet.
    ///
    /// # Errors
    /// When the node has ended.
    pub fn client(&self, node: &Node, arguments: &[&str]) -> Result<Command> {
        self.0.netpol(node, arguments)
    }

    /// Another command of netpol against the agent that runs on a node, whoever started it, by the agent's own program.
    ///
    /// # Errors
    /// When no agent runs there.
    pub fn command(node: &Node) -> Result<Command> {
        let agent = node.other_part(PART).pid().with_context(|| {
            format!("no agent runs on {}: `cargo xtask demo --cluster --keep` leaves one there", node.name())
        })?;
        let program = std::fs::read_link(format!("/proc/{agent}/exe"))
            .with_context(|| format!("cannot tell what program the agent of {} is", node.name()))?;
        let mut command = Command::new(program);
        node.enter(&mut command)?;
        Ok(command)
    }

    /// Ends the agents of a cluster, whoever started them, and removes what they have on the nodes and in the API server.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub fn end_all(cluster: &Cluster) -> Result<()> {
        cluster.kubectl(&["delete", "namespace", MARKS, "--ignore-not-found"])?;
        let running = Running {
            cluster: cluster.clone(),
            binary: crate::laboratory::agent_binary()?,
            flags: Vec::new(),
        };
        cluster.nodes().iter().try_for_each(|node| running.remove(node))?;
        cluster.kubectl_with(&["delete", "--ignore-not-found", "-f", "-"], RIGHTS).map(drop)
    }

    /// What `netpol status -o json` says.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn status(&self, node: &Node) -> Result<Value> {
        let output = self.client(node, &["status", "-o", "json"])?.output().context("cannot start netpol")?;
        parsed(&output)
    }

    /// The end of what the agent of a node logged.
    #[must_use]
    pub fn log(&self, node: &Node) -> String {
        self.part(node).log()
    }

    /// Waits until every agent enforces what the API server has now, on the pods that run now.
    ///
    /// # Errors
    /// When one does not in time: with its status and what it logged.
    pub fn settled(&self) -> Result<()> {
        let wanted = self.0.mark()?;
        for node in self.0.cluster.nodes() {
            let pods = self.0.pods(node)?;
            wait_for(&format!("the agent of {} has taken in everything", node.name()), READY, || {
                let is_met = |pods: &_| self.status(node).is_ok_and(|status| is_met(&status, &wanted, pods));
                // Other tests may have taken pods of theirs away meanwhile.
                let still = || self.0.pods(node).map(|now| pods.intersection(&now).cloned().collect());
                (is_met(&pods) || still().is_ok_and(|still| is_met(&still))).then_some(())
            })
            .with_context(|| {
                format!("wanted {wanted:?} and {pods:?}, status {:?}\n{}", self.status(node), self.log(node))
            })?;
        }
        Ok(())
    }
}

/// Whether an agent has heard of these versions, and enforces on these pods or says openly that it cannot.
fn is_met(status: &Value, wanted: &BTreeMap<String, u64>, pods: &BTreeSet<String>) -> bool {
    let of = |list: &str| -> BTreeSet<&str> {
        status[list].as_array().into_iter().flatten().filter_map(|line| line["pod"].as_str()).collect()
    };
    let (endpoints, unenforced) = (of("endpoints"), of("unenforced"));
    let newest = |kind: &String| status["newest"][kind].as_u64().unwrap_or_default();
    status["ready"] == Value::Bool(true)
        && wanted.iter().all(|(kind, version)| newest(kind) >= *version)
        && pods.iter().all(|pod| endpoints.contains(&**pod) || unenforced.contains(&**pod))
}

impl Running {
    /// How the agent of a node is called.
    fn arguments(&self, node: &Node) -> Vec<String> {
        let mut arguments = ["agent", "--node", node.name(), "--kubeconfig"].map(str::to_owned).to_vec();
        arguments.push(self.cluster.agent_kubeconfig().to_string_lossy().into_owned());
        for range in self.cluster.options().service_ranges() {
            arguments.extend(["--service-cidr".to_owned(), range]);
        }
        arguments.extend(self.flags.iter().cloned());
        arguments
    }

    fn netpol(&self, node: &Node, arguments: &[impl AsRef<OsStr>]) -> Result<Command> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).stdin(Stdio::null());
        node.enter(&mut command)?;
        Namespace::die_with_thread(&mut command);
        Ok(command)
    }

    /// Ends the agent of a node, and takes down what it left.
    fn remove(&self, node: &Node) -> Result<()> {
        node.other_part(PART).kill()?;
        let output = self.netpol(node, &["agent", "--uninstall"])?.output().context("cannot start netpol")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("netpol agent --uninstall on {} failed: {}", node.name(), said.trim());
        }
        Ok(())
    }

    /// Changes an object of every kind, and says their versions: whoever has heard of those has heard of all before.
    fn mark(&self) -> Result<BTreeMap<String, u64>> {
        let stamp = jiff::Timestamp::now().to_string();
        let metadata = json!({"name": "mark", "namespace": MARKS, "annotations": {"stamp": stamp}});
        let nobody = json!({"nobody": "has-this"});
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MARKS, "annotations": {"stamp": stamp}}},
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"clusterIP": "None"}},
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata,
                "addressType": "IPv4",
                "endpoints": [],
            },
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": metadata,
                "spec": {"podSelector": {"matchLabels": nobody}, "policyTypes": ["Ingress"]},
            },
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": metadata,
                // It is never started.
                "spec": {
                    "schedulingGates": [{"name": "netpol/never"}],
                    "containers": [{"name": "main", "image": super::images::TEST}],
                },
            },
        ]});
        let apply = || self.cluster.kubectl_with(&["apply", "-f", "-", "-o", "json"], &objects.to_string());
        // In a new namespace there is no account for pods yet.
        let written = apply().or_else(|_| {
            self.cluster.kubectl(&[
                "wait",
                "serviceaccount/default",
                "-n",
                MARKS,
                "--for=create",
                "--timeout=60s",
            ])?;
            apply()
        })?;
        let written: Value = serde_json::from_str(&written).context("kubectl wrote no JSON")?;
        let items = written["items"].as_array().into_iter().flatten();
        let versions = items.filter_map(|item| {
            let version = item["metadata"]["resourceVersion"].as_str()?.parse().ok()?;
            Some((item["kind"].as_str()?.to_owned(), version))
        });
        Ok(versions.collect())
    }

    /// The pods with a network of their own that run on a node.
    fn pods(&self, node: &Node) -> Result<BTreeSet<String>> {
        let chosen = format!("--field-selector=spec.nodeName={},status.phase=Running", node.name());
        let text = self.cluster.kubectl(&["get", "pods", "--all-namespaces", &chosen, "-o", "json"])?;
        let list: Value = serde_json::from_str(&text).context("kubectl wrote no JSON")?;
        let own = |pod: &&Value| {
            pod["spec"]["hostNetwork"] != Value::Bool(true) && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let key = |pod: &Value| {
            let metadata = &pod["metadata"];
            Some(format!("{}/{}", metadata["namespace"].as_str()?, metadata["name"].as_str()?))
        };
        Ok(list["items"].as_array().into_iter().flatten().filter(own).filter_map(key).collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for node in self.cluster.nodes() {
            // What is not removed here is by the next ones, or with the cluster.
            drop(self.remove(node));
        }
    }
}

/// The JSON that a command of netpol wrote; status may exit with another code than 0 while it is not ready.
fn parsed(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout).with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("netpol wrote no JSON ({}): {}", output.status, said.trim())
    })
}
