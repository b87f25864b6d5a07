//! Addresses in buckets: what is found, what is changed in place, what finds no room, and what a reader meets halfway.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    Bucket, Entry, PEER_WAYS as WAYS, PeerBucket, Place, RULE_WAYS, RuleBucket, add, change, elsewhere, find,
    flags_of, forget, held, set_elsewhere, value_of,
};
use crate::{
    Addr,
    tables::{PEER_FRONTEND, PEER_SERVICE_ONLY, Peer, Rule, RuleKey},
};

const BUCKETS: u32 = 64;
const EMPTY: PeerBucket = Bucket {
    entries: [Entry { key: Addr::NONE, word: 0 }; WAYS],
    elsewhere: 0,
    generation: 0,
    reserved: [0; 2],
};

fn v4(number: u32) -> Addr {
    Ipv4Addr::from(0x0af4_0000 + number).into()
}

fn v6(net: u16, number: u16) -> Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0x244, net, 0, 0, 0, number).into()
}

const fn peer(addr: Addr, class: u32, flags: u32) -> Peer {
    Peer { addr, class, flags }
}

/// The word of an address in a bucket.
fn word_in(bucket: &PeerBucket, addr: &Addr) -> u64 {
    // SAFETY: a bucket that nobody writes to.
    unsafe { find(&raw const *bucket, Place::of(addr, BUCKETS), addr) }
}

/// What is in a place of a bucket.
fn held_in(bucket: &PeerBucket, way: usize) -> Option<Peer> {
    // SAFETY: as above.
    unsafe { held(&raw const *bucket, way, BUCKETS) }
}

/// Both tables as the agent uses them: `PEERS` is an ordinary map here.
#[derive(Default)]
struct Table {
    buckets: Vec<PeerBucket>,
    behind: HashMap<Addr, Peer>,
}

impl Table {
    fn new() -> Self {
        Self { buckets: vec![EMPTY; BUCKETS as usize], ..Self::default() }
    }

    fn put(&mut self, peer: Peer) {
        let place = Place::of(&peer.addr, BUCKETS);
        let bucket = &raw mut self.buckets[place.bucket as usize];
        let known = self.behind.contains_key(&peer.addr);
        // SAFETY: a bucket of ours.
        unsafe {
            if change(bucket, place, &peer) || !known && add(bucket, place, &peer, BUCKETS) {
                return;
            }
            if self.behind.insert(peer.addr, peer).is_none() {
                set_elsewhere(bucket, elsewhere(bucket) + 1);
            }
        }
    }

    fn remove(&mut self, addr: &Addr) {
        let place = Place::of(addr, BUCKETS);
        let bucket = &raw mut self.buckets[place.bucket as usize];
        // SAFETY: a bucket of ours.
        unsafe {
            forget(bucket, place, addr);
            if self.behind.remove(addr).is_some() {
                set_elsewhere(bucket, elsewhere(bucket) - 1);
            }
        }
    }

    /// As the kernel does.
    fn get(&self, addr: &Addr) -> Option<(u32, u32)> {
        let bucket = &self.buckets[Place::of(addr, BUCKETS).bucket as usize];
        let word = word_in(bucket, addr);
        if word != 0 {
            return Some((value_of(word), flags_of(word)));
        }
        let behind = (bucket.elsewhere != 0).then(|| self.behind.get(addr)).flatten();
        behind.map(|peer| (peer.class, peer.flags))
    }

    fn all(&self) -> usize {
        let held = |bucket: &PeerBucket| (0..WAYS).filter(|way| held_in(bucket, *way).is_some()).count();
        self.behind.len() + self.buckets.iter().map(held).sum::<usize>()
    }
}

#[test]
fn an_address_is_found_with_its_class_and_flags_and_no_other_is() {
    let mut table = Table::new();
    for (addr, class, flags) in [
        (v4(1), 1, 0),
        (v4(2), u32::MAX, PEER_FRONTEND),
        (v6(1, 1), 0, PEER_SERVICE_ONLY),
        (v6(2, 1), 7, PEER_FRONTEND | PEER_SERVICE_ONLY),
        (Addr::NONE, 0, 0),
    ] {
        assert_eq!(table.get(&addr), None);
        table.put(peer(addr, class, flags));
        assert_eq!(table.get(&addr), Some((class, flags)));
    }
    assert_eq!(table.all(), 5);
    assert_eq!(table.get(&v4(3)), None);
    table.remove(&v4(1));
    assert_eq!(table.get(&v4(1)), None);
    assert_eq!(table.get(&v4(2)), Some((u32::MAX, PEER_FRONTEND)));
}

