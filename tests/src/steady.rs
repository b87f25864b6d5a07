//! Traffic at a steady rate that runs while something happens to the agent: connections that stay open, whose bytes must
//! come back in their order, and datagrams that no policy allows, of which none may arrive.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::deadline::wait_for;
use crate::laboratory::{Namespace, Pod};
use crate::packet::udp;
use crate::probe::ARRIVAL_PATIENCE;

/// Connections that stay open.
pub const CONNECTIONS: usize = 200;
/// Denied datagrams in a second.
pub const PROBES_PER_SECOND: u32 = 200;
/// Threads that carry the connections.
const CARRIERS: usize = 4;
/// Between two numbers over one connection.
const EVERY: Duration = Duration::from_millis(100);
/// How long the answer to a number may take: TCP sends again what was lost while nothing passed, each time later.
const PATIENCE: Duration = Duration::from_secs(20);
/// How soon both must go on after whatever has happened.
const GOES_ON: Duration = Duration::from_secs(30);

/// Who sends, where to: what is denied.
#[derive(Debug, Clone)]
pub struct Denied {
    /// Who sends.
    pub from: Namespace,
    /// With which addresses: of each family that it sends to one.
    pub own: Vec<IpAddr>,
    /// The ports of whom it must not reach.
    pub to: Vec<SocketAddr>,
}

impl Denied {
    /// What a pod of the laboratory sends.
    #[must_use]
    pub fn of(pod: &Pod, to: &[SocketAddr]) -> Self {
        Self { from: (**pod).clone(), own: pod.addresses().to_vec(), to: to.to_vec() }
    }
}

/// Running traffic; dropping it ends it.
#[derive(Debug)]
pub struct Steady {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    exchanges: AtomicU64,
    probes: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// What it has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Numbers that came back over connections that stayed open.
    pub exchanges: u64,
    /// Datagrams that were sent and are denied.
    pub probes: u64,
}

impl Steady {
    /// Opens the connections, spread over the places, each of which gives bytes back, and begins to send.
    ///
    /// # Errors
    /// When a connection cannot be opened.
    pub fn start(client: &Namespace, to: &[SocketAddr], denied: Vec<Denied>) -> Result<Self> {
        let mut streams = Vec::new();
        for number in 0..CONNECTIONS {
            let to = to[number % to.len()];
            let stream = client.connect(to, ARRIVAL_PATIENCE);
            streams.push(stream.map_err(|outcome| anyhow!("cannot connect to {to}: {outcome:?}"))?);
        }
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        while !streams.is_empty() {
            let part = streams.split_off(streams.len().saturating_sub(CONNECTIONS / CARRIERS));
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || shared.carry(part)));
        }
        let rate = PROBES_PER_SECOND / u32::try_from(denied.len()).unwrap_or(1).max(1);
        for denied in denied {
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || {
                if let Err(error) = shared.probe(&denied, rate) {
                    shared.wrong(format!("cannot probe: {error:#}"));
                }
            }));
        }
        Ok(Self { shared, threads })
    }

    /// What it has carried until now.
    #[must_use]
    pub fn carried(&self) -> Carried {
        Carried {
            exchanges: self.shared.exchanges.load(Ordering::Relaxed),
            probes: self.shared.probes.load(Ordering::Relaxed),
        }
    }

    /// Waits until every connection has carried something from now on, and more was sent that is denied.
    ///
    /// # Errors
    /// When they do not go on, or something has gone wrong.
    pub fn goes_on(&self) -> Result<()> {
        let before = self.carried();
        wait_for("traffic flows", GOES_ON, || {
            let now = self.carried();
            let enough =
                now.exchanges > before.exchanges + 2 * CONNECTIONS as u64 && now.probes > before.probes + 20;
            (enough || self.first_wrong().is_some()).then_some(())
        })?;
        self.first_wrong().map_or(Ok(()), |wrong| Err(anyhow!(wrong)))
    }

    fn first_wrong(&self) -> Option<String> {
        self.shared.wrong.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// Ends it.
    ///
    /// # Errors
    /// When a connection broke.
    pub fn stop(&mut self) -> Result<Carried> {
        self.end();
        let wrong = self.first_wrong();
        ensure!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        Ok(self.carried())
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What panicked has said so.
            drop(thread.join());
        }
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Numbers over open connections, first all there and then all back.
    fn carry(&self, mut streams: Vec<TcpStream>) {
        let mut number = 0_u64;
        while self.runs() {
            let begun = Instant::now();
            number += 1;
            let turn = streams.iter_mut().try_for_each(|stream| {
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.write_all(&number.to_be_bytes())
            });
            let back = turn.and_then(|()| {
                streams.iter_mut().try_for_each(|stream| {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    let mut bytes = [0; 8];
                    stream.read_exact(&mut bytes)?;
                    self.exchanges.fetch_add(1, Ordering::Relaxed);
                    let came = u64::from_be_bytes(bytes);
                    if came == number {
                        Ok(())
                    } else {
                        Err(std::io::Error::other(format!("{came} came back for {number}")))
                    }
                })
            });
            if let Err(error) = back {
                return self.wrong(format!("an open connection broke at number {number}: {error}"));
            }
            thread::sleep(EVERY.saturating_sub(begun.elapsed()));
        }
    }

    /// Datagrams from ever new ports, so that each is a flow of its own.
    fn probe(&self, denied: &Denied, per_second: u32) -> Result<()> {
        let (v4, v6) = (denied.from.packet_sender(true)?, denied.from.packet_sender(false)?);
        let (mut port, mut next) = (20_000_u16, Instant::now());
        for to in denied.to.iter().cycle() {
            if !self.runs() {
                break;
            }
            port = if port >= 60_000 { 20_000 } else { port + 1 };
            let socket = if to.is_ipv4() { &v4 } else { &v6 };
            let from = denied.own.iter().copied().find(|own| own.is_ipv4() == to.is_ipv4());
            let from = from.with_context(|| format!("no address to send to {to} with"))?;
            let packet = udp(SocketAddr::new(from, port), *to, b"denied");
            socket.send_to(&packet, &SocketAddr::new(to.ip(), 0).into()).context("cannot send a packet")?;
            self.probes.fetch_add(1, Ordering::Relaxed);
            next += Duration::from_secs(1) / per_second;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }
}
