//! The API server answers half, or says that it does not remember: 410 Gone.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netpol_tests::deadline::wait_for;
use netpol_tests::etcd::Etcd;
use netpol_tests::{eventually, figure};
use serde_json::{Value, json};

use super::scene::Scene;

/// Pods elsewhere, so that a list does not come in one piece.
pub(super) const PODS: u32 = 2000;
/// How long a busy machine may take to hear of them.
const LISTED: Duration = Duration::from_secs(30);
/// Bytes after which a connection is cut: past the handshake, and in the middle of the pods, compressed or not.
const HALF: u64 = 40_000;

/// Pods of another node, in front of ours in the alphabet and behind them.
fn pods() -> impl Iterator<Item = Value> {
    (0..PODS).map(|number| {
        let namespace = if number.is_multiple_of(2) { "aaa" } else { "zzz" };
        let [high, low] = [number / 250, number % 250];
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": namespace,
                "name": format!("pod-{number}"),
                "uid": format!("00000000-0000-4000-9000-{number:012x}"),
                "labels": {"app": format!("app-{number}")},
            },
            "spec": {"nodeName": "node-2", "containers": [{"name": "main", "image": "none"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": format!("10.245.{high}.{low}")}]},
        })
    })
}

pub(super) fn with_many_pods(scene: &Scene) -> Result<()> {
    Etcd::new(scene.plane.network()).put(pods())
}

pub(super) fn pods_known(status: &Value) -> u64 {
    status["objects"]["Pod"].as_u64().unwrap_or_default()
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn of_half_a_list_nothing_is_written_and_nothing_is_taken_for_deleted() -> Result<()> {
    let mut scene = Scene::start()?;
    with_many_pods(&scene)?;
    let all = u64::from(PODS) + 5;
    eventually("every pod is known", LISTED, &all, || {
        scene.status().map(|status| pods_known(&status)).unwrap_or_default()
    })?;
    let load = scene.load()?;
    scene.relay.cut_after(Some(HALF));
    // From its versions on it would only be told what is new: half a list is what one gets who begins anew.
    scene.lab.kill_agent();
    scene.change()?;
    scene.lab.launch_agent()?;
    let cuts = wait_for("some lists were cut", Duration::from_secs(30), || {
        Some(scene.relay.cut()).filter(|cut| *cut >= 4)
    })?;
    figure(format_args!("{cuts} connections were cut in the middle of a list"));
    let status = scene.status()?;
    ensure!(status["ready"] == false && status["revision"] == 0, "half a list is none: {status}");
    scene.expect_before()?;
    scene.relay.cut_after(None);
    scene.converges(Instant::now())?;
    ensure!(pods_known(&scene.status()?) == all, "all were listed: {}", scene.status()?["objects"]);
    scene.ended(load)
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn a_running_agent_survives_lists_that_break() -> Result<()> {
    let mut scene = Scene::start()?;
    with_many_pods(&scene)?;
    let all = u64::from(PODS) + 5;
    eventually("every pod is known", LISTED, &all, || {
        scene.status().map(|status| pods_known(&status)).unwrap_or_default()
    })?;
    let load = scene.load()?;
    forget(&mut scene, |scene| {
        scene.relay.cut_after(Some(HALF));
        scene.relay.cut_all();
    })?;
    let before = scene.relay.cut();
    wait_for("some lists were cut", Duration::from_secs(30), || {
        (scene.relay.cut() >= before + 4).then_some(())
    })?;
    let status = scene.status()?;
    ensure!(pods_known(&status) == all, "none is taken for deleted: {}", status["objects"]);
    let unchanged = scene.lab.agent()?.log();
    ensure!(!unchanged.contains("panicked"), "{unchanged}");
    scene.relay.cut_after(None);
    scene.converges(Instant::now())?;
    scene.ended(load)
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn after_410_gone_everything_is_listed_anew() -> Result<()> {
    let mut scene = Scene::start()?;
    let load = scene.load()?;
    let version = list_version(&scene)?;
    scene.cut_off("drop")?;
    forget(&mut scene, |_| ())?;
    let watch = scene.plane.kubectl(&[
        "get",
        "--raw",
        &format!("/api/v1/pods?watch=1&timeoutSeconds=2&resourceVersion={version}"),
    ])?;
    ensure!(watch.contains("\"code\":410"), "the server must not remember version {version}: {watch}");
    scene.expect_before()?;
    let returned = Instant::now();
    scene.reconnect()?;
    scene.converges(returned)?;
    scene.ended(load)
}

fn list_version(scene: &Scene) -> Result<String> {
    let list = scene.plane.kubectl(&["get", "--raw", "/api/v1/pods?limit=1"])?;
    let list: Value = serde_json::from_str(&list).context("kubectl wrote no JSON")?;
    Ok(list["metadata"]["resourceVersion"].as_str().context("a list without version")?.to_owned())
}

/// Changes, and lets etcd and the API server forget how it was before.
fn forget(scene: &mut Scene, meanwhile: impl FnOnce(&Scene)) -> Result<()> {
    scene.plane.api_server.kill();
    scene.change()?;
    sleep(Duration::from_secs(1));
    scene.plane.compact()?;
    meanwhile(scene);
    scene.plane.api_server.start()?;
    scene.plane.wait_until_ready()
}
