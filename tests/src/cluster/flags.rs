//! How the parts of a control plane are called.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::binaries;
use super::credentials::{Credentials, User};

/// Where etcd serves, inside the control plane's network namespace.
pub(super) const ETCD: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2379);
/// The API server's port, inside the control plane's network namespace.
pub(super) const PORT: u16 = 6443;

/// What the controller manager and the scheduler are told alike: each is the only one of its kind, and is not to be slowed down.
const ONLY_ONE: [&str; 5] = [
    "--bind-address=127.0.0.1",
    "--leader-elect=false",
    "--kube-api-qps=200",
    "--kube-api-burst=400",
    "--profiling=false",
];

/// etcd, its data in a folder. It writes nothing through to the disk: what it holds goes with the cluster.
pub(super) fn etcd(data: &Path) -> Result<Command> {
    let mut command = Command::new(binaries::find("etcd")?);
    let (client, peer) = (format!("http://{ETCD}"), "http://127.0.0.1:2380");
    command.arg("--data-dir").arg(data).args([
        "--unsafe-no-fsync",
        "--log-level=warn",
        &format!("--listen-client-urls={client}"),
        &format!("--advertise-client-urls={client}"),
        &format!("--listen-peer-urls={peer}"),
        &format!("--initial-advertise-peer-urls={peer}"),
        &format!("--initial-cluster=default={peer}"),
    ]);
    Ok(command)
}

/// The controller manager; a node's range of pods is set with the node.
pub(super) fn controller_manager(credentials: &Credentials, pods: &[String]) -> Result<Command> {
    let mut command = Command::new(binaries::find("kube-controller-manager")?);
    command
        .arg("--kubeconfig")
        .arg(credentials.kubeconfig_file(&User::component("kube-controller-manager")))
        .arg("--service-account-private-key-file")
        .arg(credentials.account_key())
        .arg("--root-ca-file")
        .arg(credentials.certificate())
        .args([
            &format!("--cluster-cidr={}", pods.join(",")),
            "--allocate-node-cidrs=false",
            "--use-service-account-credentials=true",
        ])
        .args(ONLY_ONE);
    Ok(command)
}

/// The scheduler.
pub(super) fn scheduler(credentials: &Credentials) -> Result<Command> {
    let mut command = Command::new(binaries::find("kube-scheduler")?);
    command
        .arg("--kubeconfig")
        .arg(credentials.kubeconfig_file(&User::component("kube-scheduler")))
        .args(ONLY_ONE);
    Ok(command)
}

/// What the API server is told.
#[derive(Debug, Clone)]
pub(super) struct ApiServer {
    /// Where others find it.
    pub(super) address: IpAddr,
    /// The ranges of Services' addresses, the first family first.
    pub(super) services: Vec<String>,
    /// Without a controller manager no namespace has a ServiceAccount; pods are taken without one then.
    pub(super) accounts: bool,
    /// Further flags.
    pub(super) flags: Vec<String>,
}

impl ApiServer {
    pub(super) fn command(&self, credentials: &Credentials) -> Result<Command> {
        let mut command = Command::new(binaries::find("kube-apiserver")?);
        let key = credentials.account_key();
        command
            .arg("--cert-dir")
            .arg(credentials.folder())
            .arg("--token-auth-file")
            .arg(credentials.tokens())
            .arg("--service-account-key-file")
            .arg(&key)
            .arg("--service-account-signing-key-file")
            .arg(&key)
            .args([
                &format!("--etcd-servers=http://{ETCD}"),
                &format!("--secure-port={PORT}"),
                &format!("--advertise-address={}", self.address),
                &format!("--service-cluster-ip-range={}", self.services.join(",")),
                "--bind-address=::",
                "--authorization-mode=Node,RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--kubelet-preferred-address-types=InternalIP",
                "--allow-privileged=true",
                "--profiling=false",
            ]);
        if !self.accounts {
            command.arg("--disable-admission-plugins=ServiceAccount");
        }
        command.args(&self.flags);
        Ok(command)
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        format!("https://{}", SocketAddr::new(self.address, PORT))
    }
}
