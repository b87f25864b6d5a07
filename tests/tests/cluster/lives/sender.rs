//! A pod that sends from its first instruction on, to where it may and to where it may not.

use anyhow::{Result, bail, ensure};
use netpol_prober::{Protocol, Sent};
use netpol_tests::deadline::wait_for;
use serde_json::json;

use crate::scene::{ALLOWED, OTHER, PATIENCE, Running, Scene, Shape, both, pod};

/// Between two packets to a place, in milliseconds: many pods send at once.
const EVERY: &str = "20";
/// So many packets to each place are enough to see whether one arrives.
const ENOUGH: u64 = 30;

/// A pod that sends to both ports of these with TCP and UDP, and serves as all do.
pub(super) fn sender(name: &'static str, node: usize, to: &[&Running]) -> Shape {
    pod(name, node).container(json!({"command": sends(name, to)}))
}

/// The same, of a container that ends when it is told to, as a job that is done: with success.
pub(super) fn job(name: &'static str, node: usize, to: &[&Running]) -> Shape {
    let script = "trap 'exit 0' TERM; \"$@\" & wait";
    let mut command = ["/bin/busybox", "sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    command.extend(sends(name, to));
    pod(name, node).container(json!({"command": command})).spec(json!({"restartPolicy": "Never"}))
}

/// What is run in it.
fn sends(name: &str, to: &[&Running]) -> Vec<String> {
    let ports = format!("{ALLOWED},{OTHER}");
    let mut command: Vec<String> =
        ["/prober", "send", "--name", name, "--tcp", &ports, "--udp", &ports, "--every", EVERY]
            .map(str::to_owned)
            .into();
    let places = to.iter().flat_map(|to| [to.sockets(ALLOWED), to.sockets(OTHER)].concat());
    for (protocol, to) in both(&places.collect::<Vec<_>>()) {
        command.push(format!("{protocol}/{to}"));
    }
    command
}

/// What a sender has sent by now, once that is enough to judge by.
pub(super) fn sent(scene: &Scene, name: &str) -> Result<Vec<Sent>> {
    let prober = &scene.pod(name)?.prober;
    wait_for(&format!("{name} has sent enough"), PATIENCE, || {
        let sent = prober.sent().ok()?;
        sent.iter().all(|place| place.sent >= ENOUGH).then_some(sent)
    })
}

/// The sender is answered at the first port and has never reached the second one.
pub(super) fn sends_as_allowed(scene: &Scene, name: &str, to: &[&str]) -> Result<()> {
    let prober = &scene.pod(name)?.prober;
    wait_for(&format!("{name} is answered at every port that is allowed"), PATIENCE, || {
        let sent = prober.sent().ok()?;
        let mut allowed = sent.iter().filter(|place| place.to.port() == ALLOWED);
        allowed.all(|place| place.answered > 0).then_some(())
    })?;
    for place in sent(scene, name)? {
        ensure!(place.to.port() != OTHER || place.answered == 0, "an answer came to {name}: {place:?}");
    }
    to.iter().try_for_each(|server| was_not_heard(scene, name, server, &[OTHER]))
}

/// Nothing of the sender has come to these ports of a server since that was told to forget.
pub(super) fn was_not_heard(scene: &Scene, name: &str, server: &str, ports: &[u16]) -> Result<()> {
    let addresses = &scene.pod(name)?.addresses;
    let heard = scene.pod(server)?.prober.heard(false)?;
    let of_it = heard.iter().find(|one| ports.contains(&one.port) && addresses.contains(&one.source));
    if let Some(one) = of_it {
        bail!("{server} has heard of {name} what no policy allows: {one:?}");
    }
    Ok(())
}

/// The control: the sender reaches both ports, with both protocols.
pub(super) fn sends_everything(scene: &Scene, name: &str) -> Result<()> {
    let prober = &scene.pod(name)?.prober;
    let mut last = Vec::new();
    let arrived = wait_for(&format!("{name} is answered everywhere"), PATIENCE, || {
        last = prober.sent().ok()?;
        let protocols = [Protocol::Tcp, Protocol::Udp];
        let all = protocols.iter().all(|protocol| last.iter().any(|place| place.protocol == *protocol));
        (all && last.iter().all(|place| place.answered > 0)).then_some(())
    });
    if arrived.is_err() {
        bail!("{name} is not answered everywhere: {last:?}");
    }
    Ok(())
}
