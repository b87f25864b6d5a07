//! What the agent is told: flags, a file in TOML with the same names, defaults. Flags win over the file, the file over
//! the defaults.

mod tables;
mod timeouts;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use netpol_common::flow::Timeouts;
use serde::Deserialize;

pub use self::{tables::Tables, timeouts::FlowTimeouts};
use crate::{
    datapath::{Attach, Reports, Sizes},
    sources::api::Access,
};

/// Where the agent pins its programs, links and tables.
pub const BPFFS: &str = "/sys/fs/bpf/netpol";
/// Where libcni keeps what it knows of connected pods.
pub const CNI_CACHE: &str = "/var/lib/cni/results";
/// Where the command line reaches the agent.
pub const SOCKET: &str = "/run/netpol/netpol.sock";
/// Where network namespaces have their files.
pub const SANDBOX_FOLDER: &str = "/run/netns";
/// What those of pods are named: by containerd, and by CRI-O (a UUID).
pub const SANDBOXES: [&str; 2] = ["cni-*", "????????-????-????-????-????????????"];
/// Verdicts kept in memory.
pub const HISTORY: usize = 4096;
/// How long a frontend or a backend that is gone still counts, in seconds.
pub const FRONTEND_GRACE: u64 = 10;
/// How long a pod keeps its classifiers after the last policy that asked for them, in seconds.
pub const HOOK_LINGER: u64 = 180;
/// What is logged.
pub const LOG: &str = "info";

/// Whether the tag of a packet that crossed a bridge is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustTag {
    /// Of a bridge all of whose veth ports are pods that carry our classifiers.
    #[default]
    Auto,
    /// Of no bridge: for nodes where something else writes skb->tc_index.
    Never,
}

/// By what classifiers are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachBy {
    /// By TCX links where the kernel has them (6.6), else by filters.
    #[default]
    Auto,
    /// By filters of clsact, as on older kernels.
    Filter,
}

impl From<AttachBy> for Attach {
    fn from(by: AttachBy) -> Self {
        match by {
            AttachBy::Auto => Self::Auto,
            AttachBy::Filter => Self::Filter,
        }
    }
}

/// Which verdicts are told of one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdicts {
    /// Of new connections and of drops.
    #[default]
    All,
    /// Of drops alone.
    Denied,
    /// Of none: they are only counted.
    None,
}

