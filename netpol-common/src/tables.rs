//! The tables: what each key and value means. Their sizes, names and pins are in one list, [`NAMES`].
//!
//! | map | kind | key → value |
//! |---|---|---|
//! | `endpoints` | array, mapped | slot → [`Endpoint`] |
//! | `peer_buckets` | array, mapped | hash of an address → [`Bucket`](buckets::Bucket): seven IPv4 addresses or two of IPv6 with class and flags, and a generation |
//! | `peers` | hash | [`Addr`] → [`Peer`]; those that found no room in their bucket |
//! | `prefixes` | LPM trie | prefix → [`Prefix`] |
//! | `policy_sets` | array | policy set → [`PolicySet`] |
//! | `rule_buckets` | array, mapped | hash of a [`RuleKey`] → [`Bucket`](buckets::Bucket): three rows with their port sets |
//! | `rules` | hash | [`RuleKey`] → [`Rule`]; those that found no room in their bucket |
//! | `port_sets` | array | port set → [`PortSet`] |
//! | `port_chunks` | hash | [`PortChunkKey`] → [`PortChunk`] |
//! | `frontends` | hash | [`FrontendKey`] → [`Frontend`] |
//! | `backends` | hash | backend set → [`BackendSet`] |
//! | `members` | hash | [`MemberKey`] → `u32` (1) |
//! | `sources` | LPM trie | slot and prefix → `u32` (1) |
//! | `interfaces` | hash | ifindex → [`Interface`] |
//! | `flows` | array of arrays, mapped | slot → (hash of a [`FlowKey`] → [`Bucket`]) |
//! | `hashing` | array, user space only | 0 → [`Hashing`] |
//! | `fragments` | LRU hash | [`FragmentKey`] → [`Fragment`] |
//! | `rings` | array, mapped | CPU → [`Ring`](crate::event::Ring) |
//! | `events` | array, mapped | place in a ring → [`Event`](crate::event::Event) |
//! | `counters` | per-CPU array | direction and reason → packets |
//! | `programs` | program array | slot and direction → classifier |
//! | `interned` | hash, user space only | [`InternedKey`] → digest |
//!
//! [`FlowKey`]: crate::flow::FlowKey
//! [`Bucket`]: crate::flow::table::Bucket
//! [`Hashing`]: crate::flow::table::Hashing
//! [`FragmentKey`]: crate::flow::FragmentKey
//! [`Fragment`]: crate::flow::Fragment

use crate::{addr::Addr, verdict::Direction};

pub mod buckets;

/// The number of the layout, for what the sizes of keys and values do not show: who changes what some entry of a pinned map
/// means counts it up. An agent that finds another number makes new tables, and switches one pod after the other to them.
/// The shape of [`Interface`] is what all versions share: by it the next one learns which interface has which slot.
pub const LAYOUT: u32 = 6;

/// The first slot that is given to an endpoint: lower values of `tc_index` may come from a queueing discipline.
pub const FIRST_SLOT: u32 = 16;
/// One more than the last slot that a tag can carry: 15 bits, since the top one says [`TAG_DEFERRED`].
pub const MAX_TAGGED_SLOT: u32 = 0x8000;
/// Slots of a node. Kubernetes recommends at most 110 pods on one, and slots are given again.
pub const SLOTS: u32 = 4096;
const _: () = assert!(SLOTS <= MAX_TAGGED_SLOT);
/// The bit of the tag which says that the sender's egress is to be judged where the packet arrives.
pub const TAG_DEFERRED: u32 = 0x8000;

/// "Not isolated": the direction has no policy set.
pub const SET_NONE: u32 = 0;
/// A policy set that allows nothing: for what cannot be realized, and for pods that are not known yet.
pub const SET_CLOSED: u32 = 1;
/// The first policy set that is interned.
pub const FIRST_SET: u32 = 2;

/// The class of an address that no live selector or block matches.
pub const CLASS_NONE: u32 = 0;
/// The first class that is interned.
pub const FIRST_CLASS: u32 = 1;

/// The port set that allows nothing.
pub const PORTS_NONE: u32 = 0;
/// The port set that allows every port of every protocol, those without ports included.
pub const PORTS_ALL: u32 = 1;
/// The first port set that is interned.
pub const FIRST_PORT_SET: u32 = 2;

