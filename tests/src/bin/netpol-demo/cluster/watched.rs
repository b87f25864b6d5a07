//! The demo on a cluster in a process of its own, and what it has made taken away after it, however it ended: by itself, by
//! Ctrl-C, or killed. So nothing is being made any more while it is taken away.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use netpol_tests::Namespace;
use netpol_tests::cluster::{Agents, Cluster};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::outside;

/// Between two looks at a process and at signals.
const PAUSE: Duration = Duration::from_millis(20);
/// What a shell adds to the number of the signal that ended a program.
const BY_SIGNAL: i32 = 128;

/// The signal that was sent last, or 0.
static INTERRUPTED: AtomicI32 = AtomicI32::new(0);

/// Finds or makes the cluster, runs this program there once more with another flag, and takes away what that made. Says the
/// code to exit with.
pub(crate) fn run(inner_flag: &str) -> Result<u8> {
    let action = SigAction::new(SigHandler::Handler(handle), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores a number.
        unsafe { sigaction(signal, &action) }.context("cannot catch signals")?;
    }
    let Some(cluster) = find()? else { return Ok(interrupted_code()) };
    let own = env::current_exe().context("cannot tell where this program is")?;
    let mut demo = Command::new(own);
    demo.args(env::args_os().skip(1)).arg(inner_flag);
    Namespace::die_with_thread(&mut demo);
    let demo = demo.spawn().context("cannot start the demo")?;
    let folder = outside::folder(demo.id());
    let ended = watch(demo);
    // It has removed that itself unless it was killed.
    drop(fs::remove_dir_all(folder));
    println!();
    let start = Instant::now();
    let name = cluster.name().to_owned();
    if Cluster::named(&name).is_err() {
        println!("cluster {name} is gone, and the example with it");
    } else {
        tidy(&cluster).with_context(|| format!("the example is not wholly gone from cluster {name}"))?;
        let took = start.elapsed().as_secs_f64();
        println!("the example is gone from the cluster, and so are the agents ({took:.1} s)");
    }
    let ended = ended?;
    // Ctrl-C ends both processes; which of them is seen first is chance.
    let by_signal = ended.signal().map(|signal| BY_SIGNAL + signal);
    match INTERRUPTED.load(Ordering::Relaxed) {
        0 => Ok(u8::try_from(ended.code().or(by_signal).unwrap_or(2)).unwrap_or(2)),
        _ => Ok(interrupted_code()),
    }
}

extern "C" fn handle(signal: libc::c_int) {
    INTERRUPTED.store(signal, Ordering::Relaxed);
}

fn interrupted_code() -> u8 {
    u8::try_from(BY_SIGNAL + INTERRUPTED.load(Ordering::Relaxed)).unwrap_or(2)
}

/// Waits until a process ends, which is killed when we are interrupted.
fn watch(mut child: Child) -> Result<ExitStatus> {
    loop {
        if INTERRUPTED.load(Ordering::Relaxed) != 0 {
            // One that has ended is gone already.
            drop(child.kill());
            return child.wait().context("cannot wait for a killed process");
        }
        if let Some(ended) = child.try_wait().context("cannot wait for a process")? {
            return Ok(ended);
        }
        thread::sleep(PAUSE);
    }
}

/// The cluster that runs, or a new one; none when that was interrupted, which has left nothing then.
fn find() -> Result<Option<Cluster>> {
    if let Ok(cluster) = Cluster::running() {
        println!("cluster {} runs: {}", cluster.options().name, cluster.options());
        return Ok(Some(cluster));
    }
    println!("no cluster runs; one is made now, which stays up afterwards:");
    // It takes the name from where we do. Ctrl-C is for us.
    let mut up = netpol_cluster("up")?;
    up.process_group(0);
    Namespace::die_with_thread(&mut up);
    let status = watch(up.spawn().context("cannot start netpol-cluster")?)?;
    if INTERRUPTED.load(Ordering::Relaxed) != 0 {
        let status = netpol_cluster("down")?.status().context("cannot start netpol-cluster")?;
        ensure!(status.success(), "the cluster that was being made could not be removed ({status})");
        return Ok(None);
    }
    ensure!(status.success(), "no cluster to show anything on: `netpol-cluster up` failed ({status})");
    println!();
    Cluster::running().map(Some)
}

/// `netpol-cluster`: `NETPOL_CLUSTER_BIN`, or what cargo has built beside this program.
fn netpol_cluster(action: &str) -> Result<Command> {
    let path = match env::var_os("NETPOL_CLUSTER_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            env::current_exe().context("cannot tell where this program is")?.with_file_name("netpol-cluster")
        }
    };
    ensure!(path.is_file(), "there is no {}: run `cargo xtask demo --cluster`", path.display());
    let mut command = Command::new(path);
    command.arg(action).stdin(Stdio::null());
    Ok(command)
}

/// Takes away what the demo has made on a cluster.
fn tidy(cluster: &Cluster) -> Result<()> {
    // Their end takes some seconds; the agents go meanwhile.
    super::delete_namespaces(cluster, false)?;
    Agents::end_all(cluster)?;
    super::delete_namespaces(cluster, true)
}
