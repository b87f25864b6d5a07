//! What may become of an agent's pins: missing, somebody else's, of a version that nobody knows.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};

/// Damage to a folder of pins.
pub type Damage = (&'static str, fn(&Path) -> Result<()>);

fn removed(pins: &Path, name: &str) -> Result<()> {
    let path = pins.join(name);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// A map of somebody else's in the place of a pin.
fn foreign(pins: &Path, name: &str) -> Result<()> {
    let path = pins.join(name);
    if path.exists() {
        removed(pins, name)?;
    }
    // An array of four elements of two bytes.
    let shape = aya_obj::Map::new_from_params(2, 4, 2, 4, 0);
    MapData::create(shape, "somebody", None)?.pin(&path)?;
    Ok(())
}

fn a_folder(pins: &Path, name: &str) -> Result<()> {
    removed(pins, name)?;
    Ok(fs::create_dir(pins.join(name))?)
}

/// The first entry of a folder.
fn first(pins: &Path, folder: &str) -> Result<String> {
    let entry = fs::read_dir(pins.join(folder))?.next().context("the folder is empty")??;
    Ok(format!("{folder}/{}", entry.file_name().to_string_lossy()))
}

/// What may become of the pins while no agent runs.
pub const ALL: [Damage; 16] = [
    // First, as a link of somebody else's goes when tables are put aside.
    ("there are links, gates and maps of somebody else's", |pins| {
        foreign(pins, "links/4000-egress")?;
        foreign(pins, "gates/4000000")?;
        foreign(pins, "maps/SOMEBODY")
    }),
    ("the addresses are missing", |pins| removed(pins, "maps/PEERS")),
    ("the buckets of addresses are missing", |pins| removed(pins, "maps/PEER_BUCKETS")),
    ("the rows are missing", |pins| removed(pins, "maps/RULES")),
    ("the buckets of rows are missing", |pins| removed(pins, "maps/RULE_BUCKETS")),
    ("the ids are missing", |pins| removed(pins, "maps/INTERNED")),
    ("what lists the interfaces is missing", |pins| removed(pins, "maps/INTERFACES")),
    ("the layout's number is missing", |pins| removed(pins, "maps/LAYOUT")),
    ("all maps are missing but one", |pins| {
        for entry in fs::read_dir(pins.join("maps"))? {
            let path = entry?.path();
            if !path.ends_with("ENDPOINTS") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }),
    ("the endpoints are somebody else's", |pins| foreign(pins, "maps/ENDPOINTS")),
    ("the time of the last agent is somebody else's", |pins| foreign(pins, "maps/ALIVE")),
    ("a folder is in the place of the rows", |pins| a_folder(pins, "maps/RULES")),
    ("the layout is of a version that nobody knows", |pins| {
        let mut number: Array<_, u32> =
            Array::try_from(Map::Array(MapData::from_pin(pins.join("maps/LAYOUT"))?))?;
        Ok(number.set(0, 4711, 0)?)
    }),
    ("a table of flows is missing", |pins| removed(pins, &first(pins, "flows")?)),
    ("a table of flows is somebody else's", |pins| foreign(pins, &first(pins, "flows")?)),
    ("the rings are somebody else's", |pins| foreign(pins, "maps/RINGS")),
];
