//! When an agent was last alive: a pinned cell that it brings up to date, which lives as long as what it enforces. With
//! the node's boot both are gone.

use std::time::Duration;

use aya::maps::{Array, MapData};
use nix::time::{ClockId, clock_gettime};

use super::{Datapath, Error, cell};

/// The map's name, and its pin's.
pub(super) const NAME: &str = "ALIVE";

/// Says that the agent is alive.
pub struct Alive {
    cell: Array<MapData, u64>,
}

impl Alive {
    /// How long ago an agent said so last, or the node has booted where none has since.
    ///
    /// # Errors
    ///
    /// When the time cannot be read.
    pub fn last(&self) -> Result<Duration, Error> {
        let last = Duration::from_nanos(self.cell.get(&0, 0).unwrap_or_default());
        Ok(since_boot()?.saturating_sub(last))
    }

    /// Says so now.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn say(&mut self) -> Result<(), Error> {
        let now = u64::try_from(since_boot()?.as_nanos()).unwrap_or(u64::MAX);
        self.cell.set(0, now, 0).map_err(|source| Error::NamedMap { name: NAME.to_owned(), source })
    }
}

/// Sleep of the machine counts: what starts after it starts without an agent as well.
fn since_boot() -> Result<Duration, Error> {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).map_err(|source| Error::Clock { source })
}

impl Datapath {
    /// The cell of this node, a new one when no agent has run since the boot.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn alive(&self) -> Result<Alive, Error> {
        Ok(Alive { cell: cell::open(&self.folder.join("maps"), NAME)? })
    }
}
