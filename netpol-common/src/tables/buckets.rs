//! Tables that the kernel looks into without a call: an array of buckets, each a cache line and one element of a BPF array.
//! What finds no room in its bucket is in a hash behind the array, and the bucket counts how much of its own is there: as
//! long as that is 0, nobody looks.
//!
//! The agent alone writes, while packets read, with nothing but plain loads and stores: the kernels that must be served
//! have no others, and some processors let them overtake each other. So all that is known of a key is one word, stored and
//! loaded at once, whose upper half says whose it is: the IPv4 address, or set and class of a row, themselves. An IPv6 address
//! stands before its word, and the upper half is a check over both, as a flow's: an address of one write and a word of another,
//! or a mixture of two addresses, do not fit and are taken for absent.
//!
//! The hash is not keyed: who chooses addresses that meet in one bucket sends them to the hash behind, and no further.

use super::{PEER_FRONTEND, PEER_SERVICE_ONLY, Peer, Rule, RuleKey};
use crate::{addr::Addr, pod::Pod};

/// What a table is looked into by.
pub trait Key: Pod {
    /// Where it is to be looked for in a table of so many buckets.
    fn place(&self, buckets: u32) -> Place;
    /// How many words of a key stand before each word of what is known, in this bucket of so many.
    fn words_before(bucket: u32, buckets: u32) -> usize;
    /// The key that these words are, which stand before that one.
    fn from_words(before: &[u64], word: u64) -> Self;
}

impl Key for Addr {
    /// The last eight bits are spread by themselves: addresses one after the other, and such as begin anew on each node, as
    /// networks give them to pods, spread more evenly than by chance.
    #[inline(always)]
    fn place(&self, buckets: u32) -> Place {
        let net = (self.0[0] as u64) << 32 | self.0[1] as u64;
        let host = (self.0[2] as u64) << 32 | u32::from_be(self.0[3]) as u64;
        let rest = host >> 8 ^ net.wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        let hash = rest.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add((host & 0xff).wrapping_mul(PHI));
        let of_v4 = v4_buckets(buckets);
        if self.is_v4() {
            let (bucket, within) = scaled(hash, of_v4);
            let key = [(self.0[3] as u64) << 32, 0];
            Place { hash, key, before: 0, first: one_of(within, V4_WAYS as u32), bucket }
        } else {
            let (bucket, within) = scaled(hash, buckets.wrapping_sub(of_v4));
            let key = [net, (self.0[2] as u64) << 32 | self.0[3] as u64];
            let first = 2 + 3 * one_of(within, V6_WAYS as u32);
            Place { hash, key, before: 2, first, bucket: of_v4.wrapping_add(bucket) }
        }
    }

    fn words_before(bucket: u32, buckets: u32) -> usize {
        if bucket < v4_buckets(buckets) { 0 } else { 2 }
    }

    fn from_words(before: &[u64], word: u64) -> Self {
        match *before {
            [net, host] => Self([(net >> 32) as u32, net as u32, (host >> 32) as u32, host as u32]),
            _ => Self::from_v4_word((word >> 32) as u32),
        }
    }
}

impl Key for RuleKey {
    /// Classes of a set are given one after the other and asked for by turns: so many of them stand in buckets one after the
    /// other, some in each, and in few pages of memory.
    #[inline(always)]
    fn place(&self, buckets: u32) -> Place {
        let several = (self.set as u64) << 32 | (self.class / TOGETHER) as u64;
        let hash = several.wrapping_mul(PHI);
        let bucket = scaled(hash, buckets).0 + self.class % TOGETHER / RULES_BESIDE;
        let bucket = if bucket < buckets { bucket } else { bucket - buckets };
        // Of fewer buckets than stand together, one may still be beyond the last.
        let bucket = if bucket < buckets { bucket } else { 0 };
        let fits = self.set >> (u32::BITS - CLASS_BITS) | self.class >> CLASS_BITS == 0;
        let key = [((self.set << CLASS_BITS | self.class) as u64) << 32, 0];
        Place { hash, key, before: if fits { 0 } else { NOWHERE }, first: self.class % RULES_BESIDE, bucket }
    }

