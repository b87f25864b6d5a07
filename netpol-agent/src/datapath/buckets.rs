//! The tables that the classifiers look into without a call: buckets in memory that they share, and a hash for what finds no
//! room there.
//!
//! Of the array no more is mapped than is worked on: all that is mapped counts as the agent's memory, used or not, and the
//! arrays of a large cluster are larger than all else that the agent keeps. What is written stays mapped until something else
//! is, so that many keys in the order of their buckets cost one mapping for each page.

use std::{
    collections::HashMap,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError},
};
use netpol_common::{
    Addr,
    tables::{
        Peer, Rule,
        buckets::{self, Bucket, Key as _, Place, Row, VALUE_MOST, Writer},
    },
};
use netpol_policy::engine::TableOp;

use super::{
    Error,
    apply::{gone, insert, named},
    fault,
    mapped::Mapped,
    pins,
    raw::Raw,
    tables::{Hash, take},
};

/// What the maps of a table are called, and their pins.
pub(super) trait Named: Row {
    /// The array of buckets.
    const BUCKETS: &str;
    /// The hash behind it.
    const ELSEWHERE: &str;
}

impl Named for Peer {
    const BUCKETS: &str = "PEER_BUCKETS";
    const ELSEWHERE: &str = "PEERS";
}

impl Named for Rule {
    const BUCKETS: &str = "RULE_BUCKETS";
    const ELSEWHERE: &str = "RULES";
}

/// Buckets that are read at once when all of them are.
const TOGETHER: u32 = 1024;
/// Buckets that are mapped to write to one of them: a page, on most machines.
const WINDOW: u32 = 64;

/// A table. One agent at a time writes.
pub struct Buckets<R: Row> {
    buckets: MapData,
    /// How many there are.
    count: u32,
    elsewhere: Hash<R::Key, R>,
    /// Where the last write was: the first bucket, and so many from there on as fit.
    window: Option<(u32, Mapped<Bucket>)>,
}

/// The addresses of the cluster, with what policies call them.
pub type Peers = Buckets<Peer>;
/// What each class may do in each policy set.
pub type Rules = Buckets<Rule>;

/// Operations in their order, but those that follow each other and write to one table in that of its buckets.
pub(super) fn in_order<'o>(operations: &'o [TableOp], peers: &Peers, rules: &Rules) -> Vec<&'o TableOp> {
    let written = |operation: &TableOp| match operation {
        TableOp::Peer(peer) => Some((0, peers.place(&peer.addr).bucket)),
        TableOp::Generation(addr) => Some((1, peers.place(addr).bucket)),
        TableOp::Rule(rule) => Some((2, rules.place(&rule.key).bucket)),
        _ => None,
    };
    let kind = |operation: &TableOp| written(operation).map(|(kind, _)| kind);
    let mut all: Vec<&TableOp> = operations.iter().collect();
    for several in all.chunk_by_mut(|one, next| kind(one).is_some() && kind(one) == kind(next)) {
        several.sort_by_cached_key(|operation| written(operation));
    }
    all
}

#[expect(private_bounds, reason = "the names of pins are nobody else's")]
impl<R: Named> Buckets<R> {
    /// That of an object.
    pub(super) fn of(object: &mut Ebpf) -> Result<Self, Error> {
        let missing = || Error::Missing { what: "map", name: R::BUCKETS.to_owned() };
        let Some(Map::Array(buckets)) = object.take_map(R::BUCKETS) else { return Err(missing()) };
        Self::new(buckets, take(object, R::ELSEWHERE)?)
    }

    /// That which an agent works on.
    ///
    /// # Errors
    ///
    /// When they cannot be opened.
    pub fn open(bpffs: &Path) -> Result<Self, Error> {
        let pinned = |name: &str| pins::map(&bpffs.join("maps").join(name));
        let elsewhere = Map::HashMap(pinned(R::ELSEWHERE)?);
        Self::new(pinned(R::BUCKETS)?, elsewhere.try_into().map_err(named(R::ELSEWHERE))?)
    }

