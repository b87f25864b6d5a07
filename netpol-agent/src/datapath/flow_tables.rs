//! The table of flows of each hooked endpoint: made with it, gone with it.
//!
//! Each is pinned, since it cannot be opened through the array of tables that it is in: there the kernel names it by its
//! id, and opening by id takes CAP_SYS_ADMIN, which enforcing does not need.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use aya::maps::{MapData, MapError, MapInfo};
use aya_obj::generated::{BPF_F_MMAPABLE, bpf_map_type::BPF_MAP_TYPE_ARRAY};
use netpol_common::{
    flow::{
        Flow, FlowKey, Origin,
        table::{Bucket, Hashing, Place, WAYS, clear, read, way_for, way_of, write},
    },
    tables::SLOTS,
};

use super::{
    Datapath, Error, Sizes,
    apply::named,
    cell, fault,
    mapped::Mapped,
    pins::{self, remove_pin, remove_whatever},
    raw::Raw,
    sys,
    takeover::OpenFlow,
};

/// Tables that are put into their array at the same time.
const TOGETHER: usize = 32;

/// The flows of one endpoint, in memory that the classifiers share.
pub struct FlowTable {
    buckets: Mapped<Bucket>,
    hashing: Hashing,
}

impl FlowTable {
    fn new(map: &MapData, hashing: Hashing) -> Result<Self, Error> {
        Ok(Self { buckets: Mapped::new(map, hashing.mask + 1)?, hashing })
    }

    pub(super) fn open(pin: &Path, hashing: Hashing) -> Result<Self, Error> {
        Self::new(&pins::map(pin)?, hashing)
    }

    /// How many flows it can hold.
    #[must_use]
    pub const fn room(&self) -> usize {
        WAYS * (self.hashing.mask as usize + 1)
    }

    /// The bucket of a flow and where it is there, [`WAYS`] when it is not.
    fn find(&self, key: &FlowKey) -> Option<(*mut Bucket, usize, Place)> {
        let place = self.hashing.place(key);
        let bucket = self.buckets.at(place.bucket)?;
        // SAFETY: a bucket of the mapping, which lives as long as we do; as for all of the following.
        Some((bucket, unsafe { way_of(bucket, place) }, place))
    }

    /// A flow.
    #[must_use]
    pub fn get(&self, key: &FlowKey) -> Option<Flow> {
        let (bucket, way, place) = self.find(key)?;
        let mut flow = Flow::default();
        // SAFETY: as in `find`.
        (way < WAYS && unsafe { read(bucket, way, place, key, &mut flow) }).then_some(flow)
    }

    /// Replaces or adds a flow, as a classifier would.
    pub fn put(&self, key: &FlowKey, flow: &Flow) {
        let Some((bucket, way, place)) = self.find(key) else { return };
        // SAFETY: as in `find`.
        unsafe {
            let way = if way < WAYS { way } else { way_for(bucket, flow.last_seen, place.way()) };
            write(bucket, way, place, key, flow);
        }
    }

    /// Forgets a flow.
    pub fn forget(&self, key: &FlowKey) {
        let Some((bucket, way, _)) = self.find(key) else { return };
        if way < WAYS {
            // SAFETY: as in `find`.
            unsafe { clear(bucket, way) };
        }
    }

    /// Every flow. A copy, not at one instant.
    #[must_use]
    pub fn flows(&self) -> Vec<(FlowKey, Flow)> {
        let mut flows = Vec::new();
        for bucket in (0..=self.hashing.mask).filter_map(|index| self.buckets.at(index)) {
            for way in 0..WAYS {
                // SAFETY: as in `find`.
                let (tag, key) = unsafe {
                    let tag = (&raw const (*bucket).tags[way]).read_volatile();
                    (tag, (&raw const (*bucket).entries[way].key).read_volatile())
                };
                if tag == 0 {
                    continue;
                }
                let place = self.hashing.place(&key);
                let mut flow = Flow::default();
                // SAFETY: as in `find`.
                if tag == place.tag() && unsafe { read(bucket, way, place, &key, &mut flow) } {
                    flows.push((key, flow));
                }
            }
        }
        flows
    }
}

