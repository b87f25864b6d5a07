//! The right to work on a folder of pins: one process has it at a time, and the kernel takes it back however that ends.

use std::{
    fs::{File, TryLockError},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{Error, make_folder};

/// How long one that has it may take to end: whoever is killed holds it until the kernel has closed all that it had open.
const ENDS: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// Held as long as an agent works on the folder.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

impl Claim {
    /// Takes it; the folder is made where it is not there.
    ///
    /// # Errors
    ///
    /// When another process has it, or the folder cannot be made or opened.
    pub fn take(bpffs: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Folder { path: bpffs.to_owned(), source };
        make_folder(bpffs)?;
        let folder = File::open(bpffs).map_err(failed)?;
        let begun = Instant::now();
        loop {
            match folder.try_lock() {
                Ok(()) => return Ok(Self { _lock: folder }),
                Err(TryLockError::WouldBlock) if begun.elapsed() < ENDS => thread::sleep(LOOK),
                Err(TryLockError::WouldBlock) => return Err(Error::Taken { path: bpffs.to_owned() }),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
    }
}
