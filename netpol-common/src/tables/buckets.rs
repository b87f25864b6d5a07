//! Tables that the kernel looks into without a call: an array of buckets, each a cache line and one element of a BPF array.
//! What finds no room in its bucket is in a hash behind the array, and the bucket counts how much of its own is there: as
//! long as that is 0, nobody looks.
//!
//! The agent alone writes, while packets read, with nothing but plain loads and stores: the kernels that must be served
//! have no others, and some processors let them overtake each other. So an [`Entry`] proves itself, as a flow's does: all
//! that is known of a key is one word, stored and loaded at once, and carries a check over the key and itself. A key of one
//! write and a word of another, or a mixture of two keys, do not fit and are taken for absent.
//!
//! The hash is not keyed: who chooses addresses that meet in one bucket sends them to the hash behind, and no further.

use super::{PEER_FRONTEND, PEER_SERVICE_ONLY, Peer, Rule, RuleKey};
use crate::{addr::Addr, pod::Pod};

/// What a table is looked into by.
pub trait Key: Pod {
    /// Which is the same for no two keys of rules, and for hardly any two addresses.
    fn hash(&self) -> u64;
    /// Whether both are the same.
    fn same(&self, other: &Self) -> bool;
}

impl Key for Addr {
    /// The last 32 bits are multiplied as the number that they are: addresses one after the other, as networks give them to
    /// pods, spread more evenly than by chance.
    #[inline(always)]
    fn hash(&self) -> u64 {
        let net = (self.0[0] as u64) << 32 | self.0[1] as u64;
        let host = (self.0[2] as u64) << 32 | u32::from_be(self.0[3]) as u64;
        (net.wrapping_mul(0xc2b2_ae3d_27d4_eb4f) ^ net >> 32 ^ host).wrapping_mul(PHI)
    }

    #[inline(always)]
    fn same(&self, other: &Self) -> bool {
        Self::same(self, other)
    }
}

impl Key for RuleKey {
    /// The classes of a set spread evenly, as they are given one after the other.
    #[inline(always)]
    fn hash(&self) -> u64 {
        ((self.set as u64) << 32 | self.class as u64).wrapping_mul(PHI)
    }

    #[inline(always)]
    fn same(&self, other: &Self) -> bool {
        (self.set ^ other.set) | (self.class ^ other.class) == 0
    }
}

/// What a table knows: a key, a number, and two flags.
pub trait Row: Pod {
    /// By what it is found.
    type Key: Key;
    /// Its key.
    fn key(&self) -> Self::Key;
    /// Its number.
    fn value(&self) -> u32;
    /// Its flags, of which the last two bits are kept.
    fn flags(&self) -> u32;
    /// From all three.
    fn of(key: Self::Key, value: u32, flags: u32) -> Self;
}

impl Row for Peer {
    type Key = Addr;
    fn key(&self) -> Addr {
        self.addr
    }
    fn value(&self) -> u32 {
        self.class
    }
    fn flags(&self) -> u32 {
        self.flags
    }
    fn of(addr: Addr, class: u32, flags: u32) -> Self {
        Self { addr, class, flags }
    }
}

impl Row for Rule {
    type Key = RuleKey;
    fn key(&self) -> RuleKey {
        self.key
    }
    fn value(&self) -> u32 {
        self.port_set
    }
    fn flags(&self) -> u32 {
        0
    }
    fn of(key: RuleKey, port_set: u32, _flags: u32) -> Self {
        Self { key, port_set }
    }
}

/// A key and what is known of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<K> {
    /// The key; of no meaning unless the word fits it.
    pub key: K,
    /// From the top: the value (32 bits), the check (29 bits), flags (2 bits), and whether there is a key (1 bit).
    pub word: u64,
}

/// Some keys: a cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket<K, const WAYS: usize> {
    /// The keys, in no order.
    pub entries: [Entry<K>; WAYS],
    /// How many keys of this bucket are in the hash behind: counted up after one came there, and down after it went.
    pub elsewhere: u32,
    /// Of addresses: moves on when one that belongs here, found or not, becomes something else: what was judged by it before
    /// is judged again. It stands here since who looks at an address looks at this too.
    pub generation: u32,
    /// Zero.
    pub reserved: [u32; 2],
}

