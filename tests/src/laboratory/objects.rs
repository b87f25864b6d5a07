//! The objects in the agent's folder, and the Services that follow from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::proxy::{Translation, translate};
use super::{Laboratory, Pod, ServicePort, ServiceSpec, network};

/// The file of the mark.
const MARK: &str = "zz-mark.json";

/// What `netpol status` must say once the agent has seen everything.
#[derive(Debug)]
pub(super) struct Wanted {
    /// A kind that nobody reads, written last: when it is counted among the skipped ones, all before it was read.
    marker: String,
    /// Interfaces of running pods.
    interfaces: BTreeSet<String>,
}

impl Wanted {
    pub(super) fn is_met(&self, status: &Value) -> bool {
        let endpoints = status["endpoints"].as_array().into_iter().flatten();
        let interfaces: BTreeSet<String> = endpoints.map(|line| text(line, "interface").to_owned()).collect();
        status["ready"] == Value::Bool(true)
            && status["skipped"].get(&self.marker).is_some()
            && interfaces == self.interfaces
    }
}

impl Laboratory {
    /// Writes a mark after everything else, and says how it shows that all was read.
    pub(super) fn mark(&mut self) -> Result<Wanted> {
        self.marks += 1;
        let marker = format!("Mark{}", self.marks);
        let object = json!({"apiVersion": "laboratory/v1", "kind": marker, "metadata": {"name": "mark"}});
        self.place(&self.manifests().join(MARK), &serde_json::to_vec(&object)?)?;
        let interfaces = self.pods.values().map(|pod| pod.host_interface.clone()).collect();
        Ok(Wanted { marker, interfaces })
    }

    /// Takes the mark away again: it is not part of what the folder says.
    pub(super) fn unmark(&self) -> Result<()> {
        fs::remove_file(self.manifests().join(MARK)).context("cannot remove a mark")
    }

    /// Writes an object into the agent's folder, or replaces it there, in one step.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn apply(&mut self, object: &Value) -> Result<()> {
        let metadata = &object["metadata"];
        let name = file_name(text(object, "kind"), text(metadata, "namespace"), text(metadata, "name"));
        self.place(&self.manifests().join(&name), &serde_json::to_vec_pretty(object)?)?;
        if let Some((_, etcd)) = &self.api {
            etcd.put([object.clone()])?;
        }
        self.objects.insert(name, object.clone());
        Ok(())
    }

    /// Writes a file into the agent's folder as it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn apply_file(&mut self, name: &str, content: &str) -> Result<()> {
        self.place(&self.manifests().join(name), content.as_bytes())?;
        for (number, object) in crate::yaml::documents(content).unwrap_or_default().into_iter().enumerate() {
            self.objects.insert(format!("{name}#{number}"), object);
        }
        Ok(())
    }

    /// Removes a file of [`apply_file`](Self::apply_file) from the agent's folder.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove_file(&mut self, name: &str) -> Result<()> {
        let path = self.manifests().join(name);
        self.objects.retain(|key, _| key.split_once('#').is_none_or(|(file, _)| file != name));
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When there is none.
    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        if let Some((_, etcd)) = &self.api {
            etcd.delete(kind, namespace, name)?;
        }
        let name = file_name(kind, namespace, name);
        self.objects.remove(&name);
        let path = self.manifests().join(&name);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Writes a NetworkPolicy with this spec.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn policy(&mut self, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        self.apply(&json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": name},
            "spec": spec,
        }))
    }

    /// Deletes a NetworkPolicy.
    ///
    /// # Errors
    /// When there is none.
    pub fn delete_policy(&mut self, namespace: &str, name: &str) -> Result<()> {
        self.delete("NetworkPolicy", namespace, name)
    }

    /// Writes a Namespace with these labels.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn namespace_object(&mut self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        self.apply(
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        )
    }

    /// Writes a Namespace without labels, unless there is one of this name.
    pub(super) fn ensure_namespace_object(&mut self, name: &str) -> Result<()> {
        let there = self
            .objects
            .values()
            .any(|object| text(object, "kind") == "Namespace" && text(&object["metadata"], "name") == name);
        if there { Ok(()) } else { self.namespace_object(name, &[]) }
    }

    pub(super) fn apply_node(&mut self) -> Result<()> {
        let addresses: Vec<Value> =
            network::NODE.iter().map(|address| json!({"type": "InternalIP", "address": address})).collect();
        self.apply(&json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.node_name},
            "status": {"addresses": addresses},
        }))
    }

    /// Writes a Service and translates its addresses on the node, now and whenever its pods change.
    ///
    /// # Errors
    /// When it cannot be written, or nftables refuses it.
    pub fn add_service(&mut self, service: ServiceSpec) -> Result<()> {
        self.ensure_namespace_object(&service.namespace)?;
        self.apply(&service.object())?;
        self.serve(service)
    }

    /// Translates a Service whose object stands in the folder already.
    ///
    /// # Errors
    /// When nftables refuses it.
    pub fn serve(&mut self, service: ServiceSpec) -> Result<()> {
        self.services.push(service);
        self.translate_services()
    }

    /// Brings the node's translation up to date.
    pub(super) fn translate_services(&self) -> Result<()> {
        if self.services.is_empty() {
            // Without a table there is no conntrack, and fragments cross the node as they were sent.
            return Ok(());
        }
        let translations: Vec<_> =
            self.services.iter().flat_map(|service| self.translations(service)).collect();
        translate(&self.node, self.proxy, &translations)
    }

    fn translations(&self, service: &ServiceSpec) -> Vec<Translation> {
        let mut found = Vec::new();
        for port in &service.ports {
            for cluster in service.sockets(port.port) {
                let of_family = |socket: &SocketAddr| socket.is_ipv4() == cluster.is_ipv4();
                let backends = self.pods.values().filter(|pod| is_backend(service, pod)).filter_map(|pod| {
                    let number = target(port, pod)?;
                    pod.sockets(number).into_iter().find(of_family)
                });
                let external = service.external.iter().chain(&service.balancer);
                let external = external.map(|address| SocketAddr::new(*address, port.port));
                found.push(Translation {
                    cluster,
                    external: external.filter(of_family).collect(),
                    node_port: port.node_port,
                    protocol: port.protocol.clone(),
                    backends: backends.collect(),
                });
            }
        }
        found
    }

    /// Writes a file beside its place and moves it there: no reader sees half of it.
    pub(super) fn place(&self, path: &Path, content: &[u8]) -> Result<()> {
        let draft = self.drafts().join("draft");
        fs::write(&draft, content).with_context(|| format!("cannot write {}", draft.display()))?;
        fs::rename(&draft, path).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn is_backend(service: &ServiceSpec, pod: &Pod) -> bool {
    pod.spec.namespace == service.namespace
        && service.selector.iter().all(|wanted| pod.spec.labels.iter().any(|label| label == wanted))
}

/// The backend's port: a number, or what the pod declares under that name.
fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match &port.target {
        Value::String(wanted) => pod
            .spec
            .ports
            .iter()
            .find(|(name, protocol, _)| name == wanted && *protocol == port.protocol)
            .map(|(_, _, number)| *number),
        number => number.as_u64().and_then(|number| number.try_into().ok()),
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

fn file_name(kind: &str, namespace: &str, name: &str) -> String {
    format!("{}-{namespace}-{name}.json", kind.to_lowercase())
}
