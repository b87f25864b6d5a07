//! Namespaces and pods of a test, as objects of the cluster that go with the test.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::ops::Deref;
use std::process::{self, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::images::TEST;
use super::{Cluster, Node};
use crate::laboratory::Namespace;

/// How long a pod may take until it is ready, on a machine that is busy.
const READY: &str = "--timeout=120s";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A namespace of the cluster; it is deleted, with all that is in it, when this is dropped.
#[derive(Debug)]
pub struct TestNamespace {
    cluster: Cluster,
    name: String,
}

impl Deref for TestNamespace {
    type Target = str;

    fn deref(&self) -> &str {
        &self.name
    }
}

impl TestNamespace {
    /// Its name, which nobody else has.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        // Whoever dropped it waits for nothing in it.
        drop(self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait=false"]));
    }
}

impl Cluster {
    /// A namespace of its own for a test; the name begins with what is said.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub fn namespace(&self, what: &str) -> Result<TestNamespace> {
        let name = format!("{what}-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&["create", "namespace", &name])?;
        let namespace = TestNamespace { cluster: self.clone(), name };
        // Pods are refused before it is there.
        self.kubectl(&["wait", "serviceaccount/default", "-n", &namespace, "--for=create", "--timeout=60s"])?;
        Ok(namespace)
    }

    /// A pod to be started.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> PodDraft {
        PodDraft {
            cluster: self.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            node: None,
            labels: BTreeMap::new(),
            container: json!({"name": "main", "image": TEST, "imagePullPolicy": "Never"}),
            spec: json!({}),
        }
    }
}

/// A pod to be started.
#[derive(Debug, Clone)]
pub struct PodDraft {
    cluster: Cluster,
    namespace: String,
    name: String,
    node: Option<String>,
    labels: BTreeMap<String, String>,
    container: Value,
    spec: Value,
}

impl PodDraft {
    /// On this node.
    #[must_use]
    pub fn on(mut self, node: &Node) -> Self {
        self.node = Some(node.name().to_owned());
        self
    }

    /// With one more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Of this image; of the test image when nothing is said.
    #[must_use]
    pub fn image(self, image: &str) -> Self {
        self.container("image", json!(image))
    }

    /// With these arguments of the image's program, which is agnhost; it does nothing when nothing is said.
    #[must_use]
    pub fn args(self, arguments: &[&str]) -> Self {
        self.container("args", json!(arguments))
    }

    /// With this program in the place of the image's.
    #[must_use]
    pub fn command(self, command: &[&str]) -> Self {
        self.container("command", json!(command))
    }

    /// With some other field of its container.
    #[must_use]
    pub fn container(mut self, field: &str, value: Value) -> Self {
        self.container[field] = value;
        self
    }

    /// With some other field of its spec.
    #[must_use]
    pub fn spec(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    /// The object that the API server is given.
    #[must_use]
    pub fn object(&self) -> Value {
        let mut spec = self.spec.clone();
        let mut defaults = json!({
            "containers": [self.container],
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
        });
        if let Some(node) = &self.node {
            defaults["nodeName"] = json!(node);
        }
        for (field, value) in defaults.as_object().into_iter().flatten() {
            if spec[field].is_null() {
                spec[field] = value.clone();
            }
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": self.namespace, "name": self.name, "labels": self.labels},
            "spec": spec,
        })
    }

    /// Makes the object, and waits for nothing.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub fn create(&self) -> Result<()> {
        self.cluster.kubectl_with(&["create", "-f", "-"], &self.object().to_string()).map(drop)
    }

    /// Makes the object, and waits until the pod is ready.
    ///
    /// # Errors
    /// When the API server does not take it, or the pod is not ready in time: with what happened to it.
    pub fn start(&self) -> Result<Pod> {
        self.create()?;
        Pod::ready(&self.cluster, &self.namespace, &self.name)
    }
}

/// A pod that was ready.
#[derive(Debug, Clone)]
pub struct Pod {
    cluster: Cluster,
    namespace: String,
    name: String,
    uid: String,
    node: String,
    addresses: Vec<IpAddr>,
}

impl Pod {
    /// The pod of this name, once it is ready.
    ///
    /// # Errors
    /// When it is not in time: with what happened to it.
    pub fn ready(cluster: &Cluster, namespace: &str, name: &str) -> Result<Self> {
        let pod = format!("pod/{name}");
        let ready = cluster.kubectl(&["wait", "-n", namespace, &pod, "--for=condition=Ready", READY]);
        ready.with_context(|| {
            cluster.kubectl(&["describe", "-n", namespace, &pod]).unwrap_or_else(|error| format!("{error:#}"))
        })?;
        let object = cluster.kubectl(&["get", "-n", namespace, &pod, "-o", "json"])?;
        let object: Value = serde_json::from_str(&object).context("kubectl wrote no JSON")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let addresses = object["status"]["podIPs"].as_array().into_iter().flatten();
        Ok(Self {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: text(&object["metadata"]["uid"]),
            node: text(&object["spec"]["nodeName"]),
            addresses: addresses.filter_map(|one| one["ip"].as_str()?.parse().ok()).collect(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `namespace/name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its uid.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Its addresses, the first family first.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The node that it runs on.
    ///
    /// # Errors
    /// When that is none of the cluster.
    pub fn node(&self) -> Result<&Node> {
        self.cluster.node(&self.node)
    }

    /// Runs a program in its container, to its end.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub fn exec(&self, command: &[&str]) -> Result<Output> {
        let mut kubectl = self.cluster.kubectl_command(&["exec", "-n", &self.namespace, &self.name, "--"])?;
        kubectl.args(command).stdin(Stdio::null());
        Namespace::die_with_thread(&mut kubectl);
        kubectl.output().context("cannot start kubectl")
    }

    /// What it logged.
    ///
    /// # Errors
    /// When its kubelet does not say.
    pub fn logs(&self) -> Result<String> {
        self.cluster.kubectl(&["logs", "-n", &self.namespace, &self.name])
    }

    /// Deletes it and waits until it is gone.
    ///
    /// # Errors
    /// When it is not there.
    pub fn delete(&self) -> Result<()> {
        self.cluster.kubectl(&["delete", "pod", "-n", &self.namespace, &self.name]).map(drop)
    }

    /// Its network, for programs and threads of this machine: what they send is the pod's.
    ///
    /// # Errors
    /// When libcni's cache does not name it.
    pub fn network(&self) -> Result<Namespace> {
        let node = self.node()?;
        let results = node.path("/var/lib/cni/results");
        for entry in
            fs::read_dir(&results).with_context(|| format!("cannot read {}", results.display()))?.flatten()
        {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            if text.contains(&self.uid) {
                let cached: Value = serde_json::from_str(&text).context("libcni's cache has no JSON")?;
                let mut interfaces = cached["result"]["interfaces"].as_array().into_iter().flatten();
                let path = interfaces
                    .find_map(|interface| interface["sandbox"].as_str().filter(|path| !path.is_empty()))
                    .context("libcni's cache names no namespace")?;
                // `/var/run` is a link, which would be followed on this machine.
                return Namespace::opened(&self.key(), node.path(&path.replacen("/var/run/", "/run/", 1)));
            }
        }
        anyhow::bail!("libcni's cache on {} does not know pod {}", self.node, self.key())
    }
}
