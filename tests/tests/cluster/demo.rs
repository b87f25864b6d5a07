//! The demo on a cluster leaves the cluster as it was, also when it is interrupted.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{self, Agents, Cluster};
use netpol_tests::deadline::wait_for;
use netpol_tests::not_run;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Namespaces take some seconds to go, on a busy machine longer.
const SOON: Duration = Duration::from_secs(120);

/// What there is of a demo: its namespaces and the agents', and the nodes with an agent.
fn seen(cluster: &Cluster) -> Result<Vec<String>> {
    let all = cluster.kubectl(&["get", "namespaces,clusterroles", "-o", "name"])?;
    let own = [
        "namespace/production",
        "namespace/netpol-marks",
        "clusterrole.rbac.authorization.k8s.io/netpol-agent",
    ];
    let mut seen: Vec<String> = all.lines().filter(|line| own.contains(line)).map(str::to_owned).collect();
    let with_agent = cluster.nodes().iter().filter(|node| Agents::command(node).is_ok());
    seen.extend(with_agent.map(|node| node.name().to_owned()));
    Ok(seen)
}

#[test]
#[ignore = "needs a cluster"]
fn an_interruption_takes_down_what_the_demo_has_made_on_a_cluster_and_leaves_that_up() -> Result<()> {
    let _guard = cluster::exclusive();
    let cluster = Cluster::running()?;
    if cluster.nodes().len() < 2 {
        not_run("the demo on a cluster, which wants two nodes");
        return Ok(());
    }
    let mut demo = Command::new(env!("CARGO_BIN_EXE_netpol-demo"));
    demo.args(["--cluster", "--keep"]).env("NETPOL_CLUSTER", cluster.name()).stdin(Stdio::null());
    let mut demo = demo.stdout(Stdio::piped()).spawn().context("cannot start the demo")?;
    let mut lines = BufReader::new(demo.stdout.take().context("the demo has no output")?).lines();
    let begun = lines.by_ref().map_while(Result::ok).any(|line| line.contains("kubectl run debug"));
    ensure!(begun, "the demo ended before it ran its pods: {:?}", demo.wait());
    ensure!(seen(&cluster)?.len() == 3 + cluster.nodes().len(), "{:?}", seen(&cluster)?);
    let mut status = Agents::command(&cluster.nodes()[0])?;
    let status = status.arg("status").stdin(Stdio::null()).output()?;
    ensure!(!status.stdout.is_empty(), "netpol status said nothing: {status:?}");

    kill(Pid::from_raw(demo.id().cast_signed()), Signal::SIGINT)?;
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let status = wait_for("the demo ends", SOON, || demo.try_wait().ok().flatten())?;
    ensure!(status.code() == Some(128 + Signal::SIGINT as i32), "the demo ended with {status}: {rest:#?}");
    ensure!(seen(&cluster)?.is_empty(), "{:?}: {rest:#?}", seen(&cluster)?);
    Ok(())
}
