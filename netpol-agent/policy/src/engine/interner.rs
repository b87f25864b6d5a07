//! Ids of the tables: given by content, never reused while anything can still refer to them, the same after a
//! restart.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::{self, Debug, Write},
};

use netpol_common::tables::Digest;
use sha2::{Digest as _, Sha256};

struct Hashed(Sha256);

impl Write for Hashed {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.update(s.as_bytes());
        Ok(())
    }
}

fn cut(hash: Sha256) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&hash.finalize()[..16]);
    digest
}

/// The digest of a content by what its `Debug` says, which quotes and so is never ambiguous. It knows no ids: equal
/// content has an equal digest in every process.
pub(super) fn digest_of(content: &impl Debug) -> Digest {
    let mut hashed = Hashed(Sha256::new());
    // Writing into a hash cannot fail.
    let _: fmt::Result = write!(hashed, "{content:?}");
    cut(hashed.0)
}

/// The digest of parts that have a fixed length each.
pub(super) fn digest_of_parts(parts: impl IntoIterator<Item: AsRef<[u8]>>) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_ref());
    }
    cut(hash)
}

/// The ids of one kind.
#[derive(Debug)]
pub(super) struct Ids {
    by_digest: HashMap<Digest, u32>,
    free: BTreeSet<u32>,
    next: u32,
    limit: u32,
}

impl Ids {
    /// Ids from `first` up to but without `limit`.
    pub(super) fn new(first: u32, limit: u32) -> Self {
        Self { by_digest: HashMap::new(), free: BTreeSet::new(), next: first, limit }
    }

    /// Takes over an id of the tables as they were found.
    pub(super) fn recover(&mut self, id: u32, digest: Digest) {
        while self.next <= id {
            self.free.insert(self.next);
            self.next += 1;
        }
        self.free.remove(&id);
        self.by_digest.insert(digest, id);
    }

    /// The id of a content, a new one if it has none; `None` when all are in use.
    pub(super) fn assign(&mut self, digest: Digest) -> Option<u32> {
        if let Some(id) = self.by_digest.get(&digest) {
            return Some(*id);
        }
        let id = match self.free.pop_first() {
            Some(id) => id,
            None if self.next < self.limit => {
                self.next += 1;
                self.next - 1
            }
            None => return None,
        };
        self.by_digest.insert(digest, id);
        Some(id)
    }

    /// Nothing refers to an id any more: it may be given again.
    pub(super) fn forget(&mut self, id: u32, digest: &Digest) {
        if self.by_digest.get(digest) == Some(&id) {
            self.by_digest.remove(digest);
            self.free.insert(id);
        }
    }
}
