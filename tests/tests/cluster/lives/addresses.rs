//! An address that is given again: who has it now is judged, not who had it.

use anyhow::{Result, ensure};
use netpol_tests::cluster;
use serde_json::json;

use super::runtime::give_next;
use super::sender::{sender, sends_as_allowed, sent, was_not_heard};
use crate::scene::{ALLOWED, OTHER, PATIENCE, Scene, Shape, app, ingress_of, pod, ports};

/// Which servers are called: one beside the callers, one on another node.
const SERVERS: [&str; 2] = ["near", "far"];

/// What becomes of the pod that has the address first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is deleted.
    Deleted,
    /// It ends by itself, and its object stays, with its address.
    Finished,
}

fn caller(scene: &Scene, name: &'static str) -> Result<Shape> {
    Ok(sender(name, 0, &[scene.pod(SERVERS[0])?, scene.pod(SERVERS[1])?]))
}

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
    let guest = match end {
        End::Deleted => caller(&scene, "guest")?,
        // It ends when its first process does, which is told to be no sender for ever.
        End::Finished => caller(&scene, "guest")?.spec(json!({"restartPolicy": "Never"})),
    };
    scene.add(&[guest])?;
    sends_as_allowed(&scene, "guest", &SERVERS)?;
    let had = scene.pod("guest")?.clone();
    match end {
        End::Deleted => drop(scene.kubectl(&["delete", "pod", "guest"])?),
        End::Finished => {
            super::runtime::kill(&had.node, &super::runtime::container(&scene, "guest")?)?;
            let timeout = format!("--timeout={}s", PATIENCE.as_secs());
            let ended = "--for=jsonpath={.status.phase}=Failed";
            scene.kubectl(&["wait", ended, &timeout, "pod/guest"])?;
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
    let stranger = caller(&scene, "stranger")?;
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
fn the_address_of_a_pod_that_has_ended_is_nothing_to_who_gets_it_next() -> Result<()> {
    an_address_is_given_again("finished", End::Finished)
}
