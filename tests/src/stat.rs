//! What the kernel says of a process or a thread in its `stat`: proc(5).

use std::fs;
use std::path::Path;

/// The fields behind the name, of which the first is the state; `None` when there is no such process or thread. The folder is
/// its own in `/proc`.
#[must_use]
pub fn fields(folder: &Path) -> Option<Vec<String>> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// The same of a process.
#[must_use]
pub fn fields_of(process: u32) -> Option<Vec<String>> {
    fields(Path::new(&format!("/proc/{process}")))
}

/// The time of start of a process in ticks since boot, as text; `None` when there is no such process.
#[must_use]
pub fn started(process: u32) -> Option<String> {
    fields_of(process)?.get(19).cloned()
}
