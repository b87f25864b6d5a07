//! The table of an endpoint's flows: an array of buckets of eight, each bucket one element of a BPF array.
//!
//! The kernel and the agent work on it at the same time, with nothing but plain loads and stores: the kernels that must
//! be served have no atomic that compares. So whatever is read proves itself. An [`Entry`] carries a check over the hash
//! of its key and over all that a verdict follows from; what two writers have mixed up, or what is half written, does not
//! fit it and is taken for absent. The rest, a flow's [`Life`], is one word and written at once.
//!
//! The hash is keyed ([`Hashing`]), so that nobody can choose tuples that meet in one bucket.
//!
//! # What gives way
//!
//! A new flow takes its first place ([`Place::way`]) when that is free, or a connection there was closed in an earlier tick; else
//! a free place of its bucket; where there is none, the place of the flow that has spent most of the
//! time for which its like is remembered. Established connections give way to nothing but to each other, and only when
//! they fill all of a bucket: a flood of half-open flows or of datagrams does not push them out.

use super::{Flow, FlowKey, REFRESH, STATE_CLOSING, STATE_ESTABLISHED};
use crate::{packet::TCP, verifier::forgotten};

/// Flows of a bucket.
pub const WAYS: usize = 8;

pod! {
    /// A flow's key, and what it was judged under. A cache line of its own.
    pub struct Entry {
        /// The key.
        pub key: FlowKey,
        /// Fits to the hash of the key and to all of the following.
        pub check: u32,
        /// [`Flow::revision`].
        pub revision: u32,
        /// [`Flow::generation`].
        pub generation: u32,
        /// [`Flow::backends`].
        pub backends: u32,
        /// [`Flow::sender_revision`].
        pub sender_revision: u32,
        /// [`Flow::sender`].
        pub sender: u16,
        /// [`Flow::origin`].
        pub origin: u8,
        /// [`Flow::denied`].
        pub denied: u8,
    }
}

pod! {
    /// Eight flows. What a search looks at is in front, in one cache line.
    pub struct Bucket {
        /// [`Place::tag`] of each; 0 where there is none.
        pub tags: [u32; WAYS],
        /// [`Life`] of each.
        pub lives: [u32; WAYS],
        /// The flows.
        pub entries: [Entry; WAYS],
    }
}

/// What changes while a flow lives and decides nothing but how long it is remembered: one word, stored at once.
///
/// From the top: its state and one (2 bits; 0 where there is no flow), who has closed (2 bits), whether it is TCP, and the
/// tick at which it was last seen (27 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life(pub u32);

const STATE_SHIFT: u32 = 30;
const FINS_SHIFT: u32 = 28;
const TCP_SHIFT: u32 = 27;
/// The bits of a tick that are kept: they come round in four and a half years.
pub const TICK_MASK: u32 = (1 << TCP_SHIFT) - 1;

/// How much sooner a flow gives way than an answered datagram's would: a power of two by what stands in the place of its
/// state, a byte each. Nothing at all goes first; then what is closed, and what has only one end.
const SOONER: u32 = u32::from_le_bytes([36, 1, 0, 4]);
/// All but established connections go before these.
const FLEETING: u32 = 32;

impl Life {
    /// That of a flow.
    #[inline(always)]
    #[must_use]
    pub const fn of(proto: u8, flow: &Flow) -> Self {
        let tcp = if proto == TCP { 1 << TCP_SHIFT } else { 0 };
        let state = (flow.state as u32 + 1) << STATE_SHIFT;
        let fins = (flow.fins as u32 & 3) << FINS_SHIFT;
        Self(state | fins | tcp | flow.last_seen & TICK_MASK)
    }

    /// `STATE_*`.
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> u8 {
        ((self.0 >> STATE_SHIFT) as u8).wrapping_sub(1) & 3
    }

    /// `FIN_*`.
    #[inline(always)]
    #[must_use]
    pub const fn fins(self) -> u8 {
        (self.0 >> FINS_SHIFT) as u8 & 3
    }

