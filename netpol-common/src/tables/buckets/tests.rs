//! Addresses in buckets: what is found, what is changed in place, what finds no room, and what a reader meets halfway.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    Bucket, Key as _, Place, V4_WAYS, V6_WAYS, VALUE_MOST, WORDS, Writer, buckets_for, elsewhere, find,
    flags_of, set_elsewhere, v4_buckets, value_of,
};
use crate::{
    Addr,
    tables::{PEER_FRONTEND, PEER_SERVICE_ONLY, Peer, Rule, RuleKey},
};

const BUCKETS: u32 = 64;
const EMPTY: Bucket = Bucket { words: [0; WORDS], elsewhere: 0, generation: 0 };

fn v4(number: u32) -> Addr {
    Ipv4Addr::from(0x0af4_0000 + number).into()
}

fn v6(net: u16, number: u16) -> Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0x244, net, 0, 0, 0, number).into()
}

/// The address of that number in a family.
fn in_family(is_v4: bool, number: u32) -> Addr {
    if is_v4 { v4(number) } else { v6((number >> 8) as u16, number as u16 & 0xff) }
}

const fn peer(addr: Addr, class: u32, flags: u32) -> Peer {
    Peer { addr, class, flags }
}

fn place(addr: &Addr) -> Place {
    addr.place(BUCKETS)
}

/// The word of an address in a bucket.
fn word_in(bucket: &Bucket, addr: &Addr) -> u64 {
    // SAFETY: a bucket that nobody writes to.
    unsafe { find(&raw const *bucket, &place(addr)) }
}

/// For writing to the bucket of a place.
fn writer(bucket: &mut Bucket, place: &Place) -> Writer {
    // SAFETY: a bucket of ours, used as long as it is there.
    unsafe { Writer::of::<Addr>(bucket, place.bucket, BUCKETS) }
}

/// All that is in a bucket of that number.
fn held_in(mut bucket: Bucket, index: u32) -> Vec<Peer> {
    // SAFETY: as above.
    unsafe { Writer::of::<Addr>(&raw mut bucket, index, BUCKETS) }.rows().collect()
}

/// Both tables as the agent uses them: `PEERS` is an ordinary map here.
#[derive(Default)]
struct Table {
    buckets: Vec<Bucket>,
    behind: HashMap<Addr, Peer>,
}

impl Table {
    fn new() -> Self {
        Self { buckets: vec![EMPTY; BUCKETS as usize], ..Self::default() }
    }

    fn put(&mut self, peer: Peer) {
        let place = place(&peer.addr);
        let bucket = &mut self.buckets[place.bucket as usize];
        let known = self.behind.contains_key(&peer.addr);
        let writer = writer(bucket, &place);
        if writer.change(&place, &peer) || !known && writer.add(&place, &peer) {
            return;
        }
        if self.behind.insert(peer.addr, peer).is_none() {
            // SAFETY: a bucket of ours.
            unsafe { set_elsewhere(bucket, elsewhere(bucket) + 1) };
        }
    }

    fn remove(&mut self, addr: &Addr) {
        let place = place(addr);
        let bucket = &mut self.buckets[place.bucket as usize];
        writer(bucket, &place).forget(&place);
        if self.behind.remove(addr).is_some() {
            // SAFETY: a bucket of ours.
            unsafe { set_elsewhere(bucket, elsewhere(bucket) - 1) };
        }
    }

    /// As the kernel does.
    fn get(&self, addr: &Addr) -> Option<(u32, u32)> {
        let bucket = &self.buckets[place(addr).bucket as usize];
        let word = word_in(bucket, addr);
        if word != 0 {
            return Some((value_of(word), flags_of(word)));
        }
        let behind = (bucket.elsewhere != 0).then(|| self.behind.get(addr)).flatten();
        behind.map(|peer| (peer.class, peer.flags))
    }