/// Not a set of backends.
pub const BACKENDS_NONE: u32 = 0;
/// The first set of backends that is interned.
pub const FIRST_BACKENDS: u32 = 1;

/// The index of an endpoint's classifier in `programs`.
#[inline(always)]
#[must_use]
pub const fn program_cell(slot: u32, direction: Direction) -> u32 {
    slot * 2 + direction as u32
}

/// The cell of `programs` that holds the long way: no endpoint's.
pub const LONG_WAY_CELL: u32 = 0;
const _: () = assert!(LONG_WAY_CELL < 2 * FIRST_SLOT);

/// What stands in the code of an entry where [`program_cell`] is to be written: a number that appears nowhere else in it.
pub const UNSET_CELL: u32 = 0x43e1_1ce5;

/// The index of a counter in `counters`.
#[inline(always)]
#[must_use]
pub const fn counter_cell(direction: Direction, reason: u8) -> u32 {
    direction as u32 * crate::verdict::REASONS as u32 + (reason as u32 & (crate::verdict::REASONS as u32 - 1))
}

/// Counters behind the verdicts: events that found no room in their ring.
pub const COUNTER_LOST: u32 = 2 * crate::verdict::REASONS as u32;
/// Counters behind the verdicts: events of an endpoint beyond its rate.
pub const COUNTER_LIMITED: u32 = COUNTER_LOST + 1;
/// Counters behind the verdicts: flows that found no room in their endpoint's table.
pub const COUNTER_FLOW_FULL: u32 = COUNTER_LOST + 2;
/// Cells of `counters`.
pub const COUNTERS: u32 = COUNTER_LOST + 8;

/// What one direction of an endpoint is judged by: the policy set in the upper half, the revision in the lower one,
/// stored and read as one aligned word, so that no packet ever meets half a policy.
pub type Judgement = u64;

/// Packs a policy set and a revision.
#[inline(always)]
#[must_use]
pub const fn judgement(set: u32, revision: u32) -> Judgement {
    ((set as u64) << 32) | revision as u64
}

/// The policy set of a judgement.
#[inline(always)]
#[must_use]
pub const fn set_of(judgement: Judgement) -> u32 {
    (judgement >> 32) as u32
}

/// The revision of a judgement.
#[inline(always)]
#[must_use]
pub const fn revision_of(judgement: Judgement) -> u32 {
    judgement as u32
}

/// Endpoint flag: the slot is in use.
pub const ENDPOINT_LIVE: u32 = 1;
/// Endpoint flag: a VLAN tag is no reason to drop.
pub const ENDPOINT_TAGS_ALLOWED: u32 = 2;
/// Endpoint flag: `sources` holds further addresses that the pod may speak with.
pub const ENDPOINT_MORE_SOURCES: u32 = 4;
/// Endpoint flag: packets of this pod can be recognised at other pods of the node (by interface or by tag), so a
/// judgement may be deferred.
pub const ENDPOINT_TAG_TRUSTED: u32 = 8;
/// Endpoint flag: the hardware address is known and is checked.
pub const ENDPOINT_HARDWARE_KNOWN: u32 = 16;

pod! {
    /// A local pod's interface: a cache line.
    pub struct Endpoint {
        /// By [`Direction::index`].
        pub judgements: [Judgement; 2],
        /// The pod's IPv6 address, [`Addr::NONE`] without one.
        pub v6: Addr,
        /// The last word of the pod's IPv4 address as in [`Addr`]; 0 without one.
        pub v4: u32,
        /// `ENDPOINT_*`.
        pub flags: u32,
        /// The pod's hardware address.
        pub hardware: [u8; 6],
        /// Zero.
        pub reserved: [u8; ENDPOINT_RESERVED],
    }
}

/// Bytes of an endpoint's entry that nothing is in. A build for tests has more of them than any other: all else of the
/// table is somewhere else then, as in another version.
pub const ENDPOINT_RESERVED: usize = if cfg!(feature = "other-layout") { 26 } else { 18 };

/// Peer flag: some frontend has this address: look there before the class is asked.
pub const PEER_FRONTEND: u32 = 1;
/// Peer flag: when no frontend has the port, the packet goes nowhere and is closed (a ClusterIP, a Service range).
pub const PEER_SERVICE_ONLY: u32 = 2;

