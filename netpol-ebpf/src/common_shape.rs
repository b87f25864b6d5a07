//! For the bench alone: a classifier of the shape that policy engines on eBPF commonly have, for IPv4 and the pod's ingress.
//!
//! Two lookups say in which state the pod is; conntrack is looked up under the tuple and under the reversed one; a new flow
//! is looked for in the pod's own trie of addresses, whose value lists protocols and ports that are walked in a loop; what is
//! allowed is inserted into conntrack in both directions; and one event tells of it, with the ring's default wakeup.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(clippy::needless_pass_by_value, reason = "the macro of a classifier gives it its context so")]

mod object;
#[expect(dead_code, unreachable_pub, reason = "the library has it too, and uses the rest of it")]
mod skb;

use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::{BPF_ANY, TC_ACT_SHOT, TC_ACT_UNSPEC},
    btf_maps::{HashMap, LpmTrie, LruHashMap, RingBuf, lpm_trie::Key},
    macros::{btf_map, classifier},
    programs::TcContext,
};

use crate::skb::Skb;

/// Ports that one peer's entry has room for.
const PORTS: usize = 24;

/// Some ports of a protocol; the first one without a protocol ends the list.
#[repr(C)]
struct Port {
    proto: u32,
    /// Host order.
    first: u32,
    /// Host order.
    last: u32,
}

/// A flow in one direction, as it stands in the packet.
#[repr(C)]
#[derive(Clone, Copy)]
struct Tuple {
    source: u32,
    destination: u32,
    ports: [u16; 2],
    proto: u32,
}

/// What is told of a new flow.
#[repr(C)]
struct Event {
    tuple: Tuple,
    allowed: u32,
}

/// The frame of a plain IPv4 packet up to its ports.
#[repr(C)]
#[derive(Clone, Copy)]
struct Network {
    version_and_length: u8,
    service: u8,
    total: u16,
    id: u16,
    fragment: u16,
    ttl: u8,
    proto: u8,
    checksum: u16,
    source: u32,
    destination: u32,
    /// Of the transport header.
    ports: [u16; 2],
}

const ETHERTYPE: usize = 12;
const ETHERNET: usize = 14;
const IPV4: u16 = 0x0800u16.to_be();

/// Which policies select the pod, under two keys: those of its namespace, those of the cluster.
#[btf_map]
static STATES: HashMap<u32, u32, 2> = HashMap::new();
/// Address → ports.
#[btf_map]
static PEERS: LpmTrie<u32, [Port; PORTS], 131_072> = LpmTrie::new();
/// Tuple → 1.
#[btf_map]
static CONNTRACK: LruHashMap<Tuple, u32, 262_144> = LruHashMap::new();
/// Events.
#[btf_map]
static EVENTS: RingBuf<Event, 262_144> = RingBuf::new();

/// Whether a new flow makes an event; set by the bench before loading.
#[unsafe(no_mangle)]
static LOGS: u32 = 1;

/// The pod's ingress.
#[classifier]
fn common_shape(ctx: TcContext) -> i32 {
    judge(Skb::new(&ctx)).unwrap_or(TC_ACT_SHOT)
}

#[inline(always)]
fn judge(skb: Skb) -> Option<i32> {
    if skb.read::<u16>(ETHERTYPE)? != IPV4 {
        return None;
    }
    let ip = skb.read::<Network>(ETHERNET)?;
    let proto = ip.proto.into();
    let tuple = Tuple { source: ip.source, destination: ip.destination, ports: ip.ports, proto };
    let ports = [ip.ports[1], ip.ports[0]];
    let reversed = Tuple { source: ip.destination, destination: ip.source, ports, proto };
    // SAFETY: words that nobody takes away.
    let (own, cluster) = unsafe { (STATES.get(0)?, STATES.get(1)?) };
    if *own == 0 && *cluster == 0 {
        return Some(TC_ACT_UNSPEC);
    }
    if state(&tuple) | state(&reversed) != 0 {
        return Some(TC_ACT_UNSPEC);
    }
    let allowed = is_allowed(&tuple);
    if allowed {
        let _full = CONNTRACK.insert(tuple, 1, BPF_ANY.into());
        let _full = CONNTRACK.insert(reversed, 1, BPF_ANY.into());
    }
    // SAFETY: a constant of the program; volatile, since it is set after compilation.
    if unsafe { read_volatile(&raw const LOGS) } != 0
        && let Some(mut entry) = EVENTS.reserve(0)
    {
        entry.write(Event { tuple, allowed: allowed.into() });
        entry.submit(0);
    }
    Some(if allowed { TC_ACT_UNSPEC } else { TC_ACT_SHOT })
}

/// What conntrack holds of a tuple.
#[inline(always)]
fn state(tuple: &Tuple) -> u32 {
    // SAFETY: the word may be replaced while it is read, by the same one.
    unsafe { CONNTRACK.get(tuple) }.copied().unwrap_or_default()
}

#[inline(always)]
fn is_allowed(tuple: &Tuple) -> bool {
    let Some(list) = PEERS.get(&Key::new(32, tuple.source)) else {
        return false;
    };
    let port = u32::from(u16::from_be(tuple.ports[1]));
    for entry in list {
        if entry.proto == 0 {
            return false;
        }
        if entry.proto == tuple.proto && entry.first <= port && port <= entry.last {
            return true;
        }
    }
    false
}
