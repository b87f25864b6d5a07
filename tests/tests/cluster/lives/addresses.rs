//! An address that is given again: who has it now is judged, not who had it.

use anyhow::{Result, ensure};
use netpol_tests::cluster;
use serde_json::json;

use super::runtime::{container, give_next, send};
use super::sender::{job, sender, sends_as_allowed, sent, was_not_heard};
use crate::scene::{ALLOWED, OTHER, PATIENCE, Running, Scene, Shape, app, ingress_of, pod, ports};

/// Which servers are called: one beside the callers, one on another node.
const SERVERS: [&str; 2] = ["near", "far"];

/// What becomes of the pod that has the address first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is deleted.
    Deleted,
    /// It ends by itself, and its object stays, with its address: by which signal to its first process, in which phase.
    Finished { signal: &'static str, phase: &'static str },
}

/// How a pod is made that calls.
type Make = fn(&'static str, usize, &[&Running]) -> Shape;

fn let_in(scene: &Scene, who: &str) -> Result<()> {
    for server in SERVERS {
        let rule = json!([{"from": app(who), "ports": ports(ALLOWED)}]);
        scene.policy(server, &ingress_of(server, &rule))?;
    }
    Ok(())
}

fn an_address_is_given_again(name: &str, end: End) -> Result<()> {
    let _guard = cluster::exclusive();
    let mut scene = Scene::build(name, &[pod(SERVERS[0], 0), pod(SERVERS[1], 1)])?;
    let_in(&scene, "guest")?;
    let caller = |scene: &Scene, name: &'static str, make: Make| -> Result<Shape> {
        Ok(make(name, 0, &[scene.pod(SERVERS[0])?, scene.pod(SERVERS[1])?]))
    };
    let guest = caller(&scene, "guest", if end == End::Deleted { sender } else { job })?;
    scene.add(&[guest])?;
    sends_as_allowed(&scene, "guest", &SERVERS)?;
    let had = scene.pod("guest")?.clone();
    match end {
        End::Deleted => drop(scene.kubectl(&["delete", "pod", "guest"])?),
        End::Finished { signal, phase } => {
            send(&had.node, &container(&scene, "guest")?, signal)?;
            let timeout = format!("--timeout={}s", PATIENCE.as_secs());
            let ended = format!("--for=jsonpath={{.status.phase}}={phase}");
            scene.kubectl(&["wait", &ended, &timeout, "pod/guest"])?;
            let still = scene.addresses("pod/guest", "{.status.podIPs[*].ip}")?;
            ensure!(still == had.addresses, "its object names {still:?} and not {:?}", had.addresses);
        }
    }
    scene.agents.settled()?;
    ensure!(scene.endpoints(&had.node, "guest")?.is_empty(), "{:?}", scene.endpoints(&had.node, "guest")?);
    for server in SERVERS {
        scene.pod(server)?.prober.heard(true)?;
    }

    give_next(&had.node, &had.addresses)?;
    let stranger = caller(&scene, "stranger", sender)?;
    scene.add(&[stranger])?;
    let has = &scene.pod("stranger")?.addresses;
    ensure!(*has == had.addresses, "the stranger has {has:?} and not {:?}", had.addresses);
    for place in sent(&scene, "stranger")? {
        ensure!(place.answered == 0, "an answer came to whom nobody lets in: {place:?}");
    }
    for server in SERVERS {
        was_not_heard(&scene, "stranger", server, &[ALLOWED, OTHER])?;
    }
    // The control: let in, it is heard, though it has sent in vain before.
    let_in(&scene, "stranger")?;
    sends_as_allowed(&scene, "stranger", &SERVERS)
}

#[test]
#[ignore = "needs a cluster"]
fn the_address_of_a_pod_that_was_deleted_is_nothing_to_who_gets_it_next() -> Result<()> {
    an_address_is_given_again("deleted", End::Deleted)
}

#[test]
#[ignore = "needs a cluster"]
fn the_address_of_a_pod_that_has_failed_is_nothing_to_who_gets_it_next() -> Result<()> {
    an_address_is_given_again("failed", End::Finished { signal: "SIGKILL", phase: "Failed" })
}

#[test]
#[ignore = "needs a cluster"]
fn the_address_of_a_pod_that_has_done_its_work_is_nothing_to_who_gets_it_next() -> Result<()> {
    an_address_is_given_again("succeeded", End::Finished { signal: "SIGTERM", phase: "Succeeded" })
}
