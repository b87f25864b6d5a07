//! The cache's folder, and what was read of it: single files when they change, all of them as a net.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{CacheError, Entry, parse};

/// What tells a file from what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    seconds: i64,
    nanoseconds: i64,
    inode: u64,
    size: u64,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        let (seconds, nanoseconds) = (found.mtime(), found.mtime_nsec());
        Ok(Self { seconds, nanoseconds, inode: found.ino(), size: found.size() })
    }
}

#[derive(Debug)]
struct Kept {
    stamp: Stamp,
    /// `None` when it is of no pod, or was never readable.
    entry: Option<Entry>,
    problem: Option<String>,
}

/// What the files of the folder say. One that cannot be read keeps what it said before.
#[derive(Debug, Default)]
pub struct Cache {
    files: BTreeMap<PathBuf, Kept>,
    problem: Option<String>,
}

impl Cache {
    /// Looks through the whole folder, and reads what has changed; without a folder there are no pods.
    pub fn read(&mut self, folder: &Path) {
        self.problem = None;
        let listing = match fs::read_dir(folder) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.files.clear();
                return;
            }
            Err(error) => {
                let folder = folder.display();
                self.problem =
                    Some(format!("cannot list {folder}: {error}; pods that are known stay hooked"));
                return;
            }
        };
        let mut before = std::mem::take(&mut self.files);
        for path in listing.filter_map(|entry| Some(entry.ok()?.path())) {
            if let Some(kept) = before.remove(&path) {
                self.files.insert(path.clone(), kept);
            }
            self.read_file(&path);
        }
    }

    /// Reads one file, if it has changed.
    pub fn read_file(&mut self, path: &Path) {
        let stamp = match Stamp::of(path) {
            Ok(_) if path.is_dir() => return,
            Ok(stamp) => stamp,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.files.remove(path);
                return;
            }
            // Reading says what is wrong.
            Err(_) => Stamp { seconds: 0, nanoseconds: 0, inode: 0, size: 0 },
        };
        if self.files.get(path).is_some_and(|kept| kept.stamp == stamp) {
            return;
        }
        let before = self.files.remove(path).and_then(|kept| kept.entry);
        let (entry, problem) = match fs::read(path).map_err(CacheError::Read).and_then(|text| parse(&text)) {
            Ok(entry) => (Some(entry), None),
            Err(CacheError::Read(error)) if error.kind() == io::ErrorKind::NotFound => return,
            // A network of something that is no pod is none of our business.
            Err(CacheError::NoPod | CacheError::Loopback) if before.is_none() => (None, None),
            Err(error) => (before, Some(format!("{}: {:#}", path.display(), anyhow::Error::new(error)))),
        };
        self.files.insert(path.to_owned(), Kept { stamp, entry, problem });
    }

    /// What the files say, the oldest first: where two contradict each other, the later one is right.
    #[must_use]
    pub fn entries(&self) -> Vec<&Entry> {
        let mut entries: Vec<_> =
            self.files.values().filter_map(|kept| Some((kept.stamp, kept.entry.as_ref()?))).collect();
        entries.sort_by_key(|(stamp, _)| (stamp.seconds, stamp.nanoseconds));
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    /// What is wrong with them.
    pub fn problems(&self) -> impl Iterator<Item = &String> {
        self.problem.iter().chain(self.files.values().filter_map(|kept| kept.problem.as_ref()))
    }
}