#[test]
fn a_change_stays_in_its_place_and_leaves_all_but_one_word() {
    let mut table = Table::new();
    table.put(peer(v4(1), 3, 0));
    let place = Place::of(&v4(1), BUCKETS);
    let before = table.buckets[place.bucket as usize];
    table.put(peer(v4(1), 4, PEER_FRONTEND));
    let after = table.buckets[place.bucket as usize];
    assert_eq!(table.get(&v4(1)), Some((4, PEER_FRONTEND)));
    let mut expected = before;
    expected.entries[0].word = after.entries[0].word;
    assert_eq!(after, expected);
    assert_eq!(table.all(), 1);
}

#[test]
fn what_finds_no_room_is_behind_until_it_goes() {
    let mut table = Table::new();
    let count = 5 * BUCKETS;
    for number in 0..count {
        table.put(peer(v4(number), number, 0));
    }
    assert!(!table.behind.is_empty() && table.all() == count as usize);
    for number in 0..count {
        assert_eq!(table.get(&v4(number)), Some((number, 0)));
        table.put(peer(v4(number), number + 1, 0));
    }
    assert_eq!(table.all(), count as usize, "a change adds nothing");
    for number in (0..count).step_by(2) {
        table.remove(&v4(number));
        assert_eq!(table.get(&v4(number)), None);
    }
    for number in (1..count).step_by(2) {
        assert_eq!(
            table.get(&v4(number)),
            Some((number + 1, 0)),
            "whether there is room before it by now or not"
        );
        // Also where there is room now, a change stays behind: nowhere it is twice.
        table.put(peer(v4(number), number + 2, 0));
    }
    assert_eq!(table.all(), count as usize / 2);
    for number in 0..count {
        table.remove(&v4(number));
        table.remove(&v4(number));
    }
    assert_eq!(table.all(), 0);
    assert!(table.buckets.iter().all(|bucket| bucket.elsewhere == 0));
}

#[test]
fn addresses_one_after_the_other_spread_evenly() {
    let spread = |addresses: &mut dyn Iterator<Item = Addr>, buckets: u32| {
        let mut table = vec![0; buckets as usize];
        addresses.for_each(|addr| table[Place::of(&addr, buckets).bucket as usize] += 1_usize);
        table.iter().map(|count| count.saturating_sub(WAYS)).sum::<usize>()
    };
    let buckets = 65_536;
    assert_eq!(spread(&mut (0..buckets).map(v4), buckets), 0);
    // 110 pods on each of 200 nodes; by chance more than three hundred would find no room.
    let nodes = || 0..200_u16;
    let four = nodes().flat_map(|node| (0..110).map(move |pod| v4(u32::from(node) << 8 | pod)));
    let six = nodes().flat_map(|node| (0..110).map(move |pod| v6(node, pod)));
    assert_eq!(spread(&mut { four }, buckets), 0);
    let overflow = spread(&mut { six }, buckets);
    assert!(overflow < 200, "{overflow}");
    for buckets in [1, 2, 3] {
        assert!((0..100).all(|number| Place::of(&v4(number), buckets).bucket < buckets));
    }
}

/// Every mixture of the words of two entries: four of the address, and the one that says what it is.
fn mixtures(one: Entry<Addr>, other: Entry<Addr>) -> impl Iterator<Item = Entry<Addr>> {
    (0_u32..1 << 5).map(move |from| {
        let word = |at: u32, one: u32, other: u32| if from >> at & 1 == 0 { one } else { other };
        let mut mixed = if from >> 4 == 0 { one } else { other };
        for at in 0..4 {
            mixed.key.0[at] = word(at as u32, one.key.0[at], other.key.0[at]);
        }
        mixed
    })
}

#[test]
fn what_is_half_written_is_nobodys_class() {
    let entry =
        |of: Peer| Entry { key: of.addr, word: Place::of(&of.addr, BUCKETS).word(of.class, of.flags) };
    let addresses =
        [v4(1), v4(2), v4(0xffff), v4(1 << 20), v6(1, 1), v6(1, 2), v6(9, 1), v6(9, 2), Addr::NONE];
    let mut met = 0;
    for one in addresses {
        for other in addresses.into_iter().filter(|other| !other.same(&one)) {
            for (class, next) in [(0, 1), (1, 1), (1, 2), (5, 500_000), (u32::MAX, 0)] {
                for flags in [0, PEER_FRONTEND, PEER_SERVICE_ONLY] {
                    let (before, after) = (peer(one, class, 0), peer(other, next, flags));
                    for mixed in mixtures(entry(before), entry(after)) {
                        let bucket = Bucket { entries: [mixed, EMPTY.entries[0]], ..EMPTY };
                        let held = held_in(&bucket, 0);
                        assert!(
                            held.is_none_or(|held| held == before || held == after),
                            "{held:?} of {before:?} and {after:?}"
                        );
                        // Also when it is asked for: only by what was in force for it before or afterwards.
                        assert_eq!(held.is_some(), word_in(&bucket, &mixed.key) != 0);
                        met += 1;
                    }
                }
            }
        }
    }
    assert!(met > 30_000);
}

