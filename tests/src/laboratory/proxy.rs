//! Translation on the node, in the shapes that kube-proxy gives it with nftables and with iptables.
//!
//! Both mark what has to leave with an address of the node: what comes by an address that is reached from outside, and
//! what a backend sends to itself. With nftables, NodePorts are at the addresses that the Node names; with iptables, at
//! every address of the host.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use anyhow::Result;

use super::{Namespace, network};
use crate::command;

/// How kube-proxy translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proxy {
    /// By maps of nftables.
    #[default]
    Nftables,
    /// By chains of iptables.
    Iptables,
}

/// A port of a Service in one family, with the addresses that it is reached by and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Translation {
    pub(super) cluster: SocketAddr,
    pub(super) external: Vec<SocketAddr>,
    /// 0 without one.
    pub(super) node_port: u16,
    /// As the API spells it.
    pub(super) protocol: String,
    /// Of the frontend's family.
    pub(super) backends: Vec<SocketAddr>,
}

/// Replaces the node's translations by these, in one transaction for each family.
pub(super) fn translate(node: &Namespace, proxy: Proxy, translations: &[Translation]) -> Result<()> {
    let namespace = format!("--net={}", node.path().display());
    for v4 in [true, false] {
        let of_family: Vec<&Translation> = translations
            .iter()
            .filter(|one| one.cluster.is_ipv4() == v4 && !one.backends.is_empty())
            .collect();
        let (program, rules) = match proxy {
            Proxy::Nftables => (&["nft", "-f", "-"][..], nftables(v4, &of_family)?),
            Proxy::Iptables if v4 => (&["iptables-restore", "-w"][..], iptables(v4, &of_family)?),
            Proxy::Iptables => (&["ip6tables-restore", "-w"][..], iptables(v4, &of_family)?),
        };
        let arguments: Vec<&str> = [namespace.as_str()].into_iter().chain(program.iter().copied()).collect();
        command::feed("nsenter", &arguments, &rules)?;
    }
    Ok(())
}

fn nftables(v4: bool, translations: &[&Translation]) -> Result<String, fmt::Error> {
    let (ip, kind) = if v4 { ("ip", "ipv4_addr") } else { ("ip6", "ipv6_addr") };
    let (mut chains, mut addresses, mut node_ports) = (String::new(), String::new(), String::new());
    for (number, one) in translations.iter().enumerate() {
        let protocol = one.protocol.to_lowercase();
        let mut choice = Vec::new();
        for (turn, backend) in one.backends.iter().enumerate() {
            let (name, address) = (format!("endpoint-{number}-{turn}"), backend.ip());
            writeln!(chains, "chain {name} {{ {ip} saddr {address} jump mark-for-masquerade")?;
            writeln!(chains, "meta l4proto {protocol} dnat to {backend}; }}")?;
            choice.push(format!("{turn} : goto {name}"));
        }
        let (cluster, pods) = (one.cluster.ip(), network::pods_range(v4));
        writeln!(chains, "chain service-{number} {{")?;
        writeln!(chains, "{ip} daddr {cluster} {ip} saddr != {pods} jump mark-for-masquerade")?;
        writeln!(chains, "numgen random mod {} vmap {{ {} }}; }}", choice.len(), choice.join(", "))?;
        writeln!(chains, "chain external-{number} {{ jump mark-for-masquerade; goto service-{number}; }}")?;
        let ways = [("service", &one.cluster)].into_iter();
        for (way, at) in ways.chain(one.external.iter().map(|at| ("external", at))) {
            writeln!(addresses, "{} . {protocol} . {} : goto {way}-{number},", at.ip(), at.port())?;
        }
        if one.node_port != 0 {
            writeln!(node_ports, "{protocol} . {} : goto external-{number},", one.node_port)?;
        }
    }
    let node = network::NODE[usize::from(!v4)];
    let elements =
        |list: &str| if list.is_empty() { String::new() } else { format!("elements = {{ {list} }}") };
    Ok(format!(
        "table {ip} services\ndelete table {ip} services\n
        table {ip} services {{
        chain mark-for-masquerade {{ meta mark set meta mark | 0x4000; }}
        chain masquerading {{ meta mark & 0x4000 == 0 return
            meta mark set meta mark ^ 0x4000
            masquerade fully-random; }}
        {chains}
        map service-ips {{ type {kind} . inet_proto . inet_service : verdict; {}; }}
        map service-nodeports {{ type inet_proto . inet_service : verdict; {}; }}
        chain services {{ {ip} daddr . meta l4proto . th dport vmap @service-ips
            {ip} daddr {node} meta l4proto . th dport vmap @service-nodeports; }}
        chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
        chain nat-output {{ type nat hook output priority -100; jump services; }}
        chain nat-postrouting {{ type nat hook postrouting priority srcnat; jump masquerading; }}
        }}\n",
        elements(&addresses),
        elements(&node_ports),
    ))
}

fn iptables(v4: bool, translations: &[&Translation]) -> Result<String, fmt::Error> {
    let mut chains: Vec<String> =
        ["SERVICES", "NODEPORTS", "MARK-MASQ", "POSTROUTING"].map(|name| format!("KUBE-{name}")).to_vec();
    let mut rules = String::from(
        "-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n-A POSTROUTING -j KUBE-POSTROUTING\n\
         -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n\
         -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
         -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n-A KUBE-POSTROUTING -j MASQUERADE --random-fully\n",
    );
    for (number, one) in translations.iter().enumerate() {
        let protocol = one.protocol.to_lowercase();
        let (service, external) = (format!("KUBE-SVC-{number}"), format!("KUBE-EXT-{number}"));
        let at = |to: &SocketAddr| format!("-d {} -p {protocol} --dport {}", to.ip(), to.port());
        let cluster = at(&one.cluster);
        writeln!(rules, "-A KUBE-SERVICES {cluster} -j {service}")?;
        writeln!(rules, "-A {service} ! -s {} {cluster} -j KUBE-MARK-MASQ", network::pods_range(v4))?;
        for to in &one.external {
            writeln!(rules, "-A KUBE-SERVICES {} -j {external}", at(to))?;
        }
        if one.node_port != 0 {
            writeln!(rules, "-A KUBE-NODEPORTS -p {protocol} --dport {} -j {external}", one.node_port)?;
        }
        writeln!(rules, "-A {external} -j KUBE-MARK-MASQ\n-A {external} -j {service}")?;
        chains.extend([service.clone(), external]);
        for (turn, backend) in one.backends.iter().enumerate() {
            let (name, left) = (format!("KUBE-SEP-{number}-{turn}"), one.backends.len() - turn);
            // The last one takes all that the others have left.
            let chance = match left {
                1 => String::new(),
                left => format!("-m statistic --mode random --probability {:.5} ", 1.0 / left as f64),
            };
            writeln!(rules, "-A {service} {chance}-j {name}")?;
            writeln!(rules, "-A {name} -s {} -j KUBE-MARK-MASQ", backend.ip())?;
            writeln!(rules, "-A {name} -p {protocol} -j DNAT --to-destination {backend}")?;
            chains.push(name);
        }
    }
    // The last rule, since it would catch what is for an externalIP of this host.
    rules.push_str("-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n");
    let chains: String = chains.iter().map(|name| format!(":{name} - [0:0]\n")).collect();
    Ok(format!("*nat\n{chains}{rules}COMMIT\n"))
}
