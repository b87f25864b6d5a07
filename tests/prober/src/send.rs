//! Sends numbered packets to places from the first instruction on, and counts which were answered.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use netpol_prober::{Protocol, Sent};

use crate::{line, probe};

/// How long an attempt at a connection may take before the next one begins.
const ATTEMPT: Duration = Duration::from_millis(50);

/// What the interval between two packets has grown to in the end, in times of the first.
const RARER: u64 = 10;

/// Everything that sends.
#[derive(Debug)]
pub(crate) struct Senders {
    places: Vec<Arc<Mutex<Sent>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Senders {
    /// Starts one for each place, with a packet `every` so often in the first second and less often by and by: many that start
    /// together leave the machine to those that come next. They end after `limit`, if there is one.
    pub(crate) fn start(
        places: &[(Protocol, SocketAddr)],
        every: Duration,
        limit: Option<Duration>,
        start: Instant,
    ) -> Self {
        let mut senders = Self { places: Vec::new(), threads: Mutex::default() };
        let mut threads = Vec::new();
        for &(protocol, to) in places {
            let sent =
                Sent { protocol, to, sent: 0, unsent: 0, answered: 0, first_answered: None, began: None };
            let sender = Sender { sent: Arc::new(Mutex::new(sent)), start };
            senders.places.push(Arc::clone(&sender.sent));
            threads.push(thread::spawn(move || sender.run(protocol, to, every, limit)));
        }
        senders.threads = Mutex::new(threads);
        senders
    }

    /// What has become of it so far.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.places.iter().map(|sent| sent.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    /// Waits until all have ended.
    pub(crate) fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // One that panicked has said so.
            drop(thread.join());
        }
    }
}

struct Sender {
    sent: Arc<Mutex<Sent>>,
    start: Instant,
}

impl Sender {
    fn run(&self, protocol: Protocol, to: SocketAddr, every: Duration, limit: Option<Duration>) {
        let mut socket = None;
        let mut number = 0;
        while limit.is_none_or(|limit| self.start.elapsed() < limit) {
            let seconds = self.start.elapsed().as_secs().clamp(1, RARER);
            let turn = Instant::now() + every.mul_f64(seconds as f64);
            let tried = match protocol {
                Protocol::Udp => self.datagram(&mut socket, to, number, turn),
                Protocol::Tcp => self.connection(to, number),
            };
            if tried.is_err() {
                // The address may not be usable yet, or an error came back: another socket, soon.
                socket = None;
                self.note(|sent| sent.unsent += 1);
            }
            number += 1;
            thread::sleep(turn.saturating_duration_since(Instant::now()));
        }
    }

    /// Sends one and takes what has come back until the next one's turn.
    fn datagram(
        &self,
        socket: &mut Option<std::net::UdpSocket>,
        to: SocketAddr,
        number: u64,
        turn: Instant,
    ) -> io::Result<()> {
        let socket = match socket {
            Some(socket) => socket,
            None => socket.insert(probe::socket_to(to)?),
        };
        socket.send(&line::question(number, 0))?;
        self.left();
        let mut answer = [0; 2048];
        while let Ok(left) = probe::left(turn) {
            socket.set_read_timeout(Some(left))?;
            let Ok(length) = socket.recv(&mut answer) else { break };
            if let Some(number) = number_of(answer.get(..length).unwrap_or_default()) {
                self.answered(number);
            }
        }
        Ok(())
    }

    /// Tries to open a connection and to exchange a line.
    fn connection(&self, to: SocketAddr, number: u64) -> io::Result<()> {
        self.left();
        let end = Instant::now() + ATTEMPT;
        match TcpStream::connect_timeout(&to, ATTEMPT) {
            Ok(mut stream) => {
                let question = line::question(number, 0);
                let is_answer = |answer: &[u8]| line::read_answer(answer, &question);
                if probe::exchange(&mut stream, &question, end, is_answer).is_ok() {
                    self.answered(number);
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(()),
            Err(error) => {
                self.note(|sent| sent.sent -= 1);
                Err(error)
            }
        }
    }

    fn left(&self) {
        let now = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.note(|sent| {
            sent.sent += 1;
            sent.began.get_or_insert(now);
        });
    }

    fn answered(&self, number: u64) {
        self.note(|sent| {
            sent.answered += 1;
            sent.first_answered.get_or_insert(number);
        });
    }

    fn note(&self, what: impl FnOnce(&mut Sent)) {
        what(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The number of the question that was answered.
fn number_of(answer: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(answer).ok()?;
    text.trim_end().rsplit(' ').next()?.parse().ok()
}
