//! A pod's first policy meets connections that were open before it: what it allows lives on, what it denies stops,
//! judged by who has opened them, whoever speaks first.

mod exchange;

use std::net::SocketAddr;

use anyhow::{Context as _, Result, anyhow};
use netpol_tests::probe::DROP_PATIENCE;
use netpol_tests::{Link, Outcome, Pod, ServiceSpec, Setup, command};
use serde_json::{Value, json};

use self::exchange::{Exchange, Port, Speaker, listen, tcp, udp};
use crate::setup::{GRANTED, Three, app, egress_of_client, ingress_of_server, ports};

/// The server's port that policies allow here, and another one: none that [`Three`] serves.
const OPEN: u16 = 7100;
const SHUT: u16 = 7101;

/// Lets the node's conntrack see what it forwards, as kube-proxy's rules do.
fn track(three: &Three) -> Result<()> {
    let rules = "table inet tracked { chain forward { type filter hook forward priority 0;
        ct state established accept; }; chain output { type filter hook output priority 0; ct state established accept; };
        chain input { type filter hook input priority 0; ct state established accept; }; }";
    let namespace = format!("--net={}", three.lab.node.path().display());
    command::feed("nsenter", &[namespace.as_str(), "nft", "-f", "-"], rules).map(drop)
}

/// Connections for one that speaks first each; both directions work.
fn opened(open: impl Fn() -> Result<Vec<Exchange>>) -> Result<Vec<(Speaker, Exchange)>> {
    let mut all = Vec::new();
    for first in [Speaker::Client, Speaker::Server] {
        for mut exchange in open()? {
            exchange.lives(first)?;
            all.push((first, exchange));
        }
    }
    Ok(all)
}

fn live_on(exchanges: &mut [(Speaker, Exchange)]) -> Result<()> {
    exchanges.iter_mut().try_for_each(|(first, exchange)| exchange.lives(*first))
}

fn have_stopped(exchanges: &mut [(Speaker, Exchange)]) -> Result<()> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = exchanges
            .iter_mut()
            .map(|(first, exchange)| scope.spawn(move || exchange.has_stopped(*first)))
            .collect();
        asked
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a test's thread failed"))?)
    })
}

/// What `netpol status` says of a pod's open connections.
fn taken_over(three: &Three, pod: &str) -> Result<Value> {
    let status = three.lab.agent()?.status()?;
    let lines = status["endpoints"].as_array().context("no endpoints")?;
    let line = lines.iter().find(|line| line["pod"] == pod).context("no such endpoint")?;
    Ok(line["takenOver"].clone())
}

fn from_client() -> Value {
    json!([{"from": app("client"), "ports": ports(OPEN)}])
}

/// The server becomes isolated; the client's connections are allowed, the stranger's are not.
fn a_server(three: &mut Three) -> Result<()> {
    let open = Port::of(&three.server, OPEN)?;
    let (client, stranger) = (three.client.clone(), three.stranger.clone());
    let to = three.server.sockets(OPEN);
    let mut kept = opened(|| open.all("the client", &client, to))?;
    let mut cut = opened(|| open.all("the stranger", &stranger, to))?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    have_stopped(&mut cut)?;
    live_on(&mut kept)
}

