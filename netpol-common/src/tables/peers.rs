//! The table of addresses: an array of buckets of two, each a cache line and one element of a BPF array, so that the kernel
//! looks into it without a call. What finds no room in its bucket is in the hash behind it, `peers`, and the bucket counts
//! how many of its addresses are there: as long as that is 0, nobody looks.
//!
//! The agent alone writes, while packets read, with nothing but plain loads and stores: the kernels that must be served
//! have no others, and some processors let them overtake each other. So an [`Entry`] proves itself, as a flow's does: all
//! that is known of an address is one word, stored and loaded at once, and carries a check over the address and itself.
//! An address of one write and a word of another, or a mixture of two addresses, do not fit and are taken for absent.
//!
//! The hash is not keyed: who chooses addresses that meet in one bucket sends them to the hash behind, and no further.

use super::{PEER_FRONTEND, PEER_SERVICE_ONLY, Peer};
use crate::addr::Addr;

/// Addresses of a bucket.
pub const WAYS: usize = 2;

pod! {
    /// An address and what is known of it.
    pub struct Entry {
        /// The address; of no meaning unless the word fits it.
        pub addr: Addr,
        /// From the top: the class (32 bits), the check (29 bits), `PEER_*` (2 bits), and whether there is an address (1 bit).
        pub word: u64,
    }
}

pod! {
    /// Two addresses: a cache line.
    pub struct Bucket {
        /// The addresses, in no order.
        pub entries: [Entry; WAYS],
        /// How many addresses of this bucket are in `peers`: counted up after one came there, and down after it went.
        pub elsewhere: u32,
        /// Moves on when one of the addresses that belong here, found or not, becomes something else: what was judged by it
        /// before is judged again. It stands here since who looks at an address looks at this too.
        pub generation: u32,
        /// Zero.
        pub reserved: [u32; 2],
    }
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is a cache line");

/// There is an address.
const HERE: u64 = 1;
const FLAGS_SHIFT: u32 = 1;
const FLAGS: u64 = (PEER_FRONTEND | PEER_SERVICE_ONLY) as u64;
const CLASS_SHIFT: u32 = 32;
/// The bits of the check.
const CHECK: u64 = (1 << CLASS_SHIFT) - (1 << 3);

const _: () = assert!(FLAGS << FLAGS_SHIFT | HERE == (1 << 3) - 1, "flags and check lie beside each other");

/// 2^64 divided by the golden ratio.
const PHI: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where an address is to be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The hash of the address.
    hash: u64,
    /// The bucket.
    pub bucket: u32,
}

impl Place {
    /// In a table of so many buckets.
    ///
    /// The last 32 bits are multiplied as the number that they are: addresses one after the other, as networks give them to
    /// pods, spread more evenly than by chance.
    #[inline(always)]
    #[must_use]
    pub const fn of(addr: &Addr, buckets: u32) -> Self {
        let net = (addr.0[0] as u64) << 32 | addr.0[1] as u64;
        let host = (addr.0[2] as u64) << 32 | u32::from_be(addr.0[3]) as u64;
        let hash = (net.wrapping_mul(0xc2b2_ae3d_27d4_eb4f) ^ net >> 32 ^ host).wrapping_mul(PHI);
        Self { hash, bucket: (((hash >> 32) * buckets as u64) >> 32) as u32 }
    }

    /// The word of this place's address with a class and `PEER_*`; never 0.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, class: u32, flags: u32) -> u64 {
        self.checked((class as u64) << CLASS_SHIFT | (flags as u64 & FLAGS) << FLAGS_SHIFT | HERE)
    }

    /// With the check.
    #[inline(always)]
    const fn checked(self, bare: u64) -> u64 {
        let mixed = self.hash ^ self.hash >> 29 ^ bare.wrapping_mul(0x1656_67b1_9e37_79f9);
        bare | mixed.wrapping_mul(0xc2b2_ae3d_27d4_eb4f) >> 32 & CHECK
    }

    /// Whether a word is one of this place's address.
    #[inline(always)]
    #[must_use]
    pub const fn fits(self, word: u64) -> bool {
        word & HERE != 0 && self.checked(word & !CHECK) == word
    }
}

/// The class in a word.
#[inline(always)]
#[must_use]
pub const fn class_of(word: u64) -> u32 {
    (word >> CLASS_SHIFT) as u32
}

/// `PEER_*` in a word.
#[inline(always)]
#[must_use]
pub const fn flags_of(word: u64) -> u32 {
    (word >> FLAGS_SHIFT & FLAGS) as u32
}

