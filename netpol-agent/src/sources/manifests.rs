//! Objects from a folder of manifests, its subfolders included: `*.yaml`, `*.yml` and `*.json`, in the order of their
//! paths. Hidden files and folders (a leading dot) are left out.
//!
//! `listing` says which files count, [`file`] reads one, [`document`] takes it apart, [`folder`] keeps what each file
//! holds and says what has changed, [`watch`] hears of changes. A file counts when it is closed after writing, or moved
//! there: one that is being written is not read.

pub mod document;
pub mod file;
pub mod folder;
mod listing;
pub mod watch;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tracing::{debug, warn};

use self::{folder::Folder, watch::Watch};
use super::{Source, SourceUpdate};

/// How long the folder must be quiet before it is read: one `cp` of many files is one change.
const QUIET: Duration = Duration::from_millis(3);
/// How long a change waits at most for quiet; with compiling and writing it is in the kernel within 50 ms.
const PATIENCE: Duration = Duration::from_millis(15);
/// How often the folder is looked through without any event: some file systems send none.
const RESCAN: Duration = Duration::from_secs(10);

/// The source that reads a folder.
#[derive(Debug)]
pub struct Manifests {
    root: PathBuf,
}

impl Manifests {
    /// A source for a folder.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn new(root: &Path) -> anyhow::Result<Self> {
        let root = root
            .canonicalize()
            .with_context(|| format!("cannot open the folder of manifests {}", root.display()))?;
        anyhow::ensure!(
            root.is_dir(),
            "{} is no folder; --manifests takes a folder of YAML or JSON files",
            root.display()
        );
        Ok(Self { root })
    }
}

impl Source for Manifests {
    fn name(&self) -> String {
        format!("manifests in {}", self.root.display())
    }

    fn run(self: Box<Self>, deliver: &mut dyn FnMut(SourceUpdate) -> bool) -> anyhow::Result<()> {
        let mut watch = Watch::new().context("cannot watch the folder of manifests")?;
        let mut folder = Folder::new(&self.root);
        // Watched before it is read: nothing that happens in between is missed.
        folder.scan(&mut |dir| watch.add(dir));
        if !deliver(folder.update()) {
            return Ok(());
        }
        loop {
            let changes = watch.wait(RESCAN, QUIET, PATIENCE)?;
            debug!(?changes, "the folder of manifests");
            if changes.overflowed {
                warn!("events of the folder of manifests were lost; reading all of it");
                folder.forget_stamps();
            }
            folder.hold(changes.open);
            folder.reread(&changes.closed);
            if changes.everything {
                folder.scan(&mut |dir| watch.add(dir));
            }
            if folder.changed() && !deliver(folder.update()) {
                return Ok(());
            }
        }
    }
}

/// Everything that a folder holds, read once.
///
/// # Errors
/// When there is no such folder.
pub fn read_once(root: &Path) -> anyhow::Result<SourceUpdate> {
    let root = Manifests::new(root)?.root;
    let mut folder = Folder::new(&root);
    folder.scan(&mut |_| {});
    Ok(folder.update())
}