pod! {
    /// What is known of one address. Repeats its key, as a hash element can be recycled under its reader. In a bucket it is
    /// packed ([`buckets::Bucket`]).
    pub struct Peer {
        /// The key.
        pub addr: Addr,
        /// The peer class.
        pub class: u32,
        /// `PEER_*`.
        pub flags: u32,
    }
}

pod! {
    /// What is known of all addresses of a CIDR that have no entry of their own and lie in no longer one.
    pub struct Prefix {
        /// The peer class: the union of all blocks that cover the prefix.
        pub class: u32,
        /// `PEER_*`.
        pub flags: u32,
    }
}

pod! {
    /// The data of a trie's key (behind the prefix length in bits, which counts all of this).
    pub struct SourceKey {
        /// The endpoint, in network order; 32 bits of every prefix.
        pub slot: u32,
        /// The prefix; an IPv4 one has [`V4_PREFIX_BITS`](crate::addr::V4_PREFIX_BITS) more bits.
        pub addr: Addr,
    }
}

pod! {
    /// A policy set.
    pub struct PolicySet {
        /// The port set for every class that has no row in `rules`: what rules for any peer allow.
        pub any_peer: u32,
    }
}

pod! {
    /// Which row of the rules.
    pub struct RuleKey {
        /// The policy set.
        pub set: u32,
        /// The peer class.
        pub class: u32,
    }
}

pod! {
    /// What a class may do in a policy set: the union of all its rules, those for any peer included.
    pub struct Rule {
        /// The key, repeated.
        pub key: RuleKey,
        /// The port set.
        pub port_set: u32,
    }
}

/// Ranges that a port set holds itself.
pub const INLINE_RANGES: usize = 7;

/// Port set flag: every port of every protocol.
pub const PORTS_FLAG_ALL: u8 = 1;
/// Port set flag: `port_chunks` holds more.
pub const PORTS_FLAG_CHUNKS: u8 = 2;

pod! {
    /// Ports, both ends inclusive, host order.
    pub struct PortRange {
        /// The lowest port.
        pub low: u16,
        /// The highest port; below `low` in a range that is not used.
        pub high: u16,
    }
}

impl PortRange {
    /// Matches nothing.
    pub const UNUSED: Self = Self { low: 1, high: 0 };
}

pod! {
    /// A set of (protocol, port): half a cache line. Never changed in place: another content is another set.
    pub struct PortSet {
        /// `PORTS_FLAG_*`.
        pub flags: u8,
        /// A bit ([`proto_bit`]) for each protocol of which some port is in the set.
        pub protos: u8,
        /// The protocol ([`proto_number`]) of each range, the first one's in the lowest two bits.
        pub range_protos: u16,
        /// Used ones first.
        pub ranges: [PortRange; INLINE_RANGES],
    }
}

impl PortSet {
    /// Allows nothing.
    pub const NONE: Self =
        Self { flags: 0, protos: 0, range_protos: 0, ranges: [PortRange::UNUSED; INLINE_RANGES] };
    /// Allows everything.
    pub const ALL: Self = Self { flags: PORTS_FLAG_ALL, protos: u8::MAX, ..Self::NONE };

    /// Writes a range of a protocol into one of its places.
    ///
    /// # Panics
    ///
    /// From [`INLINE_RANGES`] on.
    pub const fn put(&mut self, place: usize, proto: u8, range: PortRange) {
        self.ranges[place] = range;
        self.range_protos = self.range_protos & !(3 << (2 * place)) | proto_number(proto) << (2 * place);
        self.protos |= proto_bit(proto);
    }
}

/// A protocol in [`PortSet::range_protos`]; 0 for a protocol without ports.
#[inline(always)]
#[must_use]
pub const fn proto_number(proto: u8) -> u16 {
    match proto {
        crate::packet::TCP => 1,
        crate::packet::UDP => 2,
        crate::packet::SCTP => 3,
        _ => 0,
    }
}

/// The bit of a protocol in [`PortSet::protos`]; 0 for a protocol without ports.
#[inline(always)]
#[must_use]
pub const fn proto_bit(proto: u8) -> u8 {
    1 << proto_number(proto) >> 1
}