    fn words_before(_bucket: u32, _buckets: u32) -> usize {
        0
    }

    fn from_words(_before: &[u64], word: u64) -> Self {
        let key = (word >> 32) as u32;
        Self { set: key >> CLASS_BITS, class: key & ((1 << CLASS_BITS) - 1) }
    }
}

/// Bits of the class of a row that stands in a bucket: as many ids as there can be at once. The set has the other 13: of more
/// than 8,192 sets, the rows stand in the hash behind.
const CLASS_BITS: u32 = 19;
/// Classes of a set whose rows stand together.
const TOGETHER: u32 = 128;
/// Of these, so many in each bucket: some more than half of what fits, as other sets' are there, too.
pub const RULES_BESIDE: u32 = 4;

/// How many of a table's buckets of addresses are for IPv4, the first ones: three of ten. Seven of these addresses fit into a
/// bucket, and of IPv6 two; so for each two places for one of IPv6 there are three of IPv4, of which a third may be empty.
#[inline(always)]
#[must_use]
pub const fn v4_buckets(buckets: u32) -> u32 {
    ((buckets as u64 * (3_u64 << 32).div_ceil(10)) >> 32) as u32
}

/// Buckets for so many addresses of each family.
#[must_use]
pub const fn buckets_for(addresses: u32) -> u64 {
    (addresses.div_ceil(V6_WAYS as u32) as u64 * 10).div_ceil(7)
}

/// A hash as the number of a bucket, of so many, and as how far within it.
#[inline(always)]
const fn scaled(hash: u64, buckets: u32) -> (u32, u32) {
    let product = (hash >> 32) * buckets as u64;
    ((product >> 32) as u32, product as u32)
}

/// How far within a bucket, as one of so many.
#[inline(always)]
const fn one_of(within: u32, ways: u32) -> u32 {
    ((within as u64 * ways as u64) >> 32) as u32
}

/// What a table knows: a key, a number, and two flags.
pub trait Row: Pod {
    /// By what it is found.
    type Key: Key;
    /// Its key.
    fn key(&self) -> Self::Key;
    /// Its number, not above [`VALUE_MOST`].
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

/// Words of a bucket that hold keys and what is known of them: as many as IPv4 addresses or rows of rules.
pub const WORDS: usize = 7;
/// IPv4 addresses of a bucket.
pub const V4_WAYS: usize = WORDS;
/// IPv6 addresses of a bucket.
pub const V6_WAYS: usize = WORDS / 3;

pod! {
    /// Some keys with what is known of each: a cache line.
    pub struct Bucket {
        /// As many as fit, one after the other and in no order: the words of a key, if it has any, of no meaning unless the word
        /// behind them fits. From the top, that has what says whose it is (32 bits), the value (29), flags (2), and whether it is
        /// anybody's (1).
        pub words: [u64; WORDS],
        /// How many keys of this bucket are in the hash behind: counted up after one came there, and down after it went.
        pub elsewhere: u32,
        /// Of addresses: moves on when one that belongs here, found or not, becomes something else: what was judged by it before
        /// is judged again. It stands here since who looks at an address looks at this too.
        pub generation: u32,
    }
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is a cache line");

/// It is somebody's.
const HERE: u64 = 1;
const FLAGS_SHIFT: u32 = 1;
const FLAGS: u64 = (PEER_FRONTEND | PEER_SERVICE_ONLY) as u64;
const VALUE_SHIFT: u32 = 3;
/// The largest value that fits: more ids than any map of them has room for.
pub const VALUE_MOST: u32 = u32::MAX >> VALUE_SHIFT;
/// The half of a word that says whose it is.
const WHOSE: u64 = !0 << 32;

const _: () =
    assert!(FLAGS << FLAGS_SHIFT | HERE == (1 << VALUE_SHIFT) - 1, "flags and value lie beside each other");

/// A key that does not fit into a bucket.
const NOWHERE: usize = WORDS;

/// 2^64 divided by the golden ratio.
const PHI: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where a key is to be looked for, and by what it is recognised there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The hash of the key, the same for hardly any two addresses.
    hash: u64,
    /// The words that stand before that of the key. Without any, the upper half of its own word.
    key: [u64; 2],
    /// How many these are: none, two, or [`NOWHERE`].
    before: usize,
    /// The word where it is put when that is free, and looked for first: a processor that guesses so is mostly right.
    first: u32,
    /// The bucket.
    pub bucket: u32,
}

impl Place {
    /// The word of this place's key with a value and flags; never 0.
    #[inline(always)]
    #[must_use]
    pub const fn word(&self, value: u32, flags: u32) -> u64 {
        let known = (value as u64) << VALUE_SHIFT & !WHOSE | (flags as u64 & FLAGS) << FLAGS_SHIFT | HERE;
        known | self.whose(known)
    }

