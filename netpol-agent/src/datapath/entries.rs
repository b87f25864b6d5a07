//! Makes entries: the few instructions that call the classifier of one slot and direction.

use std::{ops::Range, path::Path};

use aya::{Ebpf, EbpfLoader};
use netpol_common::{
    Direction,
    tables::{SLOTS, UNSET_CELL, program_cell},
};

use super::{Error, attach::ENTRY, object};

/// Makes entries, with one loader for all of them: whenever aya makes one it reads all of the kernel's own types, 20 ms on
/// the test machine and longer than everything else about an entry, and none of our programs looks at them.
pub(super) struct Entries {
    loader: EbpfLoader<'static>,
    code: Code,
}

/// The object of an entry, with the cell of the last one that was made.
pub(super) struct Code {
    bytes: Vec<u8>,
    /// Where the cell is in them.
    cell: Range<usize>,
}

impl Code {
    /// # Errors
    /// When the object does not say where its cell is.
    pub(super) fn new() -> Result<Self, Error> {
        let bytes = object::ENTRY.to_vec();
        let unset = UNSET_CELL.to_le_bytes();
        let mut places = (0..).zip(bytes.windows(unset.len())).filter(|(_, there)| *there == unset);
        let (Some((place, _)), None) = (places.next(), places.next()) else {
            return Err(Error::Missing { what: "cell", name: ENTRY.to_owned() });
        };
        Ok(Self { bytes, cell: place..place + unset.len() })
    }

    /// The object for a slot and direction.
    pub(super) fn of(&mut self, slot: u32, direction: Direction) -> Result<&[u8], Error> {
        if slot >= SLOTS {
            return Err(Error::NoSlot { slot });
        }
        self.bytes[self.cell.clone()].copy_from_slice(&program_cell(slot, direction).to_le_bytes());
        Ok(&self.bytes)
    }
}

impl Entries {
    /// Of the classifiers that are pinned in this folder.
    ///
    /// # Errors
    /// When the object does not say where its cell is.
    pub(super) fn new(maps: &Path) -> Result<Self, Error> {
        let mut loader = EbpfLoader::new();
        loader.btf(None).map_pin_path("PROGRAMS", maps.join("PROGRAMS"));
        Ok(Self { loader, code: Code::new()? })
    }

    /// The loader, for what else is loaded.
    pub(super) const fn loader(&mut self) -> &mut EbpfLoader<'static> {
        &mut self.loader
    }

    /// An entry that calls the classifier of a slot.
    pub(super) fn make(&mut self, slot: u32, direction: Direction) -> Result<Ebpf, Error> {
        let mut object =
            self.loader.load(self.code.of(slot, direction)?).map_err(|source| Error::Load { source })?;
        let program = object::program(&mut object, ENTRY)?;
        program.load().map_err(|source| Error::Program { name: ENTRY.to_owned(), source })?;
        Ok(object)
    }
}
