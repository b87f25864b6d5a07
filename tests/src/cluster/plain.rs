//! An API server in plain HTTP, by kubectl: what it answers can be seen, and what it is asked can be changed.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{ControlPlane, binaries};
use crate::deadline::wait_for;
use crate::serve::{self, Server};

/// Where kubectl gives the server's answers, in the control plane's namespace.
const PROXY: u16 = 8001;
/// How long it may take until it does, on a busy machine.
const READY: Duration = Duration::from_secs(30);
/// The media type of messages of protobuf.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// That of JSON.
pub const JSON: &str = "application/json";

/// The server in plain HTTP, on `127.0.0.1` of its namespace, with all rights.
#[derive(Debug)]
pub struct Plain<'p> {
    plane: &'p ControlPlane,
    proxy: Child,
}

impl<'p> Plain<'p> {
    /// Starts kubectl.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn start(plane: &'p ControlPlane) -> Result<Self> {
        let mut command = Command::new(binaries::find("kubectl")?);
        command.arg("--kubeconfig").arg(plane.kubeconfig()).args(["proxy", &format!("--port={PROXY}")]);
        plane.enter(&mut command);
        let proxy = command.stdout(Stdio::null()).spawn().context("cannot start kubectl proxy")?;
        let plain = Self { plane, proxy };
        wait_for("kubectl answers for the API server", READY, || plain.get("/readyz", JSON).ok())?;
        Ok(plain)
    }

    /// What the server answers when it is asked for this media type, without the head.
    ///
    /// # Errors
    /// When it refuses.
    pub fn get(&self, path: &str, accept: &str) -> Result<Vec<u8>> {
        let ask = || -> Result<Vec<u8>> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PROXY))?;
            // Of this version: an answer in one piece.
            write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(answer)
        };
        let answer = self.plane.network().run(ask)??;
        let end =
            answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("an answer has no head")?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        ensure!(head.split(' ').nth(1) == Some("200"), "{path} is refused: {head}");
        Ok(answer[end + 4..].to_vec())
    }

    /// Another port for the same, over which it is seen what the server answers. Whatever is asked for, that server knows no
    /// protobuf unless `protobuf` says so.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn seen(&self, port: u16, protobuf: bool) -> Result<Seen> {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let (taken, network) = (Arc::clone(&answers), self.plane.network().clone());
        let server = serve::connections(self.plane.network(), port, move |client| {
            let target = SocketAddr::from((Ipv4Addr::LOCALHOST, PROXY));
            let Ok(server) = network.connect(target, READY) else { return };
            let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
            // Clients write the head of a question in one piece.
            thread::spawn(move || {
                carry(from, to, |bytes| if protobuf { bytes.to_vec() } else { without_protobuf(bytes) });
            });
            carry(server, client, |bytes| {
                taken.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
                bytes.to_vec()
            });
        })?;
        Ok(Seen { answers, _server: server })
    }
}

impl Drop for Plain<'_> {
    fn drop(&mut self) {
        // One that has ended already needs no end.
        drop(self.proxy.kill());
        drop(self.proxy.wait());
    }
}

/// What a server has answered over a port.
#[derive(Debug)]
pub struct Seen {
    answers: Arc<Mutex<Vec<u8>>>,
    _server: Server,
}

impl Seen {
    /// How many of its answers were of this media type.
    #[must_use]
    pub fn answers(&self, media_type: &str) -> usize {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = format!("content-type: {media_type}");
        answers.windows(wanted.len()).filter(|bytes| bytes.eq_ignore_ascii_case(wanted.as_bytes())).count()
    }
}

/// Carries one way until the end.
fn carry(mut from: TcpStream, mut to: TcpStream, change: impl Fn(&[u8]) -> Vec<u8>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&change(&buffer[..length])).is_err() {
            break;
        }
    }
    // One that is closed already needs no closing.
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}

fn without_protobuf(question: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(question).replace(PROTOBUF, JSON).into_bytes()
}
