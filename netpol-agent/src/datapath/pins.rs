//! Pinned maps; and what is in the place of a pin is taken away, whatever it is.

use std::path::Path;

use aya::maps::{MapData, MapInfo};

use super::{Error, sys};

/// Opens a pinned map.
pub(super) fn map(pin: &Path) -> Result<MapData, Error> {
    MapData::from_pin(pin).map_err(|source| Error::Pin { path: pin.to_owned(), source })
}

/// Entries of the map that is pinned in a folder, or so many as are wanted where none is.
pub(super) fn entries(maps: Option<&Path>, name: &str, wanted: u32) -> Result<u32, Error> {
    match maps.map(|folder| folder.join(name)).filter(|pin| pin.exists()) {
        None => Ok(wanted),
        Some(path) => match MapInfo::from_pin(&path) {
            Ok(info) => Ok(info.max_entries()),
            Err(source) => Err(Error::Pin { path, source }),
        },
    }
}

/// Detaches a pinned link and removes its pin; one that is not there is what was wanted, and what is no link only goes.
pub(super) fn release_link(pin: &Path) -> Result<(), Error> {
    use std::io::ErrorKind::{InvalidInput, NotFound};
    if pin.is_dir() {
        return remove_whatever(pin);
    }
    match sys::detach_link(pin) {
        Err(source) if !matches!(source.kind(), NotFound | InvalidInput) => {
            Err(Error::Folder { path: pin.to_owned(), source })
        }
        _ => remove_pin(pin),
    }
}

pub(super) fn remove_pin(pin: &Path) -> Result<(), Error> {
    // Asked first: where nothing can be changed that is the answer to any removal.
    if std::fs::symlink_metadata(pin).is_err() {
        return Ok(());
    }
    match std::fs::remove_file(pin) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Folder { path: pin.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Removes what is in the place of a pin, a folder too.
pub(super) fn remove_whatever(pin: &Path) -> Result<(), Error> {
    if !pin.is_dir() {
        return remove_pin(pin);
    }
    std::fs::remove_dir_all(pin).map_err(|source| Error::Folder { path: pin.to_owned(), source })
}