/// A table, to write what was open before its endpoint was hooked.
pub(super) struct Takeover {
    table: FlowTable,
    /// How many more it may take over: a table that is full would forget others for them, so that the rest stays for
    /// what opens later.
    room: usize,
}

impl Takeover {
    /// Into a table.
    fn into(table: FlowTable) -> Self {
        Self { room: table.room() / 4 * 3, table }
    }

    /// Sees to it that a flow is known with the origin that it has; says whether there was room for it.
    pub(super) fn take_over(&mut self, open: &OpenFlow) -> bool {
        let Some(left) = self.room.checked_sub(1) else { return false };
        self.room = left;
        // What a packet was faster with stays, unless it has taken the flow for the other end's.
        let known = self.table.get(&open.key);
        if known.is_none_or(|known| opposite(known.origin, open.flow.origin)) {
            self.table.put(&open.key, &open.flow);
        }
        true
    }
}

/// Whether one end has opened a flow, and the other is said to have done so.
const fn opposite(known: u8, origin: u8) -> bool {
    known == Origin::Pod as u8 && origin != Origin::Pod as u8
        || known == Origin::Peer as u8 && origin == Origin::Pod as u8
}

/// Where the tables are pinned, below the folder of all pins.
pub(super) const FOLDER: &str = "flows";

pub(super) fn pin(folder: &Path, slot: u32) -> PathBuf {
    folder.join(FOLDER).join(slot.to_string())
}

/// A new table, pinned nowhere and in no array yet.
fn create(hashing: Hashing) -> Result<MapData, Error> {
    let shape = aya_obj::Map::new_from_params(
        BPF_MAP_TYPE_ARRAY as u32,
        size_of::<u32>() as u32,
        size_of::<Bucket>() as u32,
        hashing.mask + 1,
        BPF_F_MMAPABLE,
    );
    MapData::create(shape, "np_flows", None).map_err(named(NAME))
}

/// Makes a table that holds what was found open, and pins it; the caller puts it into the array.
fn make(hashing: Hashing, pin: &Path, open: &[OpenFlow]) -> Result<MapData, Error> {
    let map = create(hashing)?;
    let mut takeover = Takeover::into(FlowTable::new(&map, hashing)?);
    for flow in open {
        // What finds no room is looked at again, and counted, when everything is hooked.
        let _full = takeover.take_over(flow);
    }
    // Left behind by an agent that was killed just here.
    remove_whatever(pin)?;
    map.pin(pin).map_err(|source| Error::PinLink { path: pin.to_owned(), source })?;
    fault::point();
    Ok(map)
}

/// The array of the tables.
const NAME: &str = "FLOW_TABLES";
/// The pin of how they are hashed.
pub(super) const HASHING: &str = "HASHING";

/// How the tables are hashed: as an earlier agent has chosen, or anew, with an array for tables of the size that is wanted.
/// The one in the object is for tables of one size only.
pub(super) fn hashing(maps: &Path, sizes: &Sizes) -> Result<Hashing, Error> {
    let mut cell = cell::open::<Raw<Hashing>>(maps, HASHING)?;
    let pin = maps.join(NAME);
    if pin.exists() {
        return Ok(cell.get(&0, 0).map_err(named(HASHING))?.0);
    }
    let mut bytes = [[0; 8]; 5];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(bytes.as_flattened_mut()))
        .map_err(|source| Error::Random { source })?;
    let secret = bytes.map(u64::from_ne_bytes);
    let new = Hashing { secret, mask: sizes.flow_buckets() - 1, reserved: 0 };
    cell.set(0, Raw(new), 0).map_err(named(HASHING))?;
    sys::pin_array_of_maps(&pin, &create(new)?, SLOTS)
        .map_err(|source| named(NAME)(MapError::IoError(source)))?;
    Ok(new)
}

