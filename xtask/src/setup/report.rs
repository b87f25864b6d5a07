//! What setup found and installed, said while it happens. Knows nothing of what is installed.

use std::time::Instant;

use anyhow::Result;

/// Collects what was found and installed. A full report says every line; a brief one only what was installed, and a
/// summary.
#[derive(Debug)]
pub(crate) struct Report {
    full: bool,
    start: Instant,
    found: usize,
    installed: usize,
}

impl Report {
    pub(crate) fn full() -> Self {
        Self { full: true, start: Instant::now(), found: 0, installed: 0 }
    }

    pub(crate) fn brief() -> Self {
        Self { full: false, ..Self::full() }
    }

    /// `what` is there, in the state that `detail` tells.
    pub(crate) fn found(&mut self, what: &str, detail: &str) {
        self.found += 1;
        if self.full {
            println!("  found      {what:<24} {detail}");
        }
    }

    /// Installs `what` by `install`, whose result can say what there is now. `hint` says how long it may take.
    pub(crate) fn install<T>(
        &mut self,
        what: &str,
        hint: &str,
        install: impl FnOnce() -> Result<(T, String)>,
    ) -> Result<T> {
        println!("  installing {what:<24} {hint}");
        let start = Instant::now();
        let (result, detail) = install()?;
        self.installed += 1;
        println!("  installed  {what:<24} {detail}, {:.1} s", start.elapsed().as_secs_f64());
        Ok(result)
    }

    /// The summary.
    pub(crate) fn finish(self) {
        println!(
            "setup: {} found, {} installed, {:.1} s",
            self.found,
            self.installed,
            self.start.elapsed().as_secs_f64()
        );
    }
}
