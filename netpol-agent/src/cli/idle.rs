//! `netpol idle`: does nothing until it is told to end, for a pod whose work another of its containers has done.

use std::process::ExitCode;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};

pub(super) fn run() -> anyhow::Result<ExitCode> {
    let ends = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    // The first process of a container has no default for them: blocked they wait here.
    ends.thread_block().context("cannot block signals")?;
    ends.wait().context("cannot wait for a signal")?;
    Ok(ExitCode::SUCCESS)
}
