//! One file of manifests: read from the disk and taken apart. Also all files of a folder at once, for who wants to know
//! where each object and field stands.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{
    document::{self, Document, Unreadable},
    listing::{Stamp, list},
};

/// Bytes beyond which a file is not read: something else was put there.
const MAX_FILE: u64 = 256 << 20;

/// A file and what it holds.
#[derive(Debug)]
pub struct File {
    /// Where it is; as the folder was given, so relative to the working directory if that was.
    pub path: PathBuf,
    /// Its documents, or what it cannot be read for.
    pub documents: Result<Vec<Document>, Unreadable>,
}

impl File {
    /// What is not in a file, such as what another program puts out; `path` says in findings what it is.
    #[must_use]
    pub fn of_bytes(path: &Path, bytes: &[u8]) -> Self {
        Self { path: path.to_owned(), documents: parse(bytes) }
    }
}

/// Every manifest of a folder and of those in it, in the order of their paths; or a file alone, whatever its name.
///
/// # Errors
/// When there is neither.
pub fn read_all(root: &Path) -> anyhow::Result<Vec<File>> {
    let data = fs::metadata(root).with_context(|| format!("cannot open {}", root.display()))?;
    let mut paths = BTreeSet::new();
    if data.is_dir() {
        list(root, &mut |_| {}, &mut paths)
            .with_context(|| format!("cannot list the folder {}", root.display()))?;
    } else {
        paths.insert(root.to_owned());
    }
    let read = |path: PathBuf| {
        let documents = load(&path)
            .map_err(|error| Unreadable { line: 1, message: format!("cannot read the file: {error}") })
            .and_then(|(_, bytes)| parse(&bytes));
        File { path, documents }
    };
    Ok(paths.into_iter().map(read).collect())
}

/// The bytes of a file, with the stamp that it had before.
pub(super) fn load(path: &Path) -> io::Result<(Stamp, Vec<u8>)> {
    let stamp = Stamp::of(path)?;
    if stamp.size() > MAX_FILE {
        return Err(io::Error::other(format!("larger than {} MiB", MAX_FILE >> 20)));
    }
    Ok((stamp, fs::read(path)?))
}

/// The documents of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Document>, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes.iter().take(error.valid_up_to()).filter(|b| **b == b'\n').count() as u64 + 1;
        Unreadable { line, message: "the file is no UTF-8 text".to_owned() }
    })?;
    document::parse(text)
        .map_err(|error| Unreadable { message: format!("the file is no YAML: {}", error.message), ..error })
}
