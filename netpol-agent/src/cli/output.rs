//! Writing to stdout, which may be closed by the other end of a pipe.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::text::{escape_json, escape_lines};

/// Writes a text.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a value as JSON on several lines.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    text(&format!("{}\n", escape_json(&serde_json::to_string_pretty(value)?)))
}

/// Writes a value as JSON on one line.
pub(super) fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    text(&format!("{}\n", escape_json(&serde_json::to_string(value)?)))
}

/// Says on stderr what is wrong.
pub(super) fn complain(what: &str) {
    eprintln!("netpol: {}", escape_lines(what));
}

/// Whether somebody has just stopped reading, as `head` does.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
