//! Pods: what one is made from, and the namespace that it becomes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Deref;

use serde_json::{Value, json};

use super::Namespace;

/// What a pod is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSpec {
    /// Its namespace in the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// Named ports: name, protocol as the API spells it, number.
    pub ports: Vec<(String, String, u16)>,
    /// The last parts of its two addresses; the laboratory chooses them when this is `None`.
    pub host_part: Option<u8>,
}

impl PodSpec {
    /// A pod without labels and ports.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: Vec::new(),
            ports: Vec::new(),
            host_part: None,
        }
    }

    /// With one more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.retain(|(old, _)| old != key);
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// With one more named port.
    #[must_use]
    pub fn port(mut self, name: &str, protocol: &str, port: u16) -> Self {
        self.ports.push((name.to_owned(), protocol.to_owned(), port));
        self
    }

    /// With addresses that end with this number.
    #[must_use]
    pub const fn at(mut self, host_part: u8) -> Self {
        self.host_part = Some(host_part);
        self
    }
}

/// A running pod.
#[derive(Debug, Clone)]
pub struct Pod {
    /// What it was made from.
    pub spec: PodSpec,
    /// As the API server would give it.
    pub uid: String,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
    /// The hardware address of its `eth0`.
    pub hardware: [u8; 6],
    /// The node's end of its pair of interfaces.
    pub host_interface: String,
    /// The index that this end is to have: then the pair is made within the pod, and the end is moved out with its index, as
    /// some plugins do it.
    pub host_index: Option<u32>,
    /// The number of its sandbox, as the container runtime would give it.
    pub container: String,
    pub(super) network: Namespace,
}

/// What a pod can do is what its network namespace can do.
impl Deref for Pod {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.network
    }
}

impl Pod {
    /// Both addresses.
    #[must_use]
    pub const fn addresses(&self) -> [IpAddr; 2] {
        [IpAddr::V4(self.v4), IpAddr::V6(self.v6)]
    }

    /// A port of it in both families.
    #[must_use]
    pub fn sockets(&self, port: u16) -> [SocketAddr; 2] {
        self.addresses().map(|address| SocketAddr::new(address, port))
    }

    /// `namespace/name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.spec.namespace, self.spec.name)
    }

    /// Its hardware address as text.
    #[must_use]
    pub fn hardware_text(&self) -> String {
        self.hardware.map(|byte| format!("{byte:02x}")).join(":")
    }

    /// The object that the API server would hold.
    #[must_use]
    pub fn object(&self, node: &str) -> Value {
        let ports: Vec<Value> = self
            .spec
            .ports
            .iter()
            .map(|(name, protocol, port)| json!({"name": name, "protocol": protocol, "containerPort": port}))
            .collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": self.spec.namespace,
                "name": self.spec.name,
                "uid": self.uid,
                "labels": self.spec.labels.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            },
            "spec": {"nodeName": node, "containers": [{"name": "main", "image": "none", "ports": ports}]},
            "status": {
                "phase": "Running",
                "podIP": self.v4,
                "podIPs": [{"ip": self.v4}, {"ip": self.v6}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        })
    }

    /// What libcni writes into its cache when the plugin has returned, with interfaces of the host before the pod's
    /// own one, and with or without the pod's end.
    pub(super) fn cni_result(&self, before: &[&str], with_inside: bool) -> Value {
        let mut interfaces: Vec<Value> =
            before.iter().map(|name| json!({"name": name, "mac": "0a:58:0a:f4:00:01"})).collect();
        interfaces.push(json!({"name": self.host_interface, "mac": "0a:58:0a:f4:00:02"}));
        let sandbox = self.network.path();
        let mut ips = vec![
            json!({"address": format!("{}/24", self.v4), "gateway": super::network::GATEWAY4}),
            json!({"address": format!("{}/64", self.v6), "gateway": super::network::GATEWAY6}),
        ];
        if with_inside {
            interfaces.push(json!({"name": "eth0", "mac": self.hardware_text(), "sandbox": sandbox}));
            for ip in &mut ips {
                ip["interface"] = (interfaces.len() - 1).into();
            }
        }
        json!({
            "kind": "cniCacheV1",
            "containerId": self.container,
            "config": "e30=",
            "ifName": "eth0",
            "networkName": "laboratory",
            "netns": sandbox,
            "cniArgs": [
                ["IgnoreUnknown", "1"],
                ["K8S_POD_NAMESPACE", self.spec.namespace],
                ["K8S_POD_NAME", self.spec.name],
                ["K8S_POD_INFRA_CONTAINER_ID", self.container],
                ["K8S_POD_UID", self.uid],
            ],
            "result": {
                "cniVersion": "1.0.0",
                "dns": {},
                "interfaces": interfaces,
                "ips": ips,
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            },
        })
    }
}
