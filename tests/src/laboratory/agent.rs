//! The real agent on the laboratory's node, and netpol's other commands against it.

use std::fs::{self, OpenOptions};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Laboratory, Namespace, Program, network};
use crate::deadline::wait_for;

/// How long the agent may take to be ready. It takes well under a second; machines are shared.
const READY: Duration = Duration::from_secs(30);
/// How long it may take to see a file and write what follows from it.
const SETTLED: Duration = Duration::from_secs(10);
/// How long it may take to end.
const ENDED: Duration = Duration::from_secs(10);

/// How the agent of a laboratory is called.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The binary.
    pub binary: PathBuf,
    /// Where it pins.
    pub bpffs: PathBuf,
    /// Its socket.
    pub socket: PathBuf,
    /// The folder that it watches.
    pub manifests: PathBuf,
    /// The node's name.
    pub node: String,
    kubeconfig: Option<PathBuf>,
    cache: PathBuf,
    log: PathBuf,
    flags: Vec<String>,
    network: Namespace,
}

/// The binary: `NETPOL_BIN`, or what cargo has built beside this program.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NETPOL_BIN") {
        return fs::canonicalize(&path).with_context(|| format!("NETPOL_BIN names {}", path.display()));
    }
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    // target/debug/deps/wire-0123 or target/debug/netpol-demo
    own.ancestors().skip(1).take(3).map(|folder| folder.join("netpol")).find(|path| path.is_file()).context(
        "no netpol beside this program: build it (`cargo xtask build`) and set NETPOL_BIN to its path",
    )
}

/// The agent whose tables have another layout, and which ends where it is told to: `NETPOL_OTHER_LAYOUT`, or what
/// `cargo xtask test` has built beside `netpol`.
///
/// # Errors
/// When there is none.
pub fn other_binary() -> Result<PathBuf> {
    let named = std::env::var_os("NETPOL_OTHER_LAYOUT").map(PathBuf::from);
    let path = named.map_or_else(|| binary().map(|path| path.with_file_name("netpol-other-layout")), Ok)?;
    fs::canonicalize(&path).with_context(|| {
        format!("no agent with another layout at {}: `cargo xtask test` builds it", path.display())
    })
}

impl Agent {
    pub(super) fn new(laboratory: &Laboratory, flags: &[String]) -> Result<Self> {
        let folder = laboratory.folder();
        Ok(Self {
            binary: laboratory.agent_binary.clone().map_or_else(binary, Ok)?,
            bpffs: laboratory.claim.pins(),
            socket: folder.join("netpol.sock"),
            manifests: laboratory.manifests(),
            node: laboratory.node_name.clone(),
            kubeconfig: laboratory.api.as_ref().map(|(kubeconfig, _)| kubeconfig.clone()),
            cache: laboratory.cni_cache(),
            log: folder.join("agent.log"),
            flags: flags.to_vec(),
            network: laboratory.node.clone(),
        })
    }

    /// `netpol agent` with all its flags, not started yet.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("agent").arg("--node").arg(&self.node);
        match &self.kubeconfig {
            Some(kubeconfig) => command.arg("--kubeconfig").arg(kubeconfig),
            None => command.arg("--manifests").arg(&self.manifests),
        };
        command.arg("--cni-cache").arg(&self.cache).arg("--socket").arg(&self.socket);
        command.arg("--bpffs").arg(&self.bpffs);
        for range in network::SERVICE_RANGES {
            command.arg("--service-cidr").arg(range);
        }
        command.args(&self.flags).stdin(Stdio::null());
        self.network.enter(&mut command);
        command
    }

    /// `netpol agent --uninstall`, not started yet.
    #[must_use]
    pub fn uninstall(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(["agent", "--uninstall", "--bpffs"]).arg(&self.bpffs).stdin(Stdio::null());
        self.network.enter(&mut command);
        command
    }

    /// Another command of netpol, against this agent's socket, not started yet.
    #[must_use]
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--socket").arg(&self.socket).stdin(Stdio::null());
        self.network.enter(&mut command);
        command
    }

    /// What `netpol status -o json` says.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn status(&self) -> Result<Value> {
        let output = self.client(&["status", "-o", "json"]).output().context("cannot start netpol status")?;
        parsed(&output)
    }

    /// The end of what the agent logged.
    #[must_use]
    pub fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// The JSON that a command of netpol wrote; status may exit with another code than 0 while it is not ready.
fn parsed(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout).with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("netpol wrote no JSON ({}): {}", output.status, said.trim())
    })
}

/// The kernel's highest capability, at least; those beyond what it knows are refused, which does no harm.
const CAPABILITIES: u8 = 63;

