//! Answers on ports of both families with the prober's name, and counts who was heard.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use netpol_prober::{Heard, Protocol};
use socket2::{Domain, Socket, Type};

use crate::line;
use crate::probe::STACK;

/// The servers of a prober.
#[derive(Debug)]
pub(crate) struct Servers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    heard: Mutex<BTreeMap<(Protocol, u16, IpAddr), u64>>,
}

impl Servers {
    /// None yet, that will call themselves so.
    pub(crate) fn new(name: String) -> Self {
        Self(Arc::new(Shared { name, heard: Mutex::default() }))
    }

    /// Serves a TCP port; returns the port, which is chosen for 0.
    pub(crate) fn tcp(&self, port: u16) -> Result<u16, String> {
        let cannot = |error: io::Error| format!("cannot listen on TCP {port}: {error}");
        let listener = listener(port).map_err(cannot)?;
        let port = listener.local_addr().map_err(cannot)?.port();
        let shared = Arc::clone(&self.0);
        connections(listener, move |stream, peer| {
            shared.count(Protocol::Tcp, port, peer);
            // Whatever the client does, the next one may be fine.
            drop(shared.talk(&stream, peer));
        });
        Ok(port)
    }

    /// Serves a UDP port; returns the port, which is chosen for 0.
    pub(crate) fn udp(&self, port: u16) -> Result<u16, String> {
        let cannot = |error: io::Error| format!("cannot serve UDP {port}: {error}");
        let mut port = port;
        // One socket for each family: a common one would answer from an address of its own choice.
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            let socket = match datagrams(SocketAddr::new(any, port)) {
                Ok(socket) => socket,
                // A machine without IPv6.
                Err(error) if any.is_ipv6() && error.kind() != ErrorKind::AddrInUse => continue,
                Err(error) => return Err(cannot(error)),
            };
            port = socket.local_addr().map_err(cannot)?.port();
            let shared = Arc::clone(&self.0);
            thread::spawn(move || shared.echo(&socket, port));
        }
        Ok(port)
    }

    /// What was heard.
    pub(crate) fn heard(&self, forget: bool) -> Vec<Heard> {
        let mut heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let list = heard
            .iter()
            .map(|(&(protocol, port, source), &count)| Heard { protocol, port, source, count })
            .collect();
        if forget {
            heard.clear();
        }
        list
    }
}

impl Shared {
    fn count(&self, protocol: Protocol, port: u16, peer: SocketAddr) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard.entry((protocol, port, peer.ip().to_canonical())).or_default() += 1;
    }

    /// Answers each line. To a browser, wget or the kubelet it is a web server.
    fn talk(&self, mut stream: &TcpStream, peer: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if line.starts_with(b"GET ") {
                while reader.read_until(b'\n', &mut line)? > 2 {}
                let body = format!("{}\n", self.name);
                let length = body.len();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
                return stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes());
            }
            stream.write_all(&line::answer(&self.name, peer, &line))?;
            line.clear();
        }
        Ok(())
    }

    fn echo(&self, socket: &UdpSocket, port: u16) {
        let mut buffer = vec![0; 65_536];
        loop {
            // An error is one of an earlier answer; the next datagram may be fine.
            let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
            self.count(Protocol::Udp, port, peer);
            let question = buffer.get(..length).unwrap_or_default();
            // Where an answer cannot be sent, the client hears none, which is what it reports.
            drop(socket.send_to(&line::answer(&self.name, peer, question), peer));
        }
    }
}

/// A listener on every address, of both families where there are two.
pub(crate) fn listener(port: u16) -> io::Result<TcpListener> {
    let open = |any: IpAddr| -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(SocketAddr::new(any, port)), Type::STREAM, None)?;
        if any.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(any, port).into())?;
        socket.listen(4096)?;
        Ok(socket.into())
    };
    match open(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) {
        Err(error) if error.kind() != ErrorKind::AddrInUse => open(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        result => result,
    }
}

/// Gives each connection to `serve`, on a thread of its own.
pub(crate) fn connections(
    listener: TcpListener,
    serve: impl Fn(TcpStream, SocketAddr) + Clone + Send + 'static,
) {
    thread::spawn(move || {
        loop {
            // Accepting fails for a connection that was reset meanwhile; the next one may be fine.
            let Ok((stream, peer)) = listener.accept() else { continue };
            let serve = serve.clone();
            // Without a thread the connection is closed, which the client sees.
            drop(thread::Builder::new().stack_size(STACK).spawn(move || serve(stream, peer)));
        }
    });
}

fn datagrams(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, None)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Bursts of the tests that send from the first instant.
    socket.set_recv_buffer_size(1 << 20)?;
    socket.bind(&at.into())?;
    Ok(socket.into())
}