    /// The upper half of a word with this lower half.
    #[inline(always)]
    const fn whose(&self, known: u64) -> u64 {
        if self.before == 0 {
            return self.key[0];
        }
        let mixed = self.hash ^ self.hash >> 29 ^ known.wrapping_mul(0x1656_67b1_9e37_79f9);
        mixed.wrapping_mul(0xc2b2_ae3d_27d4_eb4f) & WHOSE
    }

    /// Whether a word is one of this place's key.
    #[inline(always)]
    #[must_use]
    pub const fn fits(&self, word: u64) -> bool {
        (word ^ (self.whose(word & !WHOSE) | HERE)) & (WHOSE | HERE) == 0
    }
}

/// The value in a word.
#[inline(always)]
#[must_use]
pub const fn value_of(word: u64) -> u32 {
    word as u32 >> VALUE_SHIFT
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
pub unsafe fn find(bucket: *const Bucket, place: &Place) -> u64 {
    // SAFETY: by the caller's promise.
    unsafe { search(bucket, place) }.1
}

/// Where in its bucket the word of a key is, and the word; 0 where the bucket does not hold it.
#[inline(always)]
unsafe fn search(bucket: *const Bucket, place: &Place) -> (usize, u64) {
    // SAFETY: by the caller's promise. The number is a constant in each, so that the kernel has no loop.
    unsafe {
        match place.before {
            0 => search_behind::<0>(bucket, place),
            2 => search_behind::<2>(bucket, place),
            _ => (WORDS, 0),
        }
    }
}

/// The same where so many words stand before each.
#[inline(always)]
unsafe fn search_behind<const BEFORE: usize>(bucket: *const Bucket, place: &Place) -> (usize, u64) {
    // SAFETY: by the caller's promise, and as this is one of the bucket's words, as those before it are.
    let fitting = |at: usize| unsafe {
        let same =
            BEFORE == 0 || read(bucket, at - 2) == place.key[0] && read(bucket, at - 1) == place.key[1];
        let word = read(bucket, at);
        if same && place.fits(word) { word } else { 0 }
    };
    let first = place.first as usize;
    let word = fitting(first);
    if word != 0 {
        return (first, word);
    }
    let mut at = BEFORE;
    while at < WORDS {
        let word = fitting(at);
        if word != 0 {
            return (at, word);
        }
        at += BEFORE + 1;
    }
    (WORDS, 0)
}

/// A word, which is loaded once.
#[inline(always)]
unsafe fn read(bucket: *const Bucket, at: usize) -> u64 {
    // SAFETY: by the caller's promise, with a place of the bucket's.
    unsafe { (&raw const (*bucket).words).cast::<u64>().add(at).read_volatile() }
}

/// How many keys of a bucket are in the hash behind.
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

/// Says how many keys of a bucket are in the hash behind.
///
/// # Safety
///
/// As [`find`], for writes too; nobody else writes.
pub unsafe fn set_elsewhere(bucket: *mut Bucket, count: u32) {
    // SAFETY: by the caller's promise.
    unsafe { (&raw mut (*bucket).elsewhere).write_volatile(count) };
}

/// A bucket as the agent works on it, its one writer.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    bucket: *mut Bucket,
    /// Which one.
    index: u32,
    /// Of so many.
    buckets: u32,
    /// Words of a key before each word.
    before: usize,
}

impl Writer {
    /// To one of a table of `K` with so many buckets.
    ///
    /// # Safety
    ///
    /// `bucket` is the one of that index, and valid for reads and writes as long as this is used; nobody else writes.
    #[must_use]
    pub unsafe fn of<K: Key>(bucket: *mut Bucket, index: u32, buckets: u32) -> Self {
        Self { bucket, index, buckets, before: K::words_before(index, buckets) }
    }

