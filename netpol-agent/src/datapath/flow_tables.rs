//! The two tables of flows of each hooked endpoint: made with it, gone with it.
//!
//! Each is pinned, since it cannot be opened through the array of tables that it is in: there the kernel names it by its
//! id, and opening by id takes CAP_SYS_ADMIN, which enforcing does not need.

use std::{
    borrow::BorrowMut,
    path::{Path, PathBuf},
};

use aya::maps::{ArrayOfMaps, HashMap, Map, MapData, MapError};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_LRU_HASH;
use netpol_common::{
    decide::Table,
    flow::{Flow, FlowKey, Origin},
};

use super::{Datapath, Error, Sizes, hooks::remove_pin, raw::Raw, sys, takeover::OpenFlow};

/// Opens a table of flows.
type Flows = FlowsIn<MapData>;
type FlowsIn<T> = HashMap<T, Raw<FlowKey>, Raw<Flow>>;

/// Tables that are put into their array at the same time.
const TOGETHER: usize = 32;

/// `BPF_NOEXIST`: what is there stays.
const ONLY_NEW: u64 = 1;

/// Both tables of one endpoint, to write what was open before it was hooked.
pub(super) struct FlowTables {
    flows: Flows,
    openings: Flows,
    /// How many more each of them may take over. A table that is full would forget others for them, so that the rest
    /// stays for what opens later.
    room: [usize; 2],
}

/// How many of so many entries may be taken over.
const fn room(entries: u32) -> usize {
    entries as usize / 4 * 3
}

impl FlowTables {
    /// Those of a slot that has them.
    pub(super) fn open(folder: &Path, sizes: &Sizes, slot: u32) -> Result<Self, MapError> {
        Ok(Self {
            flows: opened(folder, slot, Table::Established)?,
            openings: opened(folder, slot, Table::Opening)?,
            room: [room(sizes.flows_per_pod), room(sizes.openings_per_pod)],
        })
    }

    /// Who opened a flow that is known already.
    fn origin(&self, key: &FlowKey) -> Option<u8> {
        let known = self.flows.get(&Raw(*key), 0).or_else(|_| self.openings.get(&Raw(*key), 0));
        known.ok().map(|flow| flow.0.origin)
    }

    /// Sees to it that a flow is known with the origin that it has; says whether there was room for it.
    pub(super) fn take_over(&mut self, open: &OpenFlow) -> bool {
        let room = &mut self.room[usize::from(open.table == Table::Opening)];
        let Some(left) = room.checked_sub(1) else { return false };
        *room = left;
        match self.origin(&open.key) {
            Some(known) if !opposite(known, open.flow.origin) => return true,
            Some(_) => {
                // What is not in one of them is in the other.
                let _absent = self.flows.remove(&Raw(open.key));
                let _absent = self.openings.remove(&Raw(open.key));
            }
            None => {}
        }
        let table = if open.table == Table::Opening { &mut self.openings } else { &mut self.flows };
        fill(table, open)
    }
}

/// Whether one end has opened a flow, and the other is said to have done so.
const fn opposite(known: u8, origin: u8) -> bool {
    known == Origin::Pod as u8 && origin != Origin::Pod as u8
        || known == Origin::Peer as u8 && origin == Origin::Pod as u8
}

/// Writes a flow unless there is one.
fn fill<T: BorrowMut<MapData>>(table: &mut FlowsIn<T>, open: &OpenFlow) -> bool {
    match table.insert(Raw(open.key), Raw(open.flow), ONLY_NEW) {
        Ok(()) => true,
        // A packet was faster.
        Err(MapError::SyscallError(error)) => error.io_error.raw_os_error() == Some(libc::EEXIST),
        Err(_) => false,
    }
}

/// Where the tables are pinned, below the folder of all pins.
pub(super) const FOLDER: &str = "flows";

fn pin(folder: &Path, slot: u32, table: Table) -> PathBuf {
    let name = match table {
        Table::Established => "established",
        Table::Opening => "opening",
    };
    folder.join(FOLDER).join(format!("{slot}-{name}"))
}

fn opened(folder: &Path, slot: u32, table: Table) -> Result<Flows, MapError> {
    MapData::from_pin(pin(folder, slot, table)).and_then(|inner| Flows::try_from(Map::LruHashMap(inner)))
}

/// Whether there is a table at a place of the array. Without the right to open it, the answer is another error.
fn holds(outer: &ArrayOfMaps<MapData>, slot: u32) -> bool {
    !matches!(outer.get(&slot, 0), Err(MapError::KeyNotFound))
}

/// Makes one table and puts it into its array; nothing when some step fails.
fn put(
    outer: &MapData,
    slot: u32,
    entries: u32,
    name: &str,
    pin: &Path,
    open: &[OpenFlow],
    kind: Table,
) -> Option<()> {
    remove_pin(pin).ok()?;
    let inner = filled(entries, name, open, kind).ok()?;
    inner.pin(pin).ok()?;
    sys::set_inner(outer, slot, &inner).ok()
}

