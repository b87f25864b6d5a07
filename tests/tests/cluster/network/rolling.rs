//! A rolling update under open connections: what is allowed goes on, and no backend hears what it must not.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_prober::{Probe, Protocol};
use netpol_tests::cluster::{self, Prober};
use serde_json::{Value, json};

use crate::scene::{ALLOWED, FRONT, Scene, egress_of, pod, ports, sockets};

/// Lines over a connection, one after the other.
const EVERY: Duration = Duration::from_millis(100);
/// Between two lines on a machine that is busy.
const SILENT: u64 = 5000;

/// Two replicas that serve on for a while when they are told to end.
fn deployment(scene: &Scene, version: &str) -> Result<()> {
    let labels = json!({"app": "web", "version": version});
    let ports = ALLOWED.to_string();
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
                        "command": ["/prober", "serve", "--name", version, "--tcp", ports, "--udp", ports],
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

#[test]
#[ignore = "needs a cluster"]
fn connections_outlive_an_update_as_long_as_their_backends_and_new_ones_are_led_on() -> Result<()> {
    let _guard = cluster::shared();
    let scene = Scene::build("rolling", &[pod("client", 0)])?;
    let vips = sockets(&scene.service("web", Some("web"), &json!({}))?, FRONT);
    deployment(&scene, "one")?;
    let peer = json!([{"podSelector": {"matchLabels": {"app": "web"}}}]);
    scene.policy("client", &egress_of("client", &json!([{"to": peer, "ports": ports(ALLOWED)}])))?;
    let tcp: Vec<_> = vips.iter().map(|to| (Protocol::Tcp, *to)).collect();
    scene.reaches("client", "one", &tcp)?;
    let prober = scene.pod("client")?.prober.clone();
    let held = prober.hold(&vips.repeat(3), EVERY)?;
    ensure!(held.len() == vips.len() * 3, "{held:?}");

    // New connections all the time while one version takes the other's place.
    let (updated, outcomes) = thread::scope(|scope| -> Result<_> {
        let update = scope.spawn(|| deployment(&scene, "two"));
        let mut outcomes = Vec::new();
        while !update.is_finished() {
            let probes: Vec<Probe> =
                vips.iter().map(|to| Probe { times: 5, ..Probe::new(Protocol::Tcp, *to, 8000) }).collect();
            outcomes.extend(prober.probe(&probes)?);
            // One that breaks was its backend's end; one that is silent was dropped.
            let silent =
                prober.holding()?.into_iter().find(|one| one.broken.is_none() && one.silent > SILENT);
            ensure!(silent.is_none(), "a connection is silent: {silent:?}");
        }
        Ok((update.join().ok().context("the update panicked")?, outcomes))
    })?;
    updated?;
    let missed: Vec<_> = outcomes.iter().filter(|one| !one.all_reached()).collect();
    ensure!(!outcomes.is_empty() && missed.is_empty(), "{missed:?} of {}", outcomes.len());
    scene.reaches("client", "two", &tcp)?;
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
    scene.reaches("client", "one", &tcp)?;
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
    ensure!(reached.iter().all(|who| who == "one"), "{reached:?}");
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
    scene.reaches("client", "two", &tcp)
}
