//! The agents as the kubelets start them.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{Agents, Cluster, Node};
use serde_json::Value;

use crate::held::pins_of;

/// What is chosen by this are the agents' pods.
const AGENTS: &str = "app.kubernetes.io/name=netpol";

/// Objects of a deployment; when this is dropped they are gone, and nothing is enforced any more.
pub(crate) struct Deployed<'a> {
    pub(super) cluster: &'a Cluster,
    objects: String,
}

impl<'a> Deployed<'a> {
    pub(super) fn new(cluster: &'a Cluster, objects: String) -> Result<Self> {
        // A test before may have left agents that are processes of the nodes.
        Agents::end_all(cluster)?;
        Self::over(cluster, objects)
    }

    /// The same over what other agents have left, none of which runs any more.
    pub(crate) fn over(cluster: &'a Cluster, objects: String) -> Result<Self> {
        let image = std::env::var_os("NETPOL_IMAGE")
            .context("NETPOL_IMAGE names no image: `cargo xtask test --cluster` makes one")?;
        cluster.load_image(Path::new(&image))?;
        let deployed = Self { cluster, objects };
        cluster.apply(&deployed.objects)?;
        deployed.ready()?;
        Ok(deployed)
    }

    /// Waits until an agent of the newest kind is ready on every node.
    pub(crate) fn ready(&self) -> Result<()> {
        let ready = ["rollout", "status", "daemonset/netpol-agent", "-n", "kube-system", "--timeout=120s"];
        self.cluster.kubectl(&ready).map(drop).with_context(|| self.trouble())
    }

    /// The agents' pods, each with its node.
    pub(crate) fn pods(&self) -> Result<Vec<(String, String)>> {
        let named = "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{\"\\n\"}{end}";
        let pods = self.cluster.kubectl(&["get", "pods", "-n", "kube-system", "-l", AGENTS, "-o", named])?;
        let pair = |line: &str| {
            let (pod, node) = line.split_once(' ').context("a pod without a node")?;
            Ok((pod.to_owned(), node.to_owned()))
        };
        pods.lines().map(pair).collect()
    }

    /// What keeps agents from being ready.
    fn trouble(&self) -> String {
        let ask = |arguments: &[&str]| self.cluster.kubectl(arguments).unwrap_or_default();
        format!(
            "{}\n{}",
            ask(&["describe", "pods", "-n", "kube-system", "-l", AGENTS]),
            ask(&["logs", "-n", "kube-system", "-l", AGENTS, "--tail=20"])
        )
    }

    /// Deletes the objects, and waits until no agent runs; what is enforced stays in force.
    pub(super) fn delete(&self) -> Result<()> {
        let delete = ["delete", "-f", "-", "--ignore-not-found", "--cascade=foreground", "--timeout=60s"];
        self.cluster.kubectl_with(&delete, &self.objects)?;
        ensure!(self.cluster.nodes().iter().all(is_pinned), "what is enforced stays");
        Ok(())
    }

    /// Deletes the objects, and takes down what is enforced.
    pub(super) fn remove(self) -> Result<()> {
        self.delete()?;
        Agents::end_all(self.cluster)?;
        ensure!(!self.cluster.nodes().iter().any(is_pinned), "nothing is left");
        Ok(())
    }

    /// What the agents say of themselves, asked in their containers, by node.
    pub(super) fn statuses(&self) -> Result<Vec<(String, Value)>> {
        let status = |(pod, node): (String, String)| -> Result<(String, Value)> {
            let asks = ["exec", "-n", "kube-system", &pod, "--", "/netpol", "status", "-o", "json"];
            Ok((node, serde_json::from_str(&self.cluster.kubectl(&asks)?)?))
        };
        self.pods()?.into_iter().map(status).collect()
    }
}

/// Whether something is pinned on a node.
pub(super) fn is_pinned(node: &Node) -> bool {
    pins_of(node).exists()
}

impl Drop for Deployed<'_> {
    fn drop(&mut self) {
        // What is not removed here is by the next one, or with the cluster.
        drop(self.delete());
        drop(Agents::end_all(self.cluster));
    }
}
