//! Programs that the laboratory starts, and ends with itself.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::claim;
use crate::deadline::wait_for;
use crate::stat;

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Program {
    child: Child,
    folder: PathBuf,
    name: String,
}

impl Program {
    /// Starts a program and notes it in the laboratory's folder.
    pub(crate) fn start(folder: &Path, mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        // Ctrl-C is for the process that owns the laboratory: it ends the others in its own order.
        command.process_group(0);
        let _making = claim::making();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let program = Self { child, folder: folder.to_owned(), name };
        claim::note_process(folder, program.child.id())?;
        Ok(program)
    }

    /// Its process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it ended with, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Halts it where it is, see [`halt`].
    ///
    /// # Errors
    /// When it has ended already.
    pub fn halt(&self) -> Result<()> {
        halt(self.id(), &self.name)
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub fn stop(mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let what = format!("{} ends after SIGTERM", self.name);
        wait_for(&what, deadline, || self.ended())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        claim::forget_process(&self.folder, self.child.id());
    }
}

/// How long a busy machine may take to stop every thread.
const HALTED: Duration = Duration::from_secs(10);

/// Halts a process (SIGSTOP), and waits until none of its threads runs any more.
///
/// One thread takes the signal and stops the others once it gets a processor: until then they go on, as proc(5)'s states
/// show.
///
/// # Errors
/// When it has ended already, or goes on.
pub(crate) fn halt(id: u32, name: &str) -> Result<()> {
    kill(Pid::from_raw(id.cast_signed()), Signal::SIGSTOP).with_context(|| format!("cannot halt {name}"))?;
    wait_for(&format!("every thread of {name} stands still"), HALTED, || stands_still(id).then_some(()))
}

/// Whether every thread of a process is stopped.
fn stands_still(id: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{id}/task")) else { return false };
    threads.flatten().all(|thread| {
        stat::fields(&thread.path()).is_none_or(|fields| fields.first().is_some_and(|state| state == "T"))
    })
}
