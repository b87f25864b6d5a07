//! Which cluster is meant, and which of its agents.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Args;
use kube::{
    Client,
    config::{Config, KubeConfigOptions, Kubeconfig},
};

use crate::nodes::{Nodes, exec::Exec, find};

/// Seconds for an agent to answer.
const TIMEOUT: u64 = 10;

#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Cluster {
    /// Kubeconfig of the cluster [default: as kubectl has it: $KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context to use [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Ask only the agent of this node; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(super) node: Vec<String>,
    /// Seconds for each agent to answer
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT)]
    timeout: u64,
    /// The namespace that the agents run in
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    agents_namespace: String,
    /// The agents' socket, as their pods see it
    #[arg(long, value_name = "PATH", default_value = crate::config::SOCKET)]
    agents_socket: PathBuf,
}

impl Cluster {
    /// A client of the API server.
    ///
    /// # Errors
    /// When there is no usable kubeconfig; the server is not asked yet.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = match &self.kubeconfig {
            Some(file) => {
                let kubeconfig = Kubeconfig::read_from(file)
                    .with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
                Config::from_custom_kubeconfig(kubeconfig, &options).await.with_context(|| {
                    format!("the kubeconfig {} does not say how to reach a server", file.display())
                })?
            }
            None if self.context.is_some() => {
                Config::from_kubeconfig(&options).await.context("cannot use the kubeconfig")?
            }
            None => Config::infer().await.context(
                "no kubeconfig says which cluster is meant: set KUBECONFIG, or give one by --kubeconfig",
            )?,
        };
        Client::try_from(config).context("cannot use what the kubeconfig says of the server")
    }

    /// The agents that are asked.
    ///
    /// # Errors
    /// When they cannot be listed, or there are none.
    pub(super) async fn nodes(&self, client: &Client) -> anyhow::Result<Nodes<Exec>> {
        let Self { node, timeout, agents_namespace, agents_socket, .. } = self;
        let patience = Duration::from_secs(*timeout);
        let agents = tokio::time::timeout(patience, find::agents(client, agents_namespace, node))
            .await
            .with_context(|| format!("the API server has not answered within {timeout} s (--timeout)"))??;
        let exec = Exec::new(client.clone(), agents_namespace, agents_socket.clone());
        Ok(Nodes::new(exec, agents, patience))
    }
}