    /// Where the words are, as far as there are any.
    fn words(&self) -> impl Iterator<Item = usize> + use<> {
        (self.before..WORDS).step_by(self.before + 1)
    }

    fn write(&self, at: usize, word: u64) {
        // SAFETY: by the promise to `of`, and as this is one of the bucket's words.
        unsafe { (&raw mut (*self.bucket).words).cast::<u64>().add(at).write_volatile(word) };
    }

    /// What the word in this place is known of, if it fits what stands before it.
    fn held<R: Row>(&self, at: usize) -> Option<R> {
        // SAFETY: as above.
        let read = |at| unsafe { read(self.bucket, at) };
        let before = [at.wrapping_sub(2), at.wrapping_sub(1)].map(|at| if at < WORDS { read(at) } else { 0 });
        let word = read(at);
        let key = R::Key::from_words(&before[2 - self.before..], word);
        let place = key.place(self.buckets);
        (place.bucket == self.index && place.fits(word)).then(|| R::of(key, value_of(word), flags_of(word)))
    }

    /// All that it holds.
    pub fn rows<R: Row>(self) -> impl Iterator<Item = R> {
        self.words().filter_map(move |at| self.held(at))
    }

    fn place_of(&self, place: &Place) -> Option<usize> {
        // SAFETY: by the promise to `of`.
        let (at, word) = unsafe { search(self.bucket, place) };
        (word != 0).then_some(at)
    }

    /// Changes what is known of a key, by one store; says whether the bucket holds it.
    #[must_use]
    pub fn change<R: Row>(&self, place: &Place, row: &R) -> bool {
        let at = self.place_of(place);
        if let Some(at) = at {
            self.write(at, place.word(row.value(), row.flags()));
        }
        at.is_some()
    }

    /// Adds a row whose key the bucket does not hold; says whether there was room. What is in a place and proves nothing is no
    /// key.
    #[must_use]
    pub fn add<R: Row>(&self, place: &Place, row: &R) -> bool {
        if place.before == NOWHERE {
            return false;
        }
        let is_free = |at: &usize| self.held::<R>(*at).is_none();
        let first = Some(place.first as usize).filter(is_free);
        let Some(at) = first.or_else(|| self.words().find(is_free)) else { return false };
        // The word comes last, so that on most processors nobody meets it before its key; on the others the check tells.
        if self.before > 0 {
            self.write(at, 0);
        }
        for (number, word) in place.key.iter().take(self.before).enumerate() {
            self.write(at - self.before + number, *word);
        }
        self.write(at, place.word(row.value(), row.flags()));
        true
    }

    /// Forgets a key, by one store.
    pub fn forget(&self, place: &Place) {
        if let Some(at) = self.place_of(place) {
            self.write(at, 0);
        }
    }
}

#[cfg(test)]
mod tests;
