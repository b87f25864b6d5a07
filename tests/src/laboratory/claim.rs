//! What a laboratory owns on this machine, found again by its name alone: so that whoever comes later can remove it.
//!
//! Everything carries the laboratory's id, `npl-<pid>-<number>`: namespaces `/run/netns/<id>-*`, pins
//! `/sys/fs/bpf/<id>`, and a folder `/run/netpol-laboratory/<id>` with everything else, among it a file for each process that was
//! started. The folder's lock is held as long as the owner lives, however it ends: a folder without a lock is a leftover.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stat::started;

/// Where the folders of laboratories are.
const FOLDER: &str = "/run/netpol-laboratory";
/// Where iproute2 keeps the names of namespaces.
const NAMESPACES: &str = "/run/netns";
/// Where the BPF file system is.
const BPFFS: &str = "/sys/fs/bpf";
const PREFIX: &str = "npl-";

static NUMBER: AtomicU32 = AtomicU32::new(0);
static LIVE: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Read while something is made or removed; written, and never given back, when the process is about to end.
static STOPPING: RwLock<()> = RwLock::new(());

/// The right to an id and to everything that carries it; dropping it removes all that.
#[derive(Debug)]
pub(crate) struct Claim {
    id: String,
    folder: PathBuf,
    /// Held, not read: the lock is what tells a living owner from a dead one.
    _lock: File,
}

impl Claim {
    /// A new id, after the leftovers of dead owners have been removed.
    pub(crate) fn new() -> Result<Self> {
        fs::create_dir_all(FOLDER)
            .with_context(|| format!("cannot make {FOLDER}: a laboratory needs root"))?;
        remove_leftovers();
        let _making = making();
        let id = format!("{PREFIX}{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(FOLDER).join(&id);
        // An earlier process of this number may have died and left it.
        remove(&id);
        // Under its name only once it is locked: until then it would look like a leftover to others.
        let draft = Path::new(FOLDER).join(format!(".{id}"));
        fs::create_dir_all(draft.join("processes"))
            .with_context(|| format!("cannot make {}", draft.display()))?;
        let lock = File::create(draft.join("lock")).context("cannot make the laboratory's lock")?;
        lock.try_lock().context("cannot lock a new laboratory")?;
        fs::rename(&draft, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
        live().push(id.clone());
        Ok(Self { id, folder, _lock: lock })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the agent pins.
    pub(super) fn pins(&self) -> PathBuf {
        Path::new(BPFFS).join(&self.id)
    }

    /// The name of one of its namespaces.
    pub(crate) fn namespace(&self, role: &str) -> String {
        format!("{}-{role}", self.id)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _making = making();
        remove(&self.id);
        live().retain(|id| *id != self.id);
    }
}

/// Held while something is made, so that nothing is made after an interruption has begun to tidy up.
pub(super) fn making() -> RwLockReadGuard<'static, ()> {
    STOPPING.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits until nothing is being made, removes every laboratory of this process, and keeps anything from being made
/// as long as the answer is held.
pub(super) fn stop_all() -> RwLockWriteGuard<'static, ()> {
    let guard = STOPPING.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    for id in live().drain(..) {
        remove(&id);
    }
    guard
}

fn live() -> std::sync::MutexGuard<'static, Vec<String>> {
    LIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Notes a process that was started, with its time of start: a number alone may belong to another one later.
pub(super) fn note_process(folder: &Path, pid: u32) -> Result<()> {
    let start = started(pid).unwrap_or_default();
    fs::write(folder.join("processes").join(pid.to_string()), start).context("cannot note a started process")
}

/// Forgets a process that has been waited for.
pub(super) fn forget_process(folder: &Path, pid: u32) {
    drop(fs::remove_file(folder.join("processes").join(pid.to_string())));
}

/// Removes what owners that no longer live have left.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(FOLDER) else { return };
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if !id.starts_with(PREFIX) {
            continue;
        }
        // Without a lock file its owner is removing it just now.
        let Ok(lock) = File::open(entry.path().join("lock")) else { continue };
        if lock.try_lock().is_ok() {
            remove(&id);
        }
    }
}

/// Removes everything that carries the id: processes, pins, namespaces with their interfaces, files. Goes on where
/// something fails, since it also runs in a panic and on a signal.
fn remove(id: &str) {
    let folder = Path::new(FOLDER).join(id);
    for entry in fs::read_dir(folder.join("processes")).into_iter().flatten().flatten() {
        let start = fs::read_to_string(entry.path()).unwrap_or_default();
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if started(pid).is_some_and(|now| now == start) {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    }
    drop(fs::remove_dir_all(Path::new(BPFFS).join(id)));
    let prefix = format!("{id}-");
    for entry in fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            remove_namespace(&entry.path());
        }
    }
    drop(fs::remove_dir_all(&folder));
}

/// Takes the name of a namespace away; the namespace goes with its last process and socket.
pub(super) fn remove_namespace(path: &Path) {
    let _ = umount2(path, MntFlags::MNT_DETACH);
    drop(fs::remove_file(path));
}

/// Makes a named namespace, and returns its file.
pub(super) fn make_namespace(name: &str) -> Result<PathBuf> {
    let _making = making();
    crate::command::read("ip", &["netns", "add", name])?;
    let path = Path::new(NAMESPACES).join(name);
    match fs::exists(&path) {
        Ok(true) => Ok(path),
        Ok(false) => bail!("`ip netns add` made no {}", path.display()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => bail!("a laboratory needs root"),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}
