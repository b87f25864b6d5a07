//! Traffic between pods that must be as it is from its start to its end: what is allowed arrives, what is denied never does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use netpol_prober::{Probe, Protocol};
use netpol_tests::cluster::Prober;
use netpol_tests::counted;

use crate::scene::Running;

/// How long an answer is waited for that must come: a busy machine, not a lost packet. A datagram is not sent again.
const ARRIVES: u64 = 5000;
/// And one that must not, in milliseconds.
const DROPPED: u64 = 300;
/// Between two lines over a connection.
const EVERY: Duration = Duration::from_millis(50);
/// Between two rounds: the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(20);

/// Questions that one pod asks again and again.
pub(super) struct Asked {
    pub(super) from: Running,
    pub(super) to: Vec<(Protocol, SocketAddr)>,
}

/// Running traffic; dropping it ends it.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    allowed: Vec<JoinHandle<Result<u64>>>,
    denied: Vec<JoinHandle<Result<u64>>>,
    /// Those that hold connections, and how many.
    holding: Vec<(Prober, usize)>,
}

impl Traffic {
    /// New flows to all places, and connections that stay open to those that are allowed.
    pub(super) fn start(allowed: Vec<Asked>, denied: Vec<Asked>) -> Result<Self> {
        let mut holding = Vec::new();
        for asked in &allowed {
            let tcp = asked.to.iter().filter(|(protocol, _)| *protocol == Protocol::Tcp);
            let tcp: Vec<SocketAddr> = tcp.map(|(_, to)| *to).collect();
            let held = asked.from.prober.hold(&tcp, EVERY)?;
            ensure!(held.iter().all(|one| one.exchanged > 0 && one.broken.is_none()), "{held:?}");
            holding.push((asked.from.prober.clone(), tcp.len()));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let ask = |asked: Vec<Asked>, arrives: bool| {
            let threads = asked.into_iter().map(|asked| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || again_and_again(&stop, &asked, arrives))
            });
            threads.collect::<Vec<_>>()
        };
        let (allowed, denied) = (ask(allowed, true), ask(denied, false));
        Ok(Self { stop, allowed, denied, holding })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When something allowed was not answered, or something denied was; or when there was hardly any.
    pub(super) fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let sum = |threads: Vec<JoinHandle<Result<u64>>>| -> Result<u64> {
            let counts =
                threads.into_iter().map(|one| one.join().map_err(|_| anyhow!("a thread panicked"))?);
            counts.sum()
        };
        let allowed = sum(std::mem::take(&mut self.allowed)).context("what is allowed")?;
        let denied = sum(std::mem::take(&mut self.denied)).context("what is denied")?;
        let mut lines = 0;
        for (prober, count) in std::mem::take(&mut self.holding) {
            let held = prober.holding()?;
            ensure!(held.len() == count, "{count} connections were opened: {held:?}");
            // The silence up to now is counted as well: one that broke off for good is found here.
            let wrong = held.iter().find(|one| one.broken.is_some() || one.longest > ARRIVES);
            ensure!(wrong.is_none(), "a connection was not carried: {wrong:?}");
            lines += held.iter().map(|one| one.exchanged).sum::<u64>();
            prober.release()?;
        }
        ensure!(
            allowed > 10 && denied > 10 && lines > 10,
            "hardly any traffic: {allowed}, {denied}, {lines}"
        );
        counted(&[(allowed + lines, "allowed probes during faults"), (denied, "denied ones")]);
        Ok(())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn again_and_again(stop: &AtomicBool, asked: &Asked, arrives: bool) -> Result<u64> {
    let patience = if arrives { ARRIVES } else { DROPPED };
    let probes: Vec<Probe> =
        asked.to.iter().map(|(protocol, to)| Probe::new(*protocol, *to, patience)).collect();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let outcomes = asked.from.prober.probe(&probes)?;
        for ((protocol, to), outcome) in asked.to.iter().zip(&outcomes) {
            let right = if arrives { outcome.all_reached() } else { outcome.all_timed_out() };
            if !right {
                bail!("to {protocol}/{to} after {count} probes that were as they must be: {outcome}");
            }
        }
        count += probes.len() as u64;
        thread::sleep(PAUSE);
    }
    Ok(count)
}
