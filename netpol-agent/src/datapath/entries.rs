//! Makes entries: the few instructions that call the classifier of one slot and direction.

use std::path::Path;

use aya::{Ebpf, EbpfLoader};
use netpol_common::{
    Direction,
    tables::{SLOTS, program_cell},
};

use super::{Error, hooks::ENTRY, object};

/// Every cell, as a loader only borrows what it writes into a program.
static CELLS: [u32; SLOTS as usize * Direction::ALL.len()] = cells();

const fn cells() -> [u32; SLOTS as usize * Direction::ALL.len()] {
    let mut cells = [0; SLOTS as usize * Direction::ALL.len()];
    let mut cell = 0;
    while cell < cells.len() {
        cells[cell] = cell as u32;
        cell += 1;
    }
    cells
}

/// Makes entries, with one loader for all of them: whenever aya makes one it reads all of the kernel's own types, which
/// takes longer than everything else about an entry, and none of our programs looks at them.
pub(super) struct Entries {
    loader: EbpfLoader<'static>,
}

impl Entries {
    /// Of the classifiers that are pinned in this folder.
    pub(super) fn new(maps: &Path) -> Self {
        let mut loader = EbpfLoader::new();
        loader.btf(None).map_pin_path("PROGRAMS", maps.join("PROGRAMS"));
        Self { loader }
    }

    /// An entry that calls the classifier of a slot.
    pub(super) fn make(&mut self, slot: u32, direction: Direction) -> Result<Ebpf, Error> {
        let cell = CELLS.get(program_cell(slot, direction) as usize).ok_or(Error::NoSlot { slot })?;
        self.loader.override_global("CELL", cell, true);
        let mut object = self.loader.load(object::ENTRY).map_err(|source| Error::Load { source })?;
        let program = object::program(&mut object, ENTRY)?;
        program.load().map_err(|source| Error::Program { name: ENTRY.to_owned(), source })?;
        Ok(object)
    }
}