/// Lets a command have these capabilities and no other.
pub(crate) fn keep_capabilities(command: &mut Command, kept: &[u8]) {
    let kept = kept.iter().fold(0_u64, |set, number| set | 1 << number);
    let drop_others = move || {
        for number in (0..=CAPABILITIES).filter(|number| kept >> number & 1 == 0) {
            // What root executes has what the bounding set leaves.
            // SAFETY: one system call that takes numbers only.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls, and allocates nothing.
    unsafe { command.pre_exec(drop_others) };
}

impl Laboratory {
    /// How the agent is called.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn agent(&self) -> Result<Agent> {
        Agent::new(self, &self.agent_flags)
    }

    /// The agent that is started next has these flags too.
    pub fn call_agent_with(&mut self, flags: &[&str]) {
        self.agent_flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
    }

    /// Whether the agent that is started next can pin nothing new: a BPF file system has no size of its own, and to fill
    /// the kernel's memory would hit others.
    pub const fn fill_pins(&mut self, full: bool) {
        self.pins_are_full = full;
    }

    /// The agent that is started next is this program.
    pub fn use_agent(&mut self, binary: PathBuf) {
        self.agent_binary = Some(binary);
    }

    /// Starts the agent and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time: with what it logged.
    pub fn start_agent(&mut self) -> Result<()> {
        self.launch_agent()?;
        let agent = self.agent()?;
        let waited = wait_for("the agent is ready", READY, || {
            if let Some(status) = self.running.as_mut().and_then(Program::ended) {
                return Some(Err(format!("it ended with {status}")));
            }
            let ready = agent.status().is_ok_and(|status| status["ready"] == Value::Bool(true));
            ready.then_some(Ok(()))
        });
        match waited {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => bail!("the agent did not start: {why}\n{}", agent.log()),
            Err(error) => Err(error.context(format!("{:?}\n{}", agent.status(), agent.log()))),
        }
    }

    /// Starts the agent without waiting for anything.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_agent(&mut self) -> Result<()> {
        self.running = Some(self.launch_with(&[])?);
        Ok(())
    }

    /// Starts an agent that ends by itself after so many operations, as if it were killed there, and waits for its end.
    /// Says whether it has ended so: it may have had less to do, and is ready then.
    ///
    /// # Errors
    /// When it cannot be started, ends otherwise, or takes too long.
    pub fn agent_that_ends_after(&mut self, operations: u32) -> Result<bool> {
        let mut program = self.launch_with(&[("NETPOL_FAULT_AFTER", operations.to_string())])?;
        let agent = self.agent()?;
        let ended = wait_for("the agent ends, or is ready", READY, || {
            let ready = || agent.status().is_ok_and(|status| status["ready"] == Value::Bool(true));
            program.ended().map(Some).or_else(|| ready().then_some(None))
        })
        .with_context(|| agent.log())?;
        if let Some(status) = ended
            && status.signal() != Some(Signal::SIGKILL as i32)
        {
            bail!("the agent ended with {status}\n{}", agent.log());
        }
        Ok(ended.is_some())
    }

    fn launch_with(&self, environment: &[(&str, String)]) -> Result<Program> {
        let agent = self.agent()?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&agent.log)
            .context("cannot open the agent's log")?;
        let mut command = agent.command();
        if let Some(capabilities) = &self.agent_capabilities {
            keep_capabilities(&mut command, capabilities);
        }
        if self.pins_are_full {
            Namespace::keep_from_making(&mut command, &agent.bpffs)?;
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdout(log.try_clone().context("cannot share the agent's log")?).stderr(log);
        Program::start(self.folder(), command)
    }

    /// Kills the agent: no handler runs, nothing is tidied up.
    pub fn kill_agent(&mut self) {
        self.running = None;
    }

    /// Lets the agent stand still (SIGSTOP); what it pinned goes on.
    ///
    /// # Errors
    /// When none runs.
    pub fn freeze_agent(&self) -> Result<()> {
        self.running_agent()?.halt()
    }

    /// Lets an agent that stands still go on.
    ///
    /// # Errors
    /// When none runs.
    pub fn thaw_agent(&self) -> Result<()> {
        self.running_agent()?.signal(Signal::SIGCONT)
    }

    fn running_agent(&self) -> Result<&Program> {
        self.running.as_ref().context("no agent runs")
    }

    /// The agent's process number, while it runs.
    #[must_use]
    pub fn agent_id(&self) -> Option<u32> {
        self.running.as_ref().map(Program::id)
    }

    /// Ends the agent in good order; what it pinned stays.
    ///
    /// # Errors
    /// When it does not end in time or not with success.
    pub fn stop_agent(&mut self) -> Result<()> {
        let Some(program) = self.running.take() else { return Ok(()) };
        let status = program.stop(ENDED)?;
        if !status.success() {
            bail!("the agent ended with {status} after SIGTERM\n{}", self.agent()?.log());
        }
        Ok(())
    }

    /// Ends the agent in good order, and takes down what it pinned.
    ///
    /// # Errors
    /// When one of the two fails.
    pub fn uninstall_agent(&mut self) -> Result<()> {
        self.stop_agent()?;
        let output = self.agent()?.uninstall().output().context("cannot start netpol")?;
        if !output.status.success() {
            bail!("cannot take the engine down: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Whether an agent was started and not ended.
    #[must_use]
    pub const fn has_agent(&self) -> bool {
        self.running.is_some()
    }

    /// Waits until the agent has taken in every file and pod as they are now. Without an agent there is nothing to
    /// wait for. With an API server there is no order among kinds of objects: wait for what follows from them instead.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn settle(&mut self) -> Result<()> {
        if !self.has_agent() {
            return Ok(());
        }
        let agent = self.agent()?;
        let wanted = self.mark()?;
        wait_for("the agent has taken in what the folder holds", SETTLED, || {
            agent.status().is_ok_and(|status| wanted.is_met(&status)).then_some(())
        })
        .with_context(|| format!("wanted {wanted:?}, status {:?}\n{}", agent.status(), agent.log()))?;
        self.unmark()
    }
}
