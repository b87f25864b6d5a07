//! The network namespaces of pods: their files in a folder, and the kernel's ids of them, by which interfaces say where
//! they lead.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, File},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use globset::GlobSet;
use rtnetlink::{Handle, packet_route::nsid::NsidAttribute};

use super::links;

/// What is known of the namespaces.
#[derive(Debug)]
pub struct Sandboxes {
    folder: PathBuf,
    names: GlobSet,
    /// By the file's name. Without an id nothing of ours leads there, or did when it was last asked.
    known: BTreeMap<String, Option<i32>>,
}

impl Sandboxes {
    /// Namespaces with a file in `folder` whose name matches; and whatever libcni names.
    #[must_use]
    pub const fn new(folder: PathBuf, names: GlobSet) -> Self {
        Self { folder, names, known: BTreeMap::new() }
    }

    /// Looks which files there are, and asks for the ids that are not known. `named` are files that libcni names, as the
    /// host sees them: only the last part counts.
    pub async fn look(&mut self, handle: &Handle, named: impl Iterator<Item = &Path>) {
        let named: BTreeSet<&OsStr> = named.filter_map(Path::file_name).collect();
        let mut there = BTreeMap::new();
        let entries = fs::read_dir(&self.folder).into_iter().flatten();
        for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
            if !self.names.is_match(&name) && !named.contains(OsStr::new(&name)) {
                continue;
            }
            let mut id = self.known.get(&name).copied().flatten();
            // One that has just gone is no sandbox any more.
            if id.is_none()
                && let Ok(file) = File::open(self.folder.join(&name))
            {
                let descriptor = NsidAttribute::Fd(file.as_raw_fd().cast_unsigned());
                id = links::namespace_id(handle, descriptor).await;
            }
            there.insert(name, id);
        }
        self.known = there;
    }

    /// Forgets the ids: they are given again.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// The kernel's id of the namespace behind a file.
    #[must_use]
    pub fn id_of(&self, file: &Path) -> Option<i32> {
        let name = file.file_name()?.to_str()?;
        self.known.get(name).copied().flatten()
    }

    /// The file of a namespace.
    #[must_use]
    pub fn file_of(&self, id: i32) -> Option<PathBuf> {
        let (name, _) = self.known.iter().find(|(_, known)| **known == Some(id))?;
        Some(self.folder.join(name))
    }

    /// Every id.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<i32> {
        self.known.values().copied().flatten().collect()
    }

    #[cfg(test)]
    pub(super) fn with(ids: &[(&str, i32)]) -> Self {
        let known = ids.iter().map(|(name, id)| ((*name).to_owned(), Some(*id))).collect();
        Self { folder: "/run/netns".into(), names: GlobSet::empty(), known }
    }
}