    fn new(buckets: MapData, elsewhere: Hash<R::Key, R>) -> Result<Self, Error> {
        let count = buckets.info().map_err(named(R::BUCKETS))?.max_entries();
        Ok(Self { buckets, count, elsewhere, window: None })
    }

    /// Where a key is to be looked for.
    fn place(&self, key: &R::Key) -> Place {
        key.place(self.count)
    }

    /// Where a key is to be written; mapped until the next one is.
    fn bucket(&mut self, key: &R::Key) -> Result<(Place, *mut Bucket), Error> {
        let place = self.place(key);
        let first = place.bucket / WINDOW * WINDOW;
        let window = match self.window.take() {
            Some(window) if window.0 == first => window,
            _ => (first, Mapped::part(&self.buckets, first, WINDOW.min(self.count - first))?),
        };
        let bucket = self.window.insert(window).1.at(place.bucket - first);
        Ok((place, bucket.ok_or_else(|| self.no_bucket())?))
    }

    /// What is known of a key.
    ///
    /// # Errors
    ///
    /// When a table cannot be read.
    pub fn get(&self, key: &R::Key) -> Result<Option<R>, Error> {
        let place = self.place(key);
        let memory = Mapped::part(&self.buckets, place.bucket, 1)?;
        let bucket = memory.at(0).ok_or_else(|| self.no_bucket())?;
        // SAFETY: a bucket of the mapping, which lives as long as `memory`.
        let (word, elsewhere) = unsafe { (buckets::find(bucket, &place), buckets::elsewhere(bucket)) };
        if word != 0 {
            return Ok(Some(R::of(*key, buckets::value_of(word), buckets::flags_of(word))));
        }
        if elsewhere == 0 { Ok(None) } else { self.get_elsewhere(key) }
    }

    fn get_elsewhere(&self, key: &R::Key) -> Result<Option<R>, Error> {
        match self.elsewhere.get(&Raw(*key), 0) {
            Ok(row) => Ok(Some(row.0)),
            Err(error) => gone(Err(error)).map(|()| None).map_err(named(R::ELSEWHERE)),
        }
    }

    /// Adds or changes a row. It stays where it is until it goes: so it is never in two places, and never in none.
    ///
    /// # Errors
    ///
    /// When it finds room in neither table, or its number none in a word.
    pub fn put(&mut self, row: &R) -> Result<(), Error> {
        if row.value() > VALUE_MOST {
            return Err(out_of_bounds::<R>(row.value(), VALUE_MOST));
        }
        let (place, bucket) = self.bucket(&row.key())?;
        // SAFETY: a bucket of the window, which stays as it is meanwhile; this agent alone writes.
        let writer = unsafe { Writer::of::<R::Key>(bucket, place.bucket, self.count) };
        if writer.change(&place, row) {
            return Ok(());
        }
        // SAFETY: as above.
        let count = unsafe { buckets::elsewhere(bucket) };
        let is_elsewhere = count != 0 && self.get_elsewhere(&row.key())?.is_some();
        if !is_elsewhere && writer.add(&place, row) {
            return Ok(());
        }
        insert(&mut self.elsewhere, R::ELSEWHERE, row.key(), *row)?;
        if !is_elsewhere {
            fault::point();
            // SAFETY: as above. Nobody looks there before it is counted.
            unsafe { buckets::set_elsewhere(bucket, count.saturating_add(1)) };
        }
        Ok(())
    }

