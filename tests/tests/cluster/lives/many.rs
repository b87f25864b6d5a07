//! Many pods come and go: what was made for them goes with them, and none of them is ever judged as another one.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{self, Agents, Node, Prober};
use netpol_tests::counted;
use netpol_tests::deadline::wait_for;
use netpol_tests::held::Ids;
use serde_json::{Value, json};

use super::sender::sender;
use crate::held::{Held, pins_of};
use crate::scene::{ALLOWED, OTHER, PATIENCE, Running, Scene, app, ingress_of, pod, ports};

/// Pods that come at the same time, half of them let in.
const BATCH: usize = 20;
/// So often, which makes 200.
const BATCHES: usize = 10;
/// Packets to each place that are enough to see whether one arrives.
const ENOUGH: u64 = 10;

/// One of a batch.
struct Guest {
    welcome: bool,
    addresses: Vec<IpAddr>,
    prober: Prober,
}

/// The pods of a batch, all of which run.
fn come(scene: &Scene, number: usize, servers: &[Running]) -> Result<Vec<Guest>> {
    let batch = number.to_string();
    let items: Vec<Value> = (0..BATCH)
        .map(|index| {
            let name = if index < BATCH / 2 { "guest" } else { "stranger" };
            let on = index % servers.len();
            let mut object = scene.object(&sender(name, on, &[&servers[on]]));
            object["metadata"]["name"] = format!("{name}-{batch}-{index}").into();
            object["metadata"]["labels"]["batch"] = batch.clone().into();
            object
        })
        .collect();
    scene.put(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?;
    let (chosen, timeout) =
        (format!("--selector=batch={batch}"), format!("--timeout={}s", PATIENCE.as_secs()));
    scene.kubectl(&["wait", "--for=condition=Ready", &timeout, "pod", &chosen])?;
    let text = scene.kubectl(&["get", "pods", &chosen, "-o", "json"])?;
    let list: Value = serde_json::from_str(&text).context("kubectl wrote no JSON")?;
    let items = list["items"].as_array().into_iter().flatten();
    let guests = items.map(|object| {
        let addresses = object["status"]["podIPs"].as_array().into_iter().flatten();
        let addresses: Vec<IpAddr> = addresses.filter_map(|one| one["ip"].as_str()?.parse().ok()).collect();
        let node = scene.cluster.node(object["spec"]["nodeName"].as_str().unwrap_or_default())?;
        let first = addresses.first().context("a pod without an address")?;
        let prober = Prober::at(node, *first);
        Ok(Guest { welcome: object["metadata"]["labels"]["app"] == "guest", addresses, prober })
    });
    guests.collect()
}

/// Who is let in is answered where it may call; nobody else ever is.
fn judged(guests: &[Guest], servers: &[Running]) -> Result<u64> {
    let mut sent = 0;
    for guest in guests {
        let places = wait_for("a pod has sent enough", PATIENCE, || {
            let places = guest.prober.sent().ok()?;
            let enough = places.iter().all(|place| {
                let due = guest.welcome && place.to.port() == ALLOWED;
                place.sent >= ENOUGH && (place.answered > 0 || !due)
            });
            enough.then_some(places)
        })
        .with_context(|| format!("welcome: {}, {:?}", guest.welcome, guest.prober.sent()))?;
        for place in places {
            let may = guest.welcome && place.to.port() == ALLOWED;
            ensure!(may || place.answered == 0, "an answer came to who is not let in: {place:?}");
            sent += if may { 0 } else { place.sent };
        }
    }
    let of = |welcome: bool| -> BTreeSet<IpAddr> {
        let some = guests.iter().filter(|guest| guest.welcome == welcome);
        some.flat_map(|guest| guest.addresses.clone()).collect()
    };
    let (welcome, strangers) = (of(true), of(false));
    for server in servers {
        for heard in server.prober.heard(true)? {
            ensure!(heard.port != OTHER, "what no policy allows has arrived: {heard:?}");
            ensure!(!strangers.contains(&heard.source), "a stranger was heard: {heard:?}");
            ensure!(welcome.contains(&heard.source), "nobody who is there was heard: {heard:?}");
        }
    }
    Ok(sent)
}

/// How many files the agent of a node has open.
fn open_files(agents: &Agents, node: &Node) -> Result<usize> {
    let pid = agents.part(node).pid().context("no agent runs")?;
    Ok(fs::read_dir(format!("/proc/{pid}/fd")).context("cannot read an agent's files")?.count())
}

#[test]
#[ignore = "needs a cluster"]
fn pods_that_come_and_go_leave_nothing_and_none_is_taken_for_another() -> Result<()> {
    let _guard = cluster::exclusive();
    let scene = Scene::build("many", &[pod("near", 0), pod("far", 1)])?;
    let servers = [scene.pod("near")?.clone(), scene.pod("far")?.clone()];
    for server in ["near", "far"] {
        let rule = json!([{"from": app("guest"), "ports": ports(ALLOWED)}]);
        scene.policy(server, &ingress_of(server, &rule))?;
    }
    let nodes: Vec<Node> = scene.cluster.nodes().to_vec();
    let mut before = Vec::new();
    let mut denied = 0;
    let mut seen = Ids::default();
    // The first batch warms up what an agent keeps for good, such as threads.
    for batch in 0..=BATCHES {
        if batch == 1 {
            for node in &nodes {
                before.push((Held::at_rest(node)?, open_files(&scene.agents, node)?));
            }
        }
        let guests = come(&scene, batch, &servers)?;
        denied += judged(&guests, &servers)?;
        for node in &nodes {
            seen.note(&pins_of(node))?;
        }
        let chosen = format!("--selector=batch={batch}");
        scene.kubectl(&["delete", "pods", &chosen])?;
        for server in &servers {
            server.prober.heard(true)?;
        }
        scene.agents.settled()?;
    }
    ensure!(seen.len() > BATCH * BATCHES, "only {} maps, links and programs were seen", seen.len());
    for (node, before) in nodes.iter().zip(&before) {
        let mut now = None;
        let settled = wait_for("the node holds what it held before", PATIENCE, || {
            now = Held::of(node).ok().zip(open_files(&scene.agents, node).ok());
            let is_it = |now: &(Held, usize)| now.0.is_within(&before.0) && now.1 <= before.1;
            now.as_ref().is_some_and(is_it).then_some(())
        });
        settled.with_context(|| format!("{}: {now:#?}\nbefore {before:#?}", node.name()))?;
    }
    let pins: Vec<_> = nodes.iter().map(pins_of).collect();
    seen.wait_until_gone(&pins, PATIENCE)?;
    counted(&[
        ((BATCHES * BATCH) as u64, "pods that came and went"),
        (denied, "packets of theirs that were denied"),
    ]);
    Ok(())
}
