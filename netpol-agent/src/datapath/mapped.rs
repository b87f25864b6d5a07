//! Arrays that are mapped into memory, so that one aligned word is stored at once: an update by system call is a plain
//! copy, which a packet could meet half done.

use std::{
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use netpol_common::{Pod, tables::Endpoint, tables::Judgement};

use super::Error;

/// A mapped BPF array of `T`.
pub(super) struct Mapped<T> {
    memory: MmapRaw,
    len: usize,
    _of: PhantomData<T>,
}

impl<T: Pod> Mapped<T> {
    /// Maps the whole array.
    pub(super) fn new(map: &MapData, len: u32) -> Result<Self, Error> {
        Self::part(map, 0, len)
    }

    /// Maps some elements of an array, which are counted from the first of them. Whole pages are mapped, those around them too.
    pub(super) fn part(map: &MapData, first: u32, len: u32) -> Result<Self, Error> {
        use std::os::fd::{AsFd as _, AsRawFd as _};
        assert!(
            size_of::<T>().is_multiple_of(8) || size_of::<T>() == 4,
            "array elements are rounded to 8 bytes"
        );
        let stride = size_of::<T>().next_multiple_of(8);
        let bytes = stride * len as usize;
        let memory = MmapOptions::new()
            .offset(stride as u64 * u64::from(first))
            .len(bytes)
            .map_raw(map.fd().as_fd().as_raw_fd())
            .map_err(|source| Error::Map { source })?;
        Ok(Self { memory, len: len as usize, _of: PhantomData })
    }

    /// Where an element is; others may write to it at any time.
    pub(super) fn at(&self, index: u32) -> Option<*mut T> {
        let index = index as usize;
        // SAFETY: the index was compared with the length that was mapped.
        (index < self.len).then(|| unsafe {
            self.memory.as_mut_ptr().add(index * size_of::<T>().next_multiple_of(8)).cast::<T>()
        })
    }
}

impl Mapped<u64> {
    /// A word that this process alone writes; 0 beyond the end.
    pub(super) fn get(&self, index: u32) -> u64 {
        // SAFETY: an aligned u64 inside the mapping.
        self.at(index).map_or(0, |word| unsafe { AtomicU64::from_ptr(word) }.load(Ordering::Relaxed))
    }

    /// Stores a word at once.
    pub(super) fn set(&self, index: u32, value: u64) {
        if let Some(word) = self.at(index) {
            // SAFETY: as above.
            unsafe { AtomicU64::from_ptr(word) }.store(value, Ordering::Relaxed);
        }
    }
}

impl Mapped<Endpoint> {
    /// A copy of an entry.
    pub(super) fn get(&self, slot: u32) -> Option<Endpoint> {
        // SAFETY: valid for reads; only this process writes.
        self.at(slot).map(|entry| unsafe { entry.read_volatile() })
    }

    /// Writes everything of an entry but what it is judged by. Not at once: only while the slot carries no program, or
    /// for fields that stand alone.
    pub(super) fn set_identity(&self, slot: u32, value: &Endpoint) {
        if let Some(entry) = self.at(slot) {
            // SAFETY: valid for writes, and aligned as the kernel's array is.
            unsafe {
                (&raw mut (*entry).v6).write_volatile(value.v6);
                (&raw mut (*entry).v4).write_volatile(value.v4);
                (&raw mut (*entry).hardware).write_volatile(value.hardware);
                (&raw mut (*entry).flags).write_volatile(value.flags);
            }
        }
    }

    /// Stores one direction's judgement at once.
    pub(super) fn set_judgement(&self, slot: u32, direction: netpol_common::Direction, judgement: Judgement) {
        if let Some(entry) = self.at(slot) {
            // SAFETY: an aligned u64 inside the mapping, shared with the kernel, hence atomic.
            let word = unsafe { AtomicU64::from_ptr(&raw mut (*entry).judgements[direction.index()]) };
            word.store(judgement, Ordering::Release);
        }
    }
}
