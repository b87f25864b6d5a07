//! Tables that the kernel looks into without a call: an array of buckets, each a cache line and one element of a BPF array.
//! What finds no room in its bucket is in a hash behind the array, and the bucket counts how much of its own is there: as
//! long as that is 0, nobody looks.
//!
//! The agent alone writes, while packets read, with nothing but plain loads and stores: the kernels that must be served
//! have no others, and some processors let them overtake each other. So all that is known of a key is one word, stored and
//! loaded at once, whose upper half says whose it is. Of an IPv4 address that is the address itself. What is longer stands
//! before its word, and the upper half is a check over both, as a flow's: a key of one write and a word of another, or a
//! mixture of two keys, do not fit and are taken for absent.
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
    /// The last 32 bits are multiplied as the number that they are: addresses one after the other, as networks give them to
    /// pods, spread more evenly than by chance.
    #[inline(always)]
    fn place(&self, buckets: u32) -> Place {
        let net = (self.0[0] as u64) << 32 | self.0[1] as u64;
        let host = (self.0[2] as u64) << 32 | u32::from_be(self.0[3]) as u64;
        let hash = (net.wrapping_mul(0xc2b2_ae3d_27d4_eb4f) ^ net >> 32 ^ host).wrapping_mul(PHI);
        let of_v4 = v4_buckets(buckets);
        if self.is_v4() {
            Place { hash, key: [(self.0[3] as u64) << 32, 0], before: 0, bucket: scaled(hash, of_v4) }
        } else {
            let key = [net, (self.0[2] as u64) << 32 | self.0[3] as u64];
            Place { hash, key, before: 2, bucket: of_v4 + scaled(hash, buckets.wrapping_sub(of_v4)) }
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
    /// other, in few pages of memory.
    #[inline(always)]
    fn place(&self, buckets: u32) -> Place {
        let key = (self.set as u64) << 32 | self.class as u64;
        let several = (self.set as u64) << 32 | (self.class / TOGETHER) as u64;
        let bucket = scaled(several.wrapping_mul(PHI), buckets) + self.class % TOGETHER;
        let bucket = if bucket < buckets { bucket } else { bucket - buckets };
        // Of fewer buckets than stand together, one may still be beyond the last.
        let bucket = if bucket < buckets { bucket } else { 0 };
        Place { hash: key.wrapping_mul(PHI), key: [key, 0], before: 1, bucket }
    }

    fn words_before(_bucket: u32, _buckets: u32) -> usize {
        1
    }

    fn from_words(before: &[u64], _word: u64) -> Self {
        let key = before.first().copied().unwrap_or_default();
        Self { set: (key >> 32) as u32, class: key as u32 }
    }
}

/// Classes of a set whose rows stand together.
const TOGETHER: u32 = 32;

/// How many of a table's buckets of addresses are for IPv4, the first ones: two of nine, since seven of these addresses fit
/// into a bucket, and of IPv6 two. At least one of each family if there are nine.
#[inline(always)]
#[must_use]
pub const fn v4_buckets(buckets: u32) -> u32 {
    (buckets as u64 * (2_u64 << 32).div_ceil(9) >> 32) as u32
}

/// A hash as the number of a bucket, of so many.
#[inline(always)]
const fn scaled(hash: u64, buckets: u32) -> u32 {
    ((hash >> 32) * buckets as u64 >> 32) as u32
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

/// Words of a bucket that hold keys and what is known of them.
pub const WORDS: usize = 7;
/// IPv4 addresses of a bucket.
pub const V4_WAYS: usize = WORDS;
/// IPv6 addresses of a bucket.
pub const V6_WAYS: usize = WORDS / 3;
/// Rows of rules of a bucket.
pub const RULE_WAYS: usize = WORDS / 2;

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

/// 2^64 divided by the golden ratio.
const PHI: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where a key is to be looked for, and by what it is recognised there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The hash of the key: the same for no two keys of rules, and for hardly any two addresses.
    hash: u64,
    /// The words that stand before that of the key. Without any, the upper half of its own word.
    key: [u64; 2],
    /// How many these are.
    before: usize,
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
        word & HERE != 0 && (word ^ self.whose(word & !WHOSE)) & WHOSE == 0
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
            1 => search_behind::<1>(bucket, place),
            _ => search_behind::<2>(bucket, place),
        }
    }
}

/// The same where so many words stand before each.
#[inline(always)]
unsafe fn search_behind<const BEFORE: usize>(bucket: *const Bucket, place: &Place) -> (usize, u64) {
    let mut at = BEFORE;
    while at < WORDS {
        // SAFETY: by the caller's promise, and as `at` is one of the bucket's words, as those before it are.
        let (word, same) = unsafe {
            let same = (BEFORE < 1 || read(bucket, at - BEFORE) == place.key[0])
                && (BEFORE < 2 || read(bucket, at - 1) == place.key[1]);
            (read(bucket, at), same)
        };
        if same && place.fits(word) {
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
        let Some(at) = self.words().find(|at| self.held::<R>(*at).is_none()) else { return false };
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
