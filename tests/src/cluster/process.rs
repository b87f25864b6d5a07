//! A program of a control plane that a test may stop, kill and start again.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::laboratory::Program;

/// How a process is called, each time that it is started.
type Make = Box<dyn Fn() -> Result<Command> + Send + Sync>;

/// A program that is started, ended and started again in the same way; dropping it kills it.
pub struct Process {
    name: &'static str,
    folder: PathBuf,
    make: Make,
    running: Mutex<Option<Program>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Process").field("name", &self.name).field("running", &self.running).finish()
    }
}

impl Process {
    /// One that does not run yet; its folder is its owner's claim, where it logs.
    pub(super) fn new(name: &'static str, folder: PathBuf, make: Make) -> Self {
        Self { name, folder, make, running: Mutex::new(None) }
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&self) -> Result<()> {
        let mut running = self.running();
        if running.is_some() {
            bail!("{} runs already", self.name);
        }
        let mut command = (self.make)()?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())
            .with_context(|| format!("cannot open the log of {}", self.name))?;
        command.stdin(std::process::Stdio::null());
        command.stdout(log.try_clone().context("cannot share a log")?).stderr(log);
        *running = Some(Program::start(&self.folder, command)?);
        Ok(())
    }

    /// Kills it: no handler runs.
    pub fn kill(&self) {
        *self.running() = None;
    }

    /// Kills it and starts it again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&self) -> Result<()> {
        self.kill();
        self.start()
    }

    /// Halts it where it is: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&self) -> Result<()> {
        self.program(Program::halt)
    }

    /// Lets it go on after [`stop`](Self::stop).
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.program(|program| program.signal(signal))
    }

    fn program(&self, act: impl FnOnce(&Program) -> Result<()>) -> Result<()> {
        act(self.running().as_ref().with_context(|| format!("{} does not run", self.name))?)
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running().as_ref().map(Program::id)
    }

    /// How it ended, when it did so by itself.
    pub fn ended(&self) -> Option<std::process::ExitStatus> {
        self.running().as_mut().and_then(Program::ended)
    }

    /// The end of what it logged.
    #[must_use]
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    fn running(&self) -> MutexGuard<'_, Option<Program>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