/// Two addresses with class and `PEER_*`.
pub type PeerBucket = Bucket<Addr, PEER_WAYS>;
/// Three rows of rules with their port sets.
pub type RuleBucket = Bucket<RuleKey, RULE_WAYS>;

/// Addresses of a bucket.
pub const PEER_WAYS: usize = 2;
/// Rows of a bucket.
pub const RULE_WAYS: usize = 3;

const _: () = assert!(size_of::<PeerBucket>() == 64, "a bucket is a cache line, without padding");
const _: () = assert!(size_of::<RuleBucket>() == 64, "a bucket is a cache line, without padding");

// SAFETY: integers, and no padding, as the assertions above say.
unsafe impl Pod for PeerBucket {}
// SAFETY: as above.
unsafe impl Pod for RuleBucket {}

/// There is a key.
const HERE: u64 = 1;
const FLAGS_SHIFT: u32 = 1;
const FLAGS: u64 = (PEER_FRONTEND | PEER_SERVICE_ONLY) as u64;
const VALUE_SHIFT: u32 = 32;
/// The bits of the check.
const CHECK: u64 = (1 << VALUE_SHIFT) - (1 << 3);

const _: () = assert!(FLAGS << FLAGS_SHIFT | HERE == (1 << 3) - 1, "flags and check lie beside each other");

/// 2^64 divided by the golden ratio.
const PHI: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where a key is to be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The hash of the key.
    hash: u64,
    /// The bucket.
    pub bucket: u32,
}

impl Place {
    /// In a table of so many buckets.
    #[inline(always)]
    #[must_use]
    pub fn of<K: Key>(key: &K, buckets: u32) -> Self {
        let hash = key.hash();
        Self { hash, bucket: (((hash >> 32) * buckets as u64) >> 32) as u32 }
    }

    /// The word of this place's key with a value and flags; never 0.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, value: u32, flags: u32) -> u64 {
        self.checked((value as u64) << VALUE_SHIFT | (flags as u64 & FLAGS) << FLAGS_SHIFT | HERE)
    }

    /// With the check.
    #[inline(always)]
    const fn checked(self, bare: u64) -> u64 {
        let mixed = self.hash ^ self.hash >> 29 ^ bare.wrapping_mul(0x1656_67b1_9e37_79f9);
        bare | mixed.wrapping_mul(0xc2b2_ae3d_27d4_eb4f) >> 32 & CHECK
    }

    /// Whether a word is one of this place's key.
    #[inline(always)]
    #[must_use]
    pub const fn fits(self, word: u64) -> bool {
        word & HERE != 0 && self.checked(word & !CHECK) == word
    }
}

/// The value in a word.
#[inline(always)]
#[must_use]
pub const fn value_of(word: u64) -> u32 {
    (word >> VALUE_SHIFT) as u32
}

/// The flags in a word.
#[inline(always)]
#[must_use]
pub const fn flags_of(word: u64) -> u32 {
    (word >> FLAGS_SHIFT & FLAGS) as u32
}

/// The word of a key; 0 where the bucket does not hold it.
///
/// # Safety
///
/// `bucket` is valid for reads; others may write to it meanwhile. The same goes for all of the following.
#[inline(always)]
#[must_use]
pub unsafe fn find<K: Key, const WAYS: usize>(bucket: *const Bucket<K, WAYS>, place: Place, key: &K) -> u64 {
    let mut way = 0;
    while way < WAYS {
        // SAFETY: by the caller's promise, and as `way` is one of the bucket's.
        let entry = unsafe { read(bucket, way) };
        if entry.key.same(key) && place.fits(entry.word) {
            return entry.word;
        }
        way += 1;
    }
    0
}

/// A copy of an entry, each of whose words was loaded once; nothing is proven yet.
#[inline(always)]
unsafe fn read<K: Key, const WAYS: usize>(bucket: *const Bucket<K, WAYS>, way: usize) -> Entry<K> {
    // SAFETY: by the caller's promise, with a way of the bucket's.
    unsafe {
        let entry = (&raw const (*bucket).entries).cast::<Entry<K>>().add(way);
        let word = (&raw const (*entry).word).read_volatile();
        Entry { key: (&raw const (*entry).key).read_volatile(), word }
    }
}

