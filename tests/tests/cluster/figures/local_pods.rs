//! Many pods of a node without containers: sandboxes with a veth each, as its CNI leaves them, and objects that say that they
//! run. A hundred real ones would keep a small machine busy with themselves.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use anyhow::{Context as _, Result};
use netpol_tests::cluster::{Cluster, Node};
use netpol_tests::command;
use netpol_tests::etcd::Etcd;
use serde_json::{Value, json};

/// libcni's cache.
const CACHE: &str = "/var/lib/cni/results";

/// Pods of a node; they go when this is dropped. The node's kubelet must not see them: it would start them.
pub(super) struct LocalPods<'a> {
    node: &'a Node,
    etcd: Etcd,
    namespace: String,
    count: u8,
}

impl<'a> LocalPods<'a> {
    /// So many, with the labels `app=app-0` and so on.
    pub(super) fn new(cluster: &Cluster, node: &'a Node, namespace: &str, count: u8) -> Result<Self> {
        let etcd = Etcd::new(cluster.network());
        let pods = Self { node, etcd, namespace: namespace.to_owned(), count };
        let mut lines = String::new();
        for number in 0..count {
            let sandbox = sandbox(number);
            lines.push_str(&format!("netns add {sandbox}\n"));
            lines.push_str(&format!("link add figure{number} type veth peer name eth0 netns {sandbox}\n"));
            lines.push_str(&format!("link set figure{number} up\n"));
        }
        pods.ip(&lines)?;
        pods.etcd.put((0..count).map(|number| pods.object(number)))?;
        for number in 0..count {
            let path = node.path(&pods.file(number));
            fs::write(&path, pods.cached(number).to_string())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(pods)
    }

    fn object(&self, number: u8) -> Value {
        pod(&self.namespace, &name(number), self.node.name(), &format!("app-{number}"), address(number))
    }

    fn file(&self, number: u8) -> String {
        format!("{CACHE}/cluster-{}-eth0", container(number))
    }

    fn cached(&self, number: u8) -> Value {
        json!({
            "kind": "cniCacheV1",
            "containerId": container(number),
            "config": "e30=",
            "ifName": "eth0",
            "networkName": "cluster",
            "cniArgs": [
                ["K8S_POD_NAMESPACE", self.namespace],
                ["K8S_POD_NAME", name(number)],
                ["K8S_POD_INFRA_CONTAINER_ID", container(number)],
                ["K8S_POD_UID", uid(&name(number))],
            ],
            "result": {
                "cniVersion": "1.0.0",
                "interfaces": [
                    {"name": format!("figure{number}")},
                    {"name": "eth0", "sandbox": format!("/var/run/netns/{}", sandbox(number))},
                ],
                "ips": [{"interface": 1, "address": format!("{}/24", address(number))}],
            },
        })
    }

    fn ip(&self, lines: &str) -> Result<()> {
        let mut ip = Command::new("ip");
        ip.args(["-force", "-batch", "-"]);
        self.node.enter(&mut ip)?;
        command::feed_command(ip, lines).map(drop)
    }
}

impl Drop for LocalPods<'_> {
    fn drop(&mut self) {
        // What cannot be removed goes with the cluster.
        for number in 0..self.count {
            drop(fs::remove_file(self.node.path(&self.file(number))));
            drop(self.etcd.delete("Pod", &self.namespace, &name(number)));
        }
        let lines: String =
            (0..self.count).map(|number| format!("netns delete {}\n", sandbox(number))).collect();
        drop(self.ip(&lines));
    }
}

/// A pod as the API server keeps it, running with one address.
pub(super) fn pod(namespace: &str, name: &str, node: &str, app: &str, address: IpAddr) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "uid": uid(name), "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "none"}]},
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

fn name(number: u8) -> String {
    format!("local-{number}")
}

/// Of letters and digits that the name decides.
fn uid(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("00000000-0000-4000-8000-{:0>12}", &digits[digits.len().saturating_sub(12)..])
}

/// As the container runtime names the file of a pod's namespace.
fn sandbox(number: u8) -> String {
    format!("cni-figure-{number}")
}

fn container(number: u8) -> String {
    format!("{number:064x}")
}

/// Of the pods' range, where no node has any.
fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 244, 210, number.saturating_add(1)).into()
}
