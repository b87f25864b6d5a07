//! An API server that streams no lists: they come by pages, of which it may have forgotten the next one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::plain::{PROTOBUF, Plain};
use netpol_tests::deadline::wait_for;

use super::lists::{PODS, pods_known, with_many_pods};
use super::scene::{CONVERGED, Scene};

/// As servers are that are older, or told so.
const UNSTREAMED: &str = "--feature-gates=WatchList=false";
/// A server that has the last versions in memory would not have to ask etcd for the next page.
const FORGETFUL: &str = "--watch-cache=false";
/// A page, as the agent asks for it.
const PAGE: u32 = 500;
/// How long a busy machine may take to get to the middle of a list.
const LISTING: Duration = Duration::from_secs(20);

/// How often the server has answered a question for a page of pods by this code.
fn answers(scene: &Scene, code: u16) -> Result<u64> {
    scene.plane.answers("LIST", "pods", code)
}

/// An agent whose list of pods stands still in its middle; and how many pods there are.
fn in_the_middle(flags: &[&str]) -> Result<(Scene, u64)> {
    let mut scene = Scene::without_agent(flags)?;
    with_many_pods(&scene)?;
    scene.expect_everything_open().context("without an agent everything arrives")?;
    // As the agent asks for it: in JSON a page is longer.
    let page = Plain::start(&scene.plane)?.get(&format!("/api/v1/pods?limit={PAGE}"), PROTOBUF)?;
    // After one page, and before the end of the second; what else is listed is far less than half of one.
    scene.relay.hold_after(Some(page.len() as u64 * 3 / 2));
    scene.lab.launch_agent()?;
    let all = u64::from(PODS) + 5;
    let known = wait_for("a list stands still in its middle", LISTING, || {
        let known = scene.status().map(|status| pods_known(&status)).unwrap_or_default();
        (scene.relay.is_full() && known > 0).then_some(known)
    })
    .with_context(|| scene.lab.agent().map(|agent| agent.log()).unwrap_or_default())?;
    ensure!(known < all, "the list of {known} pods was whole already");
    let status = scene.status()?;
    ensure!(status["ready"] == false && status["revision"] == 0, "half a list is none: {status}");
    scene.expect_everything_open().context("before the list is whole nothing is written")?;
    Ok((scene, all))
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn a_list_that_comes_by_pages_is_written_when_it_is_whole() -> Result<()> {
    let (mut scene, all) = in_the_middle(&[UNSTREAMED])?;
    let before = answers(&scene, 200)?;
    scene.relay.hold_after(None);
    wait_for("the agent is ready", CONVERGED, || {
        scene.status().ok().filter(|status| status["ready"] == true)
    })
    .with_context(|| scene.lab.agent().map(|agent| agent.log()).unwrap_or_default())?;
    scene.expect_before().context("the control: then it is enforced")?;
    let load = scene.load()?;
    let known = pods_known(&scene.status()?);
    ensure!(known == all, "{known} of {all} pods were listed");
    let pages = answers(&scene, 200)? - before;
    ensure!(pages >= u64::from(PODS / PAGE) - 1, "only {pages} further pages were asked for");
    // From the version of the list on it is followed.
    scene.change()?;
    scene.converges(Instant::now())?;
    scene.ended(load)
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn a_list_whose_next_page_is_forgotten_begins_anew() -> Result<()> {
    let (mut scene, all) = in_the_middle(&[UNSTREAMED, FORGETFUL])?;
    let before = answers(&scene, 410)?;
    scene.change()?;
    scene.plane.compact()?;
    let returned = Instant::now();
    scene.relay.hold_after(None);
    scene.converges(returned)?;
    let gone = answers(&scene, 410)? - before;
    ensure!(gone > 0, "the server must not remember the version of the first page");
    let known = pods_known(&scene.status()?);
    ensure!(known == all, "{known} of {all} pods were listed");
    Ok(())
}
