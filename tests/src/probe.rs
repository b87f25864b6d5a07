//! Questions to the wire: does this reach that? Every probe wants an answer back, so both directions are tried.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::laboratory::Namespace;
use crate::packet;
use crate::raw::{receive_payload, send_payload};

/// How long a probe that is expected to be dropped waits for the answer that would prove the contrary.
pub const DROP_PATIENCE: Duration = Duration::from_millis(1200);
/// How long a probe that is expected to arrive may take, on a machine that is busy.
pub const ARRIVAL_PATIENCE: Duration = Duration::from_secs(8);

/// What came of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived and was answered.
    Reached,
    /// Nothing came back.
    TimedOut,
    /// Something came back, but an error: a reset, or an ICMP error.
    Refused,
    /// It could not even be sent, or something else went wrong on this side.
    Failed(ErrorKind),
}

impl From<std::io::Error> for Outcome {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::TimedOut,
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::HostUnreachable => {
                Self::Refused
            }
            other => Self::Failed(other),
        }
    }
}

/// With what to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A connection, a line there and the line back (see [`serve::tcp`](crate::serve::tcp)).
    Tcp,
    /// A connection, nothing more.
    Connect,
    /// A datagram there and back (see [`serve::udp`](crate::serve::udp)).
    Udp,
    /// An INIT there and an INIT ACK back (see [`serve::sctp`](crate::serve::sctp)).
    Sctp,
    /// An echo request; the port means nothing.
    Ping,
}

/// One question.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Who asks.
    pub from: Namespace,
    /// With what.
    pub kind: Kind,
    /// Whom.
    pub to: SocketAddr,
}

impl Probe {
    /// A question with the same kind to several places, both families of one pod for instance.
    #[must_use]
    pub fn all(from: &Namespace, kind: Kind, to: &[SocketAddr]) -> Vec<Self> {
        to.iter().map(|to| Self { from: from.clone(), kind, to: *to }).collect()
    }

    /// Asks once.
    #[must_use]
    pub fn ask(&self, patience: Duration) -> Outcome {
        let (from, to) = (&self.from, self.to);
        match self.kind {
            Kind::Tcp => from.tcp(to, patience),
            Kind::Connect => from.connect(to, patience).map_or_else(|outcome| outcome, |_| Outcome::Reached),
            Kind::Udp => from.udp(to, patience),
            Kind::Sctp => from.sctp(to, patience),
            Kind::Ping => from.ping(to.ip(), patience),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {:?}", self.from.name(), self.to, self.kind)
    }
}

/// Asks all at the same time and compares every answer with what is expected.
///
/// # Errors
/// With each question that was answered otherwise.
pub fn expect(probes: &[Probe], expected: Outcome) -> Result<()> {
    let patience = if expected == Outcome::Reached { ARRIVAL_PATIENCE } else { DROP_PATIENCE };
    let seen: Vec<Outcome> = thread::scope(|scope| {
        let asked: Vec<_> = probes.iter().map(|probe| scope.spawn(move || probe.ask(patience))).collect();
        asked.into_iter().map(|answer| answer.join().unwrap_or(Outcome::Failed(ErrorKind::Other))).collect()
    });
    let wrong: Vec<String> = probes
        .iter()
        .zip(&seen)
        .filter(|(_, seen)| **seen != expected)
        .map(|(probe, seen)| format!("{probe}: {seen:?}"))
        .collect();
    if wrong.is_empty() { Ok(()) } else { bail!("expected {expected:?}, but saw {}", wrong.join("; ")) }
}

/// Expects that every probe arrives and is answered.
///
/// # Errors
/// With each that is not.
pub fn expect_reached(probes: &[Probe]) -> Result<()> {
    expect(probes, Outcome::Reached)
}

/// Expects that every probe is dropped: it must time out, never be refused.
///
/// # Errors
/// With each that is not.
pub fn expect_dropped(probes: &[Probe]) -> Result<()> {
    expect(probes, Outcome::TimedOut)
}

impl Namespace {
    /// Opens a connection from this namespace.
    ///
    /// # Errors
    /// With what came of it instead.
    pub fn connect(&self, to: SocketAddr, patience: Duration) -> Result<TcpStream, Outcome> {
        match self.run(|| TcpStream::connect_timeout(&to, patience)) {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Outcome::Failed(ErrorKind::Other)),
        }
    }

