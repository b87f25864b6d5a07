//! The last verdicts, and those that come: a reader that is too slow misses some and is told how many; it never holds
//! anybody up.
//!
//! Denials of one flow that repeat are one verdict, which tells how many packets there were and when the first one and
//! the last one came. It stands where the last one stands.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use netpol_common::{Addr, Reason, event::Event, verdict::FIRST_DROP};
use tokio::sync::broadcast;

use super::kept::Kept;
use crate::control::protocol::{Gap, Moment, UndecidedLine};

/// Verdicts that wait for a follower before it misses some.
const WAITING: usize = 4096;
/// A denial that comes so many milliseconds after the last one of its flow begins anew: longer than a TCP handshake waits
/// between two tries.
const APART: i64 = 120_000;
/// Services that are named because flows to them are closed.
const UNDECIDED: usize = 16;

/// What makes packets one flow to whoever reads of their denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    slot: u32,
    revision: u32,
    src: Addr,
    dst: Addr,
    ports: (u16, u16),
    proto: u8,
    direction: u8,
    reason: u8,
    icmp: (u8, u8),
}

impl Flow {
    /// That of a dropped packet: allowed ones are told of once for each flow anyway.
    #[must_use]
    pub fn of_drop(event: &Event) -> Option<Self> {
        (event.reason >= FIRST_DROP).then_some(Self {
            slot: event.slot,
            revision: event.revision,
            src: event.src,
            dst: event.dst,
            ports: (event.src_port, event.dst_port),
            proto: event.proto,
            direction: event.direction,
            reason: event.reason,
            icmp: (event.icmp_type, event.icmp_code),
        })
    }
}

/// What the log holds.
#[derive(Clone, Debug)]
pub enum Record {
    /// A verdict; with its flow where others can follow that are the same.
    Verdict(Kept, Option<Flow>),
    /// Some are missing.
    Gap(Arc<Gap>),
}

impl Record {
    fn time(&self) -> Moment {
        match self {
            Self::Verdict(verdict, _) => verdict.time,
            Self::Gap(gap) => gap.time,
        }
    }
}

/// The log.
#[derive(Debug)]
pub struct Log {
    past: Mutex<Past>,
    coming: broadcast::Sender<Record>,
}

#[derive(Debug)]
struct Past {
    size: usize,
    next: u64,
    /// By the order in which they came.
    records: BTreeMap<u64, Record>,
    /// Where the verdict of a flow stands.
    flows: HashMap<Flow, u64>,
}

impl Log {
    /// Keeps the last `size`.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let past = Past { size: size.max(1), next: 0, records: BTreeMap::new(), flows: HashMap::new() };
        Self { past: Mutex::new(past), coming: broadcast::Sender::new(WAITING) }
    }

    /// Adds a verdict; with its flow, if those that are the same are to be one.
    pub fn add(&self, mut verdict: Kept, flow: Option<Flow>) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flow) = flow {
            past.fold(&mut verdict, flow);
        }
        self.tell(&mut past, Record::Verdict(verdict, flow));
    }

    /// Says that some are missing: what was counted meanwhile may have been more.
    pub fn add_gap(&self, gap: Gap) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.doubt(&gap);
        self.tell(&mut past, Record::Gap(Arc::new(gap)));
    }

    /// To followers under the lock, so that `follow` sees each record once.
    fn tell(&self, past: &mut Past, record: Record) {
        if self.coming.receiver_count() > 0 {
            // The last follower may go at this moment: nobody hears it.
            let _heard = self.coming.send(record.clone());
        }
        past.push(record);
    }

    /// What there was, the oldest first, and what comes after it.
    #[must_use]
    pub fn follow(&self) -> (Vec<Record>, broadcast::Receiver<Record>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        (past.records.values().cloned().collect(), self.coming.subscribe())
    }

    /// How many are kept, how many can be, and of when the oldest is.
    #[must_use]
    pub fn kept(&self) -> (usize, usize, Option<Moment>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        (past.records.len(), past.size, past.records.values().next().map(Record::time))
    }

    /// Flows that are closed since the backends of their Service are judged differently, the latest first, so many at most.
    #[must_use]
    pub fn undecided(&self) -> Vec<UndecidedLine> {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines: Vec<UndecidedLine> = Vec::new();
        for record in past.records.values().rev() {
            let Record::Verdict(verdict, _) = record else { continue };
            if !verdict.is_for(Reason::BackendsDiffer) {
                continue;
            }
            let to = verdict.destination();
            let service = if to.name.is_empty() { to.address } else { to.name };
            let same = |line: &&mut UndecidedLine| {
                line.pod == verdict.endpoint() && line.service == service && line.port == to.port
            };
            if let Some(line) = lines.iter_mut().find(same) {
                line.packets += verdict.count;
            } else if lines.len() < UNDECIDED {
                lines.push(UndecidedLine {
                    pod: verdict.endpoint().to_owned(),
                    service,
                    port: to.port,
                    packets: verdict.count,
                    last: verdict.time,
                });
            }
        }
        lines
    }
}

impl Past {
    fn push(&mut self, record: Record) {
        if let Record::Verdict(_, Some(flow)) = &record {
            self.flows.insert(*flow, self.next);
        }
        self.records.insert(self.next, record);
        self.next += 1;
        if self.records.len() > self.size
            && let Some((id, Record::Verdict(_, Some(flow)))) = self.records.pop_first()
            && self.flows.get(&flow) == Some(&id)
        {
            self.flows.remove(&flow);
        }
    }

    /// Takes over what was counted of a flow so far.
    fn fold(&mut self, verdict: &mut Kept, flow: Flow) {
        let Some(id) = self.flows.get(&flow) else { return };
        let Some(Record::Verdict(before, _)) = self.records.get(id) else { return };
        if !is_same(before, verdict) {
            return;
        }
        verdict.count += before.count;
        verdict.first = Some(before.first.unwrap_or(before.time));
        verdict.at_least = before.at_least;
        self.records.remove(id);
    }

    fn doubt(&mut self, gap: &Gap) {
        for record in self.records.values_mut().rev().take_while(|record| record.time() >= gap.since) {
            if let Record::Verdict(verdict, Some(_)) = record
                && concerns(gap, verdict)
            {
                verdict.at_least = true;
            }
        }
    }
}

/// Whether the verdict's count may be too small for what is missing.
#[must_use]
pub fn concerns(gap: &Gap, verdict: &Kept) -> bool {
    verdict.is_dropped() && (gap.endpoint.is_empty() || gap.endpoint == verdict.endpoint())
}

/// Whether a verdict of a flow goes on with the one before.
fn is_same(before: &Kept, now: &Kept) -> bool {
    now.time.milliseconds() - before.time.milliseconds() < APART && before.says_the_same(now)
}

#[cfg(test)]
pub(crate) mod tests;
