//! The command line's side of the socket, or of whatever else leads to an agent.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::protocol::{Request, Response};

/// What keeps the agent from answering.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no agent is running: nobody listens on {0}; start it with `netpol agent --manifests DIR`, or give its socket by --socket"
    )]
    NoAgent(PathBuf),
    /// The socket is not ours.
    #[error(
        "no permission to use the agent's socket {0}: run this as the user that the agent runs as (root)"
    )]
    Permission(PathBuf),
    /// The socket leads nowhere.
    #[error("cannot reach the agent on {0}")]
    Unreached(PathBuf, #[source] io::Error),
    /// It broke off.
    #[error("cannot speak with the agent")]
    Io(#[source] io::Error),
    /// It said something else.
    #[error("the agent said what this version does not understand; is it of another version?")]
    Garbled(#[source] serde_json::Error),
    /// It answered something else.
    #[error("the agent answered another question")]
    Another,
    /// It broke off before the end.
    #[error("the agent has gone")]
    Gone,
    /// It refused.
    #[error("{0}")]
    Refused(String),
}

/// What an agent answers to one request, a part after the other.
#[derive(Debug)]
pub struct Answers<R, W> {
    reader: BufReader<R>,
    line: String,
    /// When it is closed the agent takes the client as gone.
    _writer: W,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Answers<R, W> {
    /// Asks over a stream of which nothing was read or written yet.
    ///
    /// # Errors
    /// When the request cannot be written.
    pub async fn ask(reader: R, mut writer: W, request: &Request) -> Result<Self, AskError> {
        let mut line = serde_json::to_vec(request).map_err(AskError::Garbled)?;
        line.push(b'\n');
        writer.write_all(&line).await.map_err(AskError::Io)?;
        writer.flush().await.map_err(AskError::Io)?;
        Ok(Self { reader: BufReader::new(reader), line: String::new(), _writer: writer })
    }

    /// The next part; `None` after the last one.
    ///
    /// # Errors
    /// When the agent refuses, has gone, or says what is not understood.
    pub async fn next(&mut self) -> Result<Option<Response>, AskError> {
        self.line.clear();
        if self.reader.read_line(&mut self.line).await.map_err(AskError::Io)? == 0 {
            return Err(AskError::Gone);
        }
        match serde_json::from_str(&self.line).map_err(AskError::Garbled)? {
            Response::End => Ok(None),
            Response::Error { message } => Err(AskError::Refused(message)),
            response => Ok(Some(response)),
        }
    }

    /// The answer where it is a single one.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn only(mut self) -> Result<Response, AskError> {
        let answer = self.next().await?.ok_or(AskError::Gone)?;
        while self.next().await?.is_some() {}
        Ok(answer)
    }
}

/// Asks the agent of this machine, and hands each part of the answer to `each`, until the end or until `each` returns
/// `false`.
///
/// # Errors
/// When there is no agent, or it refuses.
pub fn ask(socket: &Path, request: &Request, each: &mut dyn FnMut(Response) -> bool) -> Result<(), AskError> {
    block_on(async {
        let mut answers = connect(socket, request).await?;
        while let Some(response) = answers.next().await? {
            if !each(response) {
                break;
            }
        }
        Ok(())
    })
}

/// Asks the agent of this machine for a single answer.
///
/// # Errors
/// When there is no agent, or it refuses.
pub fn ask_one(socket: &Path, request: &Request) -> Result<Response, AskError> {
    block_on(async { connect(socket, request).await?.only().await })
}

async fn connect(
    socket: &Path,
    request: &Request,
) -> Result<Answers<OwnedReadHalf, OwnedWriteHalf>, AskError> {
    let stream = UnixStream::connect(socket).await.map_err(|error| unreached(socket, error))?;
    let (reader, writer) = stream.into_split();
    Answers::ask(reader, writer, request).await
}

/// Why nothing listens on a socket, or nobody may speak with it.
pub(crate) fn unreached(socket: &Path, error: io::Error) -> AskError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NoAgent(socket.to_owned()),
        io::ErrorKind::PermissionDenied => AskError::Permission(socket.to_owned()),
        _ => AskError::Unreached(socket.to_owned(), error),
    }
}

/// One question needs no more than this thread.
fn block_on<T>(asking: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
    tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(AskError::Io)?.block_on(asking)
}
