//! Events out of the rings, and counters.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::{Array, Map, MapData};
use netpol_common::{
    Direction, Reason,
    event::{Event, REPORTS_ALLOWED, REPORTS_DROPPED, RINGS_MOST, Ring},
    tables::{COUNTER_FLOW_FULL, COUNTER_LIMITED, COUNTER_LOST, counter_cell},
};

use super::{Datapath, Error, Sizes, Told, mapped::Mapped, pins, raw::Raw};

/// How far the rings are written and read.
const RINGS: &str = "RINGS";
/// What is in them.
const EVENTS: &str = "EVENTS";

/// Whether processors see what another one stores in the order in which it does. On others the classifiers have no means to
/// say so on every kernel; there an event is read one look later, when it has long arrived.
const ORDERED: bool = cfg!(target_arch = "x86_64");

/// Which verdicts make an event. All of them are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reports {
    /// New flows and drops.
    #[default]
    All,
    /// Drops.
    Denied,
    /// None.
    None,
}

impl Reports {
    /// As the classifiers know it.
    pub(super) const fn bits(self) -> u32 {
        match self {
            Self::All => REPORTS_ALLOWED | REPORTS_DROPPED,
            Self::Denied => REPORTS_DROPPED,
            Self::None => 0,
        }
    }
}

/// What has been counted since the tables were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Verdicts that were worth counting: every drop, and each new or changed flow.
    pub verdicts: Vec<(Direction, Reason, u64)>,
    /// Events that found no room in their ring, or waited in one that was put aside.
    pub lost: u64,
    /// Events beyond an endpoint's rate.
    pub limited: u64,
    /// Flows that found no room in their endpoint's table.
    pub flow_full: u64,
}

/// The rings, one per CPU; may live on a thread of its own.
pub struct Events {
    rings: Mapped<Ring>,
    events: Mapped<Event>,
    /// Events of each ring, a power of two.
    len: u32,
    /// How far each one was written at the last look, if there was one.
    seen: Vec<Option<u64>>,
    told: Told,
}

impl Events {
    /// Hands every event that waits to `each`, with its CPU; says how many there were.
    pub fn drain(&mut self, each: &mut dyn FnMut(u32, Event)) -> usize {
        let mut count = 0;
        for (cpu, seen) in (0..).zip(&mut self.seen) {
            let Some(ring) = self.rings.at(cpu) else { continue };
            // SAFETY: aligned words inside the mapping, of which the kernel writes the first and we alone the second.
            let (written, read) = unsafe {
                (AtomicU64::from_ptr(&raw mut (*ring).written), AtomicU64::from_ptr(&raw mut (*ring).read))
            };
            let now = written.load(Ordering::Acquire);
            let mut at = read.load(Ordering::Relaxed);
            // At the first look, what an earlier agent has left is not known to be whole either.
            let until = if ORDERED { now } else { seen.unwrap_or(at) };
            *seen = Some(now);
            while at != until {
                let index = cpu * self.len + (at as u32 & (self.len - 1));
                // SAFETY: an event inside the mapping, which the kernel leaves alone until it is said to be read.
                let Some(event) = self.events.at(index).map(|event| unsafe { event.read_volatile() }) else {
                    break;
                };
                self.told.read_one();
                at = at.wrapping_add(1);
                read.store(at, Ordering::Release);
                each(cpu, event);
                count += 1;
            }
        }
        count
    }
}

/// Processors of the machine, also those that may come.
fn processors() -> Result<u32, Error> {
    let cpus = aya::util::nr_cpus().map_err(|(_, source)| Error::Map { source })?;
    Ok((cpus as u32).min(RINGS_MOST))
}

/// Events of all rings together, where they are made anew.
pub(super) fn all_events(sizes: &Sizes) -> Result<u32, Error> {
    let each = (sizes.ring_bytes / size_of::<Event>() as u32).max(1);
    Ok(processors()? << each.ilog2())
}

/// Events of each ring, of those that are pinned or will be made.
pub(super) fn ring_len(maps: Option<&Path>, sizes: &Sizes) -> Result<u32, Error> {
    let all = pins::entries(maps, EVENTS, all_events(sizes)?)?;
    Ok(1 << (all / processors()?).max(1).ilog2())
}

/// Events that wait in the rings of a folder of maps and that nobody will read any more.
pub(super) fn waiting(maps: &Path) -> u64 {
    let Ok(data) = MapData::from_pin(maps.join(RINGS)) else { return 0 };
    let Ok(rings) = Array::<_, Raw<Ring>>::try_from(Map::Array(data)) else { return 0 };
    let all = (0..processors().unwrap_or_default()).filter_map(|cpu| rings.get(&cpu, 0).ok());
    all.map(|ring| ring.0.written.wrapping_sub(ring.0.read)).sum()
}

impl Datapath {
    /// Opens the rings.
    ///
    /// # Errors
    ///
    /// When they cannot be mapped.
    pub fn events(&mut self) -> Result<Events, Error> {
        let maps = self.folder.join("maps");
        let (cpus, len) = (processors()?, ring_len(Some(&maps), &self.sizes)?);
        Ok(Events {
            rings: Mapped::new(&pins::map(&maps.join(RINGS))?, cpus)?,
            events: Mapped::new(&pins::map(&maps.join(EVENTS))?, cpus * len)?,
            len,
            seen: vec![None; cpus as usize],
            told: self.told()?,
        })
    }

    /// Reads all counters.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        let read = |cell| -> Result<u64, Error> {
            let per_cpu = self
                .tables
                .counts
                .get(&cell, 0)
                .map_err(|source| Error::NamedMap { name: "COUNTS".to_owned(), source })?;
            Ok(per_cpu.iter().sum())
        };
        let mut verdicts = Vec::new();
        for direction in Direction::ALL {
            for reason in Reason::ALL {
                let count = read(counter_cell(direction, *reason as u8))?;
                if count != 0 {
                    verdicts.push((direction, *reason, count));
                }
            }
        }
        Ok(Counters {
            verdicts,
            lost: read(COUNTER_LOST)? + self.lost,
            limited: read(COUNTER_LIMITED)?,
            flow_full: read(COUNTER_FLOW_FULL)?,
        })
    }
}
