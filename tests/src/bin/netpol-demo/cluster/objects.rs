//! The example's objects, as a real cluster takes them: without the addresses, nodes and states that a cluster gives.

use std::path::{Path, PathBuf};
use std::{fs, iter};

use anyhow::{Context as _, Result};
use netpol_tests::yaml;
use serde_json::{Value, json};

use crate::stage::Family;

/// The label of what the demo has made.
pub(super) const MARK: &str = "netpol-demo";
/// The image of all pods.
pub(super) const IMAGE: &str = "localhost/netpol-test:1";
/// The Services that are asked, and the name server's.
pub(super) const SERVICES: &[&str] =
    &["production/frontend", "production/api", "production/postgres", "kube-system/kube-dns"];
/// What a cluster has of its own.
const OF_CLUSTER: &str = "kube-system";

/// The example's folder `cluster`, read.
pub(super) struct Example {
    folder: PathBuf,
    objects: Vec<Value>,
}

impl Example {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut objects = Vec::new();
        for name in ["namespaces.yaml", "services.yaml", "pods.yaml"] {
            let path = folder.join("cluster").join(name);
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let documents =
                yaml::documents(&text).with_context(|| format!("cannot read {}", path.display()))?;
            objects.extend(documents);
        }
        objects.retain(|object| {
            let metadata = &object["metadata"];
            metadata["namespace"] != OF_CLUSTER && metadata["name"] != OF_CLUSTER
        });
        // What would be another's if the demo's folder is the project's is shown as a reader would type it.
        let own = std::env::current_dir().unwrap_or_default();
        let whole = fs::canonicalize(folder).with_context(|| format!("cannot find {}", folder.display()))?;
        let folder = whole.strip_prefix(&own).map(Path::to_owned).unwrap_or(whole);
        Ok(Self { folder, objects })
    }

    /// The paths of files of the example.
    pub(super) fn paths(&self, files: &[&str]) -> Vec<String> {
        files.iter().map(|file| self.folder.join(file).display().to_string()).collect()
    }

    pub(super) fn namespaces(&self) -> Vec<String> {
        self.of_kind("Namespace").map(|object| text(&object["metadata"], "name").to_owned()).collect()
    }

    /// With the demo's mark.
    pub(super) fn namespace_objects(&self) -> Vec<Value> {
        let marked = |object: &Value| {
            let mut object = object.clone();
            object["metadata"]["labels"][MARK] = "true".into();
            object
        };
        self.of_kind("Namespace").map(marked).collect()
    }

    /// Without addresses.
    pub(super) fn services(&self, families: &[Family]) -> Vec<Value> {
        let policy = if families.len() > 1 { "RequireDualStack" } else { "SingleStack" };
        let free = |object: &Value| {
            let spec = &object["spec"];
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": object["metadata"],
                "spec": {"ipFamilyPolicy": policy, "selector": spec["selector"], "ports": spec["ports"]},
            })
        };
        self.of_kind("Service").map(free).collect()
    }

    /// The keys of the pods.
    pub(super) fn pods(&self) -> impl Iterator<Item = &str> {
        KEYS.iter().copied()
    }

    /// A pod that listens where the example's does, on this node.
    pub(super) fn pod(&self, key: &str, node: &str) -> Result<Value> {
        let is_it = |object: &&Value| {
            let metadata = &object["metadata"];
            key.split_once('/') == Some((text(metadata, "namespace"), text(metadata, "name")))
        };
        let object =
            self.of_kind("Pod").find(is_it).with_context(|| format!("the example has no pod {key}"))?;
        let ports = &object["spec"]["containers"][0]["ports"];
        let mut numbers: Vec<String> = ports
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|port| port["containerPort"].as_u64())
            .map(|number| number.to_string())
            .collect();
        // What nobody is to reach is served, too: a port that is closed would be refused by itself.
        numbers.extend(unnamed(key).map(|number| number.to_string()));
        let mut command = vec!["/prober", "serve", "--name", key];
        let list = numbers.join(",");
        if !list.is_empty() {
            command.extend(["--tcp", &list]);
        }
        let container = json!({
            "name": text(&object["metadata"], "name"),
            "image": IMAGE,
            "command": command,
            "ports": if ports.is_null() { json!([]) } else { ports.clone() },
        });
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": object["metadata"],
            "spec": {
                "nodeName": node,
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 1,
                "containers": [container],
            },
        }))
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == *kind)
    }
}

/// The example's pods.
const KEYS: &[&str] = &[
    "production/frontend",
    "production/api",
    "production/postgres",
    super::reader::DEBUG,
    "monitoring/prometheus",
    "staging/frontend",
];

/// Ports on which a pod listens without saying so.
fn unnamed(key: &str) -> impl Iterator<Item = u16> {
    iter::once(9187).filter(move |_| key == "production/postgres")
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}
