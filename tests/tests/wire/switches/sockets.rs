//! Who sends and who hears. The receivers look at all their sockets again and again instead of being woken by each packet,
//! and their buffers are large: nothing is lost there when the machine is busy.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netpol_tests::Pod;
use netpol_tests::packet::udp;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, Socket, Type};

use super::traffic::{BATCH, Datagram, Kind, LIVING, PERIOD, datagram};

/// Between two looks of a receiver.
const LOOK: Duration = Duration::from_millis(1);
/// The size of a receive buffer in bytes.
static BUFFER: libc::c_int = 16 << 20;
/// Batches that are sent without a pause by a sender that was held up; more could be too many for a queue of the kernel.
const BEHIND: u32 = 4;
/// `IPPROTO_RAW`: the sender writes the IP header.
const HEADER_INCLUDED: i32 = 255;

/// What has been heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// How many of each kind and family.
    counts: [[AtomicU64; 2]; Kind::ALL.len()],
    /// How many of flows that are always allowed and live.
    answers: AtomicU64,
}

impl Heard {
    /// How many of a kind, by family.
    pub(super) fn of(&self, kind: Kind) -> [u64; 2] {
        [0, 1].map(|family| self.counts[kind as usize][family].load(Ordering::Relaxed))
    }

    /// Whether all is heard of what is always allowed, of so many packets.
    pub(super) fn has_all(&self, sent: u64) -> bool {
        let all = (0..sent).filter(|number| datagram(*number).kind == Kind::Always).count();
        self.of(Kind::Always).iter().sum::<u64>() >= all as u64
    }

    /// Whether all answers are heard of what is always allowed, of so many packets.
    pub(super) fn has_all_answers(&self, sent: u64) -> bool {
        let is_answered = |one: &Datagram| one.kind == Kind::Always && one.living;
        let all = (0..sent).map(datagram).filter(is_answered).count();
        self.answers.load(Ordering::Relaxed) >= all as u64
    }

    fn hear(&self, number: u64) {
        let one = datagram(number);
        self.counts[one.kind as usize][one.family].fetch_add(1, Ordering::Relaxed);
        if one.kind == Kind::Always && one.living {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A socket for each port of the server and family.
pub(super) fn server_sockets(server: &Pod) -> Result<Vec<UdpSocket>> {
    sockets(server, &Kind::ALL.map(Kind::port))
}

/// A socket for each flow of the client that lives, and family.
pub(super) fn client_sockets(client: &Pod) -> Result<Vec<UdpSocket>> {
    sockets(client, &LIVING)
}

fn sockets(pod: &Pod, ports: &[u16]) -> Result<Vec<UdpSocket>> {
    let all: Vec<SocketAddr> = ports.iter().flat_map(|port| pod.sockets(*port)).collect();
    let open = |at: &SocketAddr| -> Result<UdpSocket> {
        let socket = pod.run(|| UdpSocket::bind(at))?.with_context(|| format!("cannot listen at {at}"))?;
        socket.set_nonblocking(true)?;
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        let (fd, value) = (socket.as_raw_fd(), (&raw const BUFFER).cast());
        // SAFETY: an open socket, and a number of that length.
        let set = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value, length) };
        anyhow::ensure!(set == 0, "cannot enlarge a receive buffer: {}", std::io::Error::last_os_error());
        Ok(socket)
    };
    all.iter().map(open).collect()
}

/// Hears until it is told to end, and says the numbers of all packets; gives back what comes from flows that live, if
/// wanted.
pub(super) fn listen(
    sockets: &[UdpSocket],
    end: &AtomicBool,
    heard: &Heard,
    give_back: bool,
) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    let mut buffer = [0; 64];
    while !end.load(Ordering::Relaxed) {
        for socket in sockets {
            loop {
                let (length, from) = match socket.recv_from(&mut buffer) {
                    Ok(received) => received,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("cannot receive"),
                };
                let number = buffer[..length].try_into().context("a packet that was not sent here")?;
                let number = u64::from_be_bytes(number);
                heard.hear(number);
                numbers.push(number);
                if give_back && LIVING.contains(&from.port()) {
                    answer(socket, &buffer[..length], from)?;
                }
            }
        }
        thread::sleep(LOOK);
    }
    Ok(numbers)
}

/// Waits where the machine is so busy that what was sent before is still on its way.
fn answer(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> Result<()> {
    loop {
        match socket.send_to(bytes, to) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LOOK),
            Err(error) => return Err(error).context("cannot answer"),
        }
    }
}

/// Sends until it is enough, and says how many packets; on one processor, so that they stay in their order, and before
/// other programs, so that they keep their rate.
pub(super) fn send(client: &Pod, server: &Pod, enough: &AtomicBool) -> Result<u64> {
    stay_on_one_processor()?;
    come_first()?;
    let raw = |v4: bool| {
        let domain = if v4 { Domain::IPV4 } else { Domain::IPV6 };
        client
            .run(|| Socket::new(domain, Type::RAW, Some(Protocol::from(HEADER_INCLUDED))))?
            .context("cannot make a raw socket")
    };
    let ways: [(Socket, IpAddr, IpAddr); 2] =
        [(raw(true)?, client.v4.into(), server.v4.into()), (raw(false)?, client.v6.into(), server.v6.into())];
    let start = Instant::now();
    let mut batches = 0;
    let mut without_pause = 0;
    while !enough.load(Ordering::Relaxed) {
        let due = start + PERIOD * batches;
        match due.checked_duration_since(Instant::now()) {
            Some(left) => {
                without_pause = 0;
                thread::sleep(left);
            }
            None if without_pause < BEHIND => without_pause += 1,
            None => {
                without_pause = 0;
                thread::sleep(PERIOD / 4);
            }
        }
        for place in 0..BATCH {
            let number = u64::from(batches) * BATCH + place;
            let one = datagram(number);
            let (socket, from, to) = &ways[one.family];
            let to = SocketAddr::new(*to, one.kind.port());
            let packet = udp(SocketAddr::new(*from, one.port), to, &number.to_be_bytes());
            socket.send_to(&packet, &SocketAddr::new(to.ip(), 0).into()).context("cannot send")?;
        }
        batches += 1;
    }
    Ok(u64::from(batches) * BATCH)
}

fn stay_on_one_processor() -> Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).context("cannot ask for the processors")?;
    let first = (0..CpuSet::count()).find(|number| allowed.is_set(*number).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(first.context("no processor")?)?;
    sched_setaffinity(this, &one).context("cannot stay on one processor")
}

fn come_first() -> Result<()> {
    // SAFETY: one system call that takes numbers only; 0 is this thread.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    anyhow::ensure!(done == 0, "cannot be given priority: {}", std::io::Error::last_os_error());
    Ok(())
}
