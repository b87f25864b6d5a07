//! The table of addresses: buckets in memory that the classifiers share, and a hash for those that find no room there.
//!
//! Of the array no more is mapped than is worked on: all that is mapped counts as the agent's memory, used or not, and the
//! array of a large cluster is larger than all else that the agent keeps. What is written stays mapped until something else
//! is, so that many addresses in the order of their buckets cost one mapping for each page.

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
        Peer,
        peers::{self, Bucket, Place, WAYS},
    },
};
use netpol_policy::engine::TableOp;

use super::{
    Error,
    apply::{gone, insert, named},
    fault,
    mapped::Mapped,
    pins,
    tables::{Hash, take},
};

/// The array of buckets, and its pin.
pub(super) const BUCKETS: &str = "PEER_BUCKETS";
/// The hash behind it, and its pin.
const ELSEWHERE: &str = "PEERS";

/// Buckets that are read at once when all of them are.
const TOGETHER: u32 = 1024;
/// Buckets that are mapped to write to one of them: a page, on most machines.
const WINDOW: u32 = 64;

/// The addresses of the cluster, with what policies call them. One agent at a time writes.
pub struct Peers {
    buckets: MapData,
    /// How many there are.
    count: u32,
    elsewhere: Hash<Addr, Peer>,
    /// Where the last write was: the first bucket, and so many from there on as fit.
    window: Option<(u32, Mapped<Bucket>)>,
}

impl Peers {
    /// Those of an object.
    pub(super) fn of(object: &mut Ebpf) -> Result<Self, Error> {
        let missing = || Error::Missing { what: "map", name: BUCKETS.to_owned() };
        let Some(Map::Array(buckets)) = object.take_map(BUCKETS) else { return Err(missing()) };
        Self::new(buckets, take(object, ELSEWHERE)?)
    }

    /// Those that an agent works on.
    ///
    /// # Errors
    ///
    /// When they cannot be opened.
    pub fn open(bpffs: &Path) -> Result<Self, Error> {
        let pinned = |name: &str| pins::map(&bpffs.join("maps").join(name));
        let elsewhere = Map::HashMap(pinned(ELSEWHERE)?);
        Self::new(pinned(BUCKETS)?, elsewhere.try_into().map_err(named(ELSEWHERE))?)
    }

    fn new(buckets: MapData, elsewhere: Hash<Addr, Peer>) -> Result<Self, Error> {
        let count = buckets.info().map_err(named(BUCKETS))?.max_entries();
        Ok(Self { buckets, count, elsewhere, window: None })
    }

    /// Where an address is to be written; mapped until the next one is.
    fn bucket(&mut self, addr: &Addr) -> Result<(Place, *mut Bucket), Error> {
        let place = Place::of(addr, self.count);
        let first = place.bucket / WINDOW * WINDOW;
        let window = match self.window.take() {
            Some(window) if window.0 == first => window,
            _ => (first, Mapped::part(&self.buckets, first, WINDOW.min(self.count - first))?),
        };
        let bucket = self.window.insert(window).1.at(place.bucket - first);
        Ok((place, bucket.ok_or_else(|| self.no_bucket())?))
    }

