//! The process that everything else of a cluster descends from: the first of a process namespace, so that all end with it,
//! in the control plane's network namespace, where the bridge between the nodes is.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::credentials::Credentials;
use super::flags::{self, ApiServer};
use super::options::Options;
use super::state::{self, State};
use super::supervisor::{Make, Supervisor};
use super::{cgroups, fork, uplink};
use crate::laboratory::Namespace;

/// Starts the anchor of a cluster, which holds the cluster's lock from now on.
pub(super) fn launch(state: &State, lock: &File) -> Result<()> {
    let log = File::create(state.folder().join("anchor.log")).context("cannot make the anchor's log")?;
    let mut command = Command::new(env::current_exe().context("cannot tell where this program is")?);
    command.arg("anchor").arg(state.name()).arg(lock.as_raw_fd().to_string());
    command.stdin(Stdio::null()).stdout(log.try_clone().context("cannot share a log")?).stderr(log);
    command.current_dir("/");
    fork::keep(&mut command, lock.as_raw_fd());
    fork::unshare(
        &mut command,
        libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC,
    );
    fork::detach(&mut command);
    let status = command.status().context("cannot start the cluster's anchor")?;
    anyhow::ensure!(status.success(), "the cluster's anchor could not be started: {status}");
    Ok(())
}

/// What the anchor does, until it is killed.
///
/// # Errors
/// When a part of the cluster cannot be set up.
pub fn run(name: &str, lock: RawFd) -> Result<()> {
    // SAFETY: the number is that of the lock, which nobody else here uses.
    let lock = unsafe { OwnedFd::from_raw_fd(lock) };
    nix::fcntl::fcntl(&lock, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .context("cannot keep the lock to the anchor")?;
    let state = State::of(name)?;
    let options = state.options()?;
    let proc = File::open("/proc").context("cannot open /proc")?;
    let own = fs::read_link("/proc/self").context("cannot tell the anchor's number")?;
    let own = own.to_string_lossy().parse().context("cannot read the anchor's number")?;
    let group = cgroups::of_cluster(name).join("control");
    cgroups::make(&group)?;
    cgroups::join(&group)?;
    state::note_process(&state.anchor_file(), own)?;

    let nothing: Option<&Path> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .context("cannot separate the anchor's mounts")?;
    detach(Path::new("/run/netns"));
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), nothing).context("cannot mount /proc")?;
    let own = Namespace::opened("control", PathBuf::from("/proc/1/ns/net"))?;
    let mut nodes = Vec::new();
    for node in options.node_names() {
        let network = new_network(&node)?;
        nodes.push((node, network));
    }
    uplink::wire(&own, &nodes, &options)?;

    let supervisor =
        Supervisor::new(state.control(), proc.try_clone()?, parts(&state, &options, &proc, &nodes));
    for part in ["etcd", "kube-apiserver"] {
        supervisor.start(part, None)?;
    }
    for (node, _) in &nodes {
        supervisor.start(node, None)?;
    }
    let served = supervisor.serve();
    drop((lock, nodes, proc));
    served
}

/// Takes away what is mounted at a place and below it: what others have there would live as long as the cluster.
pub(super) fn detach(place: &Path) {
    while umount2(place, MntFlags::MNT_DETACH).is_ok() {}
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        while umount2(&entry.path(), MntFlags::MNT_DETACH).is_ok() {}
    }
}

/// A new network namespace that lives as long as this process.
fn new_network(node: &str) -> Result<Namespace> {
    let file = thread::spawn(|| -> Result<File> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
        File::open("/proc/thread-self/ns/net").context("cannot open a new namespace")
    })
    .join()
    .map_err(|_| anyhow::anyhow!("a thread panicked"))?
    .with_context(|| format!("cannot make the network of {node}"))?;
    let path = PathBuf::from(format!("/proc/1/fd/{}", file.as_raw_fd()));
    Ok(Namespace::with_file(node, path, file))
}

fn parts(
    state: &State,
    options: &Options,
    proc: &File,
    nodes: &[(String, Namespace)],
) -> BTreeMap<String, Make> {
    let credentials = Credentials::at(&state.credentials());
    let server = api_server(options);
    let data = state.disk().join("etcd");
    let mut parts: BTreeMap<String, Make> = BTreeMap::new();
    parts.insert("etcd".to_owned(), Box::new(move || flags::etcd(&data)));
    let own = credentials.clone();
    parts.insert("kube-apiserver".to_owned(), Box::new(move || server.command(&own)));
    let own = credentials.clone();
    let ranges = options.pod_ranges();
    parts.insert(
        "kube-controller-manager".to_owned(),
        Box::new(move || flags::controller_manager(&own, &ranges)),
    );
    parts.insert("kube-scheduler".to_owned(), Box::new(move || flags::scheduler(&credentials)));
    for (node, network) in nodes {
        let (name, own, proc, network) =
            (state.name().to_owned(), node.clone(), proc.as_raw_fd(), network.clone());
        let make = move || -> Result<Command> {
            let mut command = Command::new(env::current_exe().context("cannot tell where this program is")?);
            command.arg("node").arg(&name).arg(&own).arg(proc.to_string());
            network.enter(&mut command);
            fork::keep(&mut command, proc);
            let new = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
            fork::unshare(&mut command, new);
            fork::into_child(&mut command);
            Ok(command)
        };
        parts.insert(node.clone(), Box::new(make));
    }
    parts
}

/// What the API server of a whole cluster is told.
pub(super) fn api_server(options: &Options) -> ApiServer {
    ApiServer {
        address: options.control_addresses()[0],
        services: options.service_ranges(),
        accounts: true,
        flags: vec!["--enable-admission-plugins=NodeRestriction".to_owned()],
    }
}