    /// The tick at which it was last seen, but for the bits above [`TICK_MASK`].
    #[inline(always)]
    #[must_use]
    pub const fn last_seen(self) -> u32 {
        self.0 & TICK_MASK
    }

    /// 1 when it is an established connection, which gives way to nothing else, and 0 otherwise.
    #[inline(always)]
    #[must_use]
    pub const fn lasts(self) -> u32 {
        const { assert!(STATE_ESTABLISHED == 1) };
        (self.0 >> 31) & (!self.0 >> 30) & (self.0 >> TCP_SHIFT) & 1
    }

    /// Whether it may give way without a look at the others of its bucket: there is nothing, or what was closed some time ago.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(self, now: u32) -> bool {
        const { assert!(STATE_CLOSING == 2) };
        let closed = self.0 >> STATE_SHIFT == STATE_CLOSING as u32 + 1;
        self.0 == 0 || closed && age(now, self.last_seen()) != 0
    }

    /// How soon it gives way: the larger, the sooner. Without a branch, since each would double what the verifier walks.
    #[inline(always)]
    const fn readiness(self, now: u32) -> u64 {
        // A little more than its age, so that another CPU, whose clock was ahead of ours, has not seen it long ago.
        let age = now.wrapping_add(REFRESH + 1).wrapping_sub(self.0) & TICK_MASK;
        let sooner = SOONER >> ((self.0 >> STATE_SHIFT) * 8) & 0x3f;
        ((age as u64) << sooner) | ((1 - self.lasts()) as u64) << FLEETING
    }
}

/// Ticks since then; 0 for what another CPU, whose clock was ahead of ours, has seen just now.
#[inline(always)]
#[must_use]
pub const fn age(now: u32, last_seen: u32) -> u32 {
    let age = now.wrapping_sub(last_seen) & TICK_MASK;
    if age > TICK_MASK - REFRESH { 0 } else { age }
}

pod! {
    /// How the tables of flows of a node are hashed, as long as they live.
    pub struct Hashing {
        /// Random words, one for each eight bytes of a [`FlowKey`].
        pub secret: [u64; 5],
        /// One less than the buckets of each table, which are a power of two.
        pub mask: u32,
        /// Zero.
        pub reserved: u32,
    }
}

/// Where a flow is to be looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The hash of the key.
    hash: u64,
    /// The bucket.
    pub bucket: u32,
}

/// 2^64 divided by the golden ratio.
const PHI: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hashing {
    /// Where a flow is to be looked for. Connections that one end opens to another one after the other, which take every
    /// second port (`connect` leaves the odd ones to `bind`), are in buckets one after the other: that spreads them better
    /// than chance would. Odd ports start half of the table away. The larger port is taken for theirs. A flow that has to
    /// give way is opened anew by whichever end speaks next, so as few as possible shall meet.
    ///
    /// Sums of products of halves (NH of UMAC, RFC 4418, 5.2.1): the chance that two keys meet is 2^-32 for who does
    /// not know the words.
    #[inline(always)]
    #[must_use]
    pub fn place(&self, key: &FlowKey) -> Place {
        let words = key.words();
        let sum = half_product(self.secret[0], words[0])
            .wrapping_add(half_product(self.secret[1], words[1]))
            .wrapping_add(half_product(self.secret[2], words[2]))
            .wrapping_add(half_product(self.secret[3], words[3]));
        let (low, high) = if key.pod_port < key.peer_port {
            (key.pod_port, key.peer_port)
        } else {
            (key.peer_port, key.pod_port)
        };
        let following = (high as u32 >> 1).wrapping_add((high as u32 & 1) * (self.mask >> 1));
        let beside = sum.wrapping_add((low as u64).wrapping_mul(self.secret[4] | 1));
        Place {
            hash: mixed(sum.wrapping_add(half_product(self.secret[4], words[4]))),
            bucket: (mixed(beside) as u32).wrapping_add(following) & self.mask,
        }
    }
}