/// Ports in one chunk of a port set that has more ranges than fit inline.
pub const CHUNK_PORTS: u16 = 512;

pod! {
    /// Which chunk of which port set.
    pub struct PortChunkKey {
        /// The port set.
        pub port_set: u32,
        /// The port divided by [`CHUNK_PORTS`].
        pub chunk: u16,
        /// IP protocol number.
        pub proto: u8,
        /// Zero.
        pub reserved: u8,
    }
}

pod! {
    /// 512 ports as bits: port `p` is bit `p % 64` of word `p % 512 / 64`.
    pub struct PortChunk {
        /// The key, repeated.
        pub key: PortChunkKey,
        /// The bits.
        pub ports: [u64; 8],
    }
}

pod! {
    /// A Service's address, port and protocol as clients use them.
    pub struct FrontendKey {
        /// ClusterIP, externalIP, load balancer's address, or an address of this node for a NodePort.
        pub addr: Addr,
        /// Host order.
        pub port: u16,
        /// IP protocol number.
        pub proto: u8,
        /// Zero.
        pub reserved: u8,
    }
}

pod! {
    /// What stands behind a frontend.
    pub struct Frontend {
        /// The key, repeated.
        pub key: FrontendKey,
        /// The set of backends; its content may change, it is read on every judgement.
        pub backends: u32,
    }
}

/// Different (class, port) pairs that a set of backends can hold. A Service that has more is closed, and said so.
pub const MAX_BACKENDS: usize = 16;

/// Backend flag: a pod of this node whose ingress judges senders too.
pub const BACKEND_JUDGES_SENDER: u16 = 1;

/// Set of backends flag: it does not fit; closed.
pub const BACKENDS_OVERFLOW: u32 = 1;

pod! {
    /// One kind of backend: replicas with the same labels and port are one.
    pub struct Backend {
        /// The backend's peer class.
        pub class: u32,
        /// The target port, host order.
        pub port: u16,
        /// `BACKEND_*`.
        pub flags: u16,
    }
}

impl Backend {
    /// Fills unused places.
    pub const UNUSED: Self = Self { class: 0, port: 0, flags: 0 };
}

pod! {
    /// What a frontend is judged by.
    pub struct BackendSet {
        /// The key, repeated.
        pub id: u32,
        /// Used backends.
        pub count: u32,
        /// `BACKENDS_*`.
        pub flags: u32,
        /// Used ones first.
        pub backends: [Backend; MAX_BACKENDS],
    }
}

pod! {
    /// Whether the pod in a slot is itself a backend.
    pub struct MemberKey {
        /// The set of backends.
        pub backends: u32,
        /// The endpoint.
        pub slot: u32,
    }
}

/// Interface kind: the host's end of a hooked pod's veth.
pub const INTERFACE_ENDPOINT: u32 = 1;
/// Interface kind: a bridge all of whose pod ports carry our classifier, so that the tag can be believed.
pub const INTERFACE_TRUSTED_BRIDGE: u32 = 2;

pod! {
    /// What a packet that came in by an interface says of its sender.
    pub struct Interface {
        /// The key, repeated.
        pub ifindex: u32,
        /// `INTERFACE_*`.
        pub kind: u32,
        /// The endpoint's slot, 0 for a bridge.
        pub slot: u32,
    }
}

/// Interned kind: a peer class.
pub const INTERNED_CLASS: u32 = 1;
/// Interned kind: a policy set.
pub const INTERNED_SET: u32 = 2;
/// Interned kind: a port set.
pub const INTERNED_PORT_SET: u32 = 3;
/// Interned kind: a set of backends.
pub const INTERNED_BACKENDS: u32 = 4;
/// Interned kind: an endpoint's slot.
pub const INTERNED_SLOT: u32 = 5;

pod! {
    /// An id that is in use. The kernel never reads it: after a restart the agent learns here what each id of the
    /// pinned tables stands for.
    pub struct InternedKey {
        /// `INTERNED_*`.
        pub kind: u32,
        /// The id.
        pub id: u32,
    }
}

/// SHA-256 of the content that an id stands for, cut to 16 bytes.
pub type Digest = [u8; 16];
