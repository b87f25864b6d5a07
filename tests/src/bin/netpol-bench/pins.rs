//! The folder on bpffs that the bench needs while it loads programs, and that never stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

const BPFFS: &str = "/sys/fs/bpf";
const PREFIX: &str = "netpol-bench-";

/// Held while something is pinned; for ever by the thread that ends the process.
static PINNING: Mutex<()> = Mutex::new(());

/// The folder, until it is dropped.
pub(crate) struct Pins {
    folder: PathBuf,
    _pinning: MutexGuard<'static, ()>,
}

impl Pins {
    /// A folder of this process; those of dead ones are removed first.
    pub(crate) fn new() -> Result<Self> {
        let pinning = PINNING.lock().unwrap_or_else(PoisonError::into_inner);
        remove_leftovers();
        let folder = Path::new(BPFFS).join(format!("{PREFIX}{}", process::id()));
        fs::create_dir_all(&folder).with_context(|| {
            format!("cannot make {}: the bench needs root and a mounted bpffs", folder.display())
        })?;
        Ok(Self { folder, _pinning: pinning })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Removes the folders of processes that no longer live.
fn remove_leftovers() {
    for entry in fs::read_dir(BPFFS).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        if !Path::new("/proc").join(owner).exists() {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

fn ends() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// Leaves signals that end the process to others again, once nothing is pinned any more.
pub(crate) fn release_signals() -> Result<()> {
    ends().thread_unblock().context("cannot unblock signals")
}

/// From now on a signal that ends the process waits until nothing is pinned. To be called before there is a thread.
pub(crate) fn catch_signals() -> Result<()> {
    let ends = ends();
    ends.thread_block().context("cannot block signals")?;
    thread::Builder::new()
        .name("interrupt".to_owned())
        .spawn(move || {
            let Ok(signal) = ends.wait() else { return };
            let _for_ever = PINNING.lock().unwrap_or_else(PoisonError::into_inner);
            process::exit(128 + signal as i32);
        })
        .context("cannot start a thread")?;
    Ok(())
}
