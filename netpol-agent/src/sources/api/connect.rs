//! The way to the API server.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use hyper_util::{
    client::legacy::{Builder, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client,
    client::ConfigExt as _,
    config::{Config, KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, ServiceBuilder};

/// How long making a connection may take, but for its encryption, which a busy server may let wait.
const CONNECT: Duration = Duration::from_secs(2);
/// A connection over which nothing is acknowledged for so long is dead. A watch only listens: without questions of the
/// kernel's own (keep-alive) a cut network would look like a quiet one.
const SILENCE: Duration = Duration::from_secs(3);
/// After how long, and how often then, the kernel asks over an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// How many of these may stay without an answer.
const UNANSWERED: u32 = 3;
/// Bytes that are read of an answer at once, and how long its head may be. A connection keeps the room for it as long as it
/// is open, and each watch has one: hyper would let it grow to 400 KiB.
const BUFFER: usize = 32 * 1024;

/// Where the API server and our rights are said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// By a kubeconfig, and one of its contexts if not the current one.
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// The context's name.
        context: Option<String>,
    },
    /// By what a pod is given: its ServiceAccount's token, and the environment.
    InCluster,
}

/// A client of the API server.
///
/// # Errors
/// When the file cannot be read or is no kubeconfig; the server is not asked yet.
pub(crate) async fn client(access: &Access) -> anyhow::Result<Client> {
    to(&config(access).await?)
}

/// Where the API server is, and who asks.
///
/// # Errors
/// When the file cannot be read or is no kubeconfig.
pub(super) async fn config(access: &Access) -> anyhow::Result<Config> {
    match access {
        Access::Kubeconfig { file, context } => {
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            let kubeconfig = Kubeconfig::read_from(file)
                .with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.with_context(|| {
                format!("the kubeconfig {} does not say how to reach a server", file.display())
            })
        }
        Access::InCluster => Config::incluster().context(
            "this is no pod with a ServiceAccount: say by --kubeconfig FILE where the API server is",
        ),
    }
}

/// A client of this server. No proxy, whatever the environment says: none is needed on a node, and one in a pod would be judged
/// by what we enforce.
///
/// # Errors
/// When certificates or credentials cannot be used.
pub(super) fn to(config: &Config) -> anyhow::Result<Client> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(KEEP_ALIVE));
    connector.set_keepalive_interval(Some(KEEP_ALIVE));
    connector.set_keepalive_retries(Some(UNANSWERED));
    connector.set_tcp_user_timeout(Some(SILENCE));
    let connector = config
        .rustls_https_connector_with_connector(connector)
        .context("cannot use the certificates of the kubeconfig")?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().context("cannot use the credentials of the kubeconfig")?)
        .map_err(BoxError::from)
        .map_response(|response: http::Response<hyper::body::Incoming>| {
            response.map(|body| body.map_err(BoxError::from))
        })
        .service(Builder::new(TokioExecutor::new()).http1_max_buf_size(BUFFER).build(connector));
    Ok(Client::new(service, config.default_namespace.clone()))
}
