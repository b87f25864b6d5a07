//! Services by addresses that are reached from outside too: NodePorts, externalIPs, load balancers, host ports.
//!
//! What comes by such an address leaves the node's tables with an address of the node: it is not the node's own.

use anyhow::Result;
use netpol_tests::laboratory::network::{GATEWAY4, GATEWAY6, NODE, OUTSIDE};
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{Link, Proxy, ServiceSpec, Setup, command, serve};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

use crate::setup::{ALLOWED, Three, app, egress_of_client, from_client, ingress_of_server, ports};

/// The Service's own port, which no rule names.
const FRONT: u16 = 80;
/// Its port on the node.
const NODE_PORT: u16 = 30_080;
/// Every way in which pods hang on the node and Services are translated.
const WAYS: [(Link, Proxy); 4] = [
    (Link::Bridge, Proxy::Nftables),
    (Link::Routed, Proxy::Nftables),
    (Link::Bridge, Proxy::Iptables),
    (Link::Routed, Proxy::Iptables),
];
/// Addresses that nobody has, which lead to the Service: its externalIPs, and a load balancer's.
const EXTERNAL: [&str; 2] = ["203.0.113.200", "2001:db8:113::200"];
const BALANCER: [&str; 2] = ["203.0.113.201", "2001:db8:113::201"];
/// The pods' gateway, an address of the node that its object does not name.
const GATEWAY: [IpAddr; 2] = [IpAddr::V4(GATEWAY4), IpAddr::V6(GATEWAY6)];

fn at(addresses: [IpAddr; 2], port: u16) -> [SocketAddr; 2] {
    addresses.map(|address| SocketAddr::new(address, port))
}

fn parsed(addresses: [&str; 2]) -> Result<[IpAddr; 2]> {
    Ok([addresses[0].parse()?, addresses[1].parse()?])
}

/// Peers: blocks of one address each.
fn blocks(addresses: [IpAddr; 2]) -> Value {
    json!(addresses.map(|address| {
        let length = if address.is_ipv4() { 32 } else { 128 };
        json!({"ipBlock": {"cidr": format!("{address}/{length}")}})
    }))
}

/// The server and its Service, by every address that leads there from outside; and those, all but the gateway's.
fn start(link: Link, proxy: Proxy) -> Result<(Three, Vec<SocketAddr>)> {
    let mut three = Three::with(Setup { link, proxy, ..Setup::default() })?;
    let mut service = ServiceSpec::new("shop", "server", 80, "app", "server")
        .port("TCP", FRONT, ALLOWED)
        .node_port(NODE_PORT)
        .port("UDP", FRONT, ALLOWED)
        .node_port(NODE_PORT);
    let (external, balancer) = (parsed(EXTERNAL)?, parsed(BALANCER)?);
    for (external, balancer) in external.iter().zip(&balancer) {
        service = service.external(*external).balancer(*balancer);
    }
    three.lab.add_service(service)?;
    three.lab.settle()?;
    let ways = [at(NODE, NODE_PORT), at(external, FRONT), at(balancer, FRONT)];
    Ok((three, ways.concat()))
}

