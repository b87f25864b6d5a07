//! ICMP errors about translated flows: a router behind the node speaks of what it has seen, and the pod hears of what it
//! has sent.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use netpol_tests::probe::ARRIVAL_PATIENCE;
use netpol_tests::{Link, Namespace, ServiceSpec, command, packet, serve};
use serde_json::json;

use crate::setup::{ALLOWED, Three, egress_of_client, ports};

/// A place behind a router of the world, by a link that is narrower than both ends'.
const FAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x198, 0, 0, 0, 0, 0x10)),
];
/// How much is sent at once; far more than fits into one packet.
const SENT: usize = 40_000;

fn far(three: &Three) -> Result<Namespace> {
    let far = three.lab.lone_namespace("far")?;
    let outside = &three.lab.outside;
    for path in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        outside.sysctl(path, "1")?;
    }
    outside.batch(&format!(
        "link add far0 mtu 1300 type veth peer name eth0 mtu 1500 netns {}\n\
         address add 198.51.100.1/24 dev far0\naddress add 2001:db8:198::1/64 dev far0 nodad\n\
         link set far0 up\n",
        far.name()
    ))?;
    far.batch(
        "address add 198.51.100.10/24 dev eth0\naddress add 2001:db8:198::10/64 dev eth0 nodad\n\
         link set eth0 up\nroute add default via 198.51.100.1\nroute add ::/0 via 2001:db8:198::1\n",
    )?;
    Ok(far)
}

/// Takes it all, and says so; a long answer would not find back through the narrow link.
fn takes_all(mut stream: std::net::TcpStream) {
    let mut all = vec![0; SENT];
    if stream.read_exact(&mut all).is_ok() {
        // Whoever has sent it may be gone.
        drop(stream.write_all(b"all"));
    }
}

/// A Service in front of the far place, in the objects and in the node's translation.
fn service(three: &mut Three) -> Result<ServiceSpec> {
    let service = ServiceSpec::new("shop", "far", 77, "app", "nobody").port("TCP", 80, ALLOWED);
    let mut object = service.object();
    object["spec"]["selector"].take();
    three.lab.apply(&object)?;
    let mut rules = String::new();
    for (kind, family, front, far) in
        [("IPv4", "ip", service.sockets(80)[0], FAR[0]), ("IPv6", "ip6", service.sockets(80)[1], FAR[1])]
    {
        three.lab.apply(&json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "shop",
                "name": format!("far-{family}"),
                "labels": {"kubernetes.io/service-name": "far"},
            },
            "addressType": kind,
            "ports": [{"name": "tcp-80", "protocol": "TCP", "port": ALLOWED}],
            "endpoints": [{"addresses": [far], "conditions": {"ready": true}}],
        }))?;
        let to = SocketAddr::new(far, ALLOWED);
        rules += &format!("{family} daddr {} tcp dport 80 dnat {family} to {to};\n", front.ip());
    }
    let rules = format!(
        "table inet far {{ chain prerouting {{ type nat hook prerouting priority dstnat;\n{rules} }}; }}"
    );
    let namespace = format!("--net={}", three.lab.node.path().display());
    command::feed("nsenter", &[namespace.as_str(), "nft", "-f", "-"], &rules)?;
    Ok(service)
}

/// The destination of the packet that a "packet too big" quotes.
fn quoted_destination(bytes: &[u8]) -> Option<IpAddr> {
    let (.., protocol, payload) = packet::read(bytes)?;
    match (protocol, payload) {
        (packet::ICMP, [3, 4, ..]) => {
            let address: [u8; 4] = payload.get(24..28)?.try_into().ok()?;
            Some(address.into())
        }
        (packet::ICMPV6, [2, 0, ..]) => {
            let address: [u8; 16] = payload.get(32..48)?.try_into().ok()?;
            Some(address.into())
        }
        _ => None,
    }
}

fn a_narrow_link_behind_a_service(link: Link) -> Result<()> {
    let mut three = Three::start(link)?;
    let far = far(&three)?;
    let _server = serve::connections(&far, ALLOWED, takes_all)?;
    let service = service(&mut three)?;
    let blocks =
        json!([{"ipBlock": {"cidr": "198.51.100.10/32"}}, {"ipBlock": {"cidr": "2001:db8:198::10/128"}}]);
    let rules = json!([{"to": blocks, "ports": ports(ALLOWED)}]);
    three.lab.policy("shop", "client", &egress_of_client(&rules))?;
    three.policy("all", &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))?;
    for to in service.sockets(80) {
        let watch = three.client.watch()?;
        let stream = three.client.connect(to, ARRIVAL_PATIENCE);
        let mut stream = stream.map_err(|outcome| anyhow!("cannot connect to {to}: {outcome:?}"))?;
        stream.set_read_timeout(Some(ARRIVAL_PATIENCE))?;
        thread::scope(|scope| -> Result<()> {
            let mut writer = stream.try_clone()?;
            scope.spawn(move || writer.write_all(&vec![7; SENT]));
            let mut answer = [0; 3];
            stream.read_exact(&mut answer).with_context(|| format!("nothing large passes to {to}"))
        })?;
        let about = |bytes: &[u8]| quoted_destination(bytes) == Some(to.ip());
        assert!(
            watch.wait(ARRIVAL_PATIENCE, about).is_some(),
            "a packet to {to} was too big, as its sender hears"
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn a_narrow_link_behind_a_service_is_told_to_its_client_over_a_bridge() -> Result<()> {
    a_narrow_link_behind_a_service(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_narrow_link_behind_a_service_is_told_to_its_client_by_routes() -> Result<()> {
    a_narrow_link_behind_a_service(Link::Routed)
}
