//! A pod begins anew: its container, or its sandbox with it.

use std::time::Duration;

use anyhow::{Result, ensure};
use netpol_tests::cluster;
use netpol_tests::deadline::wait_for;
use serde_json::{Value, json};

use super::runtime::{container, kill, kill_shim, restarts, sandbox};
use super::sender::{sender, sends_as_allowed, sends_everything};
use crate::scene::{ALLOWED, OTHER, PATIENCE, Scene, app, both, pod, ports};

/// How often the container dies: before the third start the kubelet waits ten seconds, then ever longer.
const DEATHS: u32 = 2;
/// The same in a long run.
const MANY_DEATHS: u32 = 4;
/// How long the kubelet waits at most before it starts it again after that many.
const BACK_OFF: Duration = Duration::from_secs(120);

/// A pod that may call the server and be called by the client, at one port each.
fn scene(name: &str) -> Result<Scene> {
    let mut scene = Scene::build(name, &[pod("server", 0), pod("client", 0), pod("stranger", 1)])?;
    let rule = |who: &str, peer: &str| json!([{who: app(peer), "ports": ports(ALLOWED)}]);
    scene.policy(
        "subject",
        &json!({
            "podSelector": {"matchLabels": {"app": "subject"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": rule("from", "client"),
            "egress": rule("to", "server"),
        }),
    )?;
    // It is known by its address to others as well.
    let peers =
        json!({"podSelector": {"matchLabels": {"app": "server"}}, "ingress": rule("from", "subject")});
    scene.policy("server", &peers)?;
    let shape = sender("subject", 0, &[scene.pod("server")?]);
    scene.add(&[shape])?;
    as_allowed(&scene)?;
    Ok(scene)
}

fn as_allowed(scene: &Scene) -> Result<()> {
    sends_as_allowed(scene, "subject", &["server"])?;
    let subject = scene.pod("subject")?;
    scene.reaches("client", "subject", &both(&subject.sockets(ALLOWED)))?;
    scene.is_dropped("client", &both(&subject.sockets(OTHER)))?;
    scene.is_dropped("stranger", &both(&subject.sockets(ALLOWED)))
}

/// The controls: without policies all that was dropped arrives.
fn as_open(scene: &Scene) -> Result<()> {
    for policy in ["subject", "server"] {
        scene.no_policy(policy)?;
    }
    let subject = scene.pod("subject")?;
    sends_everything(scene, "subject")?;
    scene.reaches("client", "subject", &both(&subject.sockets(OTHER)))?;
    scene.reaches("stranger", "subject", &both(&subject.sockets(ALLOWED)))
}

/// What of an interface stays as long as its sandbox.
fn identity(scene: &Scene) -> Result<Value> {
    let lines = scene.endpoints(&scene.pod("subject")?.node, "subject")?;
    ensure!(lines.len() == 1, "one interface is the pod's: {lines:?}");
    let line = &lines[0];
    Ok(json!([line["interface"], line["slot"], line["addresses"]]))
}

#[test]
#[ignore = "needs a cluster"]
fn a_container_that_dies_again_and_again_starts_each_time_behind_the_same_policies() -> Result<()> {
    let _guard = cluster::shared();
    let scene = scene("restarts")?;
    let before = identity(&scene)?;
    let node = scene.pod("subject")?.node.clone();
    let deaths = if std::env::var_os("NETPOL_LONG").is_some() { MANY_DEATHS } else { DEATHS };
    for death in 1..=deaths {
        kill(&node, &container(&scene, "subject")?)?;
        wait_for(&format!("start {death} after a death"), BACK_OFF, || {
            // Nobody listens in between, and the sandbox would still say so to whoever is let in.
            let asked = scene.is_dropped("stranger", &both(&scene.pod("subject").ok()?.sockets(ALLOWED)));
            match asked {
                Err(error) => Some(Err(error)),
                Ok(()) => restarts(&scene, "subject").is_ok_and(|count| count >= death).then_some(Ok(())),
            }
        })??;
        as_allowed(&scene)?;
        ensure!(identity(&scene)? == before, "{} and not {before}", identity(&scene)?);
    }
    as_open(&scene)
}

/// The sandbox comes to its end by force, and the kubelet makes another one for the same pod.
fn made_anew(name: &str, end: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    let _guard = cluster::shared();
    let mut scene = scene(name)?;
    let (before, old) = (identity(&scene)?, scene.pod("subject")?.clone());
    end(&scene)?;
    wait_for("the pod has other addresses", PATIENCE, || {
        let now = scene.addresses("pod/subject", "{.status.podIPs[*].ip}").ok()?;
        (!now.is_empty() && now.iter().all(|address| !old.addresses.contains(address))).then_some(())
    })?;
    scene.meet("subject", &old.node)?;
    scene.agents.settled()?;
    as_allowed(&scene)?;
    let after = identity(&scene)?;
    ensure!(after[0] != before[0] && after[2] != before[2], "{after} is still {before}");
    as_open(&scene)
}

#[test]
#[ignore = "needs a cluster"]
fn a_sandbox_that_dies_is_made_anew_and_is_the_same_pods_behind_another_interface() -> Result<()> {
    made_anew("sandbox", |scene| kill(&scene.pod("subject")?.node, &sandbox(scene, "subject")?))
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_whose_shim_is_killed_is_judged_in_its_next_sandbox_as_before() -> Result<()> {
    made_anew("shim", |scene| kill_shim(&sandbox(scene, "subject")?))
}
