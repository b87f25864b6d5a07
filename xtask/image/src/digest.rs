//! Digests as image manifests write them: `sha256:` and 64 hexadecimal digits.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

/// The digest of some bytes.
pub(crate) fn of(bytes: &[u8]) -> String {
    written(&Sha256::digest(bytes))
}

/// Passes on what is written to it, and knows its digest.
pub(crate) struct Digested<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Digested<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, digest: Sha256::new() }
    }

    /// The digest of all that was written.
    pub(crate) fn finish(mut self) -> io::Result<String> {
        self.inner.flush()?;
        Ok(written(&self.digest.finalize()))
    }
}

impl<W: Write> Write for Digested<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.digest.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn written(digest: &[u8]) -> String {
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}
