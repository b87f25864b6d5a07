//! Services by ClusterIP: judged by what stands behind them.

use anyhow::Result;
use netpol_tests::probe::{ARRIVAL_PATIENCE, DROP_PATIENCE, Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{Laboratory, Link, Outcome, PodSpec, Proxy, ServiceSpec, Setup, serve};
use serde_json::json;

use crate::setup::{ALLOWED, OTHER, Three, app, egress_of_client};

/// The Service's own port, which no rule names.
const FRONT: u16 = 80;

#[test]
#[ignore = "needs root and BPF"]
fn rules_speak_of_the_backends_port() -> Result<()> {
    for (link, proxy) in [
        (Link::Bridge, Proxy::Nftables),
        (Link::Routed, Proxy::Nftables),
        (Link::Bridge, Proxy::Iptables),
        (Link::Routed, Proxy::Iptables),
    ] {
        let mut three = Three::with(Setup { link, proxy, ..Setup::default() })?;
        let service = ServiceSpec::new("shop", "server", 80, "app", "server")
            .port("TCP", FRONT, ALLOWED)
            .port("UDP", FRONT, ALLOWED);
        three.lab.add_service(service.clone())?;
        three.lab.settle()?;
        let client = three.client.clone();
        let mut probes = Probe::all(&client, Kind::Tcp, &service.sockets(FRONT));
        probes.extend(Probe::all(&client, Kind::Udp, &service.sockets(FRONT)));
        expect_reached(&probes)?;

        let only =
            |port| egress_of_client(&json!([{"to": app("server"), "ports": crate::setup::ports(port)}]));
        three.policy("client", &only(FRONT))?;
        expect_dropped(&probes)?;
        three.policy("client", &only(ALLOWED))?;
        expect_reached(&probes)?;
        // An ipBlock is compared with the backend, never with the ClusterIP.
        let block = |v4: &str, v6: &str| {
            egress_of_client(&json!([{"to": [{"ipBlock": {"cidr": v4}}, {"ipBlock": {"cidr": v6}}]}]))
        };
        three.policy("client", &block("10.96.0.0/16", "fd00:10:96::/112"))?;
        expect_dropped(&probes)?;
        three.policy("client", &block("10.244.0.0/24", "fd00:10:244::/64"))?;
        expect_reached(&probes)?;
    }
    Ok(())
}

fn dns(link: Link) -> Result<()> {
    let mut lab = Laboratory::with(Setup { link, ..Setup::default() })?;
    let dns = lab.add_pod(PodSpec::new("kube-system", "dns").label("k8s-app", "kube-dns"))?;
    let other = lab.add_pod(PodSpec::new("kube-system", "other").label("k8s-app", "other"))?;
    let client = lab.add_pod(PodSpec::new("shop", "client").label("app", "client"))?;
    let mut servers = Vec::new();
    for pod in [&dns, &other] {
        servers.push(serve::udp(pod, 5353)?);
        servers.push(serve::tcp(pod, 5353)?);
    }
    let names = ServiceSpec::new("kube-system", "kube-dns", 10, "k8s-app", "kube-dns");
    let names = names.port("UDP", 53, 5353).port("TCP", 53, 5353);
    let others = ServiceSpec::new("kube-system", "other", 11, "k8s-app", "other").port("UDP", 53, 5353);
    lab.add_service(names.clone())?;
    lab.add_service(others.clone())?;
    lab.start_agent()?;
    let mut allowed = Probe::all(&client, Kind::Udp, &names.sockets(53));
    allowed.extend(Probe::all(&client, Kind::Tcp, &names.sockets(53)));
    let mut denied = Probe::all(&client, Kind::Udp, &others.sockets(53));
    denied.extend(Probe::all(&client, Kind::Udp, &other.sockets(5353)));
    expect_reached(&[allowed.clone(), denied.clone()].concat())?;

    let to = json!([{
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }]);
    let ports = json!([{"protocol": "UDP", "port": 5353}, {"protocol": "TCP", "port": 5353}]);
    lab.policy("shop", "dns", &egress_of_client(&json!([{"to": to, "ports": ports}])))?;
    lab.settle()?;
    expect_reached(&allowed)?;
    expect_dropped(&denied)
}

#[test]
#[ignore = "needs root and BPF"]
fn names_are_found_by_a_rule_that_names_the_dns_pods_over_a_bridge() -> Result<()> {
    dns(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn names_are_found_by_a_rule_that_names_the_dns_pods_by_routes() -> Result<()> {
    dns(Link::Routed)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_reaches_itself_through_its_own_service_over_a_bridge() -> Result<()> {
    itself(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_reaches_itself_through_its_own_service_by_routes() -> Result<()> {
    itself(Link::Routed)
}

fn itself(link: Link) -> Result<()> {
    let mut three = Three::start(link)?;
    let service = ServiceSpec::new("shop", "server", 80, "app", "server").port("TCP", FRONT, ALLOWED);
    three.lab.add_service(service.clone())?;
    three.lab.settle()?;
    let itself = Probe::all(&three.server, Kind::Tcp, &service.sockets(FRONT));
    let direct = Probe::all(&three.server, Kind::Tcp, &three.server.sockets(ALLOWED));
    let others = Probe::all(&three.client, Kind::Tcp, &service.sockets(FRONT));
    expect_reached(&[itself.clone(), direct.clone(), others.clone()].concat())?;
    three.policy("all", &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))?;
    expect_reached(&[itself, direct].concat())?;
    expect_dropped(&others)
}

#[test]
#[ignore = "needs root and BPF"]
fn backends_that_are_judged_differently_are_told_apart_over_a_bridge() -> Result<()> {
    different_backends(Link::Bridge, Proxy::Nftables)?;
    different_backends(Link::Bridge, Proxy::Iptables)
}

#[test]
#[ignore = "needs root and BPF"]
fn backends_that_are_judged_differently_are_told_apart_by_routes() -> Result<()> {
    different_backends(Link::Routed, Proxy::Nftables)?;
    different_backends(Link::Routed, Proxy::Iptables)
}

fn different_backends(link: Link, proxy: Proxy) -> Result<()> {
    let mut three = Three::with(Setup { link, proxy, ..Setup::default() })?;
    let good = three.lab.add_pod(PodSpec::new("shop", "good").label("app", "pool").label("tier", "good"))?;
    let bad = three.lab.add_pod(PodSpec::new("shop", "bad").label("app", "pool").label("tier", "bad"))?;
    let (at_good, at_bad) = (serve::tcp(&good, ALLOWED)?, serve::tcp(&bad, ALLOWED)?);
    let service = ServiceSpec::new("shop", "pool", 90, "app", "pool").port("TCP", FRONT, ALLOWED);
    three.lab.add_service(service.clone())?;
    three.lab.settle()?;
    // Each of many connections is sent to one of the two.
    let ask = |patience| -> Vec<Outcome> {
        std::thread::scope(|scope| {
            let client = &three.client;
            let asked: Vec<_> = (0..24)
                .map(|turn| (turn, service.sockets(FRONT)[turn % 2]))
                .map(|(_, to)| scope.spawn(move || client.tcp(to, patience)))
                .collect();
            asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
        })
    };
    assert_eq!(ask(ARRIVAL_PATIENCE), [Outcome::Reached; 24]);
    assert!(at_good.heard() > 0 && at_bad.heard() > 0);

    let rules = json!([{"to": [{"podSelector": {"matchLabels": {"tier": "good"}}}]}]);
    three.lab.policy("shop", "client", &egress_of_client(&rules))?;
    three.lab.settle()?;
    let before = (at_good.heard(), at_bad.heard());
    let outcomes = ask(DROP_PATIENCE);
    let reached = outcomes.iter().filter(|outcome| **outcome == Outcome::Reached).count() as u64;
    assert_eq!(at_bad.heard(), before.1, "the denied backend hears nothing");
    assert_eq!(at_good.heard() - before.0, reached);
    assert!(reached > 0, "the allowed backend is reached: {outcomes:?}");
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Outcome::Reached | Outcome::TimedOut)),
        "{outcomes:?}"
    );
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn an_address_of_a_service_range_without_a_service_is_closed() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    let unknown = ServiceSpec::new("shop", "unknown", 99, "app", "server").port("TCP", FRONT, ALLOWED);
    // The node translates it already, but netpol has not seen it yet.
    three.lab.serve(unknown.clone())?;
    let probes = Probe::all(&three.client, Kind::Tcp, &unknown.sockets(FRONT));
    expect_reached(&probes)?;
    let everywhere = json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}]}]);
    three.policy("client", &egress_of_client(&everywhere))?;
    expect_dropped(&probes)?;
    expect_reached(&Probe::all(&three.client, Kind::Tcp, &three.server.sockets(OTHER)))?;
    three.lab.apply(&unknown.object())?;
    three.lab.settle()?;
    expect_reached(&probes)
}
