//! The first process of a node: it gives the node files, devices and control groups of its own, then starts its parts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

use super::anchor::detach;
use super::cgroups::{self, Hierarchy};
use super::node_parts;
use super::state::State;
use super::supervisor::Supervisor;

const CGROUPS: &str = "/sys/fs/cgroup";
/// Where the new `/sys` is made.
const DRAFT: &str = "/run/sys";
/// Settings of the whole machine that a kubelet writes: here it writes into files that stand for them.
const MACHINE_SETTINGS: &[&str] = &[
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];
/// No path, no kind, no options.
const NOTHING: Option<&Path> = None;

/// What a node's first process does, until it is killed. `proc` is the machine's `/proc`.
///
/// # Errors
/// When a part of the node cannot be set up.
pub fn run(name: &str, node: &str, proc: RawFd) -> Result<()> {
    // SAFETY: the number was given for this process alone to use.
    let proc = File::from(unsafe { OwnedFd::from_raw_fd(proc) });
    let state = State::of(name)?;
    let options = state.options()?;
    sethostname(node).context("cannot set the node's name")?;
    let group = cgroups::of_cluster(name).join(node);
    cgroups::make(&group)?;
    cgroups::join(&group)?;
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
        .context("cannot separate the node's mounts")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), NOTHING).context("cannot mount /proc")?;
    detach(Path::new("/run/netns"));
    mount_files(&state, node)?;
    mount_system(&group)?;
    // Kubernetes lets mounts go from the node into pods.
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_SHARED, NOTHING)
        .context("cannot share the node's mounts with its pods")?;

    node_parts::write_settings(&state, &options, node)?;
    let parts: BTreeMap<_, _> = node_parts::all(&state, node);
    let supervisor = Supervisor::new(state.node(node), proc, parts);
    supervisor.start("containerd", None)?;
    supervisor.serve()
}

/// `/run`, `/var/lib` and `/var/log` of the node's own; what a container's layers are made of needs a real file system.
fn mount_files(state: &State, node: &str) -> Result<()> {
    let shared = File::open(state.folder()).context("cannot open the cluster's folder")?;
    let disk = state.disk().join(node);
    let kept = state.folder().to_owned();
    for part in ["log", "lib"] {
        fs::create_dir_all(disk.join(part))
            .with_context(|| format!("cannot make {}", disk.join(part).display()))?;
    }
    for settings in MACHINE_SETTINGS {
        let (real, own) = (Path::new("/proc/sys").join(settings), disk.join(settings.replace('/', "-")));
        if fs::copy(&real, &own).is_ok() {
            bind(&own, &real)?;
        }
    }
    bind(&disk.join("log"), Path::new("/var/log"))?;
    bind(&disk.join("lib"), Path::new("/var/lib"))?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .context("cannot mount /run")?;
    fs::create_dir_all(&kept).context("cannot make the cluster's folder again")?;
    bind(&open_path(&shared), &kept)
}

/// `/sys` as the node's network shows it, its control groups from its own down, and a BPF file system of its own.
fn mount_system(group: &Path) -> Result<()> {
    let hierarchies: Vec<(Hierarchy, File)> = cgroups::hierarchies()?
        .into_iter()
        .map(|hierarchy| {
            let path = hierarchy.place.join(group);
            let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            Ok((hierarchy, file))
        })
        .collect::<Result<_>>()?;
    let links: Vec<(PathBuf, PathBuf)> = fs::read_dir(CGROUPS)
        .with_context(|| format!("cannot read {CGROUPS}"))?
        .flatten()
        .filter_map(|entry| Some((fs::read_link(entry.path()).ok()?, entry.path())))
        .collect();
    unshare(CloneFlags::CLONE_NEWCGROUP).context("cannot make the root of control groups the node's own")?;
    // Made aside, so that what was there can be taken away whole.
    fs::create_dir_all(DRAFT).with_context(|| format!("cannot make {DRAFT}"))?;
    mount(Some("sysfs"), DRAFT, Some("sysfs"), MsFlags::empty(), NOTHING).context("cannot mount /sys")?;
    let single = hierarchies.iter().any(|(hierarchy, _)| hierarchy.place == Path::new(CGROUPS));
    if !single {
        mount(Some("tmpfs"), &draft(Path::new(CGROUPS)), Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .context("cannot mount the folder of control groups")?;
    }
    for (hierarchy, file) in &hierarchies {
        let place = draft(&hierarchy.place);
        fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        bind(&open_path(file), &place)?;
        // A group with processes may have none below it that limits anything: the node's own go aside.
        let aside = place.join("system");
        fs::create_dir_all(&aside).with_context(|| format!("cannot make {}", aside.display()))?;
    }
    for (to, place) in links {
        let place = draft(&place);
        symlink(&to, &place).with_context(|| format!("cannot link {}", place.display()))?;
    }
    let bpf = draft(Path::new("/sys/fs/bpf"));
    mount(Some("bpf"), &bpf, Some("bpf"), MsFlags::empty(), NOTHING).context("cannot mount /sys/fs/bpf")?;
    detach(Path::new("/sys"));
    mount(Some(DRAFT), "/sys", NOTHING, MsFlags::MS_MOVE, NOTHING).context("cannot move the new /sys")?;
    fs::remove_dir(DRAFT).with_context(|| format!("cannot remove {DRAFT}"))?;
    let aside = Path::new("system");
    cgroups::make(aside)?;
    cgroups::join(aside)?;
    for (hierarchy, _) in &hierarchies {
        cgroups::delegate(&hierarchy.place);
    }
    Ok(())
}

/// Where something of `/sys` is before that is moved to its place.
fn draft(place: &Path) -> PathBuf {
    Path::new(DRAFT).join(place.strip_prefix("/sys").unwrap_or(place))
}

fn bind(what: &Path, place: &Path) -> Result<()> {
    mount(Some(what), place, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
        .with_context(|| format!("cannot mount {} on {}", what.display(), place.display()))
}

/// A path to an open file, wherever it may be hidden.
fn open_path(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
