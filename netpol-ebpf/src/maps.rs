//! The maps. What their keys and values mean is said in `netpol_common::tables`; the agent pins each under its name
//! and may give it another size. One more, [`programs`](crate::programs), has a file of its own.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use netpol_common::{
    Addr,
    decide::{Arrival, Decision, Work},
    event::{Event, RINGS_MOST, Ring},
    flow::{
        Fragment, FragmentKey,
        table::{Bucket, Place},
    },
    packet::Packet,
    tables::{
        BackendSet, COUNTERS, Digest, Endpoint, Frontend, FrontendKey, Interface, InternedKey, MemberKey,
        Peer, PolicySet, PortChunk, PortChunkKey, PortSet, Prefix, Rule, RuleKey, SLOTS, SourceKey, buckets,
    },
};

use crate::{parse::Frame, short::Plain};

const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;
const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// How often an endpoint reported within the current tick, on one CPU.
#[repr(C)]
pub struct Rate {
    /// The tick that is counted.
    pub tick: u32,
    /// Reports of allowed packets within it.
    pub allowed: u32,
    /// Reports of dropped packets within it.
    pub dropped: u32,
}

/// What one packet is worked on with: too large for the 512 bytes of a program's stack. A classifier is not interrupted
/// by another one on its CPU, as tc runs with bottom halves off.
#[repr(C)]
pub struct Scratch {
    /// The packet that is looked at.
    pub packet: Packet,
    /// Where it was met.
    pub arrival: Arrival,
    /// What becomes of it.
    pub decision: Decision,
    /// What else the parser saw.
    pub frame: Frame,
    /// What the decision works with.
    pub work: Work,
    /// Where the flow is in its bucket.
    pub way: u32,
    /// Where its bucket is.
    pub place: Place,
    /// What the short way has read.
    pub plain: Plain,
}

/// A [`Bucket`] as its words. To the kernel the value must not be a struct: from 5.15 to 6.1 it takes a table into an
/// array of tables only if both say the same of timers in their values, and it distinguishes a struct without one from
/// no type at all, which is what the tables have that the agent makes.
pub type BucketWords = [u64; size_of::<Bucket>() / 8];

/// The table of flows of an endpoint: its buckets, a power of two of them. All endpoints' are of one size, which the agent
/// chooses: so the kernel looks into them without a call.
pub type FlowTable = Array<BucketWords, 1024, MMAPABLE>;

/// Slot → endpoint.
#[btf_map]
pub static ENDPOINTS: Array<Endpoint, { SLOTS as usize }, MMAPABLE> = Array::new();
/// Hash of an address → some addresses with class and flags, and a generation. The agent chooses how many buckets there are.
#[btf_map]
pub static PEER_BUCKETS: Array<buckets::Bucket, 65_536, MMAPABLE> = Array::new();
/// Address → class and flags, of those that found no room in their bucket.
#[btf_map]
pub static PEERS: HashMap<Addr, Peer, 131_072, NO_PREALLOC> = HashMap::new();
/// Prefix → class and flags.
#[btf_map]
pub static PREFIXES: LpmTrie<Addr, Prefix, 32_768> = LpmTrie::new();
/// Policy set → its port set for any peer.
#[btf_map]
pub static POLICY_SETS: Array<PolicySet, 8192> = Array::new();
/// Hash of policy set and class → three rows with their port sets. The agent chooses how many buckets there are.
#[btf_map]
pub static RULE_BUCKETS: Array<buckets::Bucket, 131_072, MMAPABLE> = Array::new();
/// Policy set and class → port set, of those that found no room in their bucket.
#[btf_map]
pub static RULES: HashMap<RuleKey, Rule, 262_144, NO_PREALLOC> = HashMap::new();
/// Port set → ranges.
#[btf_map]
pub static PORT_SETS: Array<PortSet, 8192> = Array::new();
/// Port set, protocol and chunk → bits.
#[btf_map]
pub static PORT_CHUNKS: HashMap<PortChunkKey, PortChunk, 65_536, NO_PREALLOC> = HashMap::new();
/// Address, port, protocol → set of backends.
#[btf_map]
pub static FRONTENDS: HashMap<FrontendKey, Frontend, 65_536, NO_PREALLOC> = HashMap::new();
/// Set of backends → backends.
#[btf_map]
pub static BACKENDS: HashMap<u32, BackendSet, 65_536, NO_PREALLOC> = HashMap::new();
/// Set of backends and slot → 1.
#[btf_map]
pub static MEMBERS: HashMap<MemberKey, u32, 65_536, NO_PREALLOC> = HashMap::new();
/// Slot and prefix → 1.
#[btf_map]
pub static SOURCES: LpmTrie<SourceKey, u32, 16_384> = LpmTrie::new();
/// Interface index → what a packet from there says of its sender.
#[btf_map]
pub static INTERFACES: HashMap<u32, Interface, 16_384, NO_PREALLOC> = HashMap::new();
/// Slot → flows.
#[btf_map]
pub static FLOW_TABLES: ArrayOfMaps<FlowTable, { SLOTS as usize }> = ArrayOfMaps::new();
/// First fragments.
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, Fragment, 8192> = LruHashMap::new();
/// CPU → how far its ring is written and read.
#[btf_map]
pub static RINGS: Array<Ring, { RINGS_MOST as usize }, MMAPABLE> = Array::new();
/// The rings' events, those of one CPU after those of the other.
#[btf_map]
pub static EVENTS: Array<Event, 65_536, MMAPABLE> = Array::new();
/// Packets by direction and reason, and what was lost.
#[btf_map]
pub static COUNTS: PerCpuArray<u64, { COUNTERS as usize }> = PerCpuArray::new();
/// Slot → reports of the present tick.
#[btf_map]
pub static RATES: PerCpuArray<Rate, { SLOTS as usize }> = PerCpuArray::new();
/// One packet's working memory.
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
/// Id → digest of what it stands for. Only user space reads and writes it.
#[btf_map]
pub static INTERNED: HashMap<InternedKey, Digest, 524_288, NO_PREALLOC> = HashMap::new();
