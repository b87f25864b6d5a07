//! The API server is away: it stands still, is killed, cannot be reached, or does not remember.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{self, Cluster, Part};
use netpol_tests::command;
use netpol_tests::etcd::Etcd;
use serde_json::Value;

use super::scene::Faulty;

/// How long it is away.
const AWAY: Duration = Duration::from_secs(8);
/// The same in a long run: the nodes are given up meanwhile.
const LONG: Duration = Duration::from_mins(2);

fn away() -> Duration {
    if std::env::var_os("NETPOL_LONG").is_some() { LONG } else { AWAY }
}

#[test]
#[ignore = "needs a cluster"]
fn an_api_server_that_stands_still_changes_nothing_until_it_goes_on() -> Result<()> {
    let _guard = cluster::exclusive();
    let faulty = Faulty::build("still")?;
    let traffic = faulty.traffic()?;
    let change = faulty.change()?;
    let server = faulty.scene.cluster.part(Part::ApiServer);
    let stopped = Stopped::new(&faulty.scene.cluster)?;
    change()?;
    sleep(away());
    faulty.expect_before()?;
    let returned = Instant::now();
    drop(stopped);
    faulty.converges(returned).with_context(|| server.log())?;
    faulty.ended(traffic)
}

#[test]
#[ignore = "needs a cluster"]
fn an_api_server_that_is_killed_and_comes_back_finds_everything_in_force() -> Result<()> {
    let _guard = cluster::exclusive();
    let faulty = Faulty::build("killed")?;
    let traffic = faulty.traffic()?;
    let change = faulty.change()?;
    let dead = Dead::new(&faulty.scene.cluster)?;
    change()?;
    sleep(away());
    faulty.expect_before()?;
    drop(dead);
    faulty.server_is_back()?;
    faulty.converges(Instant::now())?;
    faulty.ended(traffic)
}

#[test]
#[ignore = "needs a cluster"]
fn an_api_server_whose_packets_are_dropped_is_asked_again_when_they_pass() -> Result<()> {
    let _guard = cluster::exclusive();
    let faulty = Faulty::build("dropped")?;
    let traffic = faulty.traffic()?;
    let change = faulty.change()?;
    let unreachable = Unreachable::new(&faulty.scene.cluster)?;
    change()?;
    sleep(away());
    faulty.expect_before()?;
    let returned = Instant::now();
    drop(unreachable);
    faulty.converges(returned)?;
    faulty.ended(traffic)
}

#[test]
#[ignore = "needs a cluster"]
fn when_the_api_server_does_not_remember_everything_is_listed_anew() -> Result<()> {
    let _guard = cluster::exclusive();
    let faulty = Faulty::build("compacted")?;
    let traffic = faulty.traffic()?;
    let cluster = &faulty.scene.cluster;
    let list = cluster.kubectl(&["get", "--raw", "/api/v1/pods?limit=1"])?;
    let list: Value = serde_json::from_str(&list).context("kubectl wrote no JSON")?;
    let version = list["metadata"]["resourceVersion"].as_str().context("a list without version")?;
    let change = faulty.change()?;
    // The agents are kept away until it is certain that the server has forgotten.
    let unreachable = Unreachable::new(cluster)?;
    let dead = Dead::new(cluster)?;
    change()?;
    Etcd::new(cluster.network()).compact()?;
    drop(dead);
    faulty.server_is_back()?;
    let watch = format!("/api/v1/pods?watch=1&timeoutSeconds=2&resourceVersion={version}");
    let watch = cluster.kubectl(&["get", "--raw", &watch])?;
    ensure!(watch.contains("\"code\":410"), "the server remembers version {version}: {watch}");
    faulty.expect_before()?;
    let returned = Instant::now();
    drop(unreachable);
    faulty.converges(returned)?;
    faulty.ended(traffic)
}

/// The API server stands still as long as this lives.
struct Stopped<'a>(&'a Cluster);

impl<'a> Stopped<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        cluster.part(Part::ApiServer).stop()?;
        Ok(Self(cluster))
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        // When it does not go on, whoever asks it next says so.
        drop(self.0.part(Part::ApiServer).resume());
    }
}

/// The API server does not run as long as this lives.
pub(crate) struct Dead<'a>(&'a Cluster);

impl<'a> Dead<'a> {
    pub(crate) fn new(cluster: &'a Cluster) -> Result<Self> {
        cluster.part(Part::ApiServer).kill()?;
        Ok(Self(cluster))
    }
}

impl Drop for Dead<'_> {
    fn drop(&mut self) {
        // When it does not start, whoever asks it next says so.
        drop(self.0.part(Part::ApiServer).start());
    }
}

/// The nodes' packets to the API server are dropped as long as this lives.
struct Unreachable<'a>(&'a Cluster);

impl<'a> Unreachable<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        // Both ways: what the server says would arrive though nobody says that it did.
        let rules = "table inet away {
            chain in { type filter hook input priority 0; iifname \"cluster0\" tcp dport 6443 drop; };
            chain out { type filter hook output priority 0; oifname \"cluster0\" tcp sport 6443 drop; }; }";
        nft(cluster, rules)?;
        Ok(Self(cluster))
    }
}

impl Drop for Unreachable<'_> {
    fn drop(&mut self) {
        drop(nft(self.0, "delete table inet away"));
    }
}

fn nft(cluster: &Cluster, rules: &str) -> Result<()> {
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"]);
    cluster.enter(&mut nft);
    command::feed_command(nft, rules).map(drop)
}
