//! Says, from a thread of its own, what happens in libcni's folder; or in the nearest one above it while it does not
//! exist, since libcni makes it with the first pod.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use tokio::sync::mpsc;

use crate::sources::manifests::watch::{Changes, Watch};

/// How often to look without any event.
const IDLE: Duration = Duration::from_secs(10);

/// Tells `changed` until nobody listens any more.
///
/// # Errors
/// When the folder cannot be watched at all.
pub(super) fn watch(folder: &Path, changed: mpsc::UnboundedSender<Changes>) -> anyhow::Result<()> {
    let mut watch = Watch::new().context("cannot watch libcni's cache")?;
    let folder = folder.to_owned();
    let add = |watch: &mut Watch, folder: &Path| {
        let there = folder.ancestors().find(|ancestor| ancestor.is_dir());
        watch.add(there.unwrap_or(Path::new("/")));
        there == Some(folder)
    };
    let mut there = add(&mut watch, &folder);
    std::thread::Builder::new().name("cni-cache".into()).spawn(move || {
        loop {
            match watch.wait(IDLE, Duration::ZERO, Duration::ZERO) {
                Ok(mut changes) => {
                    if changes.everything || !there {
                        there = add(&mut watch, &folder);
                        changes.everything = true;
                    }
                    if changed.send(changes).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot watch libcni's cache any more; it is looked through from time to time");
                    // Keeps the channel open: the other side goes on by its own clock.
                    loop {
                        std::thread::park();
                    }
                }
            }
        }
    })?;
    Ok(())
}
