//! The agent's side of the socket: mode 0600, one task for each client.

mod observe;

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt as _, net::UnixListener as StdListener},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::oneshot,
};
use tracing::{debug, warn};

use super::protocol::{Request, Response};
use crate::{reconcile::Input, verdicts::log::Log};

/// Bytes of a request.
const MAX_REQUEST: u64 = 64 * 1024;
/// Time for a client to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// A socket that only its owner may use.
#[derive(Debug)]
pub struct Server {
    listener: StdListener,
    path: PathBuf,
}

impl Server {
    /// Makes the socket; a stale one is replaced.
    ///
    /// # Errors
    /// When another agent listens there, or it cannot be made.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            anyhow::bail!(
                "another agent listens on {}: stop it first, or give this one a socket of its own by --socket",
                path.display()
            );
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| {
                format!(
                    "cannot make the folder {} for the socket (the agent runs as root; --socket names another place)",
                    folder.display()
                )
            })?;
        }
        // Made aside and moved there: at no instant may anybody else connect.
        let aside = path.with_extension(format!("{}.new", std::process::id()));
        let _stale = fs::remove_file(&aside);
        let listener = StdListener::bind(&aside)
            .with_context(|| format!("cannot make the socket {}", path.display()))?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&aside, path))
            .and_then(|()| listener.set_nonblocking(true))
            .with_context(|| format!("cannot make the socket {}", path.display()))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers clients for ever. The socket goes with `self`, not with this.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub fn serve(
        &self,
        inputs: mpsc::Sender<Input>,
        log: Arc<Log>,
    ) -> io::Result<impl Future<Output = anyhow::Result<()>> + Send + use<>> {
        let listener = self.listener.try_clone()?;
        Ok(async move { accept(UnixListener::from_std(listener)?, &inputs, &log).await })
    }
}

async fn accept(listener: UnixListener, inputs: &mpsc::Sender<Input>, log: &Arc<Log>) -> anyhow::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (inputs, log) = (inputs.clone(), log.clone());
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &inputs, &log).await {
                        debug!(%error, "a client has gone");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.path);
    }
}

struct Client {
    writer: BufWriter<OwnedWriteHalf>,
}

impl Client {
    async fn say(&mut self, response: &Response) -> io::Result<()> {
        let mut line = serde_json::to_vec(response)?;
        line.push(b'\n');
        self.writer.write_all(&line).await
    }
}

async fn answer(stream: UnixStream, inputs: &mpsc::Sender<Input>, log: &Log) -> io::Result<()> {
    let (reader, writer) = stream.into_split();
    let mut client = Client { writer: BufWriter::new(writer) };
    let mut reader = BufReader::new(reader.take(MAX_REQUEST));
    let mut line = String::new();
    let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
    if !matches!(read, Ok(Ok(n)) if n > 0) {
        return Ok(());
    }
    let response = match serde_json::from_str(&line) {
        Ok(Request::Observe { follow, last, each, filter }) => {
            let wanted = observe::Wanted { follow, last, each, filter };
            observe::observe(&mut client, &mut reader, log, &wanted).await?;
            Response::End
        }
        Ok(request) => {
            let (reply, answer) = oneshot::channel();
            let asked = inputs.send(Input::Ask(request, reply));
            let response = match asked {
                Ok(()) => answer.await.ok(),
                Err(_stopped) => None,
            };
            let mut response =
                response.unwrap_or_else(|| Response::Error { message: "the agent is stopping".to_owned() });
            if let Response::Status(status) = &mut response {
                (status.verdicts_kept, status.verdicts_room, status.verdicts_since) = log.kept();
                status.undecided = log.undecided();
            }
            response
        }
        Err(error) => Response::Error {
            message: format!(
                "the agent does not understand the request ({error}); is it of another version?"
            ),
        },
    };
    let ends = matches!(response, Response::End | Response::Error { .. });
    client.say(&response).await?;
    if !ends {
        client.say(&Response::End).await?;
    }
    client.writer.flush().await
}

#[cfg(test)]
mod tests;
