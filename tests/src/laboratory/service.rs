//! Services by ClusterIP, translated on the node as kube-proxy does it with nftables.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use serde_json::{Value, json};

use super::Namespace;
use crate::command;

/// A Service with one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its namespace in the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The last part of its two addresses.
    pub host_part: u8,
    /// The labels that choose its backends.
    pub selector: Vec<(String, String)>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name.
    pub name: String,
    /// Protocol as the API spells it.
    pub protocol: String,
    /// The port that clients use.
    pub port: u16,
    /// The backends' port: a number, or a name of theirs.
    pub target: Value,
}

impl ServiceSpec {
    /// A Service for pods with one label, without ports.
    #[must_use]
    pub fn new(namespace: &str, name: &str, host_part: u8, key: &str, value: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            host_part,
            selector: vec![(key.to_owned(), value.to_owned())],
            ports: Vec::new(),
        }
    }

    /// With one more port.
    #[must_use]
    pub fn port(mut self, protocol: &str, port: u16, target: u16) -> Self {
        let name = format!("{}-{port}", protocol.to_lowercase());
        self.ports.push(ServicePort { name, protocol: protocol.to_owned(), port, target: target.into() });
        self
    }

    /// Its addresses.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [
            IpAddr::V4(Ipv4Addr::new(10, 96, 0, self.host_part)),
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, self.host_part.into())),
        ]
    }

    /// A port of it in both families.
    #[must_use]
    pub fn sockets(&self, port: u16) -> [SocketAddr; 2] {
        self.addresses().map(|address| SocketAddr::new(address, port))
    }

    /// The object that the API server would hold.
    #[must_use]
    pub fn object(&self) -> Value {
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|ServicePort { name, protocol, port, target }| {
                json!({"name": name, "protocol": protocol, "port": port, "targetPort": target})
            })
            .collect();
        let addresses = self.addresses();
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": self.namespace, "name": self.name},
            "spec": {
                "clusterIP": addresses[0],
                "clusterIPs": addresses,
                "ipFamilyPolicy": "RequireDualStack",
                "selector": self.selector.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                "ports": ports,
            },
        })
    }
}

/// One address and port of a Service, with what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Translation {
    pub(super) frontend: SocketAddr,
    /// As the API spells it.
    pub(super) protocol: String,
    /// Of the frontend's family.
    pub(super) backends: Vec<SocketAddr>,
}

/// Replaces the node's translations by these, in one transaction.
pub(super) fn translate(node: &Namespace, translations: &[Translation]) -> Result<()> {
    let mut rules = String::from("table inet services\ndelete table inet services\n");
    if !translations.is_empty() {
        rules.push_str(&table(translations)?);
    }
    let namespace = format!("--net={}", node.path().display());
    command::feed("nsenter", &[namespace.as_str(), "nft", "-f", "-"], &rules).map(drop)
}

fn table(translations: &[Translation]) -> Result<String> {
    let mut chains = String::new();
    let mut dispatch = String::new();
    let mut hairpin = String::new();
    for (number, Translation { frontend, protocol, backends }) in translations.iter().enumerate() {
        if backends.is_empty() {
            continue;
        }
        let family = if frontend.is_ipv4() { "ip" } else { "ip6" };
        let (address, port, protocol) = (frontend.ip(), frontend.port(), protocol.to_lowercase());
        writeln!(dispatch, "{family} daddr {address} {protocol} dport {port} goto service{number}")?;
        let mut choice = String::new();
        for (turn, backend) in backends.iter().enumerate() {
            let name = format!("backend{number}-{turn}");
            writeln!(chains, "chain {name} {{ meta l4proto {protocol} dnat {family} to {backend}; }}")?;
            write!(choice, "{}{turn} : goto {name}", if turn == 0 { "" } else { ", " })?;
            // A backend that is sent back to itself would answer itself directly: the node puts its own address there.
            let ip = backend.ip();
            writeln!(
                hairpin,
                "ct status dnat {family} saddr {ip} {family} daddr {ip} masquerade fully-random"
            )?;
        }
        let turns = backends.len();
        writeln!(chains, "chain service{number} {{ numgen random mod {turns} vmap {{ {choice} }}; }}")?;
    }
    Ok(format!(
        "table inet services {{\n{chains}\
         chain dispatch {{\n{dispatch}}}\n\
         chain prerouting {{ type nat hook prerouting priority dstnat; jump dispatch; }}\n\
         chain output {{ type nat hook output priority -100; jump dispatch; }}\n\
         chain postrouting {{ type nat hook postrouting priority srcnat;\n{hairpin}}}\n}}\n"
    ))
}
