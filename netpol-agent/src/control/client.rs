//! The command line's side of the socket.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
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
    /// It broke off.
    #[error("cannot speak with the agent on {0}")]
    Io(PathBuf, #[source] io::Error),
    /// It said something else.
    #[error("the agent said what this version does not understand")]
    Garbled(#[source] serde_json::Error),
    /// It broke off before the end.
    #[error("the agent has gone")]
    Gone,
    /// It refused.
    #[error("{0}")]
    Refused(String),
}

/// Asks, and hands each part of the answer to `each`, until the end or until `each` returns `false`.
///
/// # Errors
/// When there is no agent, or it refuses.
pub fn ask(socket: &Path, request: &Request, each: &mut dyn FnMut(Response) -> bool) -> Result<(), AskError> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NoAgent(socket.to_owned()),
        io::ErrorKind::PermissionDenied => AskError::Permission(socket.to_owned()),
        _ => AskError::Io(socket.to_owned(), error),
    })?;
    let io = |error| AskError::Io(socket.to_owned(), error);
    let mut line = serde_json::to_vec(request).map_err(AskError::Garbled)?;
    line.push(b'\n');
    stream.write_all(&line).map_err(io)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).map_err(io)? == 0 {
            return Err(AskError::Gone);
        }
        match serde_json::from_str(&line).map_err(AskError::Garbled)? {
            Response::End => return Ok(()),
            Response::Error { message } => return Err(AskError::Refused(message)),
            response => {
                if !each(response) {
                    return Ok(());
                }
            }
        }
    }
}

/// Asks for a single answer.
///
/// # Errors
/// When there is no agent, or it refuses.
pub fn ask_one(socket: &Path, request: &Request) -> Result<Response, AskError> {
    let mut answer = None;
    ask(socket, request, &mut |response| {
        answer.get_or_insert(response);
        true
    })?;
    answer.ok_or(AskError::Gone)
}
