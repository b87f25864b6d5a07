//! The API server is away: it stands still, is killed, cannot be reached; and so is the agent meanwhile.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netpol_tests::deadline::wait_for;
use netpol_tests::laboratory::{agent_binary, other_agent_binary};
use netpol_tests::probe::{expect_dropped, expect_reached};
use netpol_tests::steady::{CONNECTIONS, Carried};
use netpol_tests::{eventually, figure};

use super::scene::{CONVERGED, Scene};

/// How long it is away. After so much silence TCP's next try of its own is far beyond the 5 s that are allowed: who
/// only waits for it comes too late.
const AWAY: Duration = Duration::from_secs(15);
/// The same in a long run.
const LONG: Duration = Duration::from_mins(10);

/// A neighbour that was asked for in vain is asked for anew only after some seconds.
const REACHED: Duration = Duration::from_secs(10);

/// How long a connection may be silent that is neither closed nor lost.
const STALL: Duration = Duration::from_secs(150);

fn away() -> Duration {
    if std::env::var_os("NETPOL_LONG").is_some() { LONG } else { AWAY }
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn a_server_that_stands_still_changes_nothing_until_it_goes_on() -> Result<()> {
    let mut scene = Scene::start()?;
    let load = scene.load()?;
    scene.plane.api_server.stop()?;
    scene.change()?;
    sleep(away());
    scene.expect_before()?;
    let returned = Instant::now();
    scene.plane.api_server.resume()?;
    scene.converges(returned)?;
    scene.ended(load)
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn a_server_that_is_killed_and_comes_back_finds_everything_in_force() -> Result<()> {
    let mut scene = Scene::start()?;
    let load = scene.load()?;
    scene.plane.api_server.kill();
    scene.change()?;
    sleep(AWAY);
    scene.expect_before()?;
    let tries = scene.relay.taken();
    ensure!(tries > 2, "the agent tries again: {tries} connections");
    scene.plane.api_server.start()?;
    scene.plane.wait_until_ready()?;
    scene.converges(Instant::now())?;
    scene.ended(load)
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn a_server_whose_packets_are_dropped_is_asked_again_when_they_pass() -> Result<()> {
    cut_off("drop")
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn a_server_that_is_refused_is_asked_again_when_it_is_not() -> Result<()> {
    cut_off("reject with tcp reset")
}

fn cut_off(verdict: &str) -> Result<()> {
    let mut scene = Scene::start()?;
    let load = scene.load()?;
    scene.cut_off(verdict)?;
    scene.change()?;
    sleep(away());
    scene.expect_before()?;
    let returned = Instant::now();
    scene.reconnect()?;
    scene.converges(returned)?;
    scene.ended(load)
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn a_watch_that_stalls_alone_is_noticed() -> Result<()> {
    let mut scene = Scene::start()?;
    let load = scene.load()?;
    let before = scene.relay.taken();
    // Nothing is closed, no packet is lost, and new connections work: only these say nothing any more.
    scene.relay.hold_all();
    scene.change()?;
    scene.converges_within(Instant::now(), STALL)?;
    ensure!(scene.relay.taken() > before, "it could only hear of it over a new connection");
    scene.ended(load)
}

/// How long each agent runs that starts while the server is away: two minutes of them in a long run.
fn in_vain() -> Duration {
    if std::env::var_os("NETPOL_LONG").is_some() { Duration::from_secs(40) } else { Duration::from_secs(2) }
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn an_agent_that_starts_while_the_server_is_away_leaves_the_last_state_and_keeps_new_pods_closed()
-> Result<()> {
    restarted_while_away(agent_binary()?, "the API server away, the agent restarted")
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn an_agent_of_another_layout_that_starts_while_the_server_is_away_leaves_the_last_state() -> Result<()> {
    restarted_while_away(
        other_agent_binary()?,
        "the API server away, the agent upgraded across another layout",
    )
}

fn restarted_while_away(next: PathBuf, what: &str) -> Result<()> {
    let mut scene = Scene::start()?;
    let load = scene.load()?;
    let mut steady = scene.steady()?;
    scene.lab.use_agent(next);
    scene.plane.api_server.stop()?;
    scene.change()?;
    let mut newcomer = None;
    for _ in 0..3 {
        scene.lab.kill_agent();
        scene.lab.launch_agent()?;
        let status = wait_for("the agent answers", Duration::from_secs(10), || scene.status().ok())?;
        ensure!(status["ready"] == false, "it has heard nothing: {status}");
        sleep(in_vain());
        steady.goes_on()?;
        let status = scene.status()?;
        ensure!(status["ready"] == false, "it has heard nothing: {status}");
        ensure!(status["revision"] == 0, "it has nothing to write: {status}");
        if newcomer.is_none() {
            ensure!(scene.gates() == 0, "pods that were there before are not closed");
            newcomer = Some(scene.add_newcomer()?);
        }
        // Also by the agents that come after the one that has closed it.
        eventually("the new pod is closed", CONVERGED, &1, || scene.gates())
            .with_context(|| scene.lab.agent().map(|agent| agent.log()).unwrap_or_default())?;
    }
    let [may, may_not] = newcomer.context("no pod was added")?;
    expect_dropped(&[may.clone(), may_not.clone()].concat()).context("nobody knows what it may")?;
    scene.expect_before()?;
    let returned = Instant::now();
    scene.plane.api_server.resume()?;
    scene.converges(returned)?;
    eventually("the agent is ready", CONVERGED, &true, || {
        scene.status().is_ok_and(|status| status["ready"] == true)
    })?;
    // The control: the same, once it is known.
    wait_for("the new pod may send what it may", REACHED, || expect_reached(&may).ok())?;
    expect_dropped(&may_not)?;
    ensure!(scene.gates() == 0, "it is judged by its policies");
    steady.goes_on()?;
    let Carried { exchanges, probes } = steady.stop()?;
    figure(format_args!(
        "{what}: {CONNECTIONS} connections kept ({exchanges} numbers came back), {probes} probes denied"
    ));
    scene.ended(load)
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn tries_are_few_while_the_server_is_away() -> Result<()> {
    let scene = Scene::start()?;
    scene.plane.api_server.kill();
    let before = scene.relay.taken();
    sleep(Duration::from_secs(20));
    let tries = scene.relay.taken() - before;
    figure(format_args!("{tries} connections to an API server that is away were tried in 20 s"));
    // Six kinds are asked for; each of them at most once a second or so, and at least every five, or it would be late.
    ensure!((4..=150).contains(&tries), "{tries} tries in 20 s");
    scene.plane.api_server.start()?;
    scene.plane.wait_until_ready().context("the control: it comes back")
}
