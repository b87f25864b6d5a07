//! Takes everything down that an agent left in a folder of pins.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aya::maps::{HashMap, Map, MapData};
use netpol_common::{
    Direction,
    tables::{INTERFACE_ENDPOINT, Interface},
};

use super::{Datapath, Error, aside, attach, flow_tables, gate, pins, raw::Raw};

/// What was taken down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uninstalled {
    /// Links, filters and gates.
    pub hooks: usize,
    /// Pinned maps and programs.
    pub pins: usize,
}

/// Detaches every classifier and removes every pin. Traffic of the pods is not restricted any more. A folder that is
/// not there is no error: there is nothing to take down.
///
/// # Errors
///
/// When a pin cannot be removed.
pub fn uninstall(bpffs: &Path) -> Result<Uninstalled, Error> {
    let mut done = Uninstalled::default();
    if !bpffs.exists() {
        return Ok(done);
    }
    let aside = aside::folders(bpffs);
    for tables in aside.iter().map(PathBuf::as_path).chain([bpffs]) {
        done.hooks += detach_filters(tables);
    }
    for folder in ["links", gate::FOLDER] {
        done.hooks += remove_all(&bpffs.join(folder), pins::release_link)?;
    }
    for tables in aside.iter().map(PathBuf::as_path).chain([bpffs]) {
        for folder in [flow_tables::FOLDER, "maps"] {
            done.pins += remove_all(&tables.join(folder), pins::remove_whatever)?;
        }
    }
    for folder in aside {
        pins::remove_whatever(&folder)?;
    }
    remove_all(&bpffs.join(aside::FOLDER), pins::remove_whatever)?;
    fs::remove_dir(bpffs).map_err(|source| Error::Folder { path: bpffs.to_owned(), source })?;
    Ok(done)
}

/// Filters are found by the table of interfaces: unlike links they have no pins.
fn detach_filters(bpffs: &Path) -> usize {
    let mut count = 0;
    let Ok(data) = MapData::from_pin(bpffs.join("maps/INTERFACES")) else { return 0 };
    let Ok(interfaces) = HashMap::<_, u32, Raw<Interface>>::try_from(Map::HashMap(data)) else { return 0 };
    for interface in interfaces.iter().flatten().map(|(_, interface)| interface.0) {
        let name = Datapath::interface_name(interface.ifindex).ok();
        let Some(name) = name.filter(|_| interface.kind == INTERFACE_ENDPOINT) else { continue };
        for direction in Direction::ALL {
            count += usize::from(matches!(attach::detach_filter(&name, direction), Ok(true)));
        }
    }
    count
}

fn remove_all(folder: &Path, remove: fn(&Path) -> Result<(), Error>) -> Result<usize, Error> {
    let failed = |source| Error::Folder { path: folder.to_owned(), source };
    let mut count = 0;
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(failed(source)),
    };
    for entry in entries {
        remove(&entry.map_err(failed)?.path())?;
        count += 1;
    }
    fs::remove_dir(folder).map_err(failed)?;
    Ok(count)
}
