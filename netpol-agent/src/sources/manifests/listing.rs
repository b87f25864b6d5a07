//! Which files of a folder are manifests, and whether one may have changed.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Links and folders in each other that are followed.
const MAX_DEPTH: usize = 16;

/// Tells whether a file may have changed without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Of the file that is there now.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let data = fs::metadata(path)?;
        Ok(Self { inode: data.ino(), size: data.size(), modified: (data.mtime(), data.mtime_nsec()) })
    }

    /// The file's size in bytes.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a path is one that is read.
pub(super) fn is_manifest(path: &Path) -> bool {
    let known =
        path.extension().and_then(|e| e.to_str()).is_some_and(|e| matches!(e, "yaml" | "yml" | "json"));
    known && !is_hidden(path)
}

/// Every manifest of a folder and of those in it; `found` hears of each folder before it is listed.
pub(super) fn list(root: &Path, found: &mut dyn FnMut(&Path), out: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    walk(root, 0, found, out)
}

fn walk(
    dir: &Path,
    depth: usize,
    found: &mut dyn FnMut(&Path),
    out: &mut BTreeSet<PathBuf>,
) -> io::Result<()> {
    found(dir);
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if is_hidden(&path) {
            continue;
        }
        // Links are followed: mounted ConfigMaps are made of them.
        match fs::metadata(&path) {
            Ok(data) if data.is_dir() && depth < MAX_DEPTH => match walk(&path, depth + 1, found, out) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
            Ok(data) if data.is_file() && is_manifest(&path) => {
                out.insert(path);
            }
            // A file that is there but cannot be looked at is reported when it is read.
            Err(error) if error.kind() != io::ErrorKind::NotFound && is_manifest(&path) => {
                out.insert(path);
            }
            _ => {}
        }
    }
    Ok(())
}
