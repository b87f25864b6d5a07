//! Interfaces, addresses and routes: the node, the world beside it, and a pod's place between them.
//!
//! ```text
//!   pod eth0 ── veth… ┐
//!                     ├ cni0 (or routed) ─ node ─ eth0 ── eth0 ─ outside
//!   pod eth0 ── veth… ┘
//! ```

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::Result;

use super::{Namespace, Pod};

/// The node's own addresses.
pub const NODE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(172, 18, 0, 2)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, 2))];
/// The world's end of the node's link.
pub const ROUTER: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(172, 18, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, 1))];
/// An address of the public world (from the ranges kept for documentation).
pub const OUTSIDE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x10)),
];
/// An address of a private network beyond the cluster.
pub const PRIVATE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 168, 77, 10)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0x10)),
];
/// The pods' gateway.
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// The pods' gateway.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 1);
/// The gateway of pods whose node's end has no address.
const PROXY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The hardware address of every such end, and the link-local one that the kernel makes of it.
const PROXY_HARDWARE: &str = "ee:ee:ee:ee:ee:ee";
const PROXY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee);
/// The ranges that Services' addresses are taken from.
pub const SERVICE_RANGES: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];
/// The bridge's name.
pub const BRIDGE: &str = "cni0";

/// How pods hang on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Link {
    /// Ports of one bridge, as with the plugin `bridge`.
    #[default]
    Bridge,
    /// A route to each, as with the plugin `ptp`.
    Routed,
    /// A route to each, and nothing on the node's ends: the node answers for every address, as with Calico.
    Proxied,
}

/// The addresses of the pod with this number.
pub(super) const fn addresses(host_part: u8) -> (Ipv4Addr, Ipv6Addr) {
    (Ipv4Addr::new(10, 244, 0, host_part), Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, host_part as u16))
}

/// The range of the pods' addresses of a family.
pub(super) const fn pods_range(v4: bool) -> &'static str {
    if v4 { "10.244.0.0/24" } else { "fd00:10:244::/64" }
}

/// Packets between ports of a bridge do not pass the node's tables.
pub(super) fn bypass_tables(node: &Namespace) -> Result<()> {
    for family in ["ip", "ip6"] {
        node.sysctl(&format!("net/bridge/bridge-nf-call-{family}tables"), "0")?;
    }
    Ok(())
}

/// Whether packets between ports of a bridge pass the node's tables, as Services between pods of one bridge need.
fn bridge_netfilter() -> bool {
    Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists()
}

/// Whether pods reach each other without the node's routing.
fn direct(link: Link) -> bool {
    link == Link::Bridge && bridge_netfilter()
}

/// Wires the node to the world and gives it its bridge.
pub(super) fn wire_node(node: &Namespace, outside: &Namespace, link: Link) -> Result<()> {
    for (path, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        // A forged source must be stopped by netpol alone, or its control would prove nothing.
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
    ] {
        node.sysctl(path, value)?;
    }
    let mut lines = format!("link add eth0 type veth peer name eth0 netns {}\n", outside.name());
    for (address, length) in NODE.iter().zip([24, 64]) {
        writeln!(lines, "{}", add(*address, length, "eth0"))?;
    }
    lines.push_str("link set eth0 up\n");
    if link == Link::Bridge {
        writeln!(lines, "link add {BRIDGE} type bridge\n{}", add(GATEWAY4.into(), 24, BRIDGE))?;
        writeln!(lines, "{}\nlink set {BRIDGE} up", add(GATEWAY6.into(), 64, BRIDGE))?;
    }
    node.batch(&lines)?;

    let mut lines = String::new();
    for (address, length) in ROUTER.iter().zip([24, 64]) {
        writeln!(lines, "{}", add(*address, length, "eth0"))?;
    }
    for address in OUTSIDE.iter().chain(&PRIVATE) {
        writeln!(lines, "{}", add(*address, if address.is_ipv4() { 32 } else { 128 }, "lo"))?;
    }
    writeln!(lines, "link set eth0 up\nroute add default via {} src {}", NODE[0], OUTSIDE[0])?;
    writeln!(lines, "route add ::/0 via {} src {}", NODE[1], OUTSIDE[1])?;
    outside.batch(&lines)?;
    node.batch(&format!("route add default via {}\nroute add ::/0 via {}\n", ROUTER[0], ROUTER[1]))
}

/// A line that adds an address, which may be used at once: an IPv6 address would be tentative for a while.
fn add(address: IpAddr, length: u8, interface: &str) -> String {
    let nodad = if address.is_ipv6() { " nodad" } else { "" };
    format!("address add {address}/{length} dev {interface}{nodad}")
}

/// Connects a pod's namespace, as its CNI plugin would.
pub(super) fn wire_pod(node: &Namespace, pod: &Pod, link: Link) -> Result<()> {
    let (host, v4, v6) = (&pod.host_interface, pod.v4, pod.v6);
    let hardware = pod.hardware_text();
    let mut lines = String::new();
    if let Some(index) = pod.host_index {
        pod.network.batch(&format!(
            "link add {host} index {index} type veth peer name eth0 address {hardware}\nlink set {host} netns {}\n",
            node.name()
        ))?;
    } else {
        let pod = pod.network.name();
        writeln!(lines, "link add {host} type veth peer name eth0 address {hardware} netns {pod}")?;
    }
    match link {
        Link::Bridge => {
            writeln!(lines, "link set {host} master {BRIDGE} up")?;
            // As the plugin's `hairpinMode`: a pod may be a backend of a Service that it calls.
            writeln!(lines, "link set {host} type bridge_slave hairpin on")?;
        }
        Link::Routed => {
            writeln!(lines, "link set {host} up")?;
            writeln!(lines, "{}\n{}", add(GATEWAY4.into(), 32, host), add(GATEWAY6.into(), 128, host))?;
            writeln!(lines, "route add {v4}/32 dev {host}\nroute add {v6}/128 dev {host}")?;
        }
        Link::Proxied => {
            writeln!(lines, "link set {host} address {PROXY_HARDWARE}\nlink set {host} up")?;
            writeln!(lines, "route add {v4}/32 dev {host} scope link\nroute add {v6}/128 dev {host}")?;
        }
    }
    node.batch(&lines)?;
    if link == Link::Proxied {
        node.sysctl(&format!("net/ipv4/conf/{host}/proxy_arp"), "1")?;
        node.sysctl(&format!("net/ipv4/neigh/{host}/proxy_delay"), "0")?;
    }

    let (short, long) = if direct(link) { (24, 64) } else { (32, 128) };
    let (v4, v6) = (IpAddr::V4(v4), IpAddr::V6(v6));
    let mut lines = format!("{}\n{}\nlink set eth0 up\n", add(v4, short, "eth0"), add(v6, long, "eth0"));
    let (gateway4, gateway6) = if link == Link::Proxied { (PROXY4, PROXY6) } else { (GATEWAY4, GATEWAY6) };
    if !direct(link) {
        writeln!(lines, "route add {gateway4}/32 dev eth0 scope link\nroute add {gateway6}/128 dev eth0")?;
    }
    writeln!(
        lines,
        "route add default via {gateway4} src {v4}\nroute add ::/0 via {gateway6} dev eth0 src {v6}"
    )?;
    pod.network.batch(&lines)
}