impl From<Verdicts> for Reports {
    fn from(which: Verdicts) -> Self {
        match which {
            Verdicts::All => Self::All,
            Verdicts::Denied => Self::Denied,
            Verdicts::None => Self::None,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What can be said by a flag or in the file.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Folder of manifests to enforce: *.yaml, *.yml and *.json, subfolders included. It is watched: a change is in force
    /// within 50 ms of the file's closing
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,

    /// Kubeconfig of the cluster whose objects to enforce [default: where neither this nor --manifests is given, the ServiceAccount of
    /// the pod that the agent runs in]
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    pub kubeconfig: Option<PathBuf>,

    /// The kubeconfig's context to use [default: its current one]
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    pub context: Option<String>,

    /// This node's name, as spec.nodeName of pods has it [default: the host's name]
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub node: Option<String>,

    /// Folder on a bpffs for pinned programs, links and tables; enforcement goes on from there when the agent stops
    /// [default: /sys/fs/bpf/netpol]
    #[arg(long, value_name = "PATH")]
    pub bpffs: Option<PathBuf>,

    /// libcni's cache, which says which interface belongs to which pod [default: /var/lib/cni/results]
    #[arg(long, value_name = "DIR")]
    pub cni_cache: Option<PathBuf>,

    /// Unix socket for `netpol status`, `observe`, `explain`, `policy`; made with mode 0600
    /// [default: /run/netpol/netpol.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Range of the cluster's Service addresses; may be repeated. An address in it that no known Service has is closed
    /// for isolated pods [default: none]
    #[arg(long, value_name = "CIDR")]
    pub service_cidr: Vec<IpNet>,

    /// Interfaces of the host to leave alone, as a pattern such as "veth-dev*"; may be repeated [default: none]
    #[arg(long, value_name = "GLOB")]
    pub exclude_interface: Vec<String>,

    /// Folder with the files of network namespaces, where the container runtime pins those of pods [default: /run/netns]
    #[arg(long, value_name = "DIR")]
    pub sandbox_folder: Option<PathBuf>,

    /// Names of files there that are pods' sandboxes, as a pattern; may be repeated. A new interface that leads into one
    /// is closed until its pod is known [default: cni-*, as containerd names them, and UUIDs, as CRI-O does]
    #[arg(long, value_name = "GLOB")]
    pub sandbox_namespace: Vec<String>,

    /// Whether a packet's tag (skb->tc_index) is believed behind a bridge, to recognise pods behind Services
    /// [default: auto]
    #[arg(long, value_name = "WHEN", value_enum)]
    pub trust_tag: Option<TrustTag>,

    /// By what classifiers are attached to interfaces [default: auto]
    #[arg(long, value_name = "WHAT", value_enum)]
    pub attach: Option<AttachBy>,

    /// Which verdicts are told of one by one, to `netpol observe` and in the log; all are counted [default: all]
    #[arg(long, value_name = "WHICH", value_enum)]
    pub verdicts: Option<Verdicts>,

    /// Seconds for which a Service's address or backend that is gone still counts, since kube-proxy lags
    /// [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub frontend_grace: Option<u64>,

    /// Seconds for which a pod keeps its classifiers after the last policy that asked for them, so that its connections
    /// are known when a policy comes back [default: 180]
    #[arg(long, value_name = "SECONDS")]
    pub hook_linger: Option<u64>,

    /// Address and port for /metrics, /healthz and /readyz, such as 127.0.0.1:9911 [default: none]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,

    /// Key of a taint that is taken off this node when the agent is ready, such as netpol.io/agent-not-ready: with it, no
    /// pod starts where nothing would enforce its policies yet. Needs deploy/startup-taint/rbac.yaml [default: none]
    #[arg(long, value_name = "KEY")]
    pub startup_taint: Option<String>,

    /// Verdicts that are kept in memory for `netpol observe` [default: 4096]
    #[arg(long, value_name = "COUNT")]
    pub history: Option<usize>,

    /// What is logged to stderr: a level (error, warn, info, debug, trace) or directives such as
    /// "info,netpol_agent::reconcile=debug" [default: info]
    #[arg(long, value_name = "FILTER", env = "NETPOL_LOG")]
    pub log: Option<String>,

    /// How log lines look [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,

    #[command(flatten)]
    #[serde(rename = "tables")]
    #[expect(missing_docs, reason = "clap would take a comment as help")]
    pub tables: Tables,

    #[command(flatten)]
    #[serde(rename = "timeouts")]
    #[expect(missing_docs, reason = "clap would take a comment as help")]
    pub timeouts: FlowTimeouts,
}

impl Options {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or says something that is not known.
    pub fn from_file(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("the configuration {} is wrong", path.display()))
    }

    /// These options, and `other` where they say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let list = |mine: Vec<String>, other: Vec<String>| if mine.is_empty() { other } else { mine };
        // One source: what a flag says takes the place of whatever the file says.
        let (manifests, kubeconfig, context) = if self.manifests.is_some() || self.kubeconfig.is_some() {
            (self.manifests, self.kubeconfig, self.context)
        } else {
            (other.manifests, other.kubeconfig, self.context.or(other.context))
        };
        Self {
            manifests,
            kubeconfig,
            context,
            node: self.node.or(other.node),
            bpffs: self.bpffs.or(other.bpffs),
            cni_cache: self.cni_cache.or(other.cni_cache),
            socket: self.socket.or(other.socket),
            service_cidr: if self.service_cidr.is_empty() { other.service_cidr } else { self.service_cidr },
            exclude_interface: list(self.exclude_interface, other.exclude_interface),
            sandbox_folder: self.sandbox_folder.or(other.sandbox_folder),
            sandbox_namespace: list(self.sandbox_namespace, other.sandbox_namespace),
            trust_tag: self.trust_tag.or(other.trust_tag),
            attach: self.attach.or(other.attach),
            verdicts: self.verdicts.or(other.verdicts),
            frontend_grace: self.frontend_grace.or(other.frontend_grace),
            hook_linger: self.hook_linger.or(other.hook_linger),
            metrics: self.metrics.or(other.metrics),
            startup_taint: self.startup_taint.or(other.startup_taint),
            history: self.history.or(other.history),
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
            tables: self.tables.or(&other.tables),
            timeouts: self.timeouts.or(&other.timeouts),
        }
    }

