//! Flows in buckets: what is found, what gives way, and what a writer leaves half done.

use super::{
    Bucket, Entry, Hashing, Life, Place, TICK_MASK, WAYS, age, read, way_for, way_of, write, write_life,
};
use crate::{
    Addr,
    flow::{FIN_PEER, FIN_POD, Flow, FlowKey, Origin, STATE_CLOSING, STATE_ESTABLISHED, STATE_OPENING},
    packet::{TCP, UDP},
};

const HASHING: Hashing = Hashing {
    secret: [
        0x243f_6a88_85a3_08d3,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
        0x082e_fa98_ec4e_6c89,
        0x4528_21e6_38d0_1377,
    ],
    mask: 63,
    reserved: 0,
};
const NOW: u32 = 50_000;

fn key(number: u32, proto: u8) -> FlowKey {
    FlowKey {
        pod: Addr::from_v4_word(0x0100_010a),
        peer: Addr([0xfd, number, 0, 7]),
        pod_port: 80,
        peer_port: number as u16,
        proto,
        reserved: [0; 3],
    }
}

fn flow(state: u8) -> Flow {
    Flow {
        revision: 7,
        generation: 3,
        backends: 11,
        last_seen: NOW,
        sender_revision: 5,
        sender: 17,
        origin: Origin::Peer as u8,
        state,
        denied: 0,
        fins: FIN_PEER,
    }
}

/// A bucket as the classifiers and the agent use it.
struct Table(Bucket);

impl Table {
    fn new() -> Self {
        let key = FlowKey {
            pod: Addr::NONE,
            peer: Addr::NONE,
            pod_port: 0,
            peer_port: 0,
            proto: 0,
            reserved: [0; 3],
        };
        let entry = Entry {
            key,
            check: 0,
            revision: 0,
            generation: 0,
            backends: 0,
            sender_revision: 0,
            sender: 0,
            origin: 0,
            denied: 0,
        };
        Self(Bucket { tags: [0; WAYS], lives: [0; WAYS], entries: [entry; WAYS] })
    }

    fn find(&self, key: &FlowKey) -> Option<Flow> {
        let place = HASHING.place(key);
        let mut out = Flow::default();
        // SAFETY: a bucket of ours.
        unsafe {
            let way = way_of(&raw const self.0, place);
            (way < WAYS && read(&raw const self.0, way, place, key, &mut out)).then_some(out)
        }
    }

    /// Puts a flow; says at which place.
    fn put(&mut self, key: &FlowKey, flow: &Flow) -> usize {
        let place = HASHING.place(key);
        // SAFETY: as above.
        unsafe {
            let mut way = way_of(&raw const self.0, place);
            if way == WAYS {
                way = way_for(&raw const self.0, NOW, place.way());
            }
            write(&raw mut self.0, way, place, key, flow);
            way
        }
    }
}

#[test]
fn what_was_put_is_found_and_nothing_else() {
    let mut table = Table::new();
    for number in 0..WAYS as u32 {
        let flow = Flow { revision: number, ..flow(STATE_OPENING) };
        table.put(&key(number, TCP), &flow);
        assert_eq!(table.find(&key(number, TCP)), Some(flow));
        assert_eq!(table.find(&key(number, UDP)), None);
        assert_eq!(table.find(&key(number + 1, TCP)), None);
    }
    for number in 0..WAYS as u32 {
        assert_eq!(table.find(&key(number, TCP)).map(|flow| flow.revision), Some(number));
    }
}

#[test]
fn a_flow_that_is_put_again_stays_where_it_is() {
    let mut table = Table::new();
    let ways: Vec<_> = (0..3).map(|number| table.put(&key(number, TCP), &flow(STATE_OPENING))).collect();
    let changed = Flow { denied: 1, revision: 9, ..flow(STATE_ESTABLISHED) };
    assert_eq!(table.put(&key(1, TCP), &changed), ways[1]);
    assert_eq!(table.find(&key(1, TCP)), Some(changed));
    assert_eq!(table.0.tags.iter().filter(|tag| **tag != 0).count(), 3);
}

