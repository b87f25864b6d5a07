//! Connections and exchanges of datagrams with both of their ends in hand.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use netpol_tests::probe::{ARRIVAL_PATIENCE, DROP_PATIENCE};
use netpol_tests::{Namespace, Outcome, Pod};
use socket2::{Domain, Socket, Type};

/// An open exchange, both of its ends in hand.
pub(super) struct Exchange {
    name: String,
    client: End,
    server: End,
}

enum End {
    Tcp(TcpStream),
    /// A socket, and whom it answers when that is not fixed.
    Udp(UdpSocket, Option<SocketAddr>),
}

impl End {
    fn say(&mut self, word: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(word),
            Self::Udp(socket, None) => socket.send(word).map(drop),
            Self::Udp(socket, Some(to)) => socket.send_to(word, *to).map(drop),
        }
    }

    /// Whether a word arrives in time; older ones are passed over.
    fn hears(&mut self, word: &[u8], patience: Duration) -> Outcome {
        let mut buffer = vec![0; word.len()];
        loop {
            let read = match self {
                Self::Tcp(stream) => {
                    stream.set_read_timeout(Some(patience)).and_then(|()| stream.read_exact(&mut buffer))
                }
                Self::Udp(socket, _) => {
                    socket.set_read_timeout(Some(patience)).and_then(|()| socket.recv(&mut buffer).map(drop))
                }
            };
            match read {
                Ok(()) if buffer == word => return Outcome::Reached,
                Ok(()) => {}
                Err(error) => return error.into(),
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    Client,
    Server,
}

impl Exchange {
    /// One end says a word to the other.
    pub(super) fn word(&mut self, speaker: Speaker, word: &str, patience: Duration) -> Result<Outcome> {
        let (from, to) = match speaker {
            Speaker::Client => (&mut self.client, &mut self.server),
            Speaker::Server => (&mut self.server, &mut self.client),
        };
        from.say(word.as_bytes()).with_context(|| format!("cannot speak over {}", self.name))?;
        Ok(to.hears(word.as_bytes(), patience))
    }

    /// Both ends are heard, one of them first.
    pub(super) fn lives(&mut self, first: Speaker) -> Result<()> {
        for speaker in order(first) {
            let heard = self.word(speaker, "alive", ARRIVAL_PATIENCE)?;
            anyhow::ensure!(heard == Outcome::Reached, "{}: {speaker:?} is not heard: {heard:?}", self.name);
        }
        Ok(())
    }

    /// Neither end is heard any more.
    pub(super) fn has_stopped(&mut self, first: Speaker) -> Result<()> {
        for speaker in order(first) {
            let heard = self.word(speaker, "after", DROP_PATIENCE)?;
            anyhow::ensure!(
                heard == Outcome::TimedOut,
                "{}, {first:?} first: {speaker:?} is heard: {heard:?}",
                self.name
            );
        }
        Ok(())
    }
}

const fn order(first: Speaker) -> [Speaker; 2] {
    match first {
        Speaker::Client => [Speaker::Client, Speaker::Server],
        Speaker::Server => [Speaker::Server, Speaker::Client],
    }
}

/// A listener on every address of a pod.
pub(super) fn listen(pod: &Namespace, port: u16) -> Result<TcpListener> {
    let open = || -> std::io::Result<TcpListener> {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
        socket.set_only_v6(false)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into())?;
        socket.listen(64)?;
        Ok(socket.into())
    };
    pod.run(open)?.context("cannot listen")
}

/// Opens a TCP connection to what `listener` answers for, by its own address or a Service's.
pub(super) fn tcp(
    name: &str,
    client: &Namespace,
    to: SocketAddr,
    listener: &TcpListener,
) -> Result<Exchange> {
    let stream = client
        .connect(to, ARRIVAL_PATIENCE)
        .map_err(|outcome| anyhow!("{name} cannot connect to {to}: {outcome:?}"))?;
    let (accepted, _) = listener.accept()?;
    Ok(Exchange {
        name: format!("{name} to {to}, TCP"),
        client: End::Tcp(stream),
        server: End::Tcp(accepted),
    })
}

/// Opens an exchange of datagrams with a server's socket at `at`, asked for by `to`.
pub(super) fn udp(name: &str, client: &Namespace, to: SocketAddr, server: &UdpSocket) -> Result<Exchange> {
    let unspecified = if to.is_ipv4() { IpAddr::from([0; 4]) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = client.run(|| -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0))?;
        socket.connect(to)?;
        Ok(socket)
    })??;
    socket.send(b"hello")?;
    server.set_read_timeout(Some(ARRIVAL_PATIENCE))?;
    let mut buffer = [0; 16];
    let (_, from) = server.recv_from(&mut buffer).with_context(|| format!("{name} is not heard at {to}"))?;
    Ok(Exchange {
        name: format!("{name} to {to}, UDP"),
        client: End::Udp(socket, None),
        server: End::Udp(server.try_clone()?, Some(from)),
    })
}

/// The server's sockets on a port: one listener, and a datagram socket for each of its addresses.
pub(super) struct Port {
    listener: TcpListener,
    pub(super) datagrams: [UdpSocket; 2],
}

impl Port {
    pub(super) fn of(pod: &Pod, port: u16) -> Result<Self> {
        let [v4, v6] = pod.sockets(port);
        let bind = |at: SocketAddr| pod.run(move || UdpSocket::bind(at))?.context("cannot bind");
        Ok(Self { listener: listen(pod, port)?, datagrams: [bind(v4)?, bind(v6)?] })
    }

    /// A connection of each protocol and family to this port.
    pub(super) fn all(&self, name: &str, client: &Namespace, to: [SocketAddr; 2]) -> Result<Vec<Exchange>> {
        let mut all = Vec::new();
        for (to, socket) in to.into_iter().zip(&self.datagrams) {
            all.push(tcp(name, client, to, &self.listener)?);
            all.push(udp(name, client, to, socket)?);
        }
        Ok(all)
    }
}
