//! etcd and the API server alone: real objects and real watches in some seconds, without nodes.
//!
//! They run in a network namespace: one of their own, or the world beside a laboratory's node. A client must be in it,
//! or on that node: [`ControlPlane::enter`] for programs, [`Namespace::run`] for threads (a runtime that is built
//! there has all its threads there).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::credentials::{Credentials, User};
use super::flags::{self, ApiServer};
use super::{Process, binaries};
use crate::deadline::wait_for;
use crate::etcd::Etcd;
use crate::laboratory::{Laboratory, Namespace, claim::Claim, interrupt, network};

/// Where the API server is in a namespace of its own.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 30, 0, 1));
/// How long it may take to be ready. It takes five seconds alone; machines are shared.
const READY: Duration = Duration::from_secs(90);

/// etcd and the API server; everything goes when it is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    /// The API server.
    pub api_server: Process,
    /// What it keeps its objects in.
    pub etcd: Process,
    network: Namespace,
    server: ApiServer,
    credentials: Credentials,
    admin: PathBuf,
    /// The last field: all else is gone when this removes what is left.
    _claim: Claim,
}

impl ControlPlane {
    /// A control plane in a network namespace of its own, ready.
    ///
    /// # Errors
    /// Without root or Kubernetes' programs, or when it is not ready in time: with what it logged.
    pub fn start() -> Result<Self> {
        Self::with(&[])
    }

    /// As [`start`](Self::start), with further flags of the API server.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn with(flags: &[&str]) -> Result<Self> {
        interrupt::catch()?;
        let claim = Claim::new().context("cannot make a control plane")?;
        let network = Namespace::new(&claim.namespace("control"))?;
        network.batch(&format!("address add {ADDRESS}/32 dev lo\n"))?;
        Self::launch(claim, network, ADDRESS, flags)
    }

    /// A control plane in the world beside a laboratory's node, which reaches it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn beside(laboratory: &Laboratory, flags: &[&str]) -> Result<Self> {
        let claim = Claim::new().context("cannot make a control plane")?;
        Self::launch(claim, laboratory.outside.clone(), network::ROUTER[0], flags)
    }

    fn launch(claim: Claim, network: Namespace, address: IpAddr, flags: &[&str]) -> Result<Self> {
        let users = [User::admin(), User::agent()];
        let credentials = Credentials::write(&claim.folder().join("credentials"), &users)?;
        let server = ApiServer {
            address,
            services: network::SERVICE_RANGES.map(str::to_owned).to_vec(),
            accounts: false,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        };
        let data = claim.folder().join("etcd");
        let (in_etcd, in_server) = (network.clone(), network.clone());
        let etcd = Process::new(
            "etcd",
            claim.folder().to_owned(),
            Box::new(move || {
                let mut command = flags::etcd(&data)?;
                in_etcd.enter(&mut command);
                Ok(command)
            }),
        );
        let (same_server, same_credentials) = (server.clone(), credentials.clone());
        let api_server = Process::new(
            "kube-apiserver",
            claim.folder().to_owned(),
            Box::new(move || {
                let mut command = same_server.command(&same_credentials)?;
                in_server.enter(&mut command);
                Ok(command)
            }),
        );
        let admin = credentials.kubeconfig(&User::admin(), &server.url())?;
        let plane = Self { api_server, etcd, network, server, credentials, admin, _claim: claim };
        plane.etcd.start()?;
        plane.api_server.start()?;
        plane.wait_until_ready()?;
        Ok(plane)
    }

    /// Waits until the API server answers that it is ready, as after a restart.
    ///
    /// # Errors
    /// When it does not in time, or has ended: with what it logged.
    pub fn wait_until_ready(&self) -> Result<()> {
        let ready = wait_for("the API server is ready", READY, || {
            if let Some(status) = self.api_server.ended() {
                return Some(Err(status));
            }
            let address = (self.server.address, flags::PORT);
            // A look that costs little first: kubectl is a large program.
            let listens = self.network.run(|| TcpStream::connect(address).is_ok()).unwrap_or(false);
            let ready = listens
                && self.kubectl(&["get", "--raw", "/readyz"]).is_ok()
                && self.kubectl(&["get", "namespace", "default", "kube-system"]).is_ok();
            if !ready {
                std::thread::sleep(Duration::from_millis(100));
            }
            ready.then_some(Ok(()))
        });
        let why = match ready {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(status)) => format!("it ended with {status}"),
            Err(error) => format!("{error:#}"),
        };
        bail!("the API server is not ready: {why}\n{}\netcd:\n{}", self.api_server.log(), self.etcd.log())
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The namespace that it runs in.
    #[must_use]
    pub const fn network(&self) -> &Namespace {
        &self.network
    }

    /// Lets a command run where the API server is.
    pub fn enter(&self, command: &mut Command) {
        self.network.enter(command);
    }

    /// The kubeconfig of one who may do everything.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.admin
    }

    /// A kubeconfig with the agent's rights: those that its ServiceAccount, `netpol-agent` in `kube-system`, is given by
    /// `deploy/rbac.yaml`, once that is applied.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn agent_kubeconfig(&self) -> Result<PathBuf> {
        self.credentials.kubeconfig(&User::agent(), &self.url())
    }

    /// Runs kubectl as the admin and returns its standard output.
    ///
    /// # Errors
    /// When it fails: with what it wrote to standard error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(arguments, "")
    }

    /// Applies objects.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        self.kubectl_with(&["apply", "-f", "-"], yaml).map(drop)
    }

    fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(binaries::find("kubectl")?);
        command.arg("--kubeconfig").arg(&self.admin).args(arguments);
        self.enter(&mut command);
        Namespace::die_with_thread(&mut command);
        crate::command::feed_command(command, input)
    }

    /// How often the API server has answered questions of a sort (`LIST`, `POST`) for a kind (`pods`) by a code, as it
    /// counts itself.
    ///
    /// # Errors
    /// When it does not tell.
    pub fn answers(&self, verb: &str, resource: &str, code: u16) -> Result<u64> {
        let wanted = [("verb", verb), ("resource", resource), ("code", &code.to_string())]
            .map(|(name, value)| format!("{name}=\"{value}\""));
        let text = self.kubectl(&["get", "--raw", "/metrics"])?;
        let lines = text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{"));
        let counts = lines
            .filter_map(|line| line.split_once("} "))
            .filter(|(labels, _)| wanted.iter().all(|label| labels.split(',').any(|other| other == label)))
            .map(|(_, count)| count.parse::<u64>().with_context(|| format!("{count} is no count")));
        counts.sum()
    }

    /// Lets etcd forget, see [`Etcd::compact`].
    ///
    /// # Errors
    /// When etcd does not answer.
    pub fn compact(&self) -> Result<u64> {
        Etcd::new(&self.network).compact()
    }

    /// Where a test may put files that go with the control plane.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn folder(&self) -> Result<PathBuf> {
        let folder = self.credentials.folder().with_file_name("files");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}