/// The word of an address; 0 where the bucket does not hold it.
///
/// # Safety
///
/// `bucket` is valid for reads; others may write to it meanwhile. The same goes for all of the following.
#[inline(always)]
#[must_use]
pub unsafe fn find(bucket: *const Bucket, place: Place, addr: &Addr) -> u64 {
    let mut way = 0;
    while way < WAYS {
        // SAFETY: by the caller's promise, and as `way` is one of the bucket's.
        let entry = unsafe { read(bucket, way) };
        if entry.addr.same(addr) && place.fits(entry.word) {
            return entry.word;
        }
        way += 1;
    }
    0
}

/// A copy of an entry, each of whose words was loaded once; nothing is proven yet.
#[inline(always)]
unsafe fn read(bucket: *const Bucket, way: usize) -> Entry {
    // SAFETY: by the caller's promise.
    unsafe {
        let entry = &raw const (*bucket).entries[way & (WAYS - 1)];
        let word = (&raw const (*entry).word).read_volatile();
        Entry { addr: (&raw const (*entry).addr).read_volatile(), word }
    }
}

/// How many addresses of a bucket are in `peers`.
///
/// # Safety
///
/// As [`find`].
#[inline(always)]
#[must_use]
pub unsafe fn elsewhere(bucket: *const Bucket) -> u32 {
    // SAFETY: by the caller's promise.
    unsafe { (&raw const (*bucket).elsewhere).read_volatile() }
}

/// What a place of a bucket holds, in a table of so many; nothing where no word fits.
///
/// # Safety
///
/// As [`find`].
#[must_use]
pub unsafe fn held(bucket: *const Bucket, way: usize, buckets: u32) -> Option<Peer> {
    // SAFETY: by the caller's promise.
    let Entry { addr, word } = unsafe { read(bucket, way) };
    Place::of(&addr, buckets).fits(word).then(|| Peer { addr, class: class_of(word), flags: flags_of(word) })
}

/// The generation of a bucket's addresses.
///
/// # Safety
///
/// As [`find`].
#[inline(always)]
#[must_use]
pub unsafe fn generation(bucket: *const Bucket) -> u32 {
    // SAFETY: by the caller's promise.
    unsafe { (&raw const (*bucket).generation).read_volatile() }
}

/// Says how many addresses of a bucket are in `peers`.
///
/// # Safety
///
/// As [`find`], for writes too; nobody else writes.
pub unsafe fn set_elsewhere(bucket: *mut Bucket, count: u32) {
    // SAFETY: by the caller's promise.
    unsafe { (&raw mut (*bucket).elsewhere).write_volatile(count) };
}

/// Changes what is known of an address, by one store; says whether the bucket holds it.
///
/// # Safety
///
/// As [`set_elsewhere`].
pub unsafe fn change(bucket: *mut Bucket, place: Place, peer: &Peer) -> bool {
    // SAFETY: by the caller's promise.
    let Some(way) = (unsafe { way_of(bucket, place, &peer.addr) }) else { return false };
    // SAFETY: as above, and as the way is one of the bucket's.
    unsafe { (&raw mut (*bucket).entries[way].word).write_volatile(place.word(peer.class, peer.flags)) };
    true
}

/// Adds an address that the bucket does not hold; says whether there was room. What is in a place and proves nothing is no
/// address.
///
/// # Safety
///
/// As [`set_elsewhere`].
pub unsafe fn add(bucket: *mut Bucket, place: Place, peer: &Peer, buckets: u32) -> bool {
    // SAFETY: by the caller's promise.
    let Some(way) = (0..WAYS).find(|way| unsafe { held(bucket, *way, buckets) }.is_none()) else {
        return false;
    };
    // SAFETY: as above. The word comes last, so that on most processors nobody meets it before its address; on the others
    // the check tells.
    unsafe {
        let entry = &raw mut (*bucket).entries[way];
        (&raw mut (*entry).word).write_volatile(0);
        (&raw mut (*entry).addr).write_volatile(peer.addr);
        (&raw mut (*entry).word).write_volatile(place.word(peer.class, peer.flags));
    }
    true
}

/// Forgets an address, by one store; says whether the bucket held it.
///
/// # Safety
///
/// As [`set_elsewhere`].
pub unsafe fn forget(bucket: *mut Bucket, place: Place, addr: &Addr) -> bool {
    // SAFETY: by the caller's promise.
    let Some(way) = (unsafe { way_of(bucket, place, addr) }) else { return false };
    // SAFETY: as above, and as the way is one of the bucket's.
    unsafe { (&raw mut (*bucket).entries[way].word).write_volatile(0) };
    true
}

/// Where in its bucket an address is.
unsafe fn way_of(bucket: *const Bucket, place: Place, addr: &Addr) -> Option<usize> {
    (0..WAYS).find(|way| {
        // SAFETY: by the caller's promise.
        let entry = unsafe { read(bucket, *way) };
        entry.addr.same(addr) && place.fits(entry.word)
    })
}

#[cfg(test)]
mod tests;
