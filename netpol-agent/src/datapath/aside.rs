//! Tables of another layout, or damaged ones, that were put aside. What an earlier agent has attached goes on judging by
//! them, interface by interface, until this agent's programs take their place there. Only then do they go.
//!
//! What is taken over from them: which interface has which slot, as slots stand in the tags of packets that are judged by
//! the programs of both; and the flows, where those are laid out as ours are. All else is compiled anew.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::{HashMap, Map, MapData, MapInfo};
use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH};
use netpol_common::{
    Direction,
    flow::{
        Flow, FlowKey,
        table::{Bucket, Hashing},
    },
    tables::{INTERFACE_ENDPOINT, INTERNED_SLOT, Interface, InternedKey, LAYOUT},
};
use netpol_policy::engine::slot_digest;
use tracing::{info, warn};

use super::{
    Datapath, Error, apply,
    attach::detach_filter,
    cell, events,
    flow_tables::{self, FlowTable},
    layout, make_folder,
    pins::{release_link, remove_whatever},
    raw::Raw,
    sys,
};

/// Where they are, below the folder of all pins: each in a folder of its own, with its number.
pub(super) const FOLDER: &str = "aside";

/// What is put aside; the maps come last, so that who is killed on the way is known by them.
const MOVED: [&str; 2] = [flow_tables::FOLDER, MAPS];
const MAPS: &str = "maps";

/// The folders of tables that were put aside, the newest first.
pub(super) fn folders(bpffs: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(bpffs.join(FOLDER)).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers.into_iter().map(|number| bpffs.join(FOLDER).join(number.to_string())).collect()
}

