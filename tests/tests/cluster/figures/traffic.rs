//! Traffic between two pods of a node with 100 policies, with the engine and without it, in turns.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netpol_prober::{Probe, Protocol};
use netpol_tests::cluster;
use netpol_tests::figure;
use serde_json::{Value, json};

use super::median;
use crate::scene::{ALLOWED, OTHER, Running, Scene, app, both, pod, ports};

/// The node's policies.
const POLICIES: usize = 100;
/// How often each is measured.
const ROUNDS: usize = 7;
const MANY_ROUNDS: usize = 30;
/// How many slices each is measured by, after one that does not count: both processors are the whole cluster's, and the
/// first packets after a pause find nothing where they need it.
const SLICES: usize = 10;
/// How long requests over one connection are counted in a slice.
const TIME: Duration = Duration::from_millis(300);
/// How many connections are timed in a slice. Each keeps its port for a minute, and once half of them wait the kernel looks
/// long for a free one: 4,000 connections a second became 400, with the engine and without it.
const CONNECTIONS: u32 = 80;

/// Requests over one connection, and connections, a second.
#[derive(Debug, Clone, Copy)]
struct Rates([f64; 2]);

fn rates(client: &Running, server: &Running) -> Result<Rates> {
    let to = server.sockets(ALLOWED)[0];
    client.prober.hold(&[to], Duration::ZERO)?;
    let exchanged = || -> Result<u64> { Ok(client.prober.holding()?.iter().map(|one| one.exchanged).sum()) };
    let requests = in_slices(|| {
        let (first, began) = (exchanged()?, Instant::now());
        sleep(TIME);
        Ok((exchanged()? - first) as f64 / began.elapsed().as_secs_f64())
    })?;
    client.prober.release()?;
    let connections = in_slices(|| {
        let began = Instant::now();
        let probe = Probe { times: CONNECTIONS, ..Probe::new(Protocol::Tcp, to, 5000) };
        let outcomes = client.prober.probe(&[probe])?;
        ensure!(outcomes[0].all_reached(), "{outcomes:?}");
        Ok(f64::from(CONNECTIONS) / began.elapsed().as_secs_f64())
    })?;
    Ok(Rates([requests, connections]))
}

fn in_slices(mut slice: impl FnMut() -> Result<f64>) -> Result<f64> {
    slice()?;
    let all: Vec<f64> = (0..SLICES).map(|_| slice()).collect::<Result<_>>()?;
    Ok(median(all))
}

/// The median, and where the half of the ratios in the middle lies: of few rounds on a busy node it says little alone.
fn told(mut all: Vec<f64>) -> String {
    all.sort_by(f64::total_cmp);
    let quarter = (all.len() - 1) / 4;
    let (low, high) = (all[quarter], all[all.len() - 1 - quarter]);
    format!("{:.3} ({low:.3} to {high:.3})", median(all))
}

/// It says what it measures and asserts nothing of it: that is the benchmark's.
#[test]
#[ignore = "needs a cluster"]
fn traffic_is_measured_with_the_engine_and_without_it() -> Result<()> {
    let _guard = cluster::exclusive();
    let scene = Scene::build("traffic", &[pod("client", 0), pod("server", 0)])?;
    let policies: Vec<Value> = (0..POLICIES)
        .map(|number| {
            let peer = if number == 0 { "client".to_owned() } else { format!("other-{number}") };
            let rule = |who: &str, peer: &str| json!([{who: app(peer), "ports": ports(ALLOWED)}]);
            json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"namespace": scene.namespace, "name": format!("policy-{number}")},
                "spec": {
                    "podSelector": {},
                    "policyTypes": ["Ingress", "Egress"],
                    "ingress": rule("from", &peer),
                    "egress": rule("to", if number == 0 { "server" } else { &peer }),
                },
            })
        })
        .collect();
    scene.put(&json!({"apiVersion": "v1", "kind": "List", "items": policies}))?;
    scene.agents.settled()?;
    let (client, server) = (scene.pod("client")?.clone(), scene.pod("server")?.clone());
    let rounds = if std::env::var_os("NETPOL_LONG").is_some() { MANY_ROUNDS } else { ROUNDS };
    let elsewhere = both(&server.sockets(OTHER));
    let with_it = || -> Result<Rates> {
        scene.is_dropped("client", &elsewhere)?;
        rates(&client, &server)
    };
    let mut ratios = [Vec::new(), Vec::new()];
    let mut before = with_it()?;
    for _ in 0..rounds {
        scene.agents.uninstall(&client.node)?;
        scene.reaches("client", "server", &elsewhere)?;
        let without = rates(&client, &server)?;
        scene.agents.launch(&client.node)?;
        scene.agents.ready(&client.node)?;
        scene.agents.settled()?;
        let after = with_it()?;
        // Against what was measured before it and after it: what grows or shrinks with time is not the engine's.
        for (which, ratios) in ratios.iter_mut().enumerate() {
            ratios.push(f64::midpoint(before.0[which], after.0[which]) / without.0[which]);
        }
        before = after;
    }
    let [requests, connections] = ratios.map(told);
    figure(format_args!(
        "traffic with the engine against without, on a node with 100 policies, {rounds} rounds: requests {requests}, connections {connections}"
    ));
    Ok(())
}
