//! Keeps connections open and exchanges a line over each, again and again.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use netpol_prober::Held;

use crate::line;
use crate::probe::STACK;

/// How long opening one may take.
const OPEN: Duration = Duration::from_secs(5);
/// How often a silent connection looks whether it was let go.
const LOOK: Duration = Duration::from_millis(200);

/// The connections that are held.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<Vec<Arc<Hold>>>);

#[derive(Debug)]
struct Hold {
    to: SocketAddr,
    state: Mutex<State>,
    released: AtomicBool,
}

#[derive(Debug)]
struct State {
    who: Option<String>,
    exchanged: u64,
    last: Instant,
    longest: Duration,
    broken: Option<String>,
}

impl Holds {
    /// Opens connections, all at the same time, and returns when each has exchanged its first line or could not.
    pub(crate) fn hold(&self, to: &[SocketAddr], every: Duration) {
        let mut opening = Vec::new();
        for &to in to {
            let state = State {
                who: None,
                exchanged: 0,
                last: Instant::now(),
                longest: Duration::ZERO,
                broken: None,
            };
            let hold = Arc::new(Hold { to, state: Mutex::new(state), released: AtomicBool::new(false) });
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&hold));
            opening.push(Arc::clone(&hold));
            let keeper = Arc::clone(&hold);
            let keep = move || {
                if let Err(error) = keeper.keep(every) {
                    keeper.state().broken = Some(error.to_string());
                }
            };
            if let Err(error) = thread::Builder::new().stack_size(STACK).spawn(keep) {
                hold.state().broken = Some(error.to_string());
            }
        }
        let end = Instant::now() + OPEN;
        let is_open = |hold: &Arc<Hold>| {
            let state = hold.state();
            state.exchanged > 0 || state.broken.is_some()
        };
        while !opening.iter().all(is_open) && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What has become of them.
    pub(crate) fn holding(&self) -> Vec<Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|hold| hold.held()).collect()
    }

    /// Closes them.
    pub(crate) fn release(&self) {
        for hold in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            hold.released.store(true, Ordering::Relaxed);
        }
    }
}

impl Hold {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> Held {
        let state = self.state();
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let silent = state.last.elapsed();
        Held {
            to: self.to,
            who: state.who.clone(),
            exchanged: state.exchanged,
            silent: milliseconds(silent),
            longest: milliseconds(state.longest.max(silent)),
            broken: state.broken.clone(),
        }
    }

    /// Exchanges lines until the connection breaks or is let go.
    fn keep(&self, every: Duration) -> io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.to, OPEN)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        while !self.released.load(Ordering::Relaxed) {
            let question = line::question(line::fresh(), 0);
            stream.write_all(&question)?;
            if !self.wait(&mut stream, &question)? {
                break;
            }
            thread::sleep(every);
        }
        Ok(())
    }

    /// Waits for the answer, however long it takes; false when the connection was let go.
    fn wait(&self, stream: &mut TcpStream, question: &[u8]) -> io::Result<bool> {
        let mut seen = Vec::new();
        let mut part = [0; 1024];
        while !self.released.load(Ordering::Relaxed) {
            match stream.read(&mut part) {
                Ok(0) => return Err(io::Error::new(ErrorKind::ConnectionReset, "the other end closed it")),
                Ok(length) => seen.extend_from_slice(part.get(..length).unwrap_or_default()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
            if let Some((who, _)) = line::read_answer(&seen, question) {
                let mut state = self.state();
                let now = Instant::now();
                state.longest = state.longest.max(now - state.last);
                state.last = now;
                state.exchanged += 1;
                state.who = Some(who);
                return Ok(true);
            }
        }
        Ok(false)
    }
}