#[inline(always)]
const fn mixed(sum: u64) -> u64 {
    let product = (sum ^ sum >> 32).wrapping_mul(PHI);
    product ^ product >> 32
}

#[inline(always)]
const fn half_product(secret: u64, word: u64) -> u64 {
    let low = (word as u32).wrapping_add(secret as u32);
    let high = ((word >> 32) as u32).wrapping_add((secret >> 32) as u32);
    low as u64 * high as u64
}

impl Place {
    /// By what it is recognised within its bucket; never 0.
    #[inline(always)]
    #[must_use]
    pub const fn tag(self) -> u32 {
        (self.hash >> 32) as u32 | 1
    }

    /// Where in its bucket a flow is put when that is free, and looked for first: a processor that guesses so loads the entry
    /// together with what says that it is there.
    #[inline(always)]
    #[must_use]
    pub const fn way(self) -> usize {
        (self.hash >> 33) as usize & (WAYS - 1)
    }

    /// The check of what a flow was judged under.
    #[inline(always)]
    const fn check(self, flow: &Flow) -> u32 {
        let under = flow.revision as u64 | (flow.generation as u64) << 32;
        let by = flow.backends as u64 | (flow.sender_revision as u64) << 32;
        let whose = flow.sender as u64 | (flow.origin as u64) << 16 | (flow.denied as u64) << 24;
        let mixed = (under ^ self.hash).wrapping_mul(PHI)
            ^ (by ^ self.hash >> 7).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
            ^ (whose ^ self.hash << 9).wrapping_mul(0x1656_67b1_9e37_79f9);
        (mixed >> 32) as u32
    }
}

/// The place of a flow in a bucket; [`WAYS`] where it is not.
///
/// # Safety
///
/// `bucket` is valid for reads; others may write to it meanwhile. The same goes for all of the following.
#[inline(always)]
#[must_use]
pub unsafe fn way_of(bucket: *const Bucket, place: Place) -> usize {
    let tag = place.tag();
    // SAFETY: by the caller's promise, and as the way is one of the bucket's.
    if unsafe { (&raw const (*bucket).tags[place.way()]).read_volatile() } == tag {
        return place.way();
    }
    let mut way = 0;
    while way < WAYS {
        // SAFETY: by the caller's promise, and as `way` is one of the bucket's.
        if unsafe { (&raw const (*bucket).tags[way]).read_volatile() } == tag {
            // A way of the bucket's, whichever it is.
            return forgotten(way as u64, tag.into()) as usize & (WAYS - 1);
        }
        way += 1;
    }
    WAYS
}

/// Copies a flow into `out`; says whether it is that of the key, and whole.
///
/// # Safety
///
/// As [`way_of`], and `way` is below [`WAYS`].
#[inline(always)]
pub unsafe fn read(bucket: *const Bucket, way: usize, place: Place, key: &FlowKey, out: &mut Flow) -> bool {
    // SAFETY: by the caller's promise. Each field is loaded once: what is compared is what is used.
    unsafe {
        let entry = &raw const (*bucket).entries[way & (WAYS - 1)];
        out.revision = (&raw const (*entry).revision).read_volatile();
        out.generation = (&raw const (*entry).generation).read_volatile();
        out.backends = (&raw const (*entry).backends).read_volatile();
        out.sender_revision = (&raw const (*entry).sender_revision).read_volatile();
        out.sender = (&raw const (*entry).sender).read_volatile();
        out.origin = (&raw const (*entry).origin).read_volatile();
        out.denied = (&raw const (*entry).denied).read_volatile();
        let life = Life((&raw const (*bucket).lives[way & (WAYS - 1)]).read_volatile());
        out.last_seen = life.last_seen();
        out.state = life.state();
        out.fins = life.fins();
        let check = (&raw const (*entry).check).read_volatile();
        check == place.check(out) && (*entry).key.same(key)
    }
}