/// Puts the tables aside, and leaves empty folders in their place. It goes on where an earlier agent was killed.
pub(super) fn put(bpffs: &Path) -> Result<(), Error> {
    let there = folders(bpffs);
    let folder = match there.first() {
        Some(begun) if !begun.join(MAPS).exists() => begun.clone(),
        _ => bpffs.join(FOLDER).join(there.len().to_string()),
    };
    make_folder(&folder)?;
    for name in MOVED {
        let (from, to) = (bpffs.join(name), folder.join(name));
        if !to.exists() && from.exists() {
            fs::rename(&from, &to).map_err(|source| Error::Folder { path: from.clone(), source })?;
        }
        make_folder(&from)?;
    }
    for name in layout::SAID {
        match fs::rename(folder.join(MAPS).join(name), bpffs.join(MAPS).join(name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Folder { path: folder.join(MAPS), source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// What was put aside, as far as it is of use.
#[derive(Debug, Default)]
pub(super) struct Aside {
    folders: Vec<PathBuf>,
}

impl Aside {
    /// What there is of it.
    pub(super) fn of(bpffs: &Path) -> Self {
        Self { folders: folders(bpffs) }
    }

    /// Whether nothing is aside.
    pub(super) fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    /// What the newest tables say of each interface; nothing where they cannot be read.
    fn interfaces(&self) -> Vec<Interface> {
        let mut all: BTreeMap<u32, Interface> = BTreeMap::new();
        for pin in self.folders.iter().map(|folder| folder.join(MAPS).join("INTERFACES")) {
            let shape = (BPF_MAP_TYPE_HASH as u32, size_of::<u32>() as u32, size_of::<Interface>() as u32);
            let Some(map) = map_of_shape(&pin, shape) else { continue };
            let Ok(map) = HashMap::<_, u32, Raw<Interface>>::try_from(Map::HashMap(map)) else { continue };
            for (ifindex, interface) in map.iter().flatten() {
                all.entry(ifindex).or_insert(interface.0);
            }
        }
        all.into_values().collect()
    }

    /// The flows of a slot, if they are laid out as ours are: none of them is judged yet by what is in force now.
    pub(super) fn flows(&self, slot: u32) -> Vec<(FlowKey, Flow)> {
        let mut all = std::collections::HashMap::new();
        for folder in &self.folders {
            for (key, flow) in flows_in(folder, slot).unwrap_or_default() {
                let unjudged =
                    Flow { revision: 0, generation: 0, backends: 0, sender_revision: 0, denied: 0, ..flow };
                all.entry(key).or_insert(unjudged);
            }
        }
        all.into_iter().collect()
    }

    /// The verdicts in their rings that nobody has read, and will read any more.
    fn unread(&self) -> u64 {
        self.folders.iter().map(|folder| events::waiting(&folder.join(MAPS))).sum()
    }

    fn remove(&mut self, bpffs: &Path) -> Result<(), Error> {
        remove_whatever(&bpffs.join(FOLDER))?;
        self.folders.clear();
        Ok(())
    }
}

/// A map that is pinned there, if it is of this kind, with keys and values of these sizes.
fn map_of_shape(pin: &Path, (kind, key, value): (u32, u32, u32)) -> Option<MapData> {
    let info = MapInfo::from_pin(pin).ok()?;
    let is = info.map_type().is_ok_and(|found| found as u32 == kind);
    (is && info.key_size() == key && info.value_size() == value).then(|| MapData::from_pin(pin).ok())?
}

fn flows_in(folder: &Path, slot: u32) -> Option<Vec<(FlowKey, Flow)>> {
    let maps = folder.join(MAPS);
    let cell = |size: usize| (BPF_MAP_TYPE_ARRAY as u32, size_of::<u32>() as u32, size as u32);
    map_of_shape(&maps.join(flow_tables::HASHING), cell(size_of::<Hashing>()))?;
    let hashing = cell::open::<Raw<Hashing>>(&maps, flow_tables::HASHING).ok()?.get(&0, 0).ok()?.0;
    let pin = flow_tables::pin(folder, slot);
    map_of_shape(&pin, cell(size_of::<Bucket>()))?;
    let buckets = MapInfo::from_pin(&pin).ok()?.max_entries();
    if hashing.mask.checked_add(1)? != buckets {
        return None;
    }
    Some(FlowTable::open(&pin, hashing).ok()?.flows())
}

impl Datapath {
    /// The first thing that is done with new tables: whatever an earlier agent has attached keeps its slot, and is known
    /// by its interface, so that both versions' programs mean the same by a slot.
    pub(super) fn take_slots_over(&mut self) -> Result<(), Error> {
        let mut endpoints = BTreeMap::new();
        for interface in self.aside.interfaces() {
            if interface.kind == INTERFACE_ENDPOINT {
                endpoints.insert(interface.slot, interface.ifindex);
            } else if Self::interface_name(interface.ifindex).is_ok() {
                self.say(interface)?;
            }
        }
        for (slot, ifindex) in self.linked()? {
            endpoints.insert(slot, ifindex);
        }
        for (slot, ifindex) in endpoints {
            let Ok(name) = Self::interface_name(ifindex) else { continue };
            let key = InternedKey { kind: INTERNED_SLOT, id: slot };
            apply::insert(&mut self.tables.interned, "INTERNED", key, slot_digest(&name, ifindex))?;
            self.say(Interface { ifindex, kind: INTERFACE_ENDPOINT, slot })?;
        }
        layout::complete(&self.folder.join(MAPS))
    }

    /// The interfaces that pinned links are attached to, by slot. A link whose interface is gone goes, and so does what is
    /// none.
    fn linked(&self) -> Result<BTreeMap<u32, u32>, Error> {
        let folder = self.folder.join("links");
        let failed = |source| Error::Folder { path: folder.clone(), source };
        let mut linked = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let pin = entry.map_err(failed)?.path();
            let slot = pin.file_name().and_then(|name| name.to_str()?.split_once('-')?.0.parse::<u32>().ok());
            match (slot, sys::link_at(&pin)) {
                (Some(slot), Some((ifindex, _))) if ifindex != 0 => {
                    linked.insert(slot, ifindex);
                }
                _ => remove_whatever(&pin)?,
            }
        }
        Ok(linked)
    }

    /// Lets go of what was put aside, once nothing is judged by it any more. What else an earlier agent has attached, and
    /// nobody wants, goes first.
    pub(super) fn forget_aside(&mut self) {
        if self.aside.is_empty() || !self.unswitched.is_empty() {
            return;
        }
        let unread = self.aside.unread();
        self.lost += unread;
        if let Err(error) = self.detach_strays() {
            warn!("cannot take off what an earlier agent has attached: {:#}", anyhow::Error::new(error));
            return;
        }
        match self.aside.remove(&self.folder) {
            Ok(()) => info!(
                layout = LAYOUT,
                unread, "every pod is judged by this version's tables; those that were put aside are gone"
            ),
            Err(error) => warn!("cannot remove tables that were put aside: {:#}", anyhow::Error::new(error)),
        }
    }

    /// Takes off what is attached and of no slot that is hooked: it would call programs that go with their tables.
    fn detach_strays(&self) -> Result<(), Error> {
        for slot in self.linked()?.into_keys().filter(|slot| !self.hooks.contains_key(slot)) {
            for direction in Direction::ALL {
                release_link(&self.link_pin(slot, direction))?;
            }
        }
        let hooked = |name: &str| {
            self.hooks.values().any(|(of, _)| Self::interface_name(*of).is_ok_and(|of| of == name))
        };
        for interface in nix::net::if_::if_nameindex().iter().flat_map(|all| all.iter()) {
            let name = interface.name().to_string_lossy();
            for direction in Direction::ALL.into_iter().filter(|_| !hooked(&name)) {
                detach_filter(&name, direction)?;
            }
        }
        Ok(())
    }
}
