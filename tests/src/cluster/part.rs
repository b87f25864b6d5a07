//! A part of a running cluster that a test may stop, kill and start again, from whatever process.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::supervisor::{self, Request};
use crate::laboratory::halt;

/// A part of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What the API server keeps its objects in.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controller manager.
    ControllerManager,
    /// The scheduler.
    Scheduler,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Scheduler];
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        })
    }
}

/// A part of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodePart {
    /// The container runtime.
    Containerd,
    /// What starts the node's pods.
    Kubelet,
    /// What translates Services.
    KubeProxy,
}

impl NodePart {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Containerd, Self::Kubelet, Self::KubeProxy];
}

impl fmt::Display for NodePart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        })
    }
}

/// A process that a supervisor of the cluster keeps.
#[derive(Debug, Clone)]
pub struct PartHandle {
    folder: PathBuf,
    name: String,
}

impl PartHandle {
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        Self { folder: folder.to_owned(), name: name.to_owned() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process number, as this machine sees it; `None` when it does not run.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        supervisor::pid(&self.folder, &self.name)
    }

    /// Halts it where it is: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&self) -> Result<()> {
        halt(self.running()?, &self.name)
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
        kill(Pid::from_raw(self.running()?.cast_signed()), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    fn running(&self) -> Result<u32> {
        self.pid().with_context(|| format!("{} does not run", self.name))
    }

    /// Kills it and waits until it is gone: no handler runs, and it stays dead until it is started.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub fn kill(&self) -> Result<()> {
        supervisor::ask(&self.folder, &Request::Kill { part: self.name.clone() })
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&self) -> Result<()> {
        supervisor::ask(&self.folder, &Request::Start { part: self.name.clone(), command: None })
    }

    /// Starts something else under this name, which the supervisor did not know, with no other capabilities than these.
    pub(super) fn start_command(&self, command: Vec<String>, capabilities: &[u8]) -> Result<()> {
        let command = Some((command, capabilities.to_vec()));
        supervisor::ask(&self.folder, &Request::Start { part: self.name.clone(), command })
    }

    /// Kills it and starts it again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        self.start()
    }

    /// The end of what it logged.
    #[must_use]
    pub fn log(&self) -> String {
        let text = fs::read(self.log_file()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Where it logs.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        supervisor::log_file(&self.folder, &self.name)
    }
}
