//! A pinned map of one value that only user space reads: it lives as long as what the agent enforces.

use std::path::Path;

use aya::{
    Pod,
    maps::{Array, Map, MapData},
};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;

use super::{Error, apply::named};

/// Opens that of a name in the folder of the maps' pins, or makes it, filled with zeros.
pub(super) fn open<V: Pod>(maps: &Path, name: &str) -> Result<Array<MapData, V>, Error> {
    let pin = maps.join(name);
    let data = if pin.exists() {
        MapData::from_pin(&pin).map_err(named(name))?
    } else {
        let (key, value) = (size_of::<u32>() as u32, size_of::<V>() as u32);
        let shape = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, key, value, 1, 0);
        let data =
            MapData::create(shape, &format!("np_{}", name.to_lowercase()), None).map_err(named(name))?;
        data.pin(&pin).map_err(|source| Error::PinLink { path: pin, source })?;
        data
    };
    Array::try_from(Map::Array(data)).map_err(named(name))
}