    /// Operations in their order, but those that follow each other and write addresses, or move their generations, in that of
    /// their buckets.
    pub(super) fn in_order<'o>(&self, operations: &'o [TableOp]) -> Vec<&'o TableOp> {
        let written = |operation: &TableOp| match operation {
            TableOp::Peer(peer) => Some((false, Place::of(&peer.addr, self.count).bucket)),
            TableOp::Generation(addr) => Some((true, Place::of(addr, self.count).bucket)),
            _ => None,
        };
        let kind = |operation: &TableOp| written(operation).map(|(kind, _)| kind);
        let mut all: Vec<&TableOp> = operations.iter().collect();
        for several in all.chunk_by_mut(|one, next| kind(one).is_some() && kind(one) == kind(next)) {
            several.sort_by_cached_key(|operation| written(operation));
        }
        all
    }

    /// What an address is.
    ///
    /// # Errors
    ///
    /// When a table cannot be read.
    pub fn get(&self, addr: &Addr) -> Result<Option<Peer>, Error> {
        let place = Place::of(addr, self.count);
        let memory = Mapped::part(&self.buckets, place.bucket, 1)?;
        let bucket = memory.at(0).ok_or_else(|| self.no_bucket())?;
        // SAFETY: a bucket of the mapping, which lives as long as `memory`.
        let (word, elsewhere) = unsafe { (peers::find(bucket, place, addr), peers::elsewhere(bucket)) };
        if word != 0 {
            let (class, flags) = (peers::class_of(word), peers::flags_of(word));
            return Ok(Some(Peer { addr: *addr, class, flags }));
        }
        if elsewhere == 0 { Ok(None) } else { self.get_elsewhere(addr) }
    }

    fn get_elsewhere(&self, addr: &Addr) -> Result<Option<Peer>, Error> {
        match self.elsewhere.get(&super::raw::Raw(*addr), 0) {
            Ok(peer) => Ok(Some(peer.0)),
            Err(error) => gone(Err(error)).map(|()| None).map_err(named(ELSEWHERE)),
        }
    }

    /// Adds or changes an address. It stays where it is until it goes: so it is never in two places, and never in none.
    ///
    /// # Errors
    ///
    /// When it finds room in neither table.
    pub fn put(&mut self, peer: &Peer) -> Result<(), Error> {
        let (place, bucket) = self.bucket(&peer.addr)?;
        // SAFETY: a bucket of the window, which stays as it is meanwhile; this agent alone writes.
        if unsafe { peers::change(bucket, place, peer) } {
            return Ok(());
        }
        // SAFETY: as above.
        let count = unsafe { peers::elsewhere(bucket) };
        let is_elsewhere = count != 0 && self.get_elsewhere(&peer.addr)?.is_some();
        // SAFETY: as above.
        if !is_elsewhere && unsafe { peers::add(bucket, place, peer, self.count) } {
            return Ok(());
        }
        insert(&mut self.elsewhere, ELSEWHERE, peer.addr, *peer)?;
        if !is_elsewhere {
            fault::point();
            // SAFETY: as above. Nobody looks there before it is counted.
            unsafe { peers::set_elsewhere(bucket, count.saturating_add(1)) };
        }
        Ok(())
    }

    /// Forgets an address; one that is not there is what was wanted.
    ///
    /// # Errors
    ///
    /// When a table cannot be changed.
    pub fn remove(&mut self, addr: &Addr) -> Result<(), Error> {
        let (place, bucket) = self.bucket(addr)?;
        // SAFETY: as in `put`.
        let count = unsafe {
            peers::forget(bucket, place, addr);
            peers::elsewhere(bucket)
        };
        // Also when it was in the bucket: nobody is to find there what somebody else has put behind it.
        if count == 0 || self.get_elsewhere(addr)?.is_none() {
            return Ok(());
        }
        gone(self.elsewhere.remove(&super::raw::Raw(*addr))).map_err(named(ELSEWHERE))?;
        fault::point();
        // SAFETY: as above. As long as it is counted, it is only looked for in vain.
        unsafe { peers::set_elsewhere(bucket, count - 1) };
        Ok(())
    }

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

    /// Every address. What is in a bucket comes last, as it is what counts.
    ///
    /// # Errors
    ///
    /// When the buckets cannot be read.
    pub(super) fn all(&self) -> Result<Vec<Peer>, Error> {
        let mut all: Vec<Peer> = self.elsewhere.iter().flatten().map(|(_, peer)| peer.0).collect();
        self.each_bucket(|_, bucket| {
            // SAFETY: a bucket that is mapped.
            all.extend((0..WAYS).filter_map(|way| unsafe { peers::held(bucket, way, self.count) }));
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
        for (addr, _) in self.elsewhere.iter().flatten() {
            *counts.entry(Place::of(&addr.0, self.count).bucket).or_default() += 1;
        }
        self.each_bucket(|index, bucket| {
            let count = counts.get(&index).copied().unwrap_or_default();
            // SAFETY: a bucket that is mapped, and this agent alone writes.
            unsafe {
                if peers::elsewhere(bucket) != count {
                    peers::set_elsewhere(bucket, count);
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
        named(BUCKETS)(MapError::OutOfBounds { index: self.count, max_entries: self.count })
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