    /// With every default filled in.
    ///
    /// # Errors
    /// When something is missing that has no default, or makes no sense.
    pub fn resolve(self) -> anyhow::Result<Config> {
        let objects = objects(self.manifests, self.kubeconfig, self.context)?;
        let node = match self.node {
            Some(node) => node,
            None => hostname()?,
        };
        anyhow::ensure!(!node.is_empty(), "the node's name is empty; give it by --node NAME");
        let sizes = self.tables.sizes();
        anyhow::ensure!(
            sizes.ring_bytes.is_power_of_two() && sizes.ring_bytes >= 4096,
            "--table-ring-bytes must be a power of two of at least 4096, not {}",
            sizes.ring_bytes
        );
        Ok(Config {
            objects,
            node,
            bpffs: self.bpffs.unwrap_or_else(|| BPFFS.into()),
            cni_cache: self.cni_cache.unwrap_or_else(|| CNI_CACHE.into()),
            socket: self.socket.unwrap_or_else(|| SOCKET.into()),
            service_cidrs: self.service_cidr,
            excluded: self.exclude_interface,
            sandbox_folder: self.sandbox_folder.unwrap_or_else(|| SANDBOX_FOLDER.into()),
            sandboxes: if self.sandbox_namespace.is_empty() {
                SANDBOXES.map(ToOwned::to_owned).to_vec()
            } else {
                self.sandbox_namespace
            },
            trust_tag: self.trust_tag.unwrap_or_default(),
            attach: self.attach.unwrap_or_default().into(),
            verdicts: self.verdicts.unwrap_or_default().into(),
            frontend_grace: Duration::from_secs(self.frontend_grace.unwrap_or(FRONTEND_GRACE)),
            hook_linger: Duration::from_secs(self.hook_linger.unwrap_or(HOOK_LINGER)),
            metrics: self.metrics,
            startup_taint: self.startup_taint,
            history: self.history.unwrap_or(HISTORY).max(1),
            sizes,
            timeouts: self.timeouts.resolve()?,
        })
    }
}

/// What the agent runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where objects come from.
    pub objects: Objects,
    /// This node's name.
    pub node: String,
    /// Folder for pins.
    pub bpffs: PathBuf,
    /// libcni's cache.
    pub cni_cache: PathBuf,
    /// The socket.
    pub socket: PathBuf,
    /// Ranges of Service addresses.
    pub service_cidrs: Vec<IpNet>,
    /// Patterns of interfaces to leave alone.
    pub excluded: Vec<String>,
    /// The folder with the files of network namespaces.
    pub sandbox_folder: PathBuf,
    /// Patterns of the names of pods' network namespaces.
    pub sandboxes: Vec<String>,
    /// Whether the tag is believed behind a bridge.
    pub trust_tag: TrustTag,
    /// By what classifiers are attached.
    pub attach: Attach,
    /// Which verdicts are told of one by one.
    pub verdicts: Reports,
    /// How long what kube-proxy may still use counts.
    pub frontend_grace: Duration,
    /// How long a pod keeps its classifiers.
    pub hook_linger: Duration,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// The taint that is taken off the node.
    pub startup_taint: Option<String>,
    /// Verdicts kept in memory.
    pub history: usize,
    /// Sizes of the tables.
    pub sizes: Sizes,
    /// When idle flows are forgotten.
    pub timeouts: Timeouts,
}

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objects {
    /// A folder of manifests.
    Manifests(PathBuf),
    /// An API server.
    Api(Access),
}

/// Exactly one source.
fn objects(
    manifests: Option<PathBuf>,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
) -> anyhow::Result<Objects> {
    match (manifests, kubeconfig) {
        (Some(folder), None) => Ok(Objects::Manifests(folder)),
        (None, Some(file)) => Ok(Objects::Api(Access::Kubeconfig { file, context })),
        (None, None) if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
            Ok(Objects::Api(Access::InCluster))
        }
        (None, None) => anyhow::bail!(
            "say where the objects come from: --kubeconfig FILE for a cluster, --manifests DIR for a folder (or `kubeconfig`, `manifests` in the configuration file)"
        ),
        (Some(_), Some(_)) => anyhow::bail!(
            "objects come from one place only: take away either `manifests` or `kubeconfig` (flags and the configuration file count together)"
        ),
    }
}

/// The host's name.
///
/// # Errors
/// When the kernel does not say, or it is no text.
pub fn hostname() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname()
        .context("cannot find out the host's name; give the node's name by --node")?;
    name.into_string().ok().context("the host's name is no text; give the node's name by --node")
}

#[cfg(test)]
mod tests;