/// How many keys of a bucket are in the hash behind.
///
/// # Safety
///
/// As [`find`].
#[inline(always)]
#[must_use]
pub unsafe fn elsewhere<K, const WAYS: usize>(bucket: *const Bucket<K, WAYS>) -> u32 {
    // SAFETY: by the caller's promise.
    unsafe { (&raw const (*bucket).elsewhere).read_volatile() }
}

/// The generation of a bucket's addresses.
///
/// # Safety
///
/// As [`find`].
#[inline(always)]
#[must_use]
pub unsafe fn generation(bucket: *const PeerBucket) -> u32 {
    // SAFETY: by the caller's promise.
    unsafe { (&raw const (*bucket).generation).read_volatile() }
}

/// What a place of a bucket holds, in a table of so many; nothing where no word fits.
///
/// # Safety
///
/// As [`find`], and `way` is below the bucket's.
#[must_use]
pub unsafe fn held<R: Row, const WAYS: usize>(
    bucket: *const Bucket<R::Key, WAYS>,
    way: usize,
    buckets: u32,
) -> Option<R> {
    // SAFETY: by the caller's promise.
    let Entry { key, word } = unsafe { read(bucket, way) };
    Place::of(&key, buckets).fits(word).then(|| R::of(key, value_of(word), flags_of(word)))
}

/// Says how many keys of a bucket are in the hash behind.
///
/// # Safety
///
/// As [`find`], for writes too; nobody else writes.
pub unsafe fn set_elsewhere<K, const WAYS: usize>(bucket: *mut Bucket<K, WAYS>, count: u32) {
    // SAFETY: by the caller's promise.
    unsafe { (&raw mut (*bucket).elsewhere).write_volatile(count) };
}

/// Changes what is known of a key, by one store; says whether the bucket holds it.
///
/// # Safety
///
/// As [`set_elsewhere`].
pub unsafe fn change<R: Row, const WAYS: usize>(
    bucket: *mut Bucket<R::Key, WAYS>,
    place: Place,
    row: &R,
) -> bool {
    // SAFETY: by the caller's promise.
    let Some(way) = (unsafe { way_of(bucket, place, &row.key()) }) else { return false };
    // SAFETY: as above, and as the way is one of the bucket's.
    unsafe { (&raw mut (*bucket).entries[way].word).write_volatile(place.word(row.value(), row.flags())) };
    true
}

/// Adds a row whose key the bucket does not hold; says whether there was room. What is in a place and proves nothing is no key.
///
/// # Safety
///
/// As [`set_elsewhere`].
pub unsafe fn add<R: Row, const WAYS: usize>(
    bucket: *mut Bucket<R::Key, WAYS>,
    place: Place,
    row: &R,
    buckets: u32,
) -> bool {
    // SAFETY: by the caller's promise.
    let Some(way) = (0..WAYS).find(|way| unsafe { held::<R, WAYS>(bucket, *way, buckets) }.is_none()) else {
        return false;
    };
    // SAFETY: as above. The word comes last, so that on most processors nobody meets it before its key; on the others the
    // check tells.
    unsafe {
        let entry = &raw mut (*bucket).entries[way];
        (&raw mut (*entry).word).write_volatile(0);
        (&raw mut (*entry).key).write_volatile(row.key());
        (&raw mut (*entry).word).write_volatile(place.word(row.value(), row.flags()));
    }
    true
}

/// Forgets a key, by one store; says whether the bucket held it.
///
/// # Safety
///
/// As [`set_elsewhere`].
pub unsafe fn forget<K: Key, const WAYS: usize>(bucket: *mut Bucket<K, WAYS>, place: Place, key: &K) -> bool {
    // SAFETY: by the caller's promise.
    let Some(way) = (unsafe { way_of(bucket, place, key) }) else { return false };
    // SAFETY: as above, and as the way is one of the bucket's.
    unsafe { (&raw mut (*bucket).entries[way].word).write_volatile(0) };
    true
}

/// Where in its bucket a key is.
unsafe fn way_of<K: Key, const WAYS: usize>(
    bucket: *const Bucket<K, WAYS>,
    place: Place,
    key: &K,
) -> Option<usize> {
    (0..WAYS).find(|way| {
        // SAFETY: by the caller's promise.
        let entry = unsafe { read(bucket, *way) };
        entry.key.same(key) && place.fits(entry.word)
    })
}

#[cfg(test)]
mod tests;