/// The client becomes isolated; its connections to one port are allowed, those to the other are not.
fn a_client(three: &mut Three, to: impl Fn(u16) -> [SocketAddr; 2]) -> Result<()> {
    let (open, shut) = (Port::of(&three.server, OPEN)?, Port::of(&three.server, SHUT)?);
    let client = three.client.clone();
    let mut kept = opened(|| open.all("the client", &client, to(OPEN)))?;
    let mut cut = opened(|| shut.all("the client", &client, to(SHUT)))?;
    let rules = json!([{"to": app("server"), "ports": ports(OPEN)}]);
    three.policy("client", &egress_of_client(&rules))?;
    have_stopped(&mut cut)?;
    live_on(&mut kept)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_servers_open_connections_are_judged_by_who_opened_them_by_routes() -> Result<()> {
    let mut three = Three::start(Link::Routed)?;
    track(&three)?;
    a_server(&mut three)?;
    let taken = taken_over(&three, "shop/server")?;
    assert!(taken["conntrack"].as_u64() >= Some(16), "{taken}");
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn a_clients_open_connections_are_judged_by_who_opened_them_by_routes() -> Result<()> {
    let mut three = Three::start(Link::Routed)?;
    track(&three)?;
    let server = three.server.clone();
    a_client(&mut three, |port| server.sockets(port))
}

#[test]
#[ignore = "needs root and BPF"]
fn open_connections_over_a_bridge_that_is_filtered_come_from_conntrack() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    track(&three)?;
    a_server(&mut three)?;
    let taken = taken_over(&three, "shop/server")?;
    assert!(taken["conntrack"].as_u64() >= Some(16) && taken["sockets"] == 0, "{taken}");
    Ok(())
}

/// One more capability than the DaemonSet grants.
const SYS_ADMIN: u8 = 21;

/// Packets between pods of the bridge pass no netfilter, and so no conntrack.
fn unfiltered(capabilities: &[u8]) -> Result<Three> {
    let agent_capabilities = Some(capabilities.to_vec());
    let three = Three::with(Setup { link: Link::Bridge, agent_capabilities, ..Setup::default() })?;
    for name in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
        three.lab.node.sysctl(&format!("net/bridge/{name}"), "0")?;
    }
    track(&three)?;
    Ok(three)
}

#[test]
#[ignore = "needs root and BPF"]
fn open_connections_within_a_bridge_come_from_the_pods_sockets() -> Result<()> {
    let mut three = unfiltered(&[&GRANTED[..], &[SYS_ADMIN]].concat())?;
    let open = listen(&three.server, OPEN)?;
    let connect = |name: &'static str, from: &Pod| {
        let (from, to) = (from.clone(), three.server.sockets(OPEN));
        let open = &open;
        opened(move || to.into_iter().map(|to| tcp(name, &from, to, open)).collect())
    };
    let mut kept = connect("the client", &three.client)?;
    let mut cut = connect("the stranger", &three.stranger)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    have_stopped(&mut cut)?;
    live_on(&mut kept)?;
    let taken = taken_over(&three, "shop/server")?;
    assert!(taken["sockets"].as_u64() >= Some(8) && taken["unknown"].is_null(), "{taken}");
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn without_the_right_to_read_sockets_pods_are_enforced_and_status_says_what_is_not_known() -> Result<()> {
    let mut three = unfiltered(&GRANTED)?;
    let open = listen(&three.server, OPEN)?;
    let (client, stranger) = (three.client.clone(), three.stranger.clone());
    let to = three.server.sockets(OPEN)[0];
    let mut kept = tcp("the client", &client, to, &open)?;
    let mut cut = tcp("the stranger", &stranger, to, &open)?;
    kept.lives(Speaker::Client)?;
    cut.lives(Speaker::Client)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    // By whoever speaks first: nobody knows who has opened it.
    assert_eq!(cut.word(Speaker::Client, "after", DROP_PATIENCE)?, Outcome::TimedOut);
    kept.lives(Speaker::Client)?;
    let taken = taken_over(&three, "shop/server")?;
    assert_eq!((&taken["conntrack"], &taken["sockets"]), (&json!(0), &json!(0)), "{taken}");
    assert!(taken["unknown"].as_str().is_some_and(|text| text.contains("CAP_SYS_ADMIN")), "{taken}");
    let text = three.lab.agent()?.client(&["status"]).output()?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("shop/server: others are not known"), "{text}");

    // What is known of flows needs no more rights either, for an agent that comes later.
    three.lab.kill_agent();
    three.lab.start_agent()?;
    assert!(taken_over(&three, "shop/server")?.is_null(), "the flows are there");
    assert_eq!(cut.word(Speaker::Client, "after", DROP_PATIENCE)?, Outcome::TimedOut);
    kept.lives(Speaker::Server)
}

