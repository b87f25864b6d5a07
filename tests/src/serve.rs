//! Servers in namespaces: each on threads of its own, ended by dropping it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Socket, Type};

use crate::laboratory::Namespace;
use crate::packet;
use crate::raw::{receive_payload, send_payload};

/// How often a server that cannot be woken looks whether it should end.
const LOOK: Duration = Duration::from_millis(200);

/// A running server.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    /// Wakes the thread that waits for connections.
    socket: Option<Socket>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    heard: AtomicU64,
}

impl Server {
    /// How many connections, datagrams or INITs reached it.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.shared.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(socket) = &self.socket {
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}

/// A listener on a port of every address of a namespace, both families.
///
/// # Errors
/// When the port is taken.
pub fn listener(namespace: &Namespace, port: u16) -> Result<TcpListener> {
    let open = || -> std::io::Result<TcpListener> {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
        socket.set_only_v6(false)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    };
    namespace.run(open)?.with_context(|| format!("cannot listen on TCP {port} in {}", namespace.name()))
}

/// Serves each connection to a port by `serve`, on a thread of its own.
///
/// # Errors
/// When the port is taken.
pub fn connections(
    namespace: &Namespace,
    port: u16,
    serve: impl Fn(TcpStream) + Send + Sync + 'static,
) -> Result<Server> {
    let listener = listener(namespace, port)?;
    let socket = Socket::from(listener.as_fd().try_clone_to_owned().context("cannot share a listener")?);
    let shared = Arc::new(Shared::default());
    let seen = Arc::clone(&shared);
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming() {
            if seen.ended.load(Ordering::Relaxed) {
                break;
            }
            // Accepting fails for a connection that was reset meanwhile; the next one may be fine.
            let Ok(stream) = stream else { continue };
            seen.heard.fetch_add(1, Ordering::Relaxed);
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    Ok(Server { shared, socket: Some(socket) })
}

/// Gives every byte back.
///
/// # Errors
/// When the port is taken.
pub fn tcp(namespace: &Namespace, port: u16) -> Result<Server> {
    connections(namespace, port, |mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    })
}

/// Answers every HTTP request with 200 and "ok".
///
/// # Errors
/// When the port is taken.
pub fn http(namespace: &Namespace, port: u16) -> Result<Server> {
    connections(namespace, port, |mut stream| {
        let mut request: Vec<u8> = Vec::new();
        let mut buffer = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(length @ 1..) if request.len() < 16_384 => request.extend(&buffer[..length]),
                _ => return,
            }
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
        // A client that is gone needs no answer.
        drop(stream.write_all(answer.as_bytes()));
    })
}

/// Gives every datagram back, both families.
///
/// # Errors
/// When the port is taken.
pub fn udp(namespace: &Namespace, port: u16) -> Result<Server> {
    let shared = Arc::new(Shared::default());
    // One socket for each address family: a common one would answer from an address of its own choice only.
    for address in [IpAddr::from([0; 4]), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        let open = || -> std::io::Result<UdpSocket> {
            let socket = Socket::new(Domain::for_address(SocketAddr::new(address, port)), Type::DGRAM, None)?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.bind(&SocketAddr::new(address, port).into())?;
            socket.set_read_timeout(Some(LOOK))?;
            Ok(socket.into())
        };
        let socket = namespace
            .run(open)?
            .with_context(|| format!("cannot serve UDP {port} in {}", namespace.name()))?;
        let seen = Arc::clone(&shared);
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while !seen.ended.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    seen.heard.fetch_add(1, Ordering::Relaxed);
                    // A denied reply is what some tests are about.
                    drop(socket.send_to(&buffer[..length], from));
                }
            }
        });
    }
    Ok(Server { shared, socket: None })
}

/// Answers every SCTP INIT to a port with an INIT ACK, both families.
///
/// # Errors
/// When raw sockets cannot be made.
pub fn sctp(namespace: &Namespace, port: u16) -> Result<Server> {
    let shared = Arc::new(Shared::default());
    for v4 in [true, false] {
        let socket = namespace.protocol_socket(v4, packet::SCTP)?;
        let seen = Arc::clone(&shared);
        thread::spawn(move || {
            while !seen.ended.load(Ordering::Relaxed) {
                let Some((from, message)) = receive_payload(&socket, LOOK) else { continue };
                let Some((client, own)) = packet::read_ports(&message) else { continue };
                if own != port || message.get(12) != Some(&packet::INIT) {
                    continue;
                }
                seen.heard.fetch_add(1, Ordering::Relaxed);
                let (own, client) = (SocketAddr::new(from, own), SocketAddr::new(from, client));
                let whole = packet::sctp(own, client, packet::INIT_ACK);
                if let Some((.., answer)) = packet::read(&whole) {
                    // A denied reply is what some tests are about.
                    drop(send_payload(&socket, from, answer));
                }
            }
        });
    }
    Ok(Server { shared, socket: None })
}
