//! The way to an agent through the API server: `pods/exec` of `netpol relay` in the agent's own container, whose stdin and
//! stdout are joined with the agent's socket there.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use futures::FutureExt as _;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api, Client,
    api::{AttachParams, AttachedProcess},
};
use tokio::io::AsyncReadExt as _;

use super::{Agent, Connection, Transport, find::CONTAINER};

/// Where the agent's program is in its image.
const PROGRAM: &str = "/netpol";
/// Bytes that wait in each direction.
const BUFFER: usize = 64 * 1024;
/// Bytes of what the program has said on stderr.
const LAST_WORDS: u64 = 4096;
/// How long to wait for them.
const PATIENCE: Duration = Duration::from_secs(2);

/// By the API server and the kubelets.
#[derive(Clone)]
pub struct Exec {
    pods: Api<Pod>,
    namespace: String,
    socket: PathBuf,
}

impl Exec {
    /// To agents in this namespace, that listen on this socket.
    #[must_use]
    pub fn new(client: Client, namespace: &str, socket: PathBuf) -> Self {
        Self { pods: Api::namespaced(client, namespace), namespace: namespace.to_owned(), socket }
    }
}

impl Transport for Exec {
    async fn open(&self, agent: &Agent) -> anyhow::Result<Connection> {
        let Self { pods, namespace, socket } = self;
        let how = AttachParams {
            container: Some(CONTAINER.to_owned()),
            stdin: true,
            max_stdin_buf_size: Some(BUFFER),
            max_stdout_buf_size: Some(BUFFER),
            max_stderr_buf_size: Some(BUFFER),
            ..AttachParams::default()
        };
        let command = [PROGRAM, "relay", "--socket", &socket.to_string_lossy()].map(str::to_owned);
        let mut process = pods.exec(&agent.pod, command, &how).await.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 403 => anyhow::anyhow!(
                "{}: `kubectl netpol` needs to get and create pods/exec in {namespace}, as deploy/rbac-operator.yaml gives it",
                status.message
            ),
            kube::Error::Api(status) => anyhow::anyhow!("{}", status.message),
            other => anyhow::Error::new(other)
                .context(format!("cannot start {PROGRAM} in the pod {namespace}/{}", agent.pod)),
        })?;
        let reader = process.stdout().context("the API server gave no stdout")?;
        let writer = process.stdin().context("the API server gave no stdin")?;
        Ok(Connection {
            reader: Box::new(reader),
            writer: Box::new(writer),
            last_words: last_words(process).boxed(),
        })
    }
}

/// What the program has said before it ended, else how the API server says that it ended.
async fn last_words(mut process: AttachedProcess) -> Option<String> {
    let (stderr, status) = (process.stderr(), process.take_status());
    let hearing = async {
        let mut said = String::new();
        if let Some(stderr) = stderr {
            let _as_far_as_it_came = stderr.take(LAST_WORDS).read_to_string(&mut said).await;
        }
        let ended = match status {
            Some(status) => status.await,
            None => None,
        };
        words(&said, ended)
    };
    tokio::time::timeout(PATIENCE, hearing).await.ok().flatten()
}

fn words(said: &str, ended: Option<Status>) -> Option<String> {
    // clap's errors have several lines, of which the first says all.
    let line = said.lines().map(str::trim).find(|line| !line.is_empty());
    match line {
        Some(line) => Some(line.trim_start_matches("netpol: ").trim_start_matches("error: ").to_owned()),
        None => ended.filter(|status| status.status.as_deref() == Some("Failure"))?.message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_said_counts_before_how_it_ended() {
        let failed = |message: &str| {
            Some(Status {
                status: Some("Failure".to_owned()),
                message: Some(message.to_owned()),
                ..Status::default()
            })
        };
        assert_eq!(
            words("netpol: no agent is running\n", failed("exit code 2")).as_deref(),
            Some("no agent is running")
        );
        assert_eq!(words("", failed("no such file: /netpol")).as_deref(), Some("no such file: /netpol"));
        let old = words("error: unrecognized subcommand 'relay'\n\nUsage: netpol\n", failed("2"));
        assert_eq!(old.as_deref(), Some("unrecognized subcommand 'relay'"));
        assert_eq!(words("", None), None);
    }
}
