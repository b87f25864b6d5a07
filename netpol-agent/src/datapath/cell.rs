//! Pinned arrays of a few values that only user space reads: they live as long as what the agent enforces.

use std::path::Path;

use aya::{
    Pod,
    maps::{Array, Map, MapData},
};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;

use super::{Error, apply::named};

/// Opens that of one value and of a name in the folder of the maps' pins, or makes it, filled with zeros.
pub(super) fn open<V: Pod>(maps: &Path, name: &str) -> Result<Array<MapData, V>, Error> {
    Array::try_from(Map::Array(data::<V>(maps, name, 1, 0)?)).map_err(named(name))
}

/// The same of several values, with the kernel's flags for it.
pub(super) fn data<V>(maps: &Path, name: &str, entries: u32, flags: u32) -> Result<MapData, Error> {
    let pin = maps.join(name);
    if pin.exists() {
        return MapData::from_pin(&pin).map_err(named(name));
    }
    let (key, value) = (size_of::<u32>() as u32, size_of::<V>() as u32);
    let shape = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, key, value, entries, flags);
    let data = MapData::create(shape, &format!("np_{}", name.to_lowercase()), None).map_err(named(name))?;
    data.pin(&pin).map_err(|source| Error::PinLink { path: pin, source })?;
    Ok(data)
}
