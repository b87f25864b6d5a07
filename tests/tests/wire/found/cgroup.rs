//! A cgroup like a kubelet's, below a folder of the laboratory's own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Removed on drop, with the folders above it that are the laboratory's, once its processes have ended.
pub(super) struct Cgroup {
    path: PathBuf,
    root: PathBuf,
}

impl Cgroup {
    /// `path` below the laboratory's folder.
    pub(super) fn make(laboratory: &str, path: &str) -> Result<Self> {
        let unified = Path::new("/sys/fs/cgroup/unified");
        let hierarchy = if unified.is_dir() { unified } else { Path::new("/sys/fs/cgroup") };
        let root = hierarchy.join(laboratory);
        let path = root.join(path);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, root })
    }

    /// Puts a process in.
    pub(super) fn adopt(&self, pid: u32) -> Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
            .context("cannot move a process to a cgroup")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in self.path.ancestors().take_while(|folder| folder.starts_with(&self.root)) {
            // Another pod's may be left in there.
            drop(fs::remove_dir(folder));
        }
    }
}
