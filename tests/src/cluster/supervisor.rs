//! The first process of a process namespace: it starts parts, notes their numbers, takes requests about them, and waits
//! for every process that lost its parent.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::fork;
use crate::deadline::wait_for;
use crate::laboratory::keep_capabilities;

/// How long a killed process may take to be gone.
const GONE: Duration = Duration::from_secs(20);
/// How long an answer to a request is waited for.
const ANSWER: Duration = Duration::from_secs(30);

/// What is asked of a supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Start a part; one that it does not know of needs its command and all its capabilities.
    Start { part: String, command: Option<(Vec<String>, Vec<u8>)> },
    /// Kill a part, and wait until it is gone.
    Kill { part: String },
}

/// How a part is called.
pub(super) type Make = Box<dyn Fn() -> Result<Command> + Send + Sync>;

/// Starts parts and waits for them.
pub(super) struct Supervisor {
    folder: PathBuf,
    proc: File,
    known: BTreeMap<String, Make>,
    /// The numbers in this namespace of those that run.
    running: Mutex<BTreeMap<String, Pid>>,
}

impl Supervisor {
    /// `proc` is the machine's `/proc`.
    pub(super) fn new(folder: PathBuf, proc: File, known: BTreeMap<String, Make>) -> Self {
        Self { folder, proc, known, running: Mutex::default() }
    }

    /// Starts a part.
    pub(super) fn start(&self, part: &str, command: Option<(Vec<String>, Vec<u8>)>) -> Result<()> {
        let mut running = self.running();
        if running.contains_key(part) {
            bail!("{part} runs already");
        }
        let mut capabilities = None;
        let mut command = match (self.known.get(part), command) {
            (_, Some((command, kept))) => {
                let [program, arguments @ ..] = &*command else { bail!("{part} has no command") };
                capabilities = Some(kept);
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
            (Some(make), None) => make()?,
            (None, None) => bail!("there is no part {part}"),
        };
        let log = log_file(&self.folder, part);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone().context("cannot share a log")?).stderr(log);
        command.process_group(0);
        fork::note_pid(&mut command, self.proc.as_raw_fd(), &pid_file(&self.folder, part))?;
        if let Some(kept) = &capabilities {
            keep_capabilities(&mut command, kept);
        }
        let child = command.spawn().with_context(|| format!("cannot start {part}"))?;
        running.insert(part.to_owned(), Pid::from_raw(child.id().cast_signed()));
        Ok(())
    }

    fn kill(&self, part: &str) -> Result<()> {
        let Some(pid) = self.running().get(part).copied() else { return Ok(()) };
        let _ = kill(pid, Signal::SIGKILL);
        wait_for(&format!("{part} ends"), GONE, || (self.running().get(part) != Some(&pid)).then_some(()))
    }

    /// Takes requests on a socket, and waits for processes, for ever.
    pub(super) fn serve(self) -> Result<()> {
        let socket = socket_file(&self.folder);
        drop(fs::remove_file(&socket));
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        let supervisor = Arc::new(self);
        let listening = Arc::clone(&supervisor);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let supervisor = Arc::clone(&listening);
                // A client that is gone needs no answer.
                thread::spawn(move || drop(supervisor.answer(&stream)));
            }
        });
        supervisor.reap()
    }

    fn answer(&self, mut stream: &UnixStream) -> Result<()> {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let done = match serde_json::from_str(&line)? {
            Request::Start { part, command } => self.start(&part, command),
            Request::Kill { part } => self.kill(&part),
        };
        let answer: Result<(), String> = done.map_err(|error| format!("{error:#}"));
        writeln!(stream, "{}", serde_json::to_string(&answer)?)?;
        Ok(())
    }

    fn reap(&self) -> Result<()> {
        loop {
            // Only looks: a part that could not be started is waited for by who tried to start it.
            match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => thread::sleep(Duration::from_millis(50)),
                Err(error) => return Err(error).context("cannot wait for processes"),
            }
            let mut running = self.running();
            while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                let Some(pid) = status.pid().filter(|_| status != WaitStatus::StillAlive) else { break };
                let part = running.iter().find(|(_, own)| **own == pid).map(|(part, _)| part.clone());
                if let Some(part) = part {
                    running.remove(&part);
                    drop(fs::remove_file(pid_file(&self.folder, &part)));
                    println!("{part} has ended: {status:?}");
                }
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Pid>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the supervisor whose files are in a folder.
pub(super) fn ask(folder: &Path, request: &Request) -> Result<()> {
    let socket = socket_file(folder);
    let stream =
        UnixStream::connect(&socket).with_context(|| format!("cannot reach {}", socket.display()))?;
    stream.set_read_timeout(Some(ANSWER))?;
    writeln!(&stream, "{}", serde_json::to_string(request)?)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).with_context(|| format!("no answer to {request:?}"))?;
    let answer: Result<(), String> = serde_json::from_str(&line).context("a supervisor ended")?;
    answer.map_err(anyhow::Error::msg)
}

/// Whether a supervisor takes requests.
pub(super) fn is_there(folder: &Path) -> bool {
    UnixStream::connect(socket_file(folder)).is_ok()
}

/// The number of a part as the machine sees it; `None` when it does not run.
pub(super) fn pid(folder: &Path, part: &str) -> Option<u32> {
    fs::read_to_string(pid_file(folder, part)).ok()?.trim().parse().ok()
}

/// Where a part logs.
pub(super) fn log_file(folder: &Path, part: &str) -> PathBuf {
    folder.join(format!("{part}.log"))
}

fn pid_file(folder: &Path, part: &str) -> PathBuf {
    folder.join(format!("{part}.pid"))
}

fn socket_file(folder: &Path) -> PathBuf {
    folder.join("supervisor.sock")
}