/// The place for a flow that is in none of them; of those that are equally good, the first one from `first` on
/// ([`Place::way`]). Flows that are put into one bucket at the same time rarely choose the same: each has a first place of its
/// own.
///
/// # Safety
///
/// As [`way_of`].
#[inline(always)]
#[must_use]
pub unsafe fn way_for(bucket: *const Bucket, now: u32, first: usize) -> usize {
    let first = first & (WAYS - 1);
    // The way is kept in the low bits of what is compared.
    let mut readiest = 0;
    let mut way = 0;
    while way < WAYS {
        // SAFETY: by the caller's promise, and as `way` is one of the bucket's.
        let life = Life(unsafe { (&raw const (*bucket).lives[way]).read_volatile() });
        let candidate = life.readiness(now) << 3 | (WAYS - 1 - (way ^ first)) as u64;
        if candidate > readiest {
            readiest = candidate;
        }
        way += 1;
    }
    (WAYS - 1 - (readiest as usize & (WAYS - 1))) ^ first
}

/// Empties a place.
///
/// # Safety
///
/// As [`write`].
pub unsafe fn clear(bucket: *mut Bucket, way: usize) {
    let way = way & (WAYS - 1);
    // SAFETY: by the caller's promise.
    unsafe { (&raw mut (*bucket).tags[way]).write_volatile(0) };
    // SAFETY: as above.
    unsafe { write_life(bucket, way, Life(0)) };
}

/// Writes a flow to a place.
///
/// # Safety
///
/// As [`read`], for writes too.
#[inline(always)]
pub unsafe fn write(bucket: *mut Bucket, way: usize, place: Place, key: &FlowKey, flow: &Flow) {
    let way = way & (WAYS - 1);
    // SAFETY: by the caller's promise.
    unsafe {
        let entry = &raw mut (*bucket).entries[way];
        let tag = &raw mut (*bucket).tags[way];
        if tag.read_volatile() != place.tag() {
            // Nobody finds the one that was there from now on, and nobody this one before it is whole.
            tag.write_volatile(0);
        }
        (&raw mut (*entry).key).write_volatile(*key);
        (&raw mut (*entry).revision).write_volatile(flow.revision);
        (&raw mut (*entry).generation).write_volatile(flow.generation);
        (&raw mut (*entry).backends).write_volatile(flow.backends);
        (&raw mut (*entry).sender_revision).write_volatile(flow.sender_revision);
        (&raw mut (*entry).sender).write_volatile(flow.sender);
        (&raw mut (*entry).origin).write_volatile(flow.origin);
        (&raw mut (*entry).denied).write_volatile(flow.denied);
        (&raw mut (*entry).check).write_volatile(place.check(flow));
        write_life(bucket, way, Life::of(key.proto, flow));
        tag.write_volatile(place.tag());
    }
}

/// Writes how a flow lives.
///
/// # Safety
///
/// As [`write`].
#[inline(always)]
pub unsafe fn write_life(bucket: *mut Bucket, way: usize, life: Life) {
    // SAFETY: by the caller's promise.
    unsafe { (&raw mut (*bucket).lives[way & (WAYS - 1)]).write_volatile(life.0) };
}

impl FlowKey {
    /// The key as its words.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u64; 5] {
        // SAFETY: forty bytes without padding, aligned to eight.
        unsafe { (&raw const *self).cast::<[u64; 5]>().read() }
    }

    /// Whether both are the same; compares all words without a branch.
    #[inline(always)]
    #[must_use]
    pub const fn same(&self, other: &Self) -> bool {
        let (one, other) = (self.words(), other.words());
        (one[0] ^ other[0])
            | (one[1] ^ other[1])
            | (one[2] ^ other[2])
            | (one[3] ^ other[3])
            | (one[4] ^ other[4])
            == 0
    }
}

#[cfg(test)]
mod tests;