impl Datapath {
    /// The array of the tables, as the system calls want it that aya does not offer.
    fn outer(&self) -> Result<MapData, Error> {
        pins::map(&self.folder.join("maps").join(NAME))
    }

    /// Whether a slot has its table: the one that is pinned is in the array, and not one that somebody else has put there.
    pub(super) fn has_flow_table(&self, slot: u32) -> bool {
        let held = self.outer().ok().and_then(|outer| sys::element(&outer, slot).ok().flatten());
        held.is_some() && MapInfo::from_pin(pin(&self.folder, slot)).ok().map(|info| info.id()) == held
    }

    /// Makes the tables of many slots at once. Each that is put into its array waits for a grace period of the kernel; those
    /// of threads that wait together are the same. What fails is tried again, and told, when the slot is hooked.
    pub(super) fn make_many_flow_tables(&mut self, slots: &[u32]) {
        let Ok(outer) = self.outer() else { return };
        for slots in slots.chunks(TOGETHER) {
            std::thread::scope(|scope| {
                for slot in slots.iter().copied() {
                    let open = self.open_flows(slot);
                    let pin = pin(&self.folder, slot);
                    let Ok(table) = make(self.hashing, &pin, &open) else { continue };
                    let outer = &outer;
                    scope.spawn(move || {
                        if sys::set_inner(outer, slot, &table).is_err() {
                            let _unmade = remove_pin(&pin);
                        }
                    });
                }
            });
        }
    }

    /// Makes the table of a slot unless it is there: flows outlive a restart of the agent. A new one holds what was found
    /// open from the first moment on.
    ///
    /// # Errors
    ///
    /// When the kernel refuses it, most often for memory.
    pub fn make_flow_table(&mut self, slot: u32) -> Result<(), Error> {
        if self.has_flow_table(slot) {
            return Ok(());
        }
        let pin = pin(&self.folder, slot);
        let table = make(self.hashing, &pin, &self.open_flows(slot))?;
        self.tables.flows.set(slot, &table, 0).map_err(named(NAME))
    }

    /// Drops the table of a slot.
    pub(super) fn drop_flow_table(&mut self, slot: u32) -> Result<(), Error> {
        remove_whatever(&pin(&self.folder, slot))?;
        let outer = self.outer()?;
        let failed = |source| named(NAME)(MapError::IoError(source));
        if sys::element(&outer, slot).map_err(failed)?.is_some() {
            sys::delete_inner(&outer, slot).map_err(failed)?;
        }
        Ok(())
    }

    /// To write what was open before a slot was hooked; nothing when it has no table.
    pub(super) fn takeover_of(&self, slot: u32) -> Option<Takeover> {
        self.flow_table(slot).map(Takeover::into)
    }

    /// The flows of a slot; nothing when it has no table.
    #[must_use]
    pub fn flow_table(&self, slot: u32) -> Option<FlowTable> {
        FlowTable::open(&pin(&self.folder, slot), self.hashing).ok()
    }

    /// Every flow that an endpoint knows.
    pub(super) fn flows_of(&self, slot: u32) -> Vec<(FlowKey, Flow)> {
        self.flow_table(slot).map(|table| table.flows()).unwrap_or_default()
    }

    /// Every flow of the node that is known, by slot.
    #[must_use]
    pub fn flows(&self) -> Vec<(u32, FlowKey, Flow)> {
        let of_slot = |slot: &u32| {
            let slot = *slot;
            self.flows_of(slot).into_iter().map(move |(key, flow)| (slot, key, flow))
        };
        self.hooks.keys().flat_map(of_slot).collect()
    }

    /// The sets of backends that some flow was judged by.
    #[must_use]
    pub fn referenced_backends(&self) -> std::collections::BTreeSet<u32> {
        self.flows().into_iter().map(|(_, _, flow)| flow.backends).filter(|id| *id != 0).collect()
    }
}