#[test]
fn a_life_is_one_word() {
    for (state, fins, last_seen) in [
        (STATE_OPENING, 0, 0),
        (STATE_ESTABLISHED, FIN_POD, TICK_MASK),
        (STATE_CLOSING, FIN_POD | FIN_PEER, 12_345),
    ] {
        for proto in [TCP, UDP] {
            let life = Life::of(proto, &Flow { state, fins, last_seen, ..Flow::default() });
            assert_eq!((life.state(), life.fins(), life.last_seen()), (state, fins, last_seen));
            assert_eq!(life.lasts() == 1, proto == TCP && state == STATE_ESTABLISHED);
        }
    }
    let mut table = Table::new();
    let way = table.put(&key(1, TCP), &flow(STATE_OPENING));
    let later = Flow { last_seen: NOW + 9, fins: FIN_POD, ..flow(STATE_CLOSING) };
    // SAFETY: a bucket of ours.
    unsafe { write_life(&raw mut table.0, way, Life::of(TCP, &later)) };
    assert_eq!(table.find(&key(1, TCP)), Some(later));
}

#[test]
fn ages_go_round_with_the_ticks() {
    assert_eq!(age(NOW, NOW), 0);
    assert_eq!(age(NOW + 7, NOW), 7);
    assert_eq!(age(5, TICK_MASK - 5), 11);
    assert_eq!(age(u32::MAX.wrapping_add(8), TICK_MASK), 8);
    // Another CPU was ahead.
    assert_eq!(age(NOW, NOW + 2), 0);
    assert_eq!(age(NOW, NOW + 100), TICK_MASK + 1 - 100);
}

/// Fills a bucket, and says which of them is gone after another one was put.
fn gives_way(present: [(u8, u8, u32); WAYS], next: (u8, u8)) -> usize {
    let mut table = Table::new();
    for (number, (proto, state, age)) in present.into_iter().enumerate() {
        table.put(&key(number as u32, proto), &Flow { last_seen: NOW - age, ..flow(state) });
    }
    table.put(&key(99, next.0), &flow(next.1));
    assert!(table.find(&key(99, next.0)).is_some());
    let gone: Vec<_> =
        (0..WAYS).filter(|number| table.find(&key(*number as u32, present[*number].0)).is_none()).collect();
    let [gone] = *gone else { panic!("not one is gone: {gone:?}") };
    gone
}

#[test]
fn what_has_spent_most_of_its_time_gives_way() {
    let opening = (TCP, STATE_OPENING, 3);
    let mut all = [opening; WAYS];
    all[5].2 = 4;
    assert_eq!(gives_way(all, (TCP, STATE_OPENING)), 5);
    all[2] = (UDP, STATE_ESTABLISHED, 30);
    assert_eq!(gives_way(all, (TCP, STATE_OPENING)), 2);
    all[2] = (UDP, STATE_ESTABLISHED, 5);
    assert_eq!(gives_way(all, (UDP, STATE_OPENING)), 5);
    all[6] = (TCP, STATE_CLOSING, 2);
    assert_eq!(gives_way(all, (TCP, STATE_OPENING)), 6);
    // Of one tick.
    let mut all = [(TCP, STATE_OPENING, 0); WAYS];
    all[3] = (TCP, STATE_CLOSING, 0);
    assert_eq!(gives_way(all, (TCP, STATE_OPENING)), 3);
}

#[test]
fn established_connections_give_way_only_to_each_other() {
    let mut all = [(TCP, STATE_ESTABLISHED, 70_000 - 50_000); WAYS];
    all[4] = (TCP, STATE_OPENING, 0);
    assert_eq!(gives_way(all, (TCP, STATE_OPENING)), 4);
    all[4] = (UDP, STATE_ESTABLISHED, 0);
    assert_eq!(gives_way(all, (UDP, STATE_OPENING)), 4);
    all[4] = (TCP, STATE_ESTABLISHED, 3);
    all[1].2 += 1;
    assert_eq!(gives_way(all, (TCP, STATE_OPENING)), 1);
}

