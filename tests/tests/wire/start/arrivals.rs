//! What arrives at a place, by who sent it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use netpol_tests::Pod;
use netpol_tests::packet::{TCP, UDP, read};

/// How often it is looked whether it should end.
const LOOK: Duration = Duration::from_millis(100);

/// What has arrived of one sender.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// When each packet was sent.
    pub(super) sent: Vec<Duration>,
    /// Packets by family (IPv6 is 1) and protocol (TCP is 1).
    kinds: [[usize; 2]; 2],
}

impl Tally {
    /// Whether there is something of each family and protocol.
    pub(super) fn is_complete(&self) -> bool {
        self.kinds.iter().flatten().all(|count| *count > 0)
    }
}

type ByAddress = BTreeMap<IpAddr, Tally>;

/// Watches a pod's interface from the time of its making.
pub(super) struct Arrivals {
    tallies: Arc<Mutex<ByAddress>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Arrivals {
    pub(super) fn at(pod: &Pod) -> Result<Self> {
        let watch = pod.watch()?;
        let tallies = Arc::new(Mutex::new(ByAddress::new()));
        let ends = Arc::new(AtomicBool::new(false));
        let (kept, seen, own) = (Arc::clone(&tallies), Arc::clone(&ends), pod.addresses());
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let Some(packet) = watch.wait(LOOK, |_| true) else { continue };
                let Some((from, to, protocol, payload)) = read(&packet) else { continue };
                // Sequence number of TCP, first word of UDP's payload.
                let (at, kind) = match protocol {
                    TCP => (4, 1),
                    UDP => (8, 0),
                    _ => continue,
                };
                // A bridge may flood what is meant for others.
                let Some(word) = payload.get(at..).and_then(<[u8]>::first_chunk) else { continue };
                if !own.contains(&to) {
                    continue;
                }
                let mut tallies = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let tally = tallies.entry(from).or_default();
                tally.sent.push(Duration::from_micros(u32::from_be_bytes(*word).into()));
                tally.kinds[usize::from(from.is_ipv6())][kind] += 1;
            }
        });
        Ok(Self { tallies, ends, thread: Some(thread) })
    }

    /// Forgets what has arrived.
    pub(super) fn begin(&self) {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What a pod has sent here.
    pub(super) fn of(&self, pod: &Pod) -> Tally {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut both = Tally::default();
        for address in pod.addresses() {
            let Some(tally) = tallies.get(&address) else { continue };
            both.sent.extend(&tally.sent);
            for (sum, counts) in both.kinds.iter_mut().zip(tally.kinds) {
                for (sum, count) in sum.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
        }
        both
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