/// A new table that holds what was found open.
fn filled(entries: u32, name: &str, open: &[OpenFlow], kind: Table) -> Result<MapData, MapError> {
    let mut inner = Map::LruHashMap(create(entries, &format!("np_{}", name.to_lowercase()))?);
    let mut table = FlowsIn::try_from(&mut inner)?;
    for flow in open.iter().filter(|flow| flow.table == kind).take(room(entries)) {
        // What finds no place is looked at again, and counted, when everything is hooked.
        let _full = fill(&mut table, flow);
    }
    match inner {
        Map::LruHashMap(inner) => Ok(inner),
        _ => Err(MapError::InvalidMapType { map_type: BPF_MAP_TYPE_LRU_HASH as u32 }),
    }
}

fn create(entries: u32, name: &str) -> Result<MapData, MapError> {
    let shape = aya_obj::Map::new_from_params(
        BPF_MAP_TYPE_LRU_HASH as u32,
        size_of::<FlowKey>() as u32,
        size_of::<Flow>() as u32,
        entries.max(64),
        0,
    );
    MapData::create(shape, name, None)
}

impl Datapath {
    /// Whether a slot has its tables.
    pub(super) fn has_flow_tables(&self, slot: u32) -> bool {
        holds(&self.tables.flows, slot) && pin(&self.folder, slot, Table::Established).exists()
    }

    /// Makes the tables of many slots at once. Each that is put into its array waits for a grace period of the kernel; those
    /// of threads that wait together are the same. What fails is tried again, and told, when the slot is hooked.
    pub(super) fn make_many_flow_tables(&mut self, slots: &[u32]) {
        let sizes = &self.sizes;
        // The established ones last: by them an endpoint is known to have both.
        for (entries, name, kind) in [
            (sizes.openings_per_pod, "OPENINGS", Table::Opening),
            (sizes.flows_per_pod, "FLOWS", Table::Established),
        ] {
            let Ok(outer) = MapData::from_pin(self.folder.join("maps").join(name)) else { return };
            for slots in slots.chunks(TOGETHER) {
                std::thread::scope(|scope| {
                    for slot in slots {
                        let open = self.open_flows(*slot);
                        let (outer, pin) = (&outer, pin(&self.folder, *slot, kind));
                        scope.spawn(move || {
                            if put(outer, *slot, entries, name, &pin, &open, kind).is_none() {
                                let _unmade = remove_pin(&pin);
                            }
                        });
                    }
                });
            }
        }
    }

    /// Makes the tables of a slot unless they are there: flows outlive a restart of the agent. New ones hold what was
    /// found open from the first moment on.
    ///
    /// # Errors
    ///
    /// When the kernel refuses them, most often for memory.
    pub fn make_flow_tables(&mut self, slot: u32) -> Result<(), Error> {
        let open = self.open_flows(slot);
        let sizes = &self.sizes;
        // The established ones last: by them an endpoint is known to have both.
        for (outer, entries, name, kind) in [
            (&mut self.tables.openings, sizes.openings_per_pod, "OPENINGS", Table::Opening),
            (&mut self.tables.flows, sizes.flows_per_pod, "FLOWS", Table::Established),
        ] {
            let pin = pin(&self.folder, slot, kind);
            if holds(outer, slot) && pin.exists() {
                continue;
            }
            let failed = |source| Error::NamedMap { name: name.to_owned(), source };
            let inner = filled(entries, name, &open, kind).map_err(failed)?;
            // Left behind by an agent that was killed just here.
            remove_pin(&pin)?;
            inner.pin(&pin).map_err(|source| Error::PinLink { path: pin, source })?;
            outer.set(slot, &inner, 0).map_err(failed)?;
        }
        Ok(())
    }

    /// Drops the tables of a slot.
    pub(super) fn drop_flow_tables(&mut self, slot: u32) -> Result<(), Error> {
        for (outer, name, kind) in [
            (&self.tables.flows, "FLOWS", Table::Established),
            (&self.tables.openings, "OPENINGS", Table::Opening),
        ] {
            remove_pin(&pin(&self.folder, slot, kind))?;
            if holds(outer, slot) {
                let pin = self.folder.join("maps").join(name);
                let outer = MapData::from_pin(&pin).map_err(|source| Error::Pin { path: pin, source })?;
                sys::delete_inner(&outer, slot).map_err(|source| Error::NamedMap {
                    name: name.to_owned(),
                    source: MapError::IoError(source),
                })?;
            }
        }
        Ok(())
    }

    /// Every flow of the node that is known, by slot. A copy, not at one instant.
    #[must_use]
    pub fn flows(&self) -> Vec<(u32, FlowKey, Flow)> {
        let of_slot = |slot: &u32| {
            let slot = *slot;
            self.flows_of(slot).into_iter().map(move |(key, flow)| (slot, key, flow))
        };
        self.hooks.keys().flat_map(of_slot).collect()
    }

    /// Every flow that an endpoint knows.
    pub(super) fn flows_of(&self, slot: u32) -> Vec<(FlowKey, Flow)> {
        let mut all = Vec::new();
        for table in [Table::Established, Table::Opening] {
            let Ok(flows) = opened(&self.folder, slot, table) else { continue };
            all.extend(flows.iter().flatten().map(|(key, flow)| (key.0, flow.0)));
        }
        all
    }

    /// The sets of backends that some flow was judged by.
    #[must_use]
    pub fn referenced_backends(&self) -> std::collections::BTreeSet<u32> {
        self.flows().into_iter().map(|(_, _, flow)| flow.backends).filter(|id| *id != 0).collect()
    }
}