#[test]
fn what_does_not_fit_its_check_is_not_there() {
    let mut table = Table::new();
    let way = table.put(&key(1, TCP), &flow(STATE_ESTABLISHED));
    let whole = table.0;
    let other = Flow {
        denied: 1,
        revision: 8,
        generation: 4,
        backends: 12,
        sender_revision: 6,
        sender: 18,
        ..flow(STATE_ESTABLISHED)
    };
    let changes: [fn(&mut Entry, &Flow); 8] = [
        |entry, of| entry.revision = of.revision,
        |entry, of| entry.generation = of.generation,
        |entry, of| entry.backends = of.backends,
        |entry, of| entry.sender_revision = of.sender_revision,
        |entry, of| entry.sender = of.sender,
        |entry, of| entry.denied = of.denied,
        |entry, _| entry.origin = Origin::Node as u8,
        |entry, _| entry.key.peer_port += 1,
    ];
    for change in changes {
        table.0 = whole;
        change(&mut table.0.entries[way], &other);
        assert_eq!(table.find(&key(1, TCP)), None);
    }
    table.0 = whole;
    assert!(table.find(&key(1, TCP)).is_some(), "the control");
    // Any prefix of what another writer stores over it.
    for words in 1..size_of::<Entry>() / 4 {
        let mut mixed = Table(whole);
        mixed.put(&key(1, TCP), &other);
        let (mut torn, new) = (whole.entries[way], mixed.0.entries[way]);
        // SAFETY: both are words only.
        unsafe {
            let (from, to) = ((&raw const new).cast::<u32>(), (&raw mut torn).cast::<u32>());
            core::ptr::copy_nonoverlapping(from, to, words);
        }
        mixed.0.entries[way] = torn;
        let found = mixed.find(&key(1, TCP));
        assert!(found.is_none() || found == Some(flow(STATE_ESTABLISHED)), "{words}: {found:?}");
    }
}

#[test]
fn places_are_spread_evenly_and_differ_by_the_secret() {
    let mut filled = [0_u32; 64];
    for number in 0..6400 {
        let mut key = key(0, TCP);
        key.peer_port = number;
        filled[HASHING.place(&key).bucket as usize] += 1;
    }
    assert!(filled.iter().all(|count| (50..200).contains(count)), "{filled:?}");
    let mut filled = [0_u32; 64];
    for number in 0..6400 {
        filled[HASHING.place(&key(number * 0x1_0001, UDP)).bucket as usize] += 1;
    }
    assert!(filled.iter().all(|count| (50..200).contains(count)), "{filled:?}");
    // As a client takes its ports.
    let by_port = |port| HASHING.place(&FlowKey { peer_port: port, ..key(0, TCP) }).bucket;
    for port in 1000..60_000 {
        assert_eq!(by_port(port + 2), (by_port(port) + 1) & 63);
    }
    let mut other = HASHING;
    other.secret[2] ^= 1 << 40;
    let same = (0..1000).filter(|n| HASHING.place(&key(*n, TCP)).bucket == other.place(&key(*n, TCP)).bucket);
    assert!(same.count() < 60);
    assert_ne!(Place::default().tag(), 0);
}

#[test]
fn each_flow_has_a_first_place_of_its_own_among_those_that_are_equally_good() {
    let empty = Table::new();
    let mut full = Table::new();
    for number in 0..WAYS as u32 {
        full.put(&key(number, TCP), &flow(STATE_CLOSING));
    }
    for table in [empty, full] {
        // SAFETY: a bucket of ours.
        let chosen: Vec<_> =
            (0..16).map(|first| unsafe { way_for(&raw const table.0, NOW, first) }).collect();
        assert_eq!(chosen, [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7]);
    }
}

#[test]
fn flows_between_the_same_ends_do_not_fill_buckets() {
    // A quarter of the table: of so many at random about one in two hundred buckets would be more than half full.
    let hashing = Hashing { mask: 1023, ..HASHING };
    for clients in [8_u16, 64, 512] {
        let mut filled = [0_u32; 1024];
        for service in 0..2048 / clients {
            for client in 0..clients {
                let key = FlowKey { pod_port: 7000 + service, peer_port: 20_000 + client, ..key(0, UDP) };
                filled[hashing.place(&key).bucket as usize] += 1;
            }
        }
        let more = filled.iter().filter(|count| **count > WAYS as u32).count();
        assert!(more <= 5, "{clients}: {more} of 1024 buckets");
    }
}
