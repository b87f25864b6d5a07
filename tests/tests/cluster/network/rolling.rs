//! A rolling update under open connections: what is allowed goes on, and no backend hears what it must not.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_prober::{Held, Probe, Protocol};
use netpol_tests::cluster::{self, Prober};
use netpol_tests::deadline::wait_for;
use serde_json::{Value, json};

use crate::scene::{ALLOWED, FRONT, PATIENCE, Scene, app, egress_of, pod, ports, sockets};

/// Lines over a connection, one after the other.
const EVERY: Duration = Duration::from_millis(100);
/// Between two lines on a machine that is busy.
const SILENT: u64 = 5000;

/// A backend that no update touches.
const STEADY: &str = "steady";
/// Connections to each address of a Service.
const MANY: usize = 8;

/// Two replicas that serve on for a while when they are told to end, and call themselves by their version and their pod.
fn deployment(scene: &Scene, version: &str) -> Result<()> {
    let labels = json!({"app": "web", "version": version});
    let (ports, name) = (ALLOWED.to_string(), format!("{version}/$(POD)"));
    scene.put(&json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": scene.namespace, "name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 4,
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "main",
                        "image": "localhost/netpol-test:1",
                        "command": ["/prober", "serve", "--name", name, "--tcp", ports, "--udp", ports],
                        "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                        // It serves on until kube-proxy has heard that it is about to end.
                        "lifecycle": {"preStop": {"exec": {"command": ["/bin/busybox", "sleep", "3"]}}},
                        "readinessProbe": {"tcpSocket": {"port": ALLOWED}, "periodSeconds": 1},
                    }],
                },
            },
        },
    }))?;
    scene.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    scene.agents.settled()
}

fn to_version(version: &str) -> Value {
    let peer = json!([{"podSelector": {"matchLabels": {"version": version}}}]);
    egress_of("client", &json!([{"to": peer, "ports": ports(ALLOWED)}]))
}

/// Waits until the client is answered at each address by a pod of this version.
fn answers(scene: &Scene, version: &str, to: &[SocketAddr]) -> Result<()> {
    let probes: Vec<Probe> = to.iter().map(|to| Probe::new(Protocol::Tcp, *to, 3000)).collect();
    let mut last = Vec::new();
    let answered = wait_for(&format!("version {version} answers"), PATIENCE, || {
        last = scene.pod("client").ok()?.prober.probe(&probes).ok()?;
        last.iter().all(|one| one.who().is_some_and(|who| is_of(who, version))).then_some(())
    });
    answered.with_context(|| format!("{last:?}"))
}

/// Whether somebody is a pod of this version.
fn is_of(who: &str, version: &str) -> bool {
    who.split_once('/').is_some_and(|(own, _)| own == version)
}

/// The pods behind the Service that are not about to end, by what they call themselves.
fn living(scene: &Scene) -> Result<BTreeSet<String>> {
    let list = scene.kubectl(&["get", "pods", "-l", "app=web", "-o", "json"])?;
    let list: Value = serde_json::from_str(&list).context("kubectl wrote no JSON")?;
    let pods = list["items"].as_array().context("a list without items")?.iter();
    let living = pods.map(|pod| &pod["metadata"]).filter(|pod| pod["deletionTimestamp"].is_null());
    let name = |pod: &Value| {
        let name = pod["name"].as_str()?;
        Some(pod["labels"]["version"].as_str().map_or_else(|| name.to_owned(), |own| format!("{own}/{name}")))
    };
    Ok(living.filter_map(name).collect())
}

/// Connections by these addresses, some to each of the pods behind them.
fn held_to_all(scene: &Scene, to: &[SocketAddr]) -> Result<Vec<Held>> {
    let prober = &scene.pod("client")?.prober;
    let wanted = living(scene)?;
    wait_for("there are connections to every backend", PATIENCE, || {
        let held = prober.hold(&to.repeat(MANY), EVERY).ok()?;
        let is_open = |one: &Held| one.broken.is_none() && one.exchanged > 0;
        let whole = held.len() == to.len() * MANY && held.iter().all(is_open);
        let led_to: BTreeSet<String> = held.iter().filter_map(|one| one.who.clone()).collect();
        if whole && led_to == wanted {
            return Some(held);
        }
        drop(prober.release());
        None
    })
}

/// No connection was dropped, and none broke whose backend is not about to end: returns how many live.
fn carried(scene: &Scene) -> Result<usize> {
    // Before the pods are looked at: one that breaks by its backend's end does so after that is about to end.
    let held = scene.pod("client")?.prober.holding()?;
    let (broken, live): (Vec<_>, Vec<_>) = held.iter().partition(|one| one.broken.is_some());
    let silent = live.iter().find(|one| one.longest > SILENT);
    ensure!(silent.is_none(), "a connection is silent: {silent:?}");
    if !broken.is_empty() {
        let living = living(scene)?;
        let torn = broken.iter().find(|one| one.who.as_ref().is_none_or(|who| living.contains(who)));
        ensure!(torn.is_none(), "a connection is broken though its backend lives: {torn:?} of {living:?}");
    }
    Ok(live.len())
}

