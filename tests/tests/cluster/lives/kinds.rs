//! Pods that are not like others: of the kubelet's own folder, in the node's network, of other nodes, about to end.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster;
use netpol_tests::deadline::wait_for;
use serde_json::{Value, json};

use super::runtime::{container, kill};
use super::sender::{sender, sends_as_allowed, sends_everything};
use crate::scene::{ALLOWED, OTHER, PATIENCE, Scene, app, both, egress_of, ingress_of, pod, ports, tcp};

/// Where a prober in the node's network listens: other programs of the node have the usual ports.
const ON_NODE: u16 = 18080;
/// How long a pod takes to end, in seconds: longer than the questions take.
const GRACE: u64 = 60;
/// How long a packet is waited for that must not arrive.
const DROPPED: Duration = Duration::from_secs(2);

/// A manifest in the kubelet's folder; it goes when this is dropped.
struct Manifest(PathBuf);

impl Drop for Manifest {
    fn drop(&mut self) {
        // The kubelet ends its pod.
        drop(fs::remove_file(&self.0));
    }
}

fn only(who: &str, peer: &str) -> Value {
    json!([{who: app(peer), "ports": ports(ALLOWED)}])
}

#[test]
#[ignore = "needs a cluster"]
fn a_static_pod_is_judged_by_its_mirrors_labels_from_its_first_packet() -> Result<()> {
    let _guard = cluster::shared();
    let mut scene = Scene::build("static", &[pod("server", 0), pod("client", 0), pod("stranger", 1)])?;
    scene.policy("egress", &egress_of("static", &only("to", "server")))?;
    scene.policy("ingress", &ingress_of("static", &only("from", "client")))?;
    scene.policy("server", &ingress_of("server", &only("from", "static")))?;
    // The kubelet adds its node's name.
    let node = scene.node(0).clone();
    let mirror = format!("static-{}", node.name());
    let mut object = scene.object(&sender("static", 0, &[scene.pod("server")?]));
    object["spec"].as_object_mut().context("a pod without a spec")?.remove("nodeName");
    let file = node.folder().join("manifests").join(format!("{}.json", scene.namespace));
    fs::write(&file, object.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
    let manifest = Manifest(file);
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    scene.kubectl(&["wait", "--for=create", &timeout, &format!("pod/{mirror}")])?;
    scene.meet(&mirror, &node)?;
    scene.agents.settled()?;
    let uid = scene.kubectl(&["get", "pod", &mirror, "-o", "jsonpath={.metadata.uid}"])?;
    let config = scene.kubectl(&[
        "get",
        "pod",
        &mirror,
        "-o",
        "jsonpath={.metadata.annotations.kubernetes\\.io/config\\.mirror}",
    ])?;
    ensure!(!config.is_empty() && config != uid, "{mirror} is no mirror: {uid} of {config:?}");

    let asked = scene.pod(&mirror)?.clone();
    sends_as_allowed(&scene, &mirror, &["server"])?;
    scene.reaches("client", "static", &both(&asked.sockets(ALLOWED)))?;
    scene.is_dropped("client", &both(&asked.sockets(OTHER)))?;
    scene.is_dropped("stranger", &both(&asked.sockets(ALLOWED)))?;
    // The controls.
    for policy in ["egress", "ingress", "server"] {
        scene.no_policy(policy)?;
    }
    sends_everything(&scene, &mirror)?;
    scene.reaches("stranger", "static", &both(&asked.sockets(ALLOWED)))?;

    drop(manifest);
    wait_for("the pod is gone with its manifest", PATIENCE, || {
        let lines = scene.endpoints(&node, &mirror).ok()?;
        lines.is_empty().then_some(())
    })
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_in_the_nodes_network_is_never_hooked_and_never_isolated_and_no_peer() -> Result<()> {
    let _guard = cluster::shared();
    let twin = pod("twin", 0).label("twin", "yes");
    let mut scene = Scene::build("host", &[twin, pod("client", 0), pod("far", 1)])?;
    let port = ON_NODE.to_string();
    let command =
        ["/prober", "serve", "--name", "host", "--tcp", &port, "--udp", &port, "--control", "19999"];
    let host = pod("host", 0)
        .label("twin", "yes")
        .container(json!({"command": command}))
        .spec(json!({"hostNetwork": true}));
    let far = scene.pod("far")?.clone();
    scene.add(&[host])?;
    let host = scene.pod("host")?.clone();
    // A node answers datagrams by the address that is nearest to who asks.
    let at_host = tcp(&host.sockets(ON_NODE));
    scene.reaches("client", "host", &at_host)?;
    scene.reaches("client", "twin", &both(&scene.pod("twin")?.sockets(ALLOWED)))?;
    // One policy for both: the one with a network of its own is isolated, the other one is not.
    let both_isolated = json!({
        "podSelector": {"matchLabels": {"twin": "yes"}},
        "policyTypes": ["Ingress", "Egress"],
    });
    scene.policy("both", &both_isolated)?;
    scene.is_dropped("client", &both(&scene.pod("twin")?.sockets(ALLOWED)))?;
    scene.is_dropped("twin", &both(&far.sockets(ALLOWED)))?;
    scene.reaches("client", "host", &at_host)?;
    let place = far.sockets(ALLOWED)[0];
    let from_host = || scene.node(0).run(|| TcpStream::connect_timeout(&place, DROPPED));
    from_host()?.context("a pod in the node's network sends as its node does")?;
    let status = scene.agents.status(scene.node(0))?;
    let key = format!("{}/host", scene.namespace);
    for list in ["endpoints", "unenforced", "refused"] {
        let mut lines = status[list].as_array().into_iter().flatten();
        ensure!(!lines.any(|line| line["pod"] == *key), "{key} is in {list}: {}", status[list]);
    }
    // Rules that name its labels mean only pods with a network of their own.
    let yes = json!([{"podSelector": {"matchLabels": {"twin": "yes"}}}]);
    scene.policy("far", &ingress_of("far", &json!([{"from": yes}])))?;
    scene.no_policy("both")?;
    scene.reaches("twin", "far", &both(&far.sockets(ALLOWED)))?;
    let heard = from_host()?;
    ensure!(heard.is_err(), "the node of a pod that is named was let in for it");
    Ok(())
}

#[test]
#[ignore = "needs a cluster"]
fn pods_of_other_nodes_are_peers_and_no_endpoints() -> Result<()> {
    let _guard = cluster::shared();
    let scene = Scene::build("peers", &[pod("server", 0), pod("friend", 1), pod("stranger", 1)])?;
    let server = scene.pod("server")?.clone();
    scene.policy("server", &ingress_of("server", &only("from", "friend")))?;
    scene.reaches("friend", "server", &both(&server.sockets(ALLOWED)))?;
    scene.is_dropped("stranger", &both(&server.sockets(ALLOWED)))?;
    for (node, own) in [(0, vec!["server"]), (1, vec!["friend", "stranger"])] {
        for name in ["server", "friend", "stranger"] {
            let lines = scene.endpoints(scene.node(node), name)?;
            let count = usize::from(own.contains(&name));
            ensure!(lines.len() == count, "{name} has {lines:?} on {}", scene.node(node).name());
        }
    }
    let lines = scene.agents.status(scene.node(1))?["policies"].to_string();
    ensure!(lines.contains(&format!("{}/server", scene.namespace)), "{lines}");
    scene.no_policy("server")?;
    scene.reaches("stranger", "server", &both(&server.sockets(ALLOWED)))
}

#[test]
#[ignore = "needs a cluster"]
fn a_pod_that_is_about_to_end_is_judged_until_it_has() -> Result<()> {
    let _guard = cluster::shared();
    let hook = json!({"lifecycle": {"preStop": {"exec": {"command": ["/bin/busybox", "sleep", GRACE.to_string()]}}}});
    let dying = pod("dying", 0).container(hook).spec(json!({"terminationGracePeriodSeconds": GRACE}));
    let scene = Scene::build("ending", &[dying, pod("client", 0), pod("stranger", 1)])?;
    let asked = scene.pod("dying")?.clone();
    scene.reaches("stranger", "dying", &both(&asked.sockets(ALLOWED)))?;
    scene.policy("ingress", &ingress_of("dying", &only("from", "client")))?;
    let stranger = scene.pod("stranger")?.clone();
    scene.policy("stranger", &ingress_of("stranger", &only("from", "dying")))?;
    let container = container(&scene, "dying")?;
    scene.kubectl(&["delete", "pod", "dying", "--wait=false"])?;
    scene.agents.settled()?;
    let going = "jsonpath={.metadata.deletionTimestamp}";
    scene.reaches("client", "dying", &both(&asked.sockets(ALLOWED)))?;
    scene.is_dropped("stranger", &both(&asked.sockets(ALLOWED)))?;
    // It is still the peer that others name.
    scene.reaches("dying", "stranger", &both(&stranger.sockets(ALLOWED)))?;
    let since = scene.kubectl(&["get", "pod", "dying", "-o", going])?;
    ensure!(!since.is_empty(), "the pod is not about to end");
    kill(&asked.node, &container)?;
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    scene.kubectl(&["wait", "--for=delete", "pod/dying", &timeout])?;
    wait_for("its interface is gone", PATIENCE, || {
        scene.endpoints(&asked.node, "dying").ok()?.is_empty().then_some(())
    })?;
    // The control of what was allowed to it alone.
    let to = both(&stranger.sockets(ALLOWED));
    scene.is_dropped("client", &to)?;
    scene.no_policy("stranger")?;
    scene.reaches("client", "stranger", &to)
}