    fn all(&self) -> usize {
        let held = |(index, bucket): (u32, &Bucket)| held_in(*bucket, index).len();
        self.behind.len() + (0..).zip(&self.buckets).map(held).sum::<usize>()
    }
}

#[test]
fn an_address_is_found_with_its_class_and_flags_and_no_other_is() {
    let mut table = Table::new();
    for (addr, class, flags) in [
        (v4(1), 1, 0),
        (v4(2), VALUE_MOST, PEER_FRONTEND),
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
    assert_eq!(table.get(&v4(2)), Some((VALUE_MOST, PEER_FRONTEND)));
}

#[test]
fn a_change_stays_in_its_place_and_leaves_all_but_one_word() {
    for addr in [v4(1), v6(1, 1)] {
        let mut table = Table::new();
        table.put(peer(addr, 3, 0));
        let index = place(&addr).bucket as usize;
        let before = table.buckets[index];
        table.put(peer(addr, 4, PEER_FRONTEND));
        let after = table.buckets[index];
        assert_eq!(table.get(&addr), Some((4, PEER_FRONTEND)));
        let mut expected = before;
        let word = place(&addr).first as usize;
        expected.words[word] = after.words[word];
        assert_ne!(after, before);
        assert_eq!(after, expected);
        assert_eq!(table.all(), 1);
    }
}

#[test]
fn what_finds_no_room_is_behind_until_it_goes() {
    for is_v4 in [true, false] {
        let addr = |number| in_family(is_v4, number);
        let mut table = Table::new();
        let count = 5 * BUCKETS;
        for number in 0..count {
            table.put(peer(addr(number), number, 0));
        }
        assert!(!table.behind.is_empty() && table.all() == count as usize);
        for number in 0..count {
            assert_eq!(table.get(&addr(number)), Some((number, 0)));
            table.put(peer(addr(number), number + 1, 0));
        }
        assert_eq!(table.all(), count as usize, "a change adds nothing");
        for number in (0..count).step_by(2) {
            table.remove(&addr(number));
            assert_eq!(table.get(&addr(number)), None);
        }
        for number in (1..count).step_by(2) {
            assert_eq!(
                table.get(&addr(number)),
                Some((number + 1, 0)),
                "whether there is room before it by now or not"
            );
            // Also where there is room now, a change stays behind: nowhere it is twice.
            table.put(peer(addr(number), number + 2, 0));
        }
        assert_eq!(table.all(), count as usize / 2);
        for number in 0..count {
            table.remove(&addr(number));
            table.remove(&addr(number));
        }
        assert_eq!(table.all(), 0);
        assert!(table.buckets.iter().all(|bucket| bucket.elsewhere == 0));
    }
}

#[test]
fn most_stand_where_they_are_looked_for_first() {
    let all = buckets_for(131_072) as u32;
    for (is_v4, of, least) in [(true, 100_000, 90_000), (false, 50_000, 40_000), (true, 1000, 999)] {
        let mut buckets = vec![EMPTY; all as usize];
        let mut first = 0;
        for addr in (0..of).map(|number| in_family(is_v4, number)) {
            let place = addr.place(all);
            let bucket = &raw mut buckets[place.bucket as usize];
            // SAFETY: a bucket of ours.
            let writer = unsafe { Writer::of::<Addr>(bucket, place.bucket, all) };
            let is_free = buckets[place.bucket as usize].words[place.first as usize] == 0;
            first += u32::from(writer.add(&place, &peer(addr, 1, 0)) && is_free);
        }
        assert!(first >= least, "{is_v4}: {first} of {of}");
    }
}

#[test]
fn both_families_fill_their_own_buckets() {
    let mut table = Table::new();
    let of_v4 = v4_buckets(BUCKETS) as usize;
    for number in 0..10 * BUCKETS {
        table.put(peer(v4(number), 1, 0));
        table.put(peer(in_family(false, number), 2, 0));
    }
    for (index, bucket) in (0..).zip(&table.buckets) {
        let is_v4 = (index as usize) < of_v4;
        let held = held_in(*bucket, index);
        assert_eq!(held.len(), if is_v4 { V4_WAYS } else { V6_WAYS });
        assert!(held.iter().all(|peer| peer.addr.is_v4() == is_v4));
    }
    let six = BUCKETS as usize - of_v4;
    assert_eq!(table.behind.len(), 20 * BUCKETS as usize - of_v4 * V4_WAYS - six * V6_WAYS);
}

#[test]
fn addresses_one_after_the_other_spread_evenly() {
    // How many find no room in buckets for so many of each family, as the agent makes them.
    let overflow = |addresses: &mut dyn Iterator<Item = Addr>, room: u32| {
        let buckets = buckets_for(room) as u32;
        let mut table = vec![0; buckets as usize];
        addresses.for_each(|addr| table[addr.place(buckets).bucket as usize] += 1_usize);
        let ways = |index| if index < v4_buckets(buckets) { V4_WAYS } else { V6_WAYS };
        (0..).zip(table).map(|(index, count)| count.saturating_sub(ways(index))).sum::<usize>()
    };
    let room = 131_072;
    for (of, most) in [(65_536, 0), (100_000, 0), (131_072, 0)] {
        let lost = overflow(&mut (0..of).map(v4), room);
        assert!(lost <= most, "{lost} of {of}");
    }
    // 110 pods on each node, of which each has a /24 (or /64): by chance more than one in a hundred of IPv4 would find no
    // room, and of IPv6 one in five.
    let nodes = || 0..909_u16;
    let four = nodes().flat_map(|node| (2..112).map(move |pod| v4(u32::from(node) << 8 | pod)));
    let six = nodes().flat_map(|node| (2..112).map(move |pod| v6(node, pod)));
    let lost = [overflow(&mut { four }, room), overflow(&mut { six }, room)];
    assert!(lost[0] < 100 && lost[1] < 10_000, "{lost:?}");
    for buckets in [4, 10, 100] {
        assert!((0..100).all(|number| v4(number).place(buckets).bucket < v4_buckets(buckets)));
        let six = (0..100).map(|number| v6(1, number).place(buckets).bucket);
        assert!({ six }.all(|bucket| (v4_buckets(buckets)..buckets).contains(&bucket)));
    }
}

/// Every mixture of the words that stand in one way after one of two writes: for each word, which of both it is from.
fn mixtures(one: [u64; 3], other: [u64; 3]) -> impl Iterator<Item = [u64; 3]> {
    // The words of a key are stored and loaded by halves by who can no better.
    (0_u32..1 << 5).map(move |from| {
        let half = |at: u32, shift: u32| {
            let chosen = if from >> (2 * at + shift / 32) & 1 == 0 { one } else { other };
            chosen[at as usize] >> shift << shift & u64::from(u32::MAX) << shift
        };
        let word = if from >> 4 == 0 { one[2] } else { other[2] };
        [half(0, 0) | half(0, 32), half(1, 0) | half(1, 32), word]
    })
}

/// The words that stand in its bucket for an IPv6 address.
fn written(peer: &Peer) -> [u64; 3] {
    let mut bucket = EMPTY;
    let place = place(&peer.addr);
    assert!(writer(&mut bucket, &place).add(&place, peer));
    let at = place.first as usize;
    [bucket.words[at - 2], bucket.words[at - 1], bucket.words[at]]
}

#[test]
fn what_is_half_written_is_nobodys_class() {
    let addresses = [v6(1, 1), v6(1, 2), v6(9, 1), v6(9, 2), v6(1, 0xffff), v6(0xffff, 1), Addr::NONE];
    let mut met = 0;
    for one in addresses {
        for other in addresses.into_iter().filter(|other| !other.same(&one)) {
            for (class, next) in [(0, 1), (1, 1), (1, 2), (5, 500_000), (VALUE_MOST, 0)] {
                for flags in [0, PEER_FRONTEND, PEER_SERVICE_ONLY] {
                    let (before, after) = (peer(one, class, 0), peer(other, next, flags));
                    for mixed in mixtures(written(&before), written(&after)) {
                        let mut bucket = EMPTY;
                        bucket.words[..3].copy_from_slice(&mixed);
                        for index in [place(&one).bucket, place(&other).bucket] {
                            let held = held_in(bucket, index);
                            assert!(
                                held.iter().all(|held| *held == before || *held == after),
                                "{held:?} of {before:?} and {after:?}"
                            );
                        }
                        // Also when it is asked for: only by what was in force for it before or afterwards.
                        for asked in [before, after] {
                            let word = word_in(&bucket, &asked.addr);
                            let known = (value_of(word), flags_of(word));
                            assert!(word == 0 || known == (asked.class, asked.flags));
                        }
                        met += 1;
                    }
                }
            }
        }
    }
    assert!(met > 15_000);
}

#[test]
fn hardly_any_word_fits_by_chance() {
    // As many as the check has bits would let one pass in 2^32.
    for addr in [v4(1), v6(1, 1)] {
        let place = place(&addr);
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
    }
    // A word of another class, of other flags, of a neighbour.
    let six = place(&v6(1, 1));
    let word = six.word(7, 0);
    assert!((0..64).all(|bit| !six.fits(word ^ 1 << bit)), "one bit that is another");
    assert!((2..u16::MAX).all(|number| !place(&v6(1, number)).fits(word)));
    // Of IPv4, the upper half is the address and the lower one all that is known: only the former says whose it is.
    let four = place(&v4(1));
    let word = four.word(7, 0);
    assert!((32..64).all(|bit| !four.fits(word ^ 1 << bit)) && !four.fits(word ^ 1));
    assert!((2..100_000).all(|number| !place(&v4(number)).fits(word)));
}

#[test]
fn a_place_that_proves_nothing_is_free() {
    for (addr, words) in [(v4(1), [u64::MAX - 1; 3]), (v6(1, 1), [written(&peer(v6(1, 1), 1, 0))[0], 0, 1])] {
        let mut table = Table::new();
        let bucket = &mut table.buckets[place(&addr).bucket as usize];
        for (at, word) in bucket.words.iter_mut().enumerate() {
            *word = words[at % 3];
        }
        assert_eq!(table.get(&addr), None);
        table.put(peer(addr, 6, 0));
        assert_eq!((table.get(&addr), table.behind.len(), table.all()), (Some((6, 0)), 0, 1));
    }
}

#[test]
fn a_writer_stops_anywhere() {
    // What stands there after each store of a removal and an addition to the same place.
    let (one, other) = (peer(v6(1, 1), 3, 0), peer(v6(1, 2), 4, 0));
    let (before, after) = (written(&one), written(&other));
    for words in [
        [before[0], before[1], 0],
        [after[0], before[1], 0],
        [after[0], after[1], 0],
        [after[0], after[1], before[2]],
        [before[0], before[1], after[2]],
    ] {
        let mut bucket = EMPTY;
        bucket.words[..3].copy_from_slice(&words);
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
    let mut bucket = EMPTY;
    // In a table of one bucket all meet.
    let at = &raw mut bucket;
    // SAFETY: a bucket of ours, as for the following.
    let writer = unsafe { Writer::of::<RuleKey>(at, 0, 1) };
    // SAFETY: as above.
    let word = |key: RuleKey| unsafe { find(at, &key.place(1)) };
    let change = |rule: &Rule| writer.change(&rule.key.place(1), rule);
    let add = |rule: &Rule| writer.add(&rule.key.place(1), rule);
    let keys =
        [row(2, 0), row(2, 1), row(3, 0), row(8191, 0), row(0, 0x7_ffff), row(1, 2), row(8191, 0x7_ffff)];
    assert_eq!(keys.len(), WORDS);
    for (port_set, key) in (7..).zip(keys) {
        assert_eq!(word(key), 0);
        let rule = Rule { key, port_set };
        assert!(!change(&rule) && add(&rule));
        assert_eq!(value_of(word(key)), port_set);
    }
    let another = Rule { key: row(3, 1), port_set: 1 };
    assert!(!add(&another), "it is full");
    assert_eq!((word(another.key), word(row(0, 2)), word(row(1, 3))), (0, 0, 0));
    assert!(change(&Rule { key: row(2, 0), port_set: VALUE_MOST }));
    writer.forget(&row(2, 1).place(1));
    assert_eq!(word(row(2, 1)), 0);
    assert!(add(&another));
    assert_eq!(
        (value_of(word(another.key)), value_of(word(row(3, 0))), value_of(word(row(2, 0)))),
        (1, 9, VALUE_MOST)
    );
    let mut all: Vec<Rule> = writer.rows().collect();
    all.sort_by_key(|rule| (rule.key.set, rule.key.class));
    let held: Vec<(u32, u32)> = all.iter().map(|rule| (rule.key.set, rule.key.class)).collect();
    let wanted = [(0, 0x7_ffff), (1, 2), (2, 0), (3, 0), (3, 1), (8191, 0), (8191, 0x7_ffff)];
    assert_eq!(held, wanted);
}

#[test]
fn rows_of_numbers_that_are_too_large_stand_behind() {
    for key in [row(8192, 1), row(1, 0x8_0000), row(u32::MAX, u32::MAX), row(8192, 0)] {
        for buckets in [1, 65_536] {
            let mut bucket = EMPTY;
            let place = key.place(buckets);
            // SAFETY: a bucket of ours.
            let writer = unsafe { Writer::of::<RuleKey>(&raw mut bucket, place.bucket, buckets) };
            let rule = Rule { key, port_set: 3 };
            assert!(!writer.add(&place, &rule) && !writer.change(&place, &rule));
            writer.forget(&place);
            assert_eq!(bucket, EMPTY);
            // Nor does it meet another row that has the same lower bits.
            let other = row(key.set % 8192, key.class % 0x8_0000);
            let of_other = other.place(1);
            // SAFETY: as above.
            let writer = unsafe { Writer::of::<RuleKey>(&raw mut bucket, 0, 1) };
            assert!(writer.add(&of_other, &Rule { key: other, port_set: 3 }));
            // SAFETY: as above.
            let words = unsafe { (find(&raw const bucket, &place), find(&raw const bucket, &of_other)) };
            assert!(words.0 == 0 && words.1 != 0);
        }
    }
}

#[test]
fn rows_of_many_sets_and_classes_spread_evenly() {
    let buckets = 65_536;
    // As many as there is room for by default: the classes of each set one after the other.
    for (sets, classes) in [(1, 262_144), (262, 1000), (2620, 100), (8190, 32)] {
        let mut table = vec![0_usize; buckets as usize];
        for key in (2..2 + sets).flat_map(|set| (1..=classes).map(move |class| row(set, class))) {
            table[key.place(buckets).bucket as usize] += 1;
        }
        let overflow: usize = table.iter().map(|count| count.saturating_sub(WORDS)).sum();
        assert!(overflow < 262_144 / 5, "{sets} sets of {classes} classes: {overflow}");
    }
    for buckets in [1, 5, 31, 32, 33, 64] {
        assert!((0..1000).all(|class| row(class % 7, class).place(buckets).bucket < buckets));
    }
}

#[test]
fn classes_of_a_set_lie_in_few_lines() {
    let all = |of: u32| {
        let all = (1..=1000).map(|class| row(7, class).place(65_536).bucket / of);
        all.collect::<std::collections::HashSet<u32>>().len()
    };
    let (lines, pages) = (all(1), all(64));
    assert!(lines < 260 && pages <= 16, "{lines} lines in {pages} pages");
}