#[test]
fn hardly_any_word_fits_by_chance() {
    // As many as the check has bits would let one pass in 2^29.
    let place = Place::of(&v4(1), BUCKETS);
    let mut random = 88_172_645_463_325_252_u64;
    let fitting = (0..1 << 20)
        .filter(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            place.fits(random)
        })
        .count();
    assert!(fitting <= 1, "{fitting}");
    // A word of another class, of other flags, of a neighbour.
    let word = place.word(7, 0);
    assert!((0..64).all(|bit| !place.fits(word ^ 1 << bit)), "one bit that is another");
    assert!((2..100_000).all(|number| !Place::of(&v4(number), BUCKETS).fits(word)));
}

#[test]
fn a_place_that_proves_nothing_is_free() {
    let mut table = Table::new();
    let place = Place::of(&v4(1), BUCKETS);
    let bucket = &mut table.buckets[place.bucket as usize];
    bucket.entries = [Entry { key: v4(1), word: u64::MAX }, Entry { key: v4(1), word: 0 }];
    assert_eq!(table.get(&v4(1)), None);
    table.put(peer(v4(1), 6, 0));
    assert_eq!((table.get(&v4(1)), table.behind.len()), (Some((6, 0)), 0));
}

#[test]
fn a_writer_stops_anywhere() {
    // What stands there after each store of a removal and an addition to the same place.
    let (one, other) = (peer(v4(1), 3, 0), peer(v4(1 + 4096), 4, 0));
    let words = |of: Peer| Place::of(&of.addr, BUCKETS).word(of.class, of.flags);
    for entry in [
        Entry { key: one.addr, word: 0 },
        Entry { key: other.addr, word: 0 },
        Entry { key: one.addr, word: words(other) },
        Entry { key: other.addr, word: words(one) },
    ] {
        let bucket = Bucket { entries: [entry, EMPTY.entries[0]], ..EMPTY };
        for addr in [one.addr, other.addr] {
            assert_eq!(word_in(&bucket, &addr), 0);
        }
    }
}

const fn row(set: u32, class: u32) -> RuleKey {
    RuleKey { set, class }
}

#[test]
fn rows_are_found_by_set_and_class() {
    let free = Entry { key: row(0, 0), word: 0 };
    let mut bucket: RuleBucket =
        Bucket { entries: [free; RULE_WAYS], elsewhere: 0, generation: 0, reserved: [0; 2] };
    // In a table of one bucket all meet.
    let (at, place) = (&raw mut bucket, |key: &RuleKey| Place::of(key, 1));
    // SAFETY: a bucket of ours; as for all of the following.
    let word = |key: RuleKey| unsafe { find(at, place(&key), &key) };
    // SAFETY: as above.
    let change = |rule: &Rule| unsafe { change(at, place(&rule.key), rule) };
    // SAFETY: as above.
    let add = |rule: &Rule| unsafe { add(at, place(&rule.key), rule, 1) };
    // SAFETY: as above.
    let forget = |key: RuleKey| unsafe { forget(at, place(&key), &key) };
    for (port_set, key) in (7..).zip([row(2, 0), row(2, 1), row(3, 0)]) {
        assert_eq!(word(key), 0);
        let rule = Rule { key, port_set };
        assert!(!change(&rule) && add(&rule));
        assert_eq!(value_of(word(key)), port_set);
    }
    let another = Rule { key: row(3, 1), port_set: 1 };
    assert!(!add(&another), "it is full");
    assert_eq!((word(another.key), word(row(0, 2)), word(row(1, 3))), (0, 0, 0));
    assert!(change(&Rule { key: row(2, 0), port_set: 8 }));
    assert!(forget(row(2, 1)) && !forget(row(2, 1)));
    assert_eq!(word(row(2, 1)), 0);
    assert!(add(&another));
    assert_eq!(
        (value_of(word(another.key)), value_of(word(row(3, 0))), value_of(word(row(2, 0)))),
        (1, 9, 8)
    );
    // The word of one row is not another's.
    assert!(!place(&row(2, 0)).fits(word(another.key)));
}

#[test]
fn rows_of_many_sets_and_classes_spread_evenly() {
    let buckets = 65_536;
    // As many as half of the places: the classes of each set one after the other.
    for (sets, classes) in [(1, 98_304), (98, 1003), (1003, 98), (9830, 10)] {
        let mut table = vec![0_usize; buckets as usize];
        for key in (2..2 + sets).flat_map(|set| (1..=classes).map(move |class| row(set, class))) {
            table[Place::of(&key, buckets).bucket as usize] += 1;
        }
        let overflow: usize = table.iter().map(|count| count.saturating_sub(RULE_WAYS)).sum();
        // By chance it would be one in fourteen.
        assert!(overflow < 98_304 / 12, "{sets} sets of {classes} classes: {overflow}");
    }
}
