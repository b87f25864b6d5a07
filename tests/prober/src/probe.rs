//! Asks: one question as a new flow, or many at the same time.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use netpol_prober::{Outcomes, Probe, Protocol};

use crate::line;

/// A datagram may be lost without anybody's fault: it is sent again after this.
const AGAIN: Duration = Duration::from_millis(300);
/// Bytes of a thread's stack. There are many.
pub(crate) const STACK: usize = 128 * 1024;

/// Asks all at the same time.
pub(crate) fn all(probes: &[Probe]) -> Vec<Outcomes> {
    thread::scope(|scope| {
        let ask = |probe| {
            thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, move || one(probe))
                .map_err(|error| failed(&error))
        };
        let asked: Vec<_> = probes.iter().map(ask).collect();
        let answer = |thread: Result<thread::ScopedJoinHandle<'_, Outcomes>, Outcomes>| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|_| failed(&io::Error::other("it panicked"))),
            Err(failed) => failed,
        };
        asked.into_iter().map(answer).collect()
    })
}

fn failed(error: &io::Error) -> Outcomes {
    Outcomes { failed: vec![error.to_string()], ..Outcomes::default() }
}

fn one(probe: &Probe) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for _ in 0..probe.times {
        match ask(probe) {
            Ok((name, source)) => {
                *outcomes.reached.entry(name).or_default() += 1;
                outcomes.seen_as = Some(source);
            }
            Err(error) => match error.kind() {
                ErrorKind::TimedOut | ErrorKind::WouldBlock => outcomes.timed_out += 1,
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::HostUnreachable => {
                    outcomes.refused += 1;
                }
                _ => outcomes.failed.push(error.to_string()),
            },
        }
    }
    outcomes
}

fn ask(probe: &Probe) -> io::Result<(String, IpAddr)> {
    let patience = Duration::from_millis(probe.patience.max(1));
    let end = Instant::now() + patience;
    let question = probe.raw.clone().unwrap_or_else(|| line::question(line::fresh(), probe.size));
    let is_answer = |answer: &[u8]| match &probe.raw {
        Some(_) => Some((hexadecimal(answer), probe.to.ip())),
        None => line::read_answer(answer, &question),
    };
    match probe.protocol {
        Protocol::Tcp => {
            let mut stream = TcpStream::connect_timeout(&probe.to, patience)?;
            exchange(&mut stream, &question, end, is_answer)
        }
        Protocol::Udp => datagram(probe.to, &question, end, is_answer),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends a question over an open connection and waits for its answer.
pub(crate) fn exchange<T>(
    stream: &mut TcpStream,
    question: &[u8],
    end: Instant,
    is_answer: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<T> {
    stream.set_write_timeout(Some(left(end)?))?;
    stream.write_all(question)?;
    let mut seen = Vec::new();
    let mut part = vec![0; 16 * 1024];
    loop {
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(&mut part)? {
            0 => return Err(ErrorKind::ConnectionReset.into()),
            length => seen.extend_from_slice(part.get(..length).unwrap_or_default()),
        }
        if let Some(answer) = is_answer(&seen) {
            return Ok(answer);
        }
    }
}

fn datagram<T>(
    to: SocketAddr,
    question: &[u8],
    end: Instant,
    is_answer: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<T> {
    let socket = socket_to(to)?;
    let mut answer = vec![0; 65_536];
    loop {
        socket.send(question)?;
        let turn = Instant::now() + AGAIN.min(left(end)?);
        while let Ok(left) = left(turn) {
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut answer) {
                Ok(length) => {
                    let answer = answer.get(..length).unwrap_or_default();
                    if let Some(answer) = is_answer(answer) {
                        return Ok(answer);
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A socket that hears of this place only, its errors too.
pub(crate) fn socket_to(to: SocketAddr) -> io::Result<UdpSocket> {
    let any =
        if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(to)?;
    Ok(socket)
}

/// How long there is until `end`.
pub(crate) fn left(end: Instant) -> io::Result<Duration> {
    end.checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
        .ok_or_else(|| ErrorKind::TimedOut.into())
}
