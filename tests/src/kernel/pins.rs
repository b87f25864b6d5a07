//! A private folder of bpffs, and the maps in it that the agent's interface has no reader for.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, Once,
        atomic::{AtomicU32, Ordering},
    },
};

use aya::maps::{HashMap, Map, MapData, ProgramArray};
use netpol_agent::datapath::uninstall;
use netpol_common::tables::{Interface, LONG_WAY_CELL};

const BPFFS: &str = "/sys/fs/bpf";
const PREFIX: &str = "npk-";

static NUMBER: AtomicU32 = AtomicU32::new(0);
static AT_EXIT: Once = Once::new();
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes what this process has pinned; statics are not dropped when it ends.
extern "C" fn remove_folders() {
    if let Ok(folders) = FOLDERS.lock() {
        for folder in folders.iter() {
            // At the end of the process nobody is left to tell.
            let _gone = uninstall(folder);
        }
    }
}

/// Removes what processes have left that were killed.
fn remove_leftovers() {
    for entry in fs::read_dir(BPFFS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another process may be doing the same.
            let _gone = uninstall(&entry.path());
        }
    }
}

/// A type of the border, as aya takes it.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Plain<T: netpol_common::Pod>(pub(super) T);

// SAFETY: netpol_common::Pod promises that every bit pattern is valid and that there is no padding.
unsafe impl<T: netpol_common::Pod> aya::Pod for Plain<T> {}

/// The folder.
pub(crate) struct Pins {
    folder: PathBuf,
}

impl Pins {
    pub(super) fn new() -> Self {
        remove_leftovers();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(BPFFS).join(format!("{PREFIX}{}-{number}", std::process::id()));
        // An earlier process of this number may have left it.
        let _gone = uninstall(&folder);
        FOLDERS.lock().expect("nobody panics here").push(folder.clone());
        // SAFETY: a function without arguments that lives as long as the process.
        AT_EXIT.call_once(|| unsafe {
            libc::atexit(remove_folders);
        });
        Self { folder }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn map(&self, name: &str) -> MapData {
        MapData::from_pin(self.folder.join("maps").join(name)).expect("a pinned map")
    }

    fn interfaces(&self) -> HashMap<MapData, u32, Plain<Interface>> {
        HashMap::try_from(Map::HashMap(self.map("INTERFACES"))).expect("a hash")
    }

    pub(super) fn set_interface(&self, interface: Interface) {
        self.interfaces().insert(interface.ifindex, Plain(interface), 0).expect("an entry");
    }

    /// Empties the cell of the long way, until an agent opens the tables again.
    pub(super) fn take_the_long_way_off(&self) {
        let programs = ProgramArray::try_from(Map::ProgramArray(self.map("PROGRAMS")));
        programs.expect("an array of programs").clear_index(&LONG_WAY_CELL).expect("it was there");
    }

    pub(super) fn remove_interface(&self, ifindex: u32) {
        // One that is not there is what was wanted.
        let _gone = self.interfaces().remove(&ifindex);
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Ok(mut folders) = FOLDERS.lock() {
            folders.retain(|folder| *folder != self.folder);
        }
        // The end of a test, perhaps by a panic: nobody is left to tell.
        let _gone = uninstall(&self.folder);
    }
}
