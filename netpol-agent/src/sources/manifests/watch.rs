//! What happens in watched folders, by inotify, gathered until they are quiet.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor},
};

/// What happened since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Files that were closed after writing, moved in, moved away or deleted.
    pub closed: BTreeSet<PathBuf>,
    /// Files that are being written now.
    pub open: BTreeSet<PathBuf>,
    /// Folders came or went, or time has passed: look through all of it.
    pub everything: bool,
    /// Events were lost.
    pub overflowed: bool,
}

/// A set of watched folders.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    folders: HashMap<WatchDescriptor, PathBuf>,
    /// Files that are being written, with the time of the last write.
    writing: BTreeMap<PathBuf, Instant>,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// When the kernel has no more inotify instances for this user.
    pub fn new() -> nix::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self { inotify, folders: HashMap::new(), writing: BTreeMap::new() })
    }

    /// Watches a folder, without those in it; again is harmless. A folder that is gone is left out.
    pub fn add(&mut self, folder: &Path) {
        let mask = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        match self.inotify.add_watch(folder, mask) {
            Ok(descriptor) => {
                self.folders.insert(descriptor, folder.to_owned());
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "cannot watch a folder; it is looked through from time to time");
            }
        }
    }

    /// The descriptor to poll.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Waits for something to happen, and then until nothing happens for `quiet`, but no longer than `patience`.
    /// Without any event it comes back after `idle` and asks to look through everything.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub fn wait(&mut self, idle: Duration, quiet: Duration, patience: Duration) -> nix::Result<Changes> {
        let mut changes = Changes::default();
        if !self.readable(idle)? {
            changes.everything = true;
            // Linked there without ever being closed, or forgotten by its writer: it counts as it is.
            self.writing.retain(|_, since| since.elapsed() < idle);
        }
        let end = Instant::now() + patience;
        while self.take(&mut changes)? && Instant::now() < end {
            self.readable(quiet)?;
        }
        changes.open = self.writing.keys().cloned().collect();
        Ok(changes)
    }

    fn readable(&self, timeout: Duration) -> nix::Result<bool> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(n) => Ok(n > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes the events that are there; whether there were any.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub fn take(&mut self, changes: &mut Changes) -> nix::Result<bool> {
        let events = match self.inotify.read_events() {
            Ok(events) => events,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
            Err(error) => return Err(error),
        };
        for event in events {
            if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                changes.everything = true;
                changes.overflowed = true;
                self.writing.clear();
                continue;
            }
            if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                self.folders.remove(&event.wd);
                changes.everything = true;
                continue;
            }
            let Some(folder) = self.folders.get(&event.wd) else { continue };
            let Some(name) = event.name else {
                changes.everything = true;
                continue;
            };
            let path = folder.join(name);
            if event.mask.contains(AddWatchFlags::IN_ISDIR) || path_is_hidden(&path) {
                changes.everything = true;
            } else if event.mask.intersects(AddWatchFlags::IN_MODIFY) {
                self.writing.insert(path, Instant::now());
            } else if event.mask.intersects(AddWatchFlags::IN_CREATE) {
                // A link, hard or symbolic, is never closed; a new file is, and is being written until then.
                if path
                    .symlink_metadata()
                    .is_ok_and(|m| m.is_symlink() || std::os::unix::fs::MetadataExt::nlink(&m) > 1)
                {
                    changes.closed.insert(path);
                } else {
                    self.writing.insert(path, Instant::now());
                }
            } else {
                self.writing.remove(&path);
                changes.closed.insert(path);
            }
        }
        Ok(true)
    }
}

/// A mounted ConfigMap turns a hidden link over: then all its files have changed.
fn path_is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(5);

    #[test]
    fn a_file_counts_when_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new().unwrap();
        watch.add(dir.path());
        let path = dir.path().join("a.yaml");
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(b"kind: A").unwrap();
        let changes = watch.wait(LONG, SHORT, SHORT).unwrap();
        assert_eq!((changes.closed.len(), changes.open.contains(&path)), (0, true));
        drop(file);
        let changes = watch.wait(LONG, SHORT, SHORT).unwrap();
        assert!(changes.closed.contains(&path) && changes.open.is_empty());
    }

    #[test]
    fn moving_and_deleting_count_too() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new().unwrap();
        let (a, b) = (dir.path().join("a.yaml"), dir.path().join("b.yaml"));
        fs::write(&a, "x").unwrap();
        watch.add(dir.path());
        fs::rename(&a, &b).unwrap();
        fs::remove_file(&b).unwrap();
        let changes = watch.wait(LONG, SHORT, SHORT).unwrap();
        assert_eq!(changes.closed, BTreeSet::from([a, b]));
    }

    #[test]
    fn a_new_folder_asks_to_look_through_everything() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new().unwrap();
        watch.add(dir.path());
        fs::create_dir(dir.path().join("sub")).unwrap();
        assert!(watch.wait(LONG, SHORT, SHORT).unwrap().everything);
    }

    #[test]
    fn without_events_time_passes() {
        let mut watch = Watch::new().unwrap();
        assert!(watch.wait(SHORT, SHORT, SHORT).unwrap().everything);
    }
}