    /// Forgets a key; one that is not there is what was wanted.
    ///
    /// # Errors
    ///
    /// When a table cannot be changed.
    pub fn remove(&mut self, key: &R::Key) -> Result<(), Error> {
        let (place, bucket) = self.bucket(key)?;
        // SAFETY: as in `put`.
        let count = unsafe {
            Writer::of::<R::Key>(bucket, place.bucket, self.count).forget(&place);
            buckets::elsewhere(bucket)
        };
        // Also when it was in the bucket: nobody is to find there what somebody else has put behind it.
        if count == 0 || self.get_elsewhere(key)?.is_none() {
            return Ok(());
        }
        gone(self.elsewhere.remove(&Raw(*key))).map_err(named(R::ELSEWHERE))?;
        fault::point();
        // SAFETY: as above. As long as it is counted, it is only looked for in vain.
        unsafe { buckets::set_elsewhere(bucket, count - 1) };
        Ok(())
    }

    /// Every row. What is in a bucket comes last, as it is what counts.
    ///
    /// # Errors
    ///
    /// When the buckets cannot be read.
    pub(super) fn all(&self) -> Result<Vec<R>, Error> {
        let mut all: Vec<R> = self.elsewhere.iter().flatten().map(|(_, row)| row.0).collect();
        self.each_bucket(|index, bucket| {
            // SAFETY: a bucket that is mapped, and this agent alone writes.
            all.extend(unsafe { Writer::of::<R::Key>(bucket, index, self.count) }.rows::<R>());
        })?;
        Ok(all)
    }

    /// Counts again what is elsewhere: an agent may have been killed between a write and its count.
    ///
    /// # Errors
    ///
    /// When the buckets cannot be read.
    pub(super) fn count_again(&self) -> Result<(), Error> {
        let mut counts: HashMap<u32, u32> = HashMap::new();
        for (key, _) in self.elsewhere.iter().flatten() {
            *counts.entry(self.place(&key.0).bucket).or_default() += 1;
        }
        self.each_bucket(|index, bucket| {
            let count = counts.get(&index).copied().unwrap_or_default();
            // SAFETY: a bucket that is mapped, and this agent alone writes.
            unsafe {
                if buckets::elsewhere(bucket) != count {
                    buckets::set_elsewhere(bucket, count);
                }
            }
        })
    }

    fn each_bucket(&self, mut each: impl FnMut(u32, *mut Bucket)) -> Result<(), Error> {
        for first in (0..self.count).step_by(TOGETHER as usize) {
            let memory = Mapped::part(&self.buckets, first, TOGETHER.min(self.count - first))?;
            for index in 0..TOGETHER {
                let Some(bucket) = memory.at(index) else { break };
                each(first + index, bucket);
            }
        }
        Ok(())
    }

    /// Not to be met: a place is always within the table.
    fn no_bucket(&self) -> Error {
        out_of_bounds::<R>(self.count, self.count)
    }
}

/// A number that a table has no room for.
fn out_of_bounds<R: Named>(index: u32, max_entries: u32) -> Error {
    named(R::BUCKETS)(MapError::OutOfBounds { index, max_entries })
}

impl Peers {
    /// Moves the generation of an address on: what was judged by it before is judged again.
    ///
    /// # Errors
    ///
    /// When its bucket cannot be written.
    pub fn move_on(&mut self, addr: &Addr) -> Result<(), Error> {
        let (_, bucket) = self.bucket(addr)?;
        // SAFETY: as in `put`.
        unsafe { move_on(bucket) };
        Ok(())
    }

    /// Moves all generations on.
    ///
    /// # Errors
    ///
    /// When the buckets cannot be written.
    pub(super) fn move_all_on(&self) -> Result<(), Error> {
        // SAFETY: a bucket that is mapped, and this agent alone writes.
        self.each_bucket(|_, bucket| unsafe { move_on(bucket) })
    }
}

/// Moves the generation of a bucket's addresses on, after all that was written before.
///
/// # Safety
///
/// `bucket` is valid for reads and writes.
unsafe fn move_on(bucket: *mut Bucket) {
    // SAFETY: by the caller's promise; an aligned word, which the kernel reads meanwhile, hence atomic.
    let generation = unsafe { AtomicU32::from_ptr(&raw mut (*bucket).generation) };
    generation.fetch_add(1, Ordering::Release);
}
