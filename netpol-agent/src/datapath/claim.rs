//! The right to work on a folder of pins: one process has it at a time, and the kernel takes it back however that ends.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use super::{Error, make_folder};

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
        match folder.try_lock() {
            Ok(()) => Ok(Self { _lock: folder }),
            Err(TryLockError::WouldBlock) => Err(Error::Taken { path: bpffs.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}
