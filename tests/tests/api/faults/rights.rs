//! The API server refuses: rights are taken away and given back, of everything or of one kind.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netpol_tests::deadline::wait_for;
use netpol_tests::eventually;
use serde_json::{Value, json};

use super::scene::{CONVERGED, Scene};

/// The ClusterRole and its binding, as `deploy/rbac.yaml` names them.
const ROLE: &str = "netpol-agent";
/// How long nothing may happen.
const AWAY: Duration = Duration::from_secs(8);

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn an_agent_without_rights_keeps_the_last_state_until_it_has_them_again() -> Result<()> {
    let mut scene = Scene::start()?;
    let load = scene.load()?;
    let binding = scene.plane.kubectl(&["get", "clusterrolebinding", ROLE, "-o", "json"])?;
    scene.plane.kubectl(&["delete", "clusterrolebinding", ROLE])?;
    // A watch that runs goes on: rights are looked at when it begins.
    scene.relay.cut_all();
    eventually("the agent is refused", Duration::from_secs(20), &true, || {
        scene.lab.agent().is_ok_and(|agent| agent.log().contains("403"))
    })
    .context(scene.lab.agent()?.log())?;
    scene.change()?;
    sleep(AWAY);
    scene.expect_before()?;
    scene.plane.apply(&without_version(&binding)?)?;
    scene.converges(Instant::now())?;
    scene.ended(load)
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn nothing_is_written_before_every_kind_is_listed() -> Result<()> {
    let mut scene = Scene::without_agent(&[])?;
    let whole: Value =
        serde_json::from_str(&scene.plane.kubectl(&["get", "clusterrole", ROLE, "-o", "json"])?)?;
    let kinds = ["pods", "namespaces", "networkpolicies", "services", "endpointslices", "nodes"];
    for kind in kinds {
        scene.plane.apply(&without(&whole, kind)?)?;
        scene.lab.launch_agent()?;
        eventually("the agent is refused", Duration::from_secs(20), &true, || {
            scene.lab.agent().is_ok_and(|agent| agent.log().contains("403"))
        })
        .with_context(|| format!("without {kind}"))?;
        // The others are listed by then: it takes well under a second when all may be.
        sleep(Duration::from_secs(3));
        let status = scene.status()?;
        ensure!(status["ready"] == false, "without {kind}: {status}");
        ensure!(status["revision"] == 0, "something was written without {kind}: {status}");
        scene.expect_everything_open().with_context(|| format!("without {kind}"))?;

        scene.plane.apply(&without_version(&whole.to_string())?)?;
        let given = Instant::now();
        wait_for("the agent is ready once it may list everything", CONVERGED, || {
            scene.status().ok().filter(|status| status["ready"] == true)
        })
        .with_context(|| format!("{kind}, {:?} after the right was given", given.elapsed()))?;
        scene.expect_before().context("the control: then it is written")?;
        scene.lab.uninstall_agent()?;
        std::fs::remove_file(scene.lab.folder().join("agent.log")).context("cannot remove a log")?;
    }
    Ok(())
}

/// An object as `kubectl apply` takes it again.
fn without_version(object: &str) -> Result<String> {
    let mut object: Value = serde_json::from_str(object).context("kubectl wrote no JSON")?;
    let metadata = object["metadata"].as_object_mut().context("an object without metadata")?;
    for field in ["resourceVersion", "uid", "creationTimestamp", "managedFields"] {
        metadata.remove(field);
    }
    Ok(object.to_string())
}

/// The role without one kind of objects.
fn without(role: &Value, kind: &str) -> Result<String> {
    let mut role: Value = serde_json::from_str(&without_version(&role.to_string())?)?;
    for rule in role["rules"].as_array_mut().context("a role without rules")? {
        let resources = rule["resources"].as_array_mut().context("a rule without resources")?;
        resources.retain(|resource| resource != kind);
        if resources.is_empty() {
            resources.push(json!("nothing"));
        }
    }
    Ok(role.to_string())
}
