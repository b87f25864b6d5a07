//! The two tables of flows of each hooked endpoint: made with it, gone with it.

use aya::maps::{HashMap, Map, MapData, MapError};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_LRU_HASH;
use netpol_common::flow::{Flow, FlowKey};

use super::{Datapath, Error, raw::Raw, sys};

/// Opens a table of flows.
type Flows = HashMap<MapData, Raw<FlowKey>, Raw<Flow>>;

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
    /// Makes the tables of a slot unless they are there: flows outlive a restart of the agent.
    ///
    /// # Errors
    ///
    /// When the kernel refuses them, most often for memory.
    pub fn make_flow_tables(&mut self, slot: u32) -> Result<(), Error> {
        let sizes = &self.sizes;
        for (outer, entries, name) in [
            (&mut self.tables.flows, sizes.flows_per_pod, "FLOWS"),
            (&mut self.tables.openings, sizes.openings_per_pod, "OPENINGS"),
        ] {
            if outer.get(&slot, 0).is_ok() {
                continue;
            }
            let failed = |source| Error::NamedMap { name: name.to_owned(), source };
            let inner = create(entries, &format!("np_{}", name.to_lowercase())).map_err(failed)?;
            outer.set(slot, &inner, 0).map_err(failed)?;
        }
        Ok(())
    }

    /// Drops the tables of a slot.
    pub(super) fn drop_flow_tables(&mut self, slot: u32) -> Result<(), Error> {
        for (outer, name) in [(&self.tables.flows, "FLOWS"), (&self.tables.openings, "OPENINGS")] {
            if outer.get(&slot, 0).is_ok() {
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
        let mut all = Vec::new();
        for slot in self.hooks.keys() {
            for outer in [&self.tables.flows, &self.tables.openings] {
                let Ok(inner) = outer.get(slot, 0) else { continue };
                let Ok(flows) = Flows::try_from(Map::LruHashMap(inner)) else { continue };
                all.extend(flows.iter().flatten().map(|(key, flow)| (*slot, key.0, flow.0)));
            }
        }
        all
    }

    /// The sets of backends that some flow was judged by.
    #[must_use]
    pub fn referenced_backends(&self) -> std::collections::BTreeSet<u32> {
        self.flows().into_iter().map(|(_, _, flow)| flow.backends).filter(|id| *id != 0).collect()
    }
}
