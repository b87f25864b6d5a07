//! Whether what is pinned is what this version would have made: maps of its kinds and sizes, all of them, under its
//! number. What is not, or is damaged, is put aside and stays in force, program by program, until each pod has been switched
//! to new tables ([`Aside`](super::aside::Aside)).

use std::{fs, path::Path};

use aya::maps::{Array, MapData, MapInfo};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use netpol_common::{flow::table::Hashing, tables::LAYOUT};

use super::{
    Error, Sizes, alive, aside, cell, flow_tables,
    object::{CLASSIFIERS, PINNED},
    pins::remove_whatever,
    told,
};

/// The pin of the layout's number, which is written last: as long as it is not there, nothing has been made that could be
/// used.
pub(super) const NAME: &str = "LAYOUT";

/// The pins of what agents have said: no matter of the layout, and can be done without.
pub(super) const SAID: [&str; 2] = [alive::NAME, told::NAME];

/// What a pinned map is to be like.
struct Shape {
    kind: u32,
    key: u32,
    value: u32,
    flags: u32,
    /// Where the size is not to be chosen.
    entries: Option<u32>,
}

impl Shape {
    const fn cell(value: usize) -> Self {
        let kind = BPF_MAP_TYPE_ARRAY as u32;
        Self { kind, key: size_of::<u32>() as u32, value: value as u32, flags: 0, entries: Some(1) }
    }

    /// What is wrong with a pin, if anything is.
    fn wrong(&self, pin: &Path) -> Option<&'static str> {
        if !pin.exists() {
            return Some("is not there");
        }
        let Ok(found) = MapInfo::from_pin(pin) else { return Some("is no map") };
        let same = found.map_type().is_ok_and(|kind| kind as u32 == self.kind)
            && found.key_size() == self.key
            && found.value_size() == self.value
            && found.map_flags() == self.flags
            && self.entries.is_none_or(|entries| entries == found.max_entries());
        (!same).then_some("is of another kind or size")
    }
}

/// Every pin that there is to be, with its shape.
fn wanted(sizes: &Sizes) -> Result<Vec<(&'static str, Shape)>, Error> {
    let object = aya_obj::Object::parse(CLASSIFIERS).map_err(|source| Error::Parse { source })?;
    let chosen = sizes.by_map()?;
    let mut all = vec![
        (NAME, Shape::cell(size_of::<u32>())),
        (flow_tables::HASHING, Shape::cell(size_of::<Hashing>())),
    ];
    for name in PINNED {
        let map =
            object.maps.get(*name).ok_or_else(|| Error::Missing { what: "map", name: (*name).to_owned() })?;
        let shape = Shape {
            kind: map.map_type(),
            key: map.key_size(),
            value: map.value_size(),
            flags: map.map_flags(),
            entries: (!chosen.iter().any(|(of, _)| of == name)).then_some(map.max_entries()),
        };
        all.push((name, shape));
    }
    Ok(all)
}

/// Why the maps of a folder cannot be used, if they cannot.
fn unusable(maps: &Path, sizes: &Sizes) -> Result<Option<String>, Error> {
    for (name, shape) in wanted(sizes)? {
        if let Some(wrong) = shape.wrong(&maps.join(name)) {
            return Ok(Some(format!("{name} {wrong}")));
        }
    }
    let other = || format!("their layout is {}, not {LAYOUT}", number(maps).unwrap_or_default());
    Ok((!is_complete(maps)).then(other))
}

fn number(maps: &Path) -> Option<u32> {
    let data = MapData::from_pin(maps.join(NAME)).ok()?;
    Array::<_, u32>::try_from(aya::maps::Map::Array(data)).ok()?.get(&0, 0).ok()
}

/// Sees to it that the folder holds nothing, or what this version can go on with. Says why something was put aside.
///
/// # Errors
///
/// When it cannot be put aside.
pub(super) fn check(bpffs: &Path, sizes: &Sizes) -> Result<Option<String>, Error> {
    let maps = bpffs.join("maps");
    let failed = |source| Error::Folder { path: maps.clone(), source };
    let words = Shape { flags: told::FLAGS, entries: Some(told::WORDS), ..Shape::cell(size_of::<u64>()) };
    for (name, shape) in SAID.into_iter().zip([Shape::cell(size_of::<u64>()), words]) {
        let pin = maps.join(name);
        if pin.exists() && shape.wrong(&pin).is_some() {
            remove_whatever(&pin)?;
        }
    }
    if fs::read_dir(&maps).map_err(failed)?.next().is_none() {
        return Ok(None);
    }
    let Some(why) = unusable(&maps, sizes)? else { return Ok(None) };
    aside::put(bpffs)?;
    Ok(Some(why))
}

/// Whether all is there.
pub(super) fn is_complete(maps: &Path) -> bool {
    number(maps) == Some(LAYOUT)
}

/// Says that all is there that belongs to this layout.
pub(super) fn complete(maps: &Path) -> Result<(), Error> {
    let mut cell = cell::open::<u32>(maps, NAME)?;
    cell.set(0, LAYOUT, 0).map_err(|source| Error::NamedMap { name: NAME.to_owned(), source })
}
