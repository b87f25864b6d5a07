//! A small HTTP server: three paths, nothing to be changed by anybody.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::Duration,
};

use anyhow::Context as _;
use http::{Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::histogram::Histogram;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
};
use tracing::{debug, warn};

use crate::{
    control::protocol::{self, Status},
    reconcile::Input,
};

/// Clients at the same time.
const CLIENTS: usize = 16;
/// How long the reconciler may take to answer before the agent counts as not alive.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take to ask: those that say nothing keep others waiting no longer.
const ASKS: Duration = Duration::from_secs(2);
/// How long a client may take for all of it.
const STAYS: Duration = Duration::from_secs(30);

/// The format that Prometheus asks for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

struct Answers {
    inputs: mpsc::Sender<Input>,
    latencies: Histogram,
}

/// Serves for ever on an address.
///
/// # Errors
/// When nothing can listen there.
pub async fn serve(
    address: SocketAddr,
    inputs: mpsc::Sender<Input>,
    latencies: Histogram,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot serve metrics on {address}; --metrics names another address"))?;
    let answers = Arc::new(Answers { inputs, latencies });
    let room = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a client of the metrics");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let answers = answers.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answers = answers.clone();
                async move { Ok::<_, Infallible>(answers.answer(&request).await) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(ASKS).keep_alive(false);
            let served = server.serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(STAYS, served).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a client of the metrics has gone"),
                Err(_) => debug!("a client of the metrics was slow, and is left"),
            }
            drop(place);
        });
    }
}

impl Answers {
    async fn answer(&self, request: &Request<Incoming>) -> Response<String> {
        if request.method() != Method::GET {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n".to_owned());
        }
        let path = request.uri().path();
        if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
            return plain(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n".to_owned());
        }
        let Some(status) = self.status().await else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the agent does not answer\n".to_owned());
        };
        match path {
            "/metrics" => {
                let mut response = Response::new(super::text(status, &self.latencies));
                let kind = header::HeaderValue::from_static(OPEN_METRICS);
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            "/readyz" if !status.ready => {
                plain(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", status.not_ready.join("\n")))
            }
            _ => plain(StatusCode::OK, "ok\n".to_owned()),
        }
    }

    async fn status(&self) -> Option<Status> {
        ask(&self.inputs, PATIENCE).await
    }
}

/// The agent's status, unless it does not answer in time.
pub(crate) async fn ask(inputs: &mpsc::Sender<Input>, patience: Duration) -> Option<Status> {
    let (reply, answer) = oneshot::channel();
    inputs.send(Input::Ask(protocol::Request::Status, reply)).ok()?;
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(protocol::Response::Status(status))) => Some(*status),
        _ => None,
    }
}

fn plain(code: StatusCode, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = code;
    response
}
