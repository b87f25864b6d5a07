//! What the kernel holds for an agent: the numbers of maps, links and programs, none of which is given twice.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, MapInfo, PerCpuArray};
use aya::programs::ProgramInfo;
use aya::programs::links::{FdLink, PinnedLink};
use netpol_common::{Direction, Reason, tables::counter_cell};

use crate::bpf::bpf;
use crate::deadline::wait_for;

/// All that is pinned below a folder.
///
/// # Errors
/// When it cannot be read.
pub fn pins(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries.flatten() {
            if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    Ok(found)
}

/// Packets that were denied by policies, as the kernel has counted them in the tables that are pinned below this folder.
///
/// # Errors
/// When there are no counters.
pub fn denied(folder: &Path) -> Result<u64> {
    let map = MapData::from_pin(folder.join("maps/COUNTS")).context("there are no counters")?;
    let counts: PerCpuArray<_, u64> = PerCpuArray::try_from(Map::PerCpuArray(map))?;
    let mut sum = 0;
    for direction in Direction::ALL {
        let cell = counter_cell(direction, Reason::PolicyDenied as u8);
        sum += counts.get(&cell, 0)?.iter().sum::<u64>();
    }
    Ok(sum)
}

/// Those that were seen pinned, and what links run.
#[derive(Debug, Default)]
pub struct Ids {
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
    programs: BTreeSet<u32>,
}

impl Ids {
    /// Notes all that is pinned below a folder now.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn note(&mut self, folder: &Path) -> Result<()> {
        for pin in pins(folder)? {
            // One that goes meanwhile is noted by nobody.
            drop(self.note_pin(&pin));
        }
        Ok(())
    }

    fn note_pin(&mut self, pin: &Path) -> Result<()> {
        // Opening a pin does not tell what it is.
        match pin.parent().and_then(Path::file_name).and_then(|folder| folder.to_str()) {
            Some("links") => {
                let info = FdLink::from(PinnedLink::from_pin(pin)?).info()?;
                self.links.insert(info.id());
                self.programs.insert(info.program_id());
            }
            Some("programs") => drop(self.programs.insert(ProgramInfo::from_pin(pin)?.id())),
            _ => drop(self.maps.insert(MapInfo::from_pin(pin)?.id())),
        }
        Ok(())
    }

    /// How many were seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.maps.len() + self.links.len() + self.programs.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until of all that was noted the kernel has only what is pinned still below these folders.
    ///
    /// # Errors
    /// When something is left: with what it is.
    pub fn wait_until_gone(&self, folders: &[PathBuf], patience: Duration) -> Result<()> {
        let mut still = Self::default();
        for folder in folders {
            still.note(folder)?;
        }
        let mut left = Vec::new();
        let gone = wait_for("the kernel has let go", patience, || {
            let now = Self::loaded().ok()?;
            let of = |all: &BTreeSet<u32>, now: &BTreeSet<u32>, still: &BTreeSet<u32>| -> Vec<u32> {
                all.iter().filter(|id| now.contains(id) && !still.contains(id)).copied().collect()
            };
            left = vec![
                ("maps", of(&self.maps, &now.maps, &still.maps)),
                ("links", of(&self.links, &now.links, &still.links)),
                ("programs", of(&self.programs, &now.programs, &still.programs)),
            ];
            left.iter().all(|(_, ids)| ids.is_empty()).then_some(())
        });
        gone.with_context(|| format!("left are {left:?}"))
    }

    /// All that the kernel has, of whomever. Their numbers alone: whoever opens an array of programs by its number while the
    /// kernel empties it, because nobody holds it any more, keeps it from ever going (`prog_array_map_clear`).
    fn loaded() -> io::Result<Self> {
        Ok(Self {
            maps: numbers(BPF_MAP_GET_NEXT_ID)?,
            links: numbers(BPF_LINK_GET_NEXT_ID)?,
            programs: numbers(BPF_PROG_GET_NEXT_ID)?,
        })
    }
}

/// As in the kernel's `enum bpf_cmd`.
const BPF_PROG_GET_NEXT_ID: libc::c_long = 11;
const BPF_MAP_GET_NEXT_ID: libc::c_long = 12;
const BPF_LINK_GET_NEXT_ID: libc::c_long = 31;

/// All numbers of one kind.
fn numbers(command: libc::c_long) -> io::Result<BTreeSet<u32>> {
    let mut all = BTreeSet::new();
    // Where to go on, what comes next, and flags.
    let mut attributes = [0_u32; 3];
    loop {
        if let Err(error) = bpf(command, &mut attributes) {
            // There is none after it.
            return if error.raw_os_error() == Some(libc::ENOENT) { Ok(all) } else { Err(error) };
        }
        attributes[0] = attributes[1];
        all.insert(attributes[0]);
    }
}