#[test]
#[ignore = "needs a cluster"]
fn connections_outlive_an_update_as_long_as_their_backends_and_new_ones_are_led_on() -> Result<()> {
    let _guard = cluster::shared();
    let scene = Scene::build("rolling", &[pod("client", 0), pod(STEADY, 1).label("app", "web")])?;
    let vips = sockets(&scene.service("web", Some("web"), &json!({}))?, FRONT);
    deployment(&scene, "one")?;
    scene.policy("client", &egress_of("client", &json!([{"to": app("web"), "ports": ports(ALLOWED)}])))?;
    let tcp: Vec<_> = vips.iter().map(|to| (Protocol::Tcp, *to)).collect();
    let prober = scene.pod("client")?.prober.clone();
    let held = held_to_all(&scene, &vips)?;
    let to_steady = held.iter().filter(|one| one.who.as_deref() == Some(STEADY)).count();

    // New connections all the time while one version takes the other's place.
    let (updated, outcomes) = thread::scope(|scope| -> Result<_> {
        let update = scope.spawn(|| deployment(&scene, "two"));
        let mut outcomes = Vec::new();
        while !update.is_finished() {
            let probes: Vec<Probe> =
                vips.iter().map(|to| Probe { times: 5, ..Probe::new(Protocol::Tcp, *to, 8000) }).collect();
            outcomes.extend(prober.probe(&probes)?);
            carried(&scene)?;
        }
        Ok((update.join().ok().context("the update panicked")?, outcomes))
    })?;
    updated?;
    let missed: Vec<_> = outcomes.iter().filter(|one| !one.all_reached()).collect();
    ensure!(!outcomes.is_empty() && missed.is_empty(), "{missed:?} of {}", outcomes.len());
    answers(&scene, "two", &vips)?;
    wait_for("the old version has ended", PATIENCE, || {
        scene.kubectl(&["get", "pods", "-l", "version=one", "-o", "name"]).ok().filter(String::is_empty)
    })?;
    let survived = carried(&scene)?;
    ensure!(survived == to_steady, "{survived} connections live, of {to_steady} to the backend that stays");
    prober.release()?;

    // The control: a policy without a place for the new version stops the same.
    scene.policy("client", &to_version("one"))?;
    scene.is_dropped("client", &tcp)
}

#[test]
#[ignore = "needs a cluster"]
fn a_new_version_that_is_not_allowed_hears_nothing_while_it_takes_the_olds_place() -> Result<()> {
    let _guard = cluster::shared();
    let scene = Scene::build("versions", &[pod("client", 0)])?;
    let vips = sockets(&scene.service("web", Some("web"), &json!({}))?, FRONT);
    deployment(&scene, "one")?;
    scene.policy("client", &to_version("one"))?;
    let tcp: Vec<_> = vips.iter().map(|to| (Protocol::Tcp, *to)).collect();
    answers(&scene, "one", &vips)?;
    let client = scene.pod("client")?.clone();
    let reached = thread::scope(|scope| -> Result<Vec<String>> {
        let update = scope.spawn(|| deployment(&scene, "two"));
        let mut reached = Vec::new();
        while !update.is_finished() {
            let probes: Vec<Probe> =
                vips.iter().map(|to| Probe { times: 3, ..Probe::new(Protocol::Tcp, *to, 300) }).collect();
            reached.extend(client.prober.probe(&probes)?.into_iter().flat_map(|one| one.reached.into_keys()));
        }
        update.join().ok().context("the update panicked")??;
        Ok(reached)
    })?;
    ensure!(reached.iter().all(|who| is_of(who, "one")), "{reached:?}");
    scene.is_dropped("client", &tcp)?;
    let wide = r#"jsonpath={range .items[*]}{.spec.nodeName} {.status.podIP}{"\n"}{end}"#;
    for line in scene.kubectl(&["get", "pods", "-l", "version=two", "-o", wide])?.lines() {
        let (node, address) = line.split_once(' ').context("a pod without a node")?;
        let heard = Prober::at(scene.cluster.node(node)?, address.parse()?).heard(false)?;
        let from_client = |source: &IpAddr| client.addresses.contains(source);
        ensure!(!heard.iter().any(|one| from_client(&one.source)), "{address} heard {heard:?}");
    }
    // The control: allowed, it answers.
    scene.policy("client", &to_version("two"))?;
    answers(&scene, "two", &vips)
}
