//! What goes into the engine beside objects, and what comes out of it: table operations as data.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use netpol_common::{
    Addr, Direction,
    tables::{
        BackendSet, Digest, Endpoint, Frontend, FrontendKey, Judgement, MemberKey, Peer, PolicySet,
        PortChunk, PortSet, Prefix, Rule, RuleKey,
    },
};

use super::cidr::Cidr;
use crate::model::Key;

/// One change of the tables. A list of them is applied in its order; each replaces what was there under its key, so
/// that applying one twice does no harm.
#[derive(Clone, Debug, PartialEq)]
pub enum TableOp {
    /// From now on an id stands for this content; comes before anything that uses the id.
    Intern {
        /// `INTERNED_*`.
        kind: u32,
        /// The id.
        id: u32,
        /// Of what it stands for.
        digest: Digest,
    },
    /// An id stands for nothing any more.
    Forget {
        /// `INTERNED_*`.
        kind: u32,
        /// The id.
        id: u32,
    },
    /// A port set, whole: its chunks are written before the set.
    PortSet {
        /// Its id.
        id: u32,
        /// The entry of `port_sets`.
        value: Box<PortSet>,
        /// The entries of `port_chunks`.
        chunks: Vec<PortChunk>,
    },
    /// A port set that nothing refers to goes, with its chunks (the entry of the array becomes [`PortSet::NONE`]).
    RemovePortSet {
        /// Its id.
        id: u32,
        /// Its chunks, as they were written.
        chunks: Vec<PortChunk>,
    },
    /// A policy set's own entry.
    PolicySet {
        /// Its id.
        id: u32,
        /// The entry of `policy_sets`.
        value: PolicySet,
    },
    /// A policy set that nothing refers to goes (the entry of the array allows nothing any more).
    RemovePolicySet {
        /// Its id.
        id: u32,
    },
    /// A row.
    Rule(Rule),
    /// A row goes.
    RemoveRule(RuleKey),
    /// What is known of an address.
    Peer(Peer),
    /// Nothing of its own is known of an address any more.
    RemovePeer(Addr),
    /// What is known of the rest of a CIDR.
    Prefix {
        /// The key of the trie.
        cidr: Cidr,
        /// Its entry.
        value: Prefix,
    },
    /// A CIDR goes.
    RemovePrefix(Cidr),
    /// A set of backends.
    Backends(Box<BackendSet>),
    /// A set of backends that no frontend and no flow refers to goes.
    RemoveBackends(u32),
    /// A local pod is one of the backends.
    Member(MemberKey),
    /// It is one no more.
    RemoveMember(MemberKey),
    /// A frontend.
    Frontend(Frontend),
    /// A frontend goes.
    RemoveFrontend(FrontendKey),
    /// The generation of an address moves on by one.
    Generation(Addr),
    /// All generations move on by one: what moved is a CIDR, whose addresses cannot be counted.
    AllGenerations,
    /// An endpoint's entry but for its judgements, which stay as they are.
    Endpoint {
        /// Its slot.
        slot: u32,
        /// The entry; its judgements are not to be written.
        value: Box<Endpoint>,
    },
    /// An endpoint goes: its entry is no longer live, its judgements stay, its flows go.
    RemoveEndpoint {
        /// Its slot.
        slot: u32,
    },
    /// A direction of an endpoint switches, in one store.
    Judgement {
        /// The slot.
        slot: u32,
        /// The direction.
        direction: Direction,
        /// Policy set and revision.
        judgement: Judgement,
    },
    /// An endpoint may speak with more addresses than its own two.
    Source {
        /// Its slot.
        slot: u32,
        /// The addresses.
        cidr: Cidr,
    },
    /// It may no more.
    RemoveSource {
        /// Its slot.
        slot: u32,
        /// The addresses.
        cidr: Cidr,
    },
    /// Which classifiers an endpoint's interface carries from now on.
    Hook {
        /// Its slot.
        slot: u32,
        /// The host's interface.
        ifindex: u32,
        /// Which classifiers.
        level: HookLevel,
    },
}

// A start makes one for each address that is known: what is long stands apart.
const _: () = assert!(size_of::<TableOp>() <= 64);

/// Which classifiers an endpoint's interface carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookLevel {
    /// None.
    #[default]
    None,
    /// At the pod's egress, whether the source address is its own.
    SourceCheck,
    /// All of a verdict, in both directions.
    Full,
}

/// What the pinned tables hold when the agent starts, as the operations that would write it, in any order, with
/// [`TableOp::Judgement`] and [`TableOp::Hook`] of every slot that is live. Empty at the first start.
///
/// Policy sets, port sets and slots count as far as there is a [`TableOp::Intern`] for them. Judgements of slots that
/// are no longer live are welcome: their revisions are not used again.
#[derive(Clone, Debug, Default)]
pub struct Recovered(pub Vec<TableOp>);

/// The interface of a pod of this node, as it was discovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalEndpoint {
    /// The host's interface; what the endpoint is known by.
    pub ifname: Arc<str>,
    /// Its index.
    pub ifindex: u32,
    /// The pod, when it is known; without it the endpoint is closed.
    pub pod: Option<Key>,
    /// The pod's UID as the node knows it; empty when it is not known. The object of another UID is another pod
    /// ([`Pod::has_uid`](crate::model::Pod::has_uid)).
    pub uid: Arc<str>,
    /// The addresses that this interface was given; empty where nobody says, and `status.podIPs` count.
    pub addresses: Vec<IpAddr>,
    /// The pod's hardware address, where it is known.
    pub hardware: Option<[u8; 6]>,
    /// Prefixes that the pod may speak with, by the agent's configuration; those of its Namespace are added.
    pub sources: Vec<IpNet>,
    /// Packets of this pod can be recognised at the other pods of the node.
    pub tag_trusted: bool,
    /// A VLAN tag is no reason to drop.
    pub tags_allowed: bool,
}

/// What the engine is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this node.
    pub node: Arc<str>,
    /// Ranges of ClusterIPs, where they are known: an address there without a frontend is closed.
    pub service_cidrs: Vec<IpNet>,
    /// How long a frontend or a backend that is gone still counts, as kube-proxy lags.
    pub frontend_grace: Duration,
    /// How long after [`Engine::applied`](super::Engine::applied) nothing in the kernel can still use what was
    /// replaced (an RCU grace period takes tens of milliseconds).
    pub grace: Duration,
    /// How long an endpoint keeps its classifiers after the last policy that asked for them: what opens meanwhile
    /// is known as a flow when a policy comes back.
    pub hook_linger: Duration,
    /// One more than the last policy set id that fits into its table.
    pub policy_sets: u32,
    /// One more than the last port set id that fits into its table.
    pub port_sets: u32,
    /// CIDRs that fit into their table.
    pub prefixes: u32,
    /// One more than the last slot.
    pub slots: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: "".into(),
            service_cidrs: Vec::new(),
            frontend_grace: Duration::from_secs(10),
            grace: Duration::from_millis(100),
            hook_linger: Duration::from_secs(180),
            policy_sets: 1 << 14,
            port_sets: 1 << 14,
            prefixes: 1 << 17,
            slots: 1 << 10,
        }
    }
}