#[test]
#[ignore = "needs root and BPF"]
fn conntrack_is_read_with_no_more_rights_than_enforcing_needs() -> Result<()> {
    let agent_capabilities = Some(GRANTED.to_vec());
    let mut three = Three::with(Setup { link: Link::Routed, agent_capabilities, ..Setup::default() })?;
    track(&three)?;
    a_server(&mut three)?;
    let taken = taken_over(&three, "shop/server")?;
    assert!(taken["conntrack"].as_u64() >= Some(16) && taken["unknown"].is_null(), "{taken}");
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn a_clients_datagrams_and_connections_within_a_bridge_come_from_its_sockets() -> Result<()> {
    let mut three = unfiltered(&[&GRANTED[..], &[SYS_ADMIN]].concat())?;
    let server = three.server.clone();
    a_client(&mut three, |port| server.sockets(port))?;
    let taken = taken_over(&three, "shop/client")?;
    assert!(taken["sockets"].as_u64() >= Some(16), "{taken}");
    Ok(())
}

/// Backends behind Services whose ports are not their own.
fn through_services(link: Link) -> Result<()> {
    let mut three = Three::start(link)?;
    let service = ServiceSpec::new("shop", "server", 90, "app", "server")
        .port("TCP", 80, OPEN)
        .port("UDP", 80, OPEN)
        .port("TCP", 81, SHUT)
        .port("UDP", 81, SHUT);
    three.lab.add_service(service.clone())?;
    three.lab.settle()?;
    a_client(&mut three, |port| service.sockets(if port == OPEN { 80 } else { 81 }))?;
    let taken = taken_over(&three, "shop/client")?;
    assert!(taken["conntrack"].as_u64() >= Some(16), "{taken}");
    three.no_policy("client")?;

    // The same, as the backend sees it.
    let mut three = Three::start(link)?;
    three.lab.add_service(service.clone())?;
    three.lab.settle()?;
    let open = Port::of(&three.server, OPEN)?;
    let (client, stranger) = (three.client.clone(), three.stranger.clone());
    let mut kept = opened(|| open.all("the client", &client, service.sockets(80)))?;
    let mut cut = opened(|| open.all("the stranger", &stranger, service.sockets(80)))?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    have_stopped(&mut cut)?;
    live_on(&mut kept)
}

#[test]
#[ignore = "needs root and BPF"]
fn open_connections_through_a_service_are_judged_by_what_stands_behind_it_by_routes() -> Result<()> {
    through_services(Link::Routed)
}

#[test]
#[ignore = "needs root and BPF"]
fn open_connections_through_a_service_are_judged_by_what_stands_behind_it_over_a_bridge() -> Result<()> {
    through_services(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn the_nodes_open_connections_live_on() -> Result<()> {
    let mut three = Three::start(Link::Routed)?;
    track(&three)?;
    let open = listen(&three.server, OPEN)?;
    let node = three.lab.node.clone();
    let to = three.server.sockets(OPEN);
    let mut kept = opened(|| to.into_iter().map(|to| tcp("the node", &node, to, &open)).collect())?;
    three.policy("all", &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))?;
    live_on(&mut kept)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_restarted_agent_takes_nothing_over_and_keeps_what_it_finds() -> Result<()> {
    let mut three = Three::start(Link::Routed)?;
    track(&three)?;
    let open = Port::of(&three.server, OPEN)?;
    let (client, stranger) = (three.client.clone(), three.stranger.clone());
    let to = three.server.sockets(OPEN);
    let mut kept = opened(|| open.all("the client", &client, to))?;
    let mut cut = opened(|| open.all("the stranger", &stranger, to))?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    three.lab.kill_agent();
    three.lab.start_agent()?;
    assert!(taken_over(&three, "shop/server")?.is_null());
    have_stopped(&mut cut)?;
    live_on(&mut kept)
}

#[test]
#[ignore = "needs root and BPF"]
fn no_more_is_taken_over_than_the_pods_quota_has_room_for() -> Result<()> {
    let agent_flags = ["--table-flows-per-pod", "64"].map(str::to_owned).to_vec();
    let mut three = Three::with(Setup { link: Link::Routed, agent_flags, ..Setup::default() })?;
    track(&three)?;
    let open = Port::of(&three.server, OPEN)?;
    let (client, to) = (three.client.clone(), three.server.sockets(OPEN)[0]);
    let mut many = Vec::new();
    for _ in 0..100 {
        let mut exchange = udp("the client", &client, to, &open.datagrams[0])?;
        exchange.lives(Speaker::Server)?;
        many.push(exchange);
    }
    three.policy("server", &ingress_of_server(&json!([])))?;
    let taken = taken_over(&three, "shop/server")?;
    assert_eq!((&taken["conntrack"], &taken["refused"]), (&json!(48), &json!(52)), "{taken}");
    Ok(())
}
