//! The decision function's tables, as BPF maps.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::btf_maps::lpm_trie::Key;
use netpol_common::{
    Addr, Direction, Reason,
    decide::{Tables, judge_backends, permits},
    tables::{
        BACKENDS_NONE, BackendSet, CHUNK_PORTS, CLASS_NONE, ENDPOINT_LIVE, Endpoint, FrontendKey, Interface,
        Judgement, MemberKey, PORTS_NONE, PortChunkKey, PortSet, Prefix, RuleKey, SET_CLOSED, SourceKey,
        buckets::{Key as _, Place, elsewhere, find, flags_of, generation, value_of},
        judgement,
    },
};

use crate::maps;

/// The maps.
pub struct Maps;

/// How many buckets of addresses there are: a constant of the programs, which the agent sets before loading.
#[unsafe(no_mangle)]
pub static PEER_BUCKET_COUNT: u32 = 0;

/// How many buckets of rules there are, as before.
#[unsafe(no_mangle)]
pub static RULE_BUCKET_COUNT: u32 = 0;

/// Looks a value up that repeats its key, once more if it was recycled meanwhile. `None` closes.
macro_rules! checked {
    ($map:expr, $key:expr, $value:ident => $same:expr) => {{
        let mut found = None;
        // SAFETY: the element may be replaced or recycled while it is read; the repeated key tells.
        if let Some($value) = unsafe { $map.get($key) } {
            if $same {
                found = Some($value);
            // SAFETY: as above.
            } else if let Some($value) = unsafe { $map.get($key) } {
                if $same {
                    found = Some($value);
                }
            }
        }
        found
    }};
}

/// Has what is known of an address on the way from memory while something else is done: a load that nothing waits for.
#[inline(always)]
pub fn fetch(addr: &Addr) {
    let _fetched = Maps.generation(addr);
}

/// Where an address is to be looked for.
#[inline(always)]
fn place_of(addr: &Addr) -> Place {
    // SAFETY: a constant of the program; volatile, since the agent sets it after compilation.
    addr.place(unsafe { read_volatile(&raw const PEER_BUCKET_COUNT) })
}

impl Tables for Maps {
    #[inline(always)]
    fn endpoint(&self, slot: u32) -> Option<&Endpoint> {
        match maps::ENDPOINTS.get(slot) {
            Some(endpoint) if endpoint.flags & ENDPOINT_LIVE != 0 => Some(endpoint),
            _ => None,
        }
    }

    #[inline(always)]
    fn judgement(&self, slot: u32, direction: Direction) -> Judgement {
        match maps::ENDPOINTS.get(slot) {
            // SAFETY: an aligned word inside the map's value, which user space stores at once.
            Some(endpoint) => unsafe { read_volatile(addr_of!(endpoint.judgements[direction.index()])) },
            None => judgement(SET_CLOSED, 0),
        }
    }

    #[inline(always)]
    fn more_sources(&self, slot: u32, addr: &Addr) -> bool {
        maps::SOURCES.get(&Key::new(32 + 128, SourceKey { slot: slot.to_be(), addr: *addr })).is_some()
    }

    #[inline(always)]
    fn generation(&self, addr: &Addr) -> u32 {
        match maps::PEER_BUCKETS.get_ptr(place_of(addr).bucket) {
            // SAFETY: a bucket of the map.
            Some(bucket) => unsafe { generation(bucket) },
            None => 0,
        }
    }

    #[inline(always)]
    fn peer(&self, addr: &Addr, out: &mut Prefix) {
        let place = place_of(addr);
        if let Some(bucket) = maps::PEER_BUCKETS.get_ptr(place.bucket) {
            // SAFETY: a bucket of the map. The agent may write to it; what is read proves itself.
            let word = unsafe { find(bucket, &place) };
            if word != 0 {
                out.class = value_of(word);
                out.flags = flags_of(word);
                return;
            }
            // SAFETY: as above.
            if unsafe { elsewhere(bucket) } != 0
                && let Some(peer) = checked!(maps::PEERS, addr, value => value.addr.same(addr))
            {
                out.class = peer.class;
                out.flags = peer.flags;
                return;
            }
        }
        match maps::PREFIXES.get(&Key::new(128, *addr)) {
            Some(prefix) => {
                out.class = prefix.class;
                out.flags = prefix.flags;
            }
            None => {
                out.class = CLASS_NONE;
                out.flags = 0;
            }
        }
    }

    #[inline(always)]
    fn any_peer(&self, set: u32) -> u32 {
        match maps::POLICY_SETS.get(set) {
            Some(set) => set.any_peer,
            None => PORTS_NONE,
        }
    }

