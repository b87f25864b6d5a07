//! A process of a pod that sends from before the pod's first instant.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netpol_tests::Pod;
use netpol_tests::packet::{SYN, tcp, udp};
use socket2::{Domain, Protocol, Socket, Type};

/// The port that packets are sent to.
const PORT: u16 = 9000;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(4);
/// `IPPROTO_RAW`: the sender writes the IP header.
const HEADER_INCLUDED: i32 = 255;

/// Sends UDP and TCP of both families to some places, in turns; ends when it is dropped.
pub(super) struct Sender {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    /// Starts in the pod's sandbox. Every packet carries the time since `epoch` in microseconds.
    pub(super) fn start(pod: &Pod, places: &[Pod], epoch: Instant) -> Result<Self> {
        let open = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(HEADER_INCLUDED)));
        let sockets = pod
            .run(|| [open(Domain::IPV4), open(Domain::IPV6)])?
            .into_iter()
            .collect::<std::io::Result<Vec<_>>>()
            .context("cannot make a raw socket")?;
        let ends = Arc::new(AtomicBool::new(false));
        let (seen, own) = (Arc::clone(&ends), pod.addresses());
        let to: Vec<[IpAddr; 2]> = places.iter().map(Pod::addresses).collect();
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                for (family, socket) in sockets.iter().enumerate() {
                    for to in &to {
                        send(socket, own[family], to[family], epoch);
                    }
                    thread::sleep(PAUSE);
                }
            }
        });
        Ok(Self { ends, thread: Some(thread) })
    }
}

fn send(socket: &Socket, from: IpAddr, to: IpAddr, epoch: Instant) {
    let micros = u32::try_from(epoch.elapsed().as_micros()).unwrap_or(u32::MAX);
    let (from, to) = (SocketAddr::new(from, PORT), SocketAddr::new(to, PORT));
    let target = SocketAddr::new(to.ip(), 0).into();
    for bytes in [udp(from, to, &micros.to_be_bytes()), tcp(from, to, SYN, micros, 0)] {
        // There is no route until the pod has its addresses; then it goes through.
        drop(socket.send_to(&bytes, &target));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
