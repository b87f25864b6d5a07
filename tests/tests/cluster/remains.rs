//! A cluster leaves nothing, whatever of it is killed. These tests make small clusters of their own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster;
use netpol_tests::deadline::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SOON: Duration = Duration::from_secs(60);

/// `netpol-cluster` for a cluster of this name.
fn netpol_cluster(action: &str, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netpol-cluster"));
    command.args([action, "--name", name]).stdin(Stdio::null());
    command
}

fn up(name: &str) -> Result<Child> {
    netpol_cluster("up", name)
        .args(["--nodes", "1"])
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start `up`")
}

fn down(name: &str) -> Result<()> {
    let status = netpol_cluster("down", name).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "`down` ended with {status}");
    Ok(())
}

fn state(name: &str) -> String {
    format!("/run/netpol-cluster/{name}")
}

/// Everything on this machine that carries a cluster's name: processes, control groups, mounts, folders.
fn remains(name: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let group = format!("netpol-cluster-{name}");
    for entry in fs::read_dir("/proc")?.flatten() {
        let of = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        // One that has ended, and that this machine's first process has not asked for yet, has no command line any more.
        let ended = fs::read(entry.path().join("cmdline")).unwrap_or_default().is_empty();
        if of.contains(&group) && !ended {
            found.insert(format!("process {}", entry.path().display()));
        }
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup")?.flatten() {
        let path = hierarchy.path().join(&group);
        if path.exists() {
            found.insert(path.display().to_string());
        }
    }
    let disk = format!("/var/lib/netpol-cluster/{name}");
    for folder in [state(name), disk] {
        if Path::new(&folder).exists() {
            found.insert(folder);
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let own = |line: &&str| line.contains(&format!("netpol-cluster/{name}"));
    found.extend(mounts.lines().filter(own).map(str::to_owned));
    Ok(found)
}

/// The names of this machine's interfaces and what it says of the whole machine that a kubelet would change.
fn machine() -> Result<Vec<String>> {
    let mut seen: Vec<String> = Vec::new();
    for entry in fs::read_dir("/sys/class/net")?.flatten() {
        seen.push(entry.file_name().to_string_lossy().into_owned());
    }
    seen.sort();
    for setting in ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward"] {
        seen.push(fs::read_to_string(Path::new("/proc/sys").join(setting))?);
    }
    Ok(seen)
}

fn kill_now(pid: u32) -> Result<()> {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).context("cannot kill")
}

#[test]
#[ignore = "needs a cluster"]
fn an_up_that_is_killed_halfway_leaves_nothing_that_down_does_not_remove_and_hinders_no_other_up()
-> Result<()> {
    let _guard = cluster::exclusive();
    let (name, before) = ("halfway", machine()?);
    let mut first = up(name)?;
    let containerd = format!("{}/node-1/containerd.pid", state(name));
    wait_for("containerd runs", SOON, || Path::new(&containerd).exists().then_some(()))?;
    kill_now(first.id())?;
    first.wait()?;
    ensure!(!remains(name)?.is_empty(), "nothing was there to be removed");
    let second = up(name)?.wait()?;
    ensure!(second.success(), "the second `up` ended with {second}");
    let third = up(name)?.wait()?;
    ensure!(third.success(), "`up` of a cluster that is up ended with {third}");
    down(name)?;
    ensure!(remains(name)?.is_empty(), "{:#?}", remains(name)?);
    ensure!(machine()? == before, "{:?}, before {before:?}", machine()?);
    Ok(())
}

#[test]
#[ignore = "needs a cluster"]
fn everything_dies_with_the_anchor_and_down_removes_the_rest() -> Result<()> {
    let _guard = cluster::exclusive();
    let (name, before) = ("anchorless", machine()?);
    let status = up(name)?.wait()?;
    ensure!(status.success(), "`up` ended with {status}");
    let processes =
        || -> Result<usize> { Ok(remains(name)?.iter().filter(|line| line.starts_with("process ")).count()) };
    ensure!(processes()? > 8, "{:#?}", remains(name)?);
    let anchor = fs::read_to_string(format!("{}/anchor.pid", state(name)))?;
    let anchor = anchor.split_whitespace().next().context("no anchor is noted")?;
    kill_now(anchor.parse()?)?;
    wait_for("every process ends", SOON, || processes().is_ok_and(|number| number == 0).then_some(()))?;
    let shown = netpol_cluster("status", name).stdout(Stdio::null()).status()?;
    ensure!(!shown.success(), "a dead cluster is up");
    down(name)?;
    ensure!(remains(name)?.is_empty(), "{:#?}", remains(name)?);
    ensure!(machine()? == before, "{:?}, before {before:?}", machine()?);
    Ok(())
}

#[test]
#[ignore = "needs a cluster"]
fn a_demo_that_is_interrupted_while_it_makes_its_cluster_takes_that_down() -> Result<()> {
    let _guard = cluster::exclusive();
    let (name, before) = ("interrupted", machine()?);
    let mut demo = Command::new(env!("CARGO_BIN_EXE_netpol-demo"));
    demo.arg("--cluster").env("NETPOL_CLUSTER", name).stdin(Stdio::null()).stdout(Stdio::null());
    let mut demo = demo.spawn().context("cannot start the demo")?;
    let containerd = format!("{}/node-1/containerd.pid", state(name));
    wait_for("containerd runs", SOON, || Path::new(&containerd).exists().then_some(()))?;
    kill(Pid::from_raw(demo.id().cast_signed()), Signal::SIGTERM)?;
    let status = wait_for("the demo ends", SOON, || demo.try_wait().ok().flatten())?;
    ensure!(status.code() == Some(128 + Signal::SIGTERM as i32), "the demo ended with {status}");
    ensure!(remains(name)?.is_empty(), "{:#?}", remains(name)?);
    ensure!(machine()? == before, "{:?}, before {before:?}", machine()?);
    Ok(())
}