    /// Opens a connection and sends a line there and back.
    #[must_use]
    pub fn tcp(&self, to: SocketAddr, patience: Duration) -> Outcome {
        match self.connect(to, patience) {
            Ok(mut stream) => exchange(&mut stream, patience),
            Err(outcome) => outcome,
        }
    }

    /// Sends a datagram there and back.
    #[must_use]
    pub fn udp(&self, to: SocketAddr, patience: Duration) -> Outcome {
        let any =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
        let ask = || {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(patience))?;
            socket.send(b"netpol")?;
            socket.recv(&mut [0; 16])
        };
        match self.run(ask) {
            Ok(Ok(_)) => Outcome::Reached,
            Ok(Err(error)) => error.into(),
            Err(_) => Outcome::Failed(ErrorKind::Other),
        }
    }

    /// Sends an echo request and waits for its reply.
    #[must_use]
    pub fn ping(&self, to: IpAddr, patience: Duration) -> Outcome {
        let protocol = if to.is_ipv4() { packet::ICMP } else { packet::ICMPV6 };
        let reply = if to.is_ipv4() { 0 } else { 129 };
        let identifier = fresh_number();
        let whole = packet::echo(to, to, identifier, 1);
        let Some((.., message)) = packet::read(&whole) else { return Outcome::Failed(ErrorKind::Other) };
        // For IPv4 the checksum covers the message alone; for IPv6 the kernel writes it.
        self.ask_raw(protocol, to, message, patience, |answer| {
            answer.first() == Some(&reply) && answer.get(4..6) == Some(&identifier.to_be_bytes())
        })
    }

    /// Sends an SCTP INIT and waits for the INIT ACK.
    #[must_use]
    pub fn sctp(&self, to: SocketAddr, patience: Duration) -> Outcome {
        let port = fresh_number();
        // The checksum of SCTP does not cover addresses.
        let whole = packet::sctp(SocketAddr::new(to.ip(), port), to, packet::INIT);
        let Some((.., message)) = packet::read(&whole) else { return Outcome::Failed(ErrorKind::Other) };
        self.ask_raw(packet::SCTP, to.ip(), message, patience, |answer| {
            packet::read_ports(answer) == Some((to.port(), port)) && answer.get(12) == Some(&packet::INIT_ACK)
        })
    }

    fn ask_raw(
        &self,
        protocol: u8,
        to: IpAddr,
        message: &[u8],
        patience: Duration,
        answers: impl Fn(&[u8]) -> bool,
    ) -> Outcome {
        let Ok(socket) = self.protocol_socket(to.is_ipv4(), protocol) else {
            return Outcome::Failed(ErrorKind::PermissionDenied);
        };
        if send_payload(&socket, to, message).is_err() {
            return Outcome::Failed(ErrorKind::NetworkUnreachable);
        }
        let end = Instant::now() + patience;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if receive_payload(&socket, left).is_some_and(|(from, answer)| from == to && answers(&answer)) {
                return Outcome::Reached;
            }
        }
        Outcome::TimedOut
    }
}

/// Sends a line over an open connection and waits for it to come back.
pub fn exchange(stream: &mut TcpStream, patience: Duration) -> Outcome {
    let line = [b"netpol".as_slice(), &fresh_number().to_be_bytes()].concat();
    let turn = |stream: &mut TcpStream| -> std::io::Result<()> {
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.write_all(&line)?;
        // Late answers to earlier lines come first.
        let mut seen = Vec::new();
        let mut part = [0; 64];
        while !seen.ends_with(&line) {
            match stream.read(&mut part)? {
                0 => return Err(ErrorKind::ConnectionReset.into()),
                length => seen.extend(&part[..length]),
            }
        }
        Ok(())
    };
    match turn(stream) {
        Ok(()) => Outcome::Reached,
        Err(error) => error.into(),
    }
}

/// A number that no other probe of this process uses at the same time: identifiers, forged ports.
pub fn fresh_number() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 12_000
}
