//! Typed handles of every pinned map.

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, ProgramArray},
};
use netpol_common::{
    Addr,
    tables::{
        BackendSet, Digest, Endpoint, Frontend, FrontendKey, Interface, InternedKey, MemberKey, PolicySet,
        PortChunk, PortChunkKey, PortSet, Prefix, SLOTS, SourceKey,
    },
};

use super::{
    Error,
    buckets::{Peers, Rules},
    mapped::Mapped,
    raw::Raw,
};

pub(super) type Hash<K, V> = HashMap<MapData, Raw<K>, Raw<V>>;

/// All maps that user space writes.
pub(super) struct Tables {
    pub(super) endpoints: Mapped<Endpoint>,
    pub(super) peers: Peers,
    pub(super) prefixes: LpmTrie<MapData, Raw<Addr>, Raw<Prefix>>,
    pub(super) policy_sets: Array<MapData, Raw<PolicySet>>,
    pub(super) rules: Rules,
    pub(super) port_sets: Array<MapData, Raw<PortSet>>,
    pub(super) port_chunks: Hash<PortChunkKey, PortChunk>,
    pub(super) frontends: Hash<FrontendKey, Frontend>,
    pub(super) backends: Hash<u32, BackendSet>,
    pub(super) members: Hash<MemberKey, u32>,
    pub(super) sources: LpmTrie<MapData, Raw<SourceKey>, Raw<u32>>,
    pub(super) interfaces: Hash<u32, Interface>,
    pub(super) flows: ArrayOfMaps<MapData>,
    pub(super) counts: PerCpuArray<MapData, u64>,
    pub(super) programs: ProgramArray<MapData>,
    pub(super) interned: Hash<InternedKey, Digest>,
}

pub(super) fn take<T: TryFrom<Map, Error = MapError>>(object: &mut Ebpf, name: &str) -> Result<T, Error> {
    let map = object.take_map(name).ok_or_else(|| Error::Missing { what: "map", name: name.to_owned() })?;
    map.try_into().map_err(|source| Error::NamedMap { name: name.to_owned(), source })
}

/// Maps an array into memory; the mapping outlives the handle.
fn mapped<T: netpol_common::Pod>(object: &mut Ebpf, name: &str, len: u32) -> Result<Mapped<T>, Error> {
    match object.map(name) {
        Some(Map::Array(data)) => Mapped::new(data, len),
        _ => Err(Error::Missing { what: "map", name: name.to_owned() }),
    }
}

impl Tables {
    pub(super) fn new(object: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {
            endpoints: mapped(object, "ENDPOINTS", SLOTS)?,
            peers: Peers::of(object)?,
            prefixes: take(object, "PREFIXES")?,
            policy_sets: take(object, "POLICY_SETS")?,
            rules: Rules::of(object)?,
            port_sets: take(object, "PORT_SETS")?,
            port_chunks: take(object, "PORT_CHUNKS")?,
            frontends: take(object, "FRONTENDS")?,
            backends: take(object, "BACKENDS")?,
            members: take(object, "MEMBERS")?,
            sources: take(object, "SOURCES")?,
            interfaces: take(object, "INTERFACES")?,
            flows: take(object, "FLOW_TABLES")?,
            counts: take(object, "COUNTS")?,
            programs: take(object, "PROGRAMS")?,
            interned: take(object, "INTERNED")?,
        })
    }
}