    #[inline(always)]
    fn rule(&self, set: u32, class: u32, default: u32) -> u32 {
        let key = RuleKey { set, class };
        // SAFETY: a constant of the program; volatile, since the agent sets it after compilation.
        let place = key.place(unsafe { read_volatile(&raw const RULE_BUCKET_COUNT) });
        let Some(bucket) = maps::RULE_BUCKETS.get_ptr(place.bucket) else {
            return default;
        };
        // SAFETY: a bucket of the map. The agent may write to it; what is read proves itself.
        let (word, elsewhere) = unsafe { (find(bucket, &place), elsewhere(bucket)) };
        if word != 0 {
            return value_of(word);
        }
        if elsewhere == 0 {
            return default;
        }
        match checked!(maps::RULES, &key, rule => rule.key.set == set && rule.key.class == class) {
            Some(rule) => rule.port_set,
            None => default,
        }
    }

    #[inline(always)]
    fn rule_of_many(&self, set: u32, class: u32, default: u32) -> u32 {
        netpol_rule(set.into(), class.into(), default.into()) as u32
    }

    #[inline(always)]
    fn port_set(&self, id: u32) -> Option<&PortSet> {
        maps::PORT_SETS.get(id)
    }

    #[inline(always)]
    fn port_chunk(&self, port_set: u32, proto: u8, port: u16) -> bool {
        let key = PortChunkKey { port_set, chunk: port / CHUNK_PORTS, proto, reserved: 0 };
        match checked!(maps::PORT_CHUNKS, &key, chunk => chunk.key.port_set == port_set && chunk.key.chunk == key.chunk && chunk.key.proto == proto)
        {
            Some(chunk) => {
                let word = ((port % CHUNK_PORTS) / 64) as usize & 7;
                chunk.ports[word] >> (port % 64) & 1 != 0
            }
            None => false,
        }
    }

    #[inline(always)]
    fn frontend(&self, key: &FrontendKey) -> u32 {
        match checked!(maps::FRONTENDS, key, frontend => frontend.key.addr.same(&key.addr) && frontend.key.port == key.port && frontend.key.proto == key.proto)
        {
            Some(frontend) => frontend.backends,
            None => BACKENDS_NONE,
        }
    }

    #[inline(always)]
    fn backends(&self, id: u32) -> Option<&BackendSet> {
        checked!(maps::BACKENDS, &id, set => set.id == id)
    }

    #[inline(always)]
    fn member(&self, backends: u32, slot: u32) -> bool {
        // SAFETY: only whether it is there counts.
        unsafe { maps::MEMBERS.get(MemberKey { backends, slot }) }.is_some()
    }

    #[inline(always)]
    fn permits(&self, port_set: u32, proto: u8, port: u16) -> bool {
        netpol_permits(port_set.into(), proto.into(), port.into()) != 0
    }

    #[inline(always)]
    fn judge_backends(&self, slot: u32, set: u32, any_peer: u32, backends: u32, proto: u8) -> Reason {
        let number =
            netpol_judge_backends(slot.into(), set.into(), any_peer.into(), backends.into(), proto.into());
        // What is no reason's number cannot come back, and would close.
        match number as u8 {
            POLICY => Reason::Policy,
            DEFERRED => Reason::Deferred,
            NO_BACKEND => Reason::NoBackend,
            POLICY_DENIED => Reason::PolicyDenied,
            BACKENDS_DIFFER => Reason::BackendsDiffer,
            _ => Reason::TableInconsistent,
        }
    }

    #[inline(always)]
    fn interface(&self, ifindex: u32, out: &mut Interface) {
        if let Some(interface) = checked!(maps::INTERFACES, &ifindex, value => value.ifindex == ifindex) {
            *out = *interface;
        }
    }
}

const POLICY: u8 = Reason::Policy as u8;
const DEFERRED: u8 = Reason::Deferred as u8;
const NO_BACKEND: u8 = Reason::NoBackend as u8;
const POLICY_DENIED: u8 = Reason::PolicyDenied as u8;
const BACKENDS_DIFFER: u8 = Reason::BackendsDiffer as u8;

/// A row of the rules, of numbers only: so the verifier walks it once for itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn netpol_rule(set: u64, class: u64, default: u64) -> u64 {
    Maps.rule(set as u32, class as u32, default as u32).into()
}

/// The decision function's `permits`, of numbers only: so the verifier walks it once for itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn netpol_permits(port_set: u64, proto: u64, port: u64) -> u64 {
    u64::from(permits(&Maps, port_set as u32, proto as u8, port as u16))
}

/// The decision function's `judge_backends`, of numbers only.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn netpol_judge_backends(
    slot: u64,
    set: u64,
    any_peer: u64,
    backends: u64,
    proto: u64,
) -> u64 {
    judge_backends(&Maps, slot as u32, set as u32, any_peer as u32, backends as u32, proto as u8) as u64
}
