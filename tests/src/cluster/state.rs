//! What a cluster owns on this machine, found again by its name alone: so that whoever comes later can remove it.
//!
//! `/run/netpol-cluster/<name>` has everything that others look for, `/var/lib/netpol-cluster/<name>` what needs a real file
//! system, and the control groups carry the name too. All else (processes, namespaces, mounts, interfaces) lives only as long as
//! the anchor does. The folder's lock is held by `up` and by the anchor, however they end: a folder without a lock is a leftover.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroups;
use super::options::Options;
use crate::deadline::wait_for;
use crate::stat::{fields_of, started};

const FOLDER: &str = "/run/netpol-cluster";
const DISK: &str = "/var/lib/netpol-cluster";
/// How long killed processes may take to be gone.
const GONE: Duration = Duration::from_secs(30);

/// Where a cluster's files are.
#[derive(Debug, Clone)]
pub(super) struct State {
    name: String,
    folder: PathBuf,
}

impl State {
    /// The place of a cluster, whether it is there or not.
    pub(super) fn of(name: &str) -> Result<Self> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 40 || !name.bytes().all(good) || name.starts_with('-') {
            bail!("{name:?} cannot be a cluster's name: take up to 40 small letters, digits and hyphens");
        }
        Ok(Self { name: name.to_owned(), folder: Path::new(FOLDER).join(name) })
    }

    /// Makes the place of a new cluster; whoever holds the file that comes with it owns the cluster.
    pub(super) fn claim(options: &Options) -> Result<(Self, File)> {
        let state = Self::of(&options.name)?;
        // Under its name only once it is locked: until then it would look like a leftover to others.
        let draft = Path::new(FOLDER).join(format!(".{}-{}", options.name, process::id()));
        fs::create_dir_all(&draft)
            .with_context(|| format!("cannot make {}: a cluster needs root", draft.display()))?;
        let lock = File::create(draft.join("lock")).context("cannot make the cluster's lock")?;
        lock.try_lock().context("cannot lock a new cluster")?;
        fs::write(draft.join("options.json"), serde_json::to_vec_pretty(options)?)
            .context("cannot write the cluster's options")?;
        note_process(&draft.join("up.pid"), process::id())?;
        if let Err(error) = fs::rename(&draft, &state.folder) {
            drop(fs::remove_dir_all(&draft));
            return Err(error)
                .with_context(|| format!("somebody else makes {} just now", state.folder.display()));
        }
        fs::create_dir_all(state.disk())
            .with_context(|| format!("cannot make {}", state.disk().display()))?;
        Ok((state, lock))
    }

    /// Every cluster that left something, living or not.
    pub(super) fn all() -> Vec<String> {
        let mut names = cgroups::clusters();
        for folder in [FOLDER, DISK] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        // A draft, whose owner is at work or died.
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names.dedup();
        names
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder on a real file system.
    pub(super) fn disk(&self) -> PathBuf {
        Path::new(DISK).join(&self.name)
    }

    /// Where the control plane's processes and logs are noted.
    pub(super) fn control(&self) -> PathBuf {
        self.folder.join("control")
    }

    /// Where a node's processes, logs and settings are.
    pub(super) fn node(&self, node: &str) -> PathBuf {
        self.folder.join(node)
    }

    pub(super) fn credentials(&self) -> PathBuf {
        self.folder.join("credentials")
    }

    /// There once `up` has seen everything ready.
    pub(super) fn ready(&self) -> PathBuf {
        self.folder.join("ready")
    }

    fn foreign_file(&self) -> PathBuf {
        self.folder.join("foreign")
    }

    /// The kubeconfig of a cluster that was not made here.
    pub(super) fn foreign(&self) -> Option<PathBuf> {
        fs::read_to_string(self.foreign_file()).ok().map(PathBuf::from)
    }

    /// Keeps the kubeconfig of a cluster that was not made here.
    pub(super) fn note_foreign(&self, kubeconfig: &Path) -> Result<()> {
        let path = kubeconfig.to_str().context("the path of a kubeconfig must be UTF-8")?;
        fs::create_dir_all(&self.folder)
            .and_then(|()| fs::write(self.foreign_file(), path))
            .with_context(|| format!("cannot write {}", self.foreign_file().display()))
    }

    pub(super) fn options(&self) -> Result<Options> {
        let path = self.folder.join("options.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not what `up` wrote", path.display()))
    }

    /// Whether its owner lives.
    pub(super) fn is_alive(&self) -> bool {
        let Ok(lock) = File::open(self.folder.join("lock")) else { return false };
        lock.try_lock_shared().is_err()
    }

    /// Whether the `up` that was making it has died before it was done.
    pub(super) fn is_abandoned(&self) -> bool {
        !self.ready().exists() && noted_process(&self.folder.join("up.pid")).is_none()
    }

    pub(super) fn anchor_file(&self) -> PathBuf {
        self.folder.join("anchor.pid")
    }

    /// The anchor's process number.
    pub(super) fn anchor(&self) -> Option<u32> {
        noted_process(&self.anchor_file())
    }

    /// Ends the cluster if it runs, and removes all that it left.
    pub(super) fn remove(&self) -> Result<()> {
        for file in ["up.pid", "anchor.pid"] {
            let Some(pid) = noted_process(&self.folder.join(file)) else { continue };
            if pid == process::id() {
                continue;
            }
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            // It counts as ended when every process that descends from it has.
            wait_for(&format!("process {pid} of cluster {} ends", self.name), GONE, || {
                ended(pid).then_some(())
            })?;
        }
        cgroups::remove(&self.name)?;
        for folder in [self.disk(), self.folder.clone()] {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
                }
                Ok(()) | Err(_) => {}
            }
        }
        // The last cluster takes the folders with it; others keep them.
        for folder in [FOLDER, DISK] {
            drop(fs::remove_dir(folder));
        }
        Ok(())
    }
}

/// Notes a process with its time of start: a number alone may belong to another one later.
pub(super) fn note_process(file: &Path, pid: u32) -> Result<()> {
    let start = started(pid).unwrap_or_default();
    fs::write(file, format!("{pid} {start}\n")).with_context(|| format!("cannot write {}", file.display()))
}

/// The process of such a note, when it lives.
pub(super) fn noted_process(file: &Path) -> Option<u32> {
    let text = fs::read_to_string(file).ok()?;
    let (pid, start) = text.trim().split_once(' ')?;
    let pid: u32 = pid.parse().ok()?;
    (started(pid)? == start && !ended(pid)).then_some(pid)
}

/// Whether a process is gone, or only waits for its parent to ask how it ended.
pub(super) fn ended(pid: u32) -> bool {
    fields_of(pid).is_none_or(|fields| matches!(fields.first().map(String::as_str), Some("Z" | "X")))
}