fn both(three: &Three, to: &[SocketAddr]) -> Vec<Probe> {
    let mut probes = Probe::all(&three.client, Kind::Tcp, to);
    probes.extend(Probe::all(&three.client, Kind::Udp, to));
    probes
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_that_asks_an_address_from_outside_is_judged_by_what_stands_behind_it() -> Result<()> {
    for (link, proxy) in WAYS {
        let (mut three, to) = start(link, proxy)?;
        let probes = both(&three, &to);
        expect_reached(&probes)?;
        let only = |port: u16| egress_of_client(&json!([{"to": app("server"), "ports": ports(port)}]));
        for port in [FRONT, NODE_PORT] {
            three.policy("client", &only(port))?;
            expect_dropped(&probes)?;
        }
        three.policy("client", &only(ALLOWED))?;
        expect_reached(&probes)?;
        let mut fronts = [blocks(NODE), blocks(parsed(EXTERNAL)?), blocks(parsed(BALANCER)?)];
        let to: Vec<Value> =
            fronts.iter_mut().filter_map(|one| one.as_array_mut().map(std::mem::take)).flatten().collect();
        three.policy("client", &egress_of_client(&json!([{"to": to}])))?;
        expect_dropped(&probes)?;
    }
    Ok(())
}

/// What is reached from outside carries the node's address where it arrives: the policies see that one.
#[test]
#[ignore = "needs root and BPF"]
fn what_the_node_sends_on_with_its_own_address_is_judged() -> Result<()> {
    for (link, proxy) in WAYS {
        let (mut three, to) = start(link, proxy)?;
        let (outside, node) = (three.lab.outside.clone(), three.lab.node.clone());
        let mut probes = Probe::all(&outside, Kind::Tcp, &at(NODE, NODE_PORT));
        probes.extend(Probe::all(&three.client, Kind::Tcp, &to));
        let own = Probe::all(&node, Kind::Tcp, &at(NODE, NODE_PORT));
        expect_reached(&[probes.clone(), own.clone()].concat())?;
        // That the client may call is of no use, since it is not seen any more who called.
        three.policy("server", &ingress_of_server(&from_client()))?;
        expect_dropped(&probes)?;
        expect_reached(&own)?;
        expect_reached(&Probe::all(&three.client, Kind::Tcp, &three.server.sockets(ALLOWED)))?;
        three.policy(
            "server",
            &ingress_of_server(&json!([{"from": blocks(GATEWAY), "ports": ports(ALLOWED)}])),
        )?;
        expect_reached(&[probes, own].concat())?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_reaches_itself_by_every_address_of_its_service() -> Result<()> {
    for (link, proxy) in WAYS {
        let (mut three, to) = start(link, proxy)?;
        let itself = Probe::all(&three.server, Kind::Tcp, &to);
        let others = both(&three, &to);
        expect_reached(&[itself.clone(), others.clone()].concat())?;
        three.policy("all", &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))?;
        expect_reached(&itself)?;
        expect_dropped(&others)?;
    }
    Ok(())
}

/// With iptables, NodePorts are at every address of the host: what may speak with the gateway must not reach pods by it.
#[test]
#[ignore = "needs root and BPF"]
fn an_address_of_the_host_that_the_node_does_not_name_leads_to_no_pod_by_a_node_port() -> Result<()> {
    for link in [Link::Bridge, Link::Routed] {
        let (mut three, _) = start(link, Proxy::Iptables)?;
        let probes = both(&three, &at(GATEWAY, NODE_PORT));
        expect_reached(&probes)?;
        let to_gateway = json!({"to": blocks(GATEWAY)});
        let to_server = json!({"to": app("server"), "ports": ports(ALLOWED)});
        // Whether it is translated there is a setting of kube-proxy: both must be allowed.
        for rule in [&to_gateway, &to_server] {
            three.policy("client", &egress_of_client(&json!([rule])))?;
            expect_dropped(&probes)?;
        }
        three.policy("client", &egress_of_client(&json!([to_gateway, to_server])))?;
        expect_reached(&probes)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn a_node_port_of_another_node_is_judged_by_its_address() -> Result<()> {
    let (mut three, _) = start(Link::Bridge, Proxy::Nftables)?;
    let _other_node = serve::tcp(&three.lab.outside, NODE_PORT)?;
    let probes = Probe::all(&three.client, Kind::Tcp, &at(OUTSIDE, NODE_PORT));
    expect_reached(&probes)?;
    three.policy("client", &egress_of_client(&json!([{"to": app("server")}])))?;
    expect_dropped(&probes)?;
    three
        .policy("client", &egress_of_client(&json!([{"to": blocks(OUTSIDE), "ports": ports(NODE_PORT)}])))?;
    expect_reached(&probes)
}

/// A port of the host that leads to a pod, as the plugin `portmap` makes it.
#[test]
#[ignore = "needs root and BPF"]
fn a_host_port_is_not_the_nodes_own_traffic() -> Result<()> {
    for link in [Link::Bridge, Link::Routed] {
        let mut three = Three::start(link)?;
        let [v4, v6] = three.server.addresses();
        let mut object = three.server.object("node-1");
        object["spec"]["containers"][0]["ports"] = json!([{"containerPort": ALLOWED, "hostPort": 8088}]);
        three.lab.apply(&object)?;
        let rules = format!(
            "table inet hostports {{
            chain ports {{ tcp dport 8088 meta nfproto ipv4 ip saddr {v4} meta mark set meta mark | 0x2000
              tcp dport 8088 meta nfproto ipv6 ip6 saddr {v6} meta mark set meta mark | 0x2000
              tcp dport 8088 meta nfproto ipv4 dnat ip to {v4}:{ALLOWED}
              tcp dport 8088 meta nfproto ipv6 dnat ip6 to [{v6}]:{ALLOWED}; }}
            chain prerouting {{ type nat hook prerouting priority dstnat; fib daddr type local jump ports; }}
            chain output {{ type nat hook output priority -100; fib daddr type local jump ports; }}
            chain postrouting {{ type nat hook postrouting priority srcnat; meta mark & 0x2000 == 0x2000 masquerade; }}
            }}"
        );
        let namespace = format!("--net={}", three.lab.node.path().display());
        command::feed("nsenter", &[namespace.as_str(), "nft", "-f", "-"], &rules)?;
        let to = at(NODE, 8088);
        let outside = Probe::all(&three.lab.outside, Kind::Tcp, &to);
        let itself = Probe::all(&three.server, Kind::Tcp, &to);
        let node = Probe::all(&three.lab.node, Kind::Tcp, &to);
        let stranger = Probe::all(&three.stranger, Kind::Tcp, &to);
        expect_reached(&[outside.clone(), itself.clone(), node.clone(), stranger.clone()].concat())?;
        three.policy("server", &ingress_of_server(&from_client()))?;
        expect_dropped(&[outside.clone(), stranger].concat())?;
        expect_reached(&[itself.clone(), node.clone()].concat())?;
        // It is not masqueraded: the policies see who calls.
        expect_reached(&Probe::all(&three.client, Kind::Tcp, &to))?;
        let network =
            json!([{"ipBlock": {"cidr": "172.18.0.0/24"}}, {"ipBlock": {"cidr": "fd00:172:18::/64"}}]);
        three.policy("server", &ingress_of_server(&json!([{"from": network, "ports": ports(ALLOWED)}])))?;
        expect_reached(&[outside, itself, node].concat())?;

        // The sender is judged by the pod that it leads to, and not by the node's address.
        three.no_policy("server")?;
        let client = Probe::all(&three.client, Kind::Tcp, &to);
        three.policy("client", &egress_of_client(&json!([{"to": blocks(NODE)}])))?;
        expect_dropped(&client)?;
        three
            .policy("client", &egress_of_client(&json!([{"to": app("server"), "ports": ports(ALLOWED)}])))?;
        expect_reached(&client)?;
    }
    Ok(())
}
