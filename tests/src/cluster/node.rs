//! A node of a running cluster.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::fork;
use super::part::{NodePart, PartHandle};
use super::state::State;
use crate::laboratory::Namespace;

/// A node of a running cluster.
#[derive(Debug, Clone)]
pub struct Node {
    name: String,
    addresses: Vec<IpAddr>,
    folder: PathBuf,
    /// Its first process, as this machine sees it.
    init: u32,
    network: Namespace,
}

impl Node {
    pub(super) fn new(state: &State, name: &str, addresses: Vec<IpAddr>) -> Result<Self> {
        let init = super::supervisor::pid(&state.control(), name)
            .with_context(|| format!("{name} does not run, see {}", state.control().display()))?;
        let network = Namespace::opened(name, PathBuf::from(format!("/proc/{init}/ns/net")))
            .with_context(|| format!("{name} has ended"))?;
        Ok(Self { name: name.to_owned(), addresses, folder: state.node(name), init, network })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its own addresses.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Its network.
    #[must_use]
    pub const fn network(&self) -> &Namespace {
        &self.network
    }

    /// One of its parts.
    #[must_use]
    pub fn part(&self, part: NodePart) -> PartHandle {
        PartHandle::new(&self.folder, &part.to_string())
    }

    /// Another program that its first process keeps.
    pub(super) fn other_part(&self, name: &str) -> PartHandle {
        PartHandle::new(&self.folder, name)
    }

    /// Its folder on this machine: settings, logs, and `manifests` for static pods.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path of the node (such as `/var/lib/cni`) as this machine reaches it.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.init)).join(path.trim_start_matches('/'))
    }

    /// Lets a command run on this node: its network, files, processes and control groups. The process that is started waits
    /// for the one on the node and ends as it does; killed, it takes that with it.
    ///
    /// # Errors
    /// When the node has ended.
    pub fn enter(&self, command: &mut Command) -> Result<()> {
        let mut files = Vec::new();
        // Mounts last: paths are this machine's until then.
        for kind in ["cgroup", "ipc", "uts", "net", "pid", "mnt"] {
            let path = format!("/proc/{}/ns/{kind}", self.init);
            files.push(File::open(&path).with_context(|| format!("{} has ended: no {path}", self.name))?);
        }
        let files = Arc::new(files);
        for index in 0..files.len() {
            let files = Arc::clone(&files);
            let enter = move || {
                // SAFETY: one system call that takes numbers only; the file is open as long as the closure lives.
                match unsafe { libc::setns(files[index].as_raw_fd(), 0) } {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            };
            // SAFETY: the closure makes one system call and allocates nothing.
            unsafe { command.pre_exec(enter) };
        }
        fork::into_child(command);
        Ok(())
    }

    /// Runs a program on the node to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(std::process::Stdio::null());
        self.enter(&mut command)?;
        Namespace::die_with_thread(&mut command);
        command.output().with_context(|| format!("cannot start {program} on {}", self.name))
    }

    /// Runs a program on the node, and returns its standard output.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments);
        self.enter(&mut command)?;
        crate::command::feed_command(command, "").with_context(|| format!("on {}", self.name))
    }

    /// Does some work on a thread that is in the node's network and ends with the work.
    ///
    /// # Errors
    /// When the thread cannot enter it. A panic of the work goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.network.run(work)
    }

    /// Whether bridged frames pass the node's iptables and nftables, as Kubernetes asks for; they do at first.
    ///
    /// # Errors
    /// When this kernel's bridges never ask netfilter.
    pub fn set_bridge_netfilter(&self, on: bool) -> Result<()> {
        for family in ["iptables", "ip6tables"] {
            let path = format!("net/bridge/bridge-nf-call-{family}");
            self.network.sysctl(&path, if on { "1" } else { "0" })?;
        }
        Ok(())
    }
}
