//! A cluster's control groups: a tree of its own in every hierarchy, beside everything that others made.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What the name of a cluster's group begins with.
const PREFIX: &str = "netpol-cluster-";
/// How long killed processes may take to be gone.
const GONE: Duration = Duration::from_secs(30);

/// A hierarchy of control groups.
#[derive(Debug, Clone)]
pub(super) struct Hierarchy {
    /// Where it is mounted.
    pub(super) place: PathBuf,
    unified: bool,
}

/// Every hierarchy of this machine.
pub(super) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(place), Some(kind)) = (fields.next(), fields.next()) else { continue };
        if !matches!(kind, "cgroup" | "cgroup2") || found.iter().any(|one| one.place == Path::new(place)) {
            continue;
        }
        found.push(Hierarchy { place: place.into(), unified: kind == "cgroup2" });
    }
    if found.is_empty() {
        bail!("no control groups are mounted: a cluster's nodes need them below /sys/fs/cgroup");
    }
    Ok(found)
}

/// The group of a cluster, relative to each hierarchy.
pub(super) fn of_cluster(name: &str) -> PathBuf {
    PathBuf::from(format!("{PREFIX}{name}"))
}

/// Makes a group, a path from the hierarchies' roots, in each of them.
pub(super) fn make(group: &Path) -> Result<()> {
    for hierarchy in hierarchies()? {
        let mut path = hierarchy.place.clone();
        for part in group {
            // The root is the machine's own.
            if hierarchy.unified && path != hierarchy.place {
                delegate(&path);
            }
            path.push(part);
            match fs::create_dir(&path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("cannot make {}", path.display()));
                }
                Ok(()) | Err(_) => {}
            }
            inherit(&path, "cpuset.cpus")?;
            inherit(&path, "cpuset.mems")?;
        }
    }
    Ok(())
}

/// Lets a group's children have what it has; one that holds processes cannot, and its children do without.
pub(super) fn delegate(group: &Path) {
    let all = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    for controller in all.split_whitespace() {
        drop(fs::write(group.join("cgroup.subtree_control"), format!("+{controller}")));
    }
}

/// A new group of the hierarchy `cpuset` has nothing, and takes no process before it has something.
fn inherit(group: &Path, what: &str) -> Result<()> {
    let own = group.join(what);
    let Ok(text) = fs::read_to_string(&own) else { return Ok(()) };
    let Some(above) = group.parent() else { return Ok(()) };
    if !text.trim().is_empty() {
        return Ok(());
    }
    let Ok(value) = fs::read_to_string(above.join(what)) else { return Ok(()) };
    fs::write(&own, value.trim()).with_context(|| format!("cannot write {}", own.display()))
}

/// Moves this process into a group of every hierarchy.
pub(super) fn join(group: &Path) -> Result<()> {
    for hierarchy in hierarchies()? {
        let file = hierarchy.place.join(group).join("cgroup.procs");
        fs::write(&file, "0").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The clusters that have groups, whether they live or not.
pub(super) fn clusters() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for hierarchy in hierarchies().unwrap_or_default() {
        for entry in fs::read_dir(&hierarchy.place).into_iter().flatten().flatten() {
            if let Some(name) = entry.file_name().to_string_lossy().strip_prefix(PREFIX) {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

/// Kills what is in the groups of a cluster and removes them.
pub(super) fn remove(name: &str) -> Result<()> {
    let start = Instant::now();
    for hierarchy in hierarchies()? {
        let top = hierarchy.place.join(of_cluster(name));
        while let Err(error) = remove_tree(&top) {
            if start.elapsed() > GONE {
                return Err(error).with_context(|| format!("cannot remove {}", top.display()));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Ok(pid @ 1..) = pid.parse() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
