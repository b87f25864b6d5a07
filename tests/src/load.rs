//! Traffic that runs while something else happens: what is allowed must never break, what is denied must never pass.

use std::fmt;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use crate::Outcome;
use crate::probe::{ARRIVAL_PATIENCE, Kind, Probe, exchange, expect_dropped, expect_reached};

/// How long the answer to a denied probe is waited for.
const ANSWER: Duration = Duration::from_millis(250);
/// Between two rounds of one thread: the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(10);

/// Traffic that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    allowed: AtomicU64,
    denied: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// What went over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Allowed probes, each of which was answered: new flows, and exchanges over connections that stayed open.
    pub allowed: u64,
    /// Denied probes, none of which was.
    pub denied: u64,
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} allowed probes answered, {} denied ones not", self.allowed, self.denied)
    }
}

impl Load {
    /// Sends allowed probes, over connections that stay open and as new flows, and denied ones.
    ///
    /// # Errors
    /// When one of them is not as it should be from the start.
    pub fn start(allowed: &[Probe], denied: &[Probe]) -> Result<Self> {
        expect_reached(allowed)?;
        expect_dropped(denied)?;
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for probe in allowed.iter().filter(|probe| probe.kind == Kind::Tcp) {
            let stream = probe.from.connect(probe.to, ARRIVAL_PATIENCE);
            let stream = stream.map_err(|outcome| anyhow!("cannot connect for {probe}: {outcome:?}"))?;
            let (shared, probe) = (Arc::clone(&shared), probe.clone());
            threads.push(thread::spawn(move || shared.stay_connected(&probe, stream)));
        }
        for (probes, passes) in [(allowed, true), (denied, false)] {
            let (shared, probes) = (Arc::clone(&shared), probes.to_vec());
            threads.push(thread::spawn(move || shared.ask(&probes, passes)));
        }
        Ok(Self { shared, threads })
    }

    /// How much went over the wire by now.
    #[must_use]
    pub fn carried(&self) -> Carried {
        Carried {
            allowed: self.shared.allowed.load(Ordering::Relaxed),
            denied: self.shared.denied.load(Ordering::Relaxed),
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// When an allowed probe was not answered, or a denied one was; or when there was hardly any.
    pub fn stop(mut self) -> Result<Carried> {
        self.end();
        let wrong = self.shared.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(wrong.is_empty(), "{} probes went wrong, first {}", wrong.len(), wrong[0]);
        let carried = self.carried();
        ensure!(carried.allowed > 50 && carried.denied > 10, "hardly anything was sent: {carried}");
        Ok(carried)
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What panicked has said so.
            drop(thread.join());
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn wrong(&self, probe: &Probe, what: &str) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{probe}: {what}"));
    }

    /// Exchanges over one open connection.
    fn stay_connected(&self, probe: &Probe, mut stream: TcpStream) {
        while self.runs() {
            let outcome = exchange(&mut stream, ARRIVAL_PATIENCE);
            if outcome != Outcome::Reached {
                self.wrong(probe, &format!("the open connection broke: {outcome:?}"));
                return;
            }
            self.allowed.fetch_add(1, Ordering::Relaxed);
            thread::sleep(PAUSE);
        }
    }

    /// New flows, one after the other.
    fn ask(&self, probes: &[Probe], passes: bool) {
        let (patience, count) =
            if passes { (ARRIVAL_PATIENCE, &self.allowed) } else { (ANSWER, &self.denied) };
        while self.runs() {
            thread::scope(|scope| {
                for probe in probes {
                    scope.spawn(move || {
                        let outcome = probe.ask(patience);
                        if (outcome == Outcome::Reached) != passes {
                            self.wrong(probe, &format!("a new flow: {outcome:?}"));
                        }
                    });
                }
            });
            count.fetch_add(probes.len() as u64, Ordering::Relaxed);
            thread::sleep(PAUSE);
        }
    }
}
