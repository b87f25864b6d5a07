//! What a cluster is made of, and the addresses that follow from it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// How kube-proxy translates Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Proxy {
    /// By nftables.
    Nftables,
    /// By iptables.
    Iptables,
}

/// How pods hang on their node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Cni {
    /// Ports of one bridge.
    Bridge,
    /// A route to each.
    Ptp,
}

/// Which addresses nodes, pods and Services have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Both, IPv4 first.
    Dual,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

/// What a cluster is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Its name: several live side by side.
    pub name: String,
    /// How many nodes it has.
    pub nodes: u8,
    /// How kube-proxy translates Services.
    pub proxy: Proxy,
    /// How pods hang on their node.
    pub cni: Cni,
    /// Which addresses there are.
    pub family: Family,
}

impl fmt::Display for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, plural) = (self.nodes, if self.nodes == 1 { "" } else { "s" });
        let proxy = match self.proxy {
            Proxy::Nftables => "nftables",
            Proxy::Iptables => "iptables",
        };
        let cni = match self.cni {
            Cni::Bridge => "bridge",
            Cni::Ptp => "ptp",
        };
        let family = match self.family {
            Family::Dual => "dual stack",
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        };
        write!(formatter, "{nodes} node{plural}, kube-proxy {proxy}, CNI {cni}, {family}")
    }
}

impl Options {
    /// The names of its nodes.
    #[must_use]
    pub fn node_names(&self) -> Vec<String> {
        (1..=self.nodes).map(|number| format!("node-{number}")).collect()
    }

    /// The control plane's addresses, where the nodes find it.
    #[must_use]
    pub fn control_addresses(&self) -> Vec<IpAddr> {
        self.machine(1)
    }

    /// The addresses of a node, counted from 1.
    #[must_use]
    pub fn node_addresses(&self, node: u8) -> Vec<IpAddr> {
        self.machine(node.saturating_add(1))
    }

    /// The ranges of all pods.
    #[must_use]
    pub fn pod_ranges(&self) -> Vec<String> {
        self.of_family("10.244.0.0/16".to_owned(), "fd00:10:244::/56".to_owned())
    }

    /// The ranges of a node's pods.
    #[must_use]
    pub fn node_pod_ranges(&self, node: u8) -> Vec<String> {
        self.of_family(format!("10.244.{node}.0/24"), format!("fd00:10:244:{node:x}::/64"))
    }

    /// The ranges of Services.
    #[must_use]
    pub fn service_ranges(&self) -> Vec<String> {
        self.of_family("10.96.0.0/16".to_owned(), "fd00:10:96::/112".to_owned())
    }

    /// The addresses of the cluster's DNS.
    #[must_use]
    pub fn dns_addresses(&self) -> Vec<String> {
        self.of_family("10.96.0.10".to_owned(), "fd00:10:96::a".to_owned())
    }

    /// The last part of an address on the network of nodes.
    fn machine(&self, number: u8) -> Vec<IpAddr> {
        self.of_family(
            IpAddr::V4(Ipv4Addr::new(172, 18, 0, number)),
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, number.into())),
        )
    }

    fn of_family<T>(&self, v4: T, v6: T) -> Vec<T> {
        match self.family {
            Family::Dual => vec![v4, v6],
            Family::Ipv4 => vec![v4],
            Family::Ipv6 => vec![v6],
        }
    }
}
