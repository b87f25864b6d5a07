//! Events out of the rings, and counters.

use aya::maps::{Map, MapData, MapError, MapInfo, RingBuf};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use netpol_common::{
    Direction, Reason,
    event::Event,
    tables::{COUNTER_FLOW_FULL, COUNTER_LIMITED, COUNTER_LOST, counter_cell},
};

use super::{Datapath, Error, Told, apply::named, pins::remove_whatever, sys};

/// The array of the rings.
const NAME: &str = "RINGS";
/// Where the rings are pinned, below the folder of all pins: each by its CPU.
pub(super) const FOLDER: &str = "rings";

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
    rings: Vec<(u32, RingBuf<MapData>)>,
    told: Told,
}

impl Events {
    /// Hands every event that waits to `each`, with its CPU; says how many there were.
    pub fn drain(&mut self, each: &mut dyn FnMut(u32, Event)) -> usize {
        let mut count = 0;
        for (cpu, ring) in &mut self.rings {
            while let Some(item) = ring.next() {
                if item.len() >= size_of::<Event>() {
                    self.told.read_one();
                    // SAFETY: the length was compared; Event is plain integers, and need not be aligned here.
                    each(*cpu, unsafe { item.as_ptr().cast::<Event>().read_unaligned() });
                    count += 1;
                }
            }
        }
        count
    }
}

impl Datapath {
    /// Opens the ring of each CPU, a new one where there is none yet.
    ///
    /// # Errors
    ///
    /// When a ring cannot be made or mapped.
    pub fn events(&mut self) -> Result<Events, Error> {
        let cpus = aya::util::nr_cpus().map_err(|(_, source)| Error::Map { source })?;
        let mut rings = Vec::new();
        for cpu in 0..cpus as u32 {
            let ring = RingBuf::try_from(Map::RingBuf(self.ring(cpu)?)).map_err(named(NAME))?;
            rings.push((cpu, ring));
        }
        Ok(Events { rings, told: self.told()? })
    }

    /// The ring of a CPU: the one that is pinned and in the array, so that what waits in it outlives an agent, or a new one.
    /// Opening the one in the array takes CAP_SYS_ADMIN.
    fn ring(&mut self, cpu: u32) -> Result<MapData, Error> {
        let pin = self.folder.join(FOLDER).join(cpu.to_string());
        let array = self.folder.join("maps").join(NAME);
        let array = MapData::from_pin(&array).map_err(|source| Error::Pin { path: array, source })?;
        let held = sys::element(&array, cpu).map_err(|source| named(NAME)(MapError::IoError(source)))?;
        if held.is_some() && MapInfo::from_pin(&pin).ok().map(|info| info.id()) == held {
            return MapData::from_pin(&pin).map_err(|source| Error::Pin { path: pin, source });
        }
        let shape =
            aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF as u32, 0, 0, self.sizes.ring_bytes, 0);
        let ring = MapData::create(shape, "np_ring", None).map_err(named(NAME))?;
        remove_whatever(&pin)?;
        ring.pin(&pin).map_err(|source| Error::PinLink { path: pin, source })?;
        self.tables.rings.set(cpu, &ring, 0).map_err(named(NAME))?;
        Ok(ring)
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
