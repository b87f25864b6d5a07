//! A running cluster, as tests and commands find it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::binaries;
use super::credentials::{Credentials, User};
use super::foreign::Foreign;
use super::node::Node;
use super::options::Options;
use super::part::{Part, PartHandle};
use super::state::State;
use crate::command;
use crate::laboratory::Namespace;

/// The name of a cluster when nothing is said.
const DEFAULT: &str = "default";

/// A running cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub(super) state: State,
    options: Options,
    nodes: Vec<Node>,
    network: Namespace,
    admin: PathBuf,
}

impl Cluster {
    /// The cluster that `NETPOL_CLUSTER` names, or `default`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn running() -> Result<Self> {
        let name = env::var("NETPOL_CLUSTER").unwrap_or_else(|_| DEFAULT.to_owned());
        Self::named(&name)
    }

    /// The cluster of this name.
    ///
    /// # Errors
    /// When it does not run.
    pub fn named(name: &str) -> Result<Self> {
        let state = State::of(name)?;
        if let Some(foreign) = Foreign::named(name)? {
            return Err(foreign.refusal(
                "what starts agents or other programs on nodes",
                "take one that `cargo xtask cluster up` makes; `status` and `kubectl` work on this one",
            ));
        }
        if !state.is_alive() || !state.ready().exists() {
            bail!("no cluster {name} is up: `cargo xtask cluster up --name {name}` makes it");
        }
        Self::open(state)
    }

    /// A cluster whose parts may not all be ready yet.
    pub(super) fn open(state: State) -> Result<Self> {
        let options = state.options()?;
        let anchor =
            state.anchor().with_context(|| format!("the anchor of cluster {} has ended", state.name()))?;
        let network =
            Namespace::opened("the control plane", PathBuf::from(format!("/proc/{anchor}/ns/net")))?;
        let nodes = (1..=options.nodes)
            .zip(options.node_names())
            .map(|(number, name)| Node::new(&state, &name, options.node_addresses(number)))
            .collect::<Result<_>>()?;
        let admin = Credentials::at(&state.credentials()).kubeconfig_file(&User::admin());
        Ok(Self { state, options, nodes, network, admin })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.name()
    }

    /// What it is made of.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name() == name).with_context(|| format!("there is no node {name}"))
    }

    /// The control plane's network, which is the world beyond the nodes as well: it has the laboratory's addresses
    /// `OUTSIDE` and `PRIVATE`.
    #[must_use]
    pub const fn network(&self) -> &Namespace {
        &self.network
    }

    /// A part of the control plane.
    #[must_use]
    pub fn part(&self, part: Part) -> PartHandle {
        PartHandle::new(&self.state.control(), &part.to_string())
    }

    /// The kubeconfig of one who may do everything. Only inside the cluster's networks the address in it answers.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.admin
    }

    /// A kubeconfig with the agent's rights: those that its ServiceAccount, `netpol-agent` in `kube-system`, is given by
    /// `deploy/rbac.yaml`, once that is applied.
    #[must_use]
    pub fn agent_kubeconfig(&self) -> PathBuf {
        Credentials::at(&self.state.credentials()).kubeconfig_file(&User::agent())
    }

    /// Where the API server is.
    #[must_use]
    pub fn url(&self) -> String {
        super::anchor::api_server(&self.options).url()
    }

    /// Whether something listens where the API server should: a look that costs little, as kubectl is a large program.
    pub(super) fn is_listening(&self) -> bool {
        let address = (self.options.control_addresses()[0], super::flags::PORT);
        self.network.run(|| std::net::TcpStream::connect(address).is_ok()).unwrap_or(false)
    }

    /// Lets a command run in the control plane's network.
    pub fn enter(&self, command: &mut Command) {
        self.network.enter(command);
    }

    /// kubectl as the admin, not started yet.
    ///
    /// # Errors
    /// When there is no kubectl.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binaries::find("kubectl")?);
        command.env("KUBECONFIG", &self.admin).args(arguments);
        self.enter(&mut command);
        Ok(command)
    }

    /// Runs kubectl as the admin and returns its standard output.
    ///
    /// # Errors
    /// When it fails: with what it wrote to standard error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(arguments, "")
    }

    /// As [`kubectl`](Self::kubectl), with some text on its standard input.
    ///
    /// # Errors
    /// As [`kubectl`](Self::kubectl).
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = self.kubectl_command(arguments)?;
        Namespace::die_with_thread(&mut command);
        command::feed_command(command, input)
    }

    /// Applies objects.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        self.kubectl_with(&["apply", "-f", "-"], yaml).map(drop)
    }

    /// Gives an image archive, an OCI one or as `docker save` writes it, to every node.
    ///
    /// # Errors
    /// When a node's containerd does not take it.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        self.nodes.iter().try_for_each(|node| load_image(node, archive))
    }
}

/// Gives an image archive to a node.
pub(super) fn load_image(node: &Node, archive: &Path) -> Result<()> {
    let file = std::fs::File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
    let mut command = Command::new("ctr");
    // From standard input: the node may not see the file.
    command.args(["--namespace", "k8s.io", "image", "import", "-"]).stdin(file);
    node.enter(&mut command)?;
    let output = command.output().context("cannot start ctr")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cannot load {} on {}: {}", archive.display(), node.name(), said.trim());
    }
    Ok(())
}
