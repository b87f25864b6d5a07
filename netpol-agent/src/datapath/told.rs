//! How far agents have come in telling of verdicts: a pinned array that outlives them, so that the next one can say how many
//! one that was killed had read out of the rings and not told, and how many found no room while there was none.

use std::{path::Path, sync::Arc};

use aya_obj::generated::BPF_F_MMAPABLE;

use super::{Counters, Datapath, Error, cell, mapped::Mapped, pins};

/// The map's name, and its pin's.
pub(super) const NAME: &str = "TOLD";
/// What the array is made with.
pub(super) const FLAGS: u32 = BPF_F_MMAPABLE;
/// Its elements: events that were read, those of them that were told, and what was said to be missing.
pub(super) const WORDS: u32 = 4;
const READ: u32 = 0;
const HANDED_ON: u32 = 1;
const LOST: u32 = 2;
const LIMITED: u32 = 3;

/// Counts that are kept in the pinned array. Each word has one writer.
#[derive(Clone)]
pub struct Told {
    words: Arc<Mapped<u64>>,
}

impl Told {
    fn open(maps: &Path, counters: impl FnOnce() -> Result<Counters, Error>) -> Result<Self, Error> {
        let is_new = !maps.join(NAME).exists();
        let told =
            Self { words: Arc::new(Mapped::new(&cell::data::<u64>(maps, NAME, WORDS, FLAGS)?, WORDS)?) };
        if is_new {
            // Of what was lost before, nothing is known.
            told.say_missing(&counters()?);
        }
        Ok(told)
    }

    /// Those of an agent that runs.
    ///
    /// # Errors
    ///
    /// When they cannot be opened.
    pub fn of(bpffs: &Path) -> Result<Self, Error> {
        Ok(Self { words: Arc::new(Mapped::new(&pins::map(&bpffs.join("maps").join(NAME))?, WORDS)?) })
    }

    /// An event is being read: said before it leaves its ring, so that it is in the ring or in this count.
    pub(super) fn read_one(&self) {
        self.words.set(READ, self.words.get(READ).wrapping_add(1));
    }

    /// So many events have been handed on, or said to be missing.
    pub fn hand_on(&self, count: u64) {
        self.words.set(HANDED_ON, self.words.get(HANDED_ON).wrapping_add(count));
    }

    /// How many events have been handed on since the tables were made.
    #[must_use]
    pub fn handed_on(&self) -> u64 {
        self.words.get(HANDED_ON)
    }

    /// How many an agent had read and not handed on when it ended; asked before this one reads.
    #[must_use]
    pub fn untold(&self) -> u64 {
        self.words.get(READ).saturating_sub(self.words.get(HANDED_ON))
    }

    /// How many were said to be lost, and how many to be beyond a pod's rate.
    #[must_use]
    pub fn missing(&self) -> (u64, u64) {
        (self.words.get(LOST), self.words.get(LIMITED))
    }

    /// All that is counted now has been said to be missing.
    pub fn say_missing(&self, counters: &Counters) {
        self.words.set(LOST, counters.lost);
        self.words.set(LIMITED, counters.limited);
    }
}

impl Datapath {
    /// The counts of this node, new ones where no agent has run since the boot.
    ///
    /// # Errors
    ///
    /// When they cannot be made, mapped or read.
    pub fn told(&self) -> Result<Told, Error> {
        Told::open(&self.folder.join("maps"), || self.counters())
    }
}
