//! How full the tables are, counted from what was written.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher as _, Hash, RandomState},
};

use netpol_policy::engine::TableOp;

use crate::{control::protocol::TableLine, datapath::Sizes};

/// Entries by table. Keys are kept as hashes: eight bytes each.
#[derive(Default)]
pub(super) struct Usage {
    keys: HashMap<&'static str, HashSet<u64>>,
    hasher: RandomState,
}

impl Usage {
    fn put(&mut self, table: &'static str, key: impl Hash) {
        self.keys.entry(table).or_default().insert(self.hasher.hash_one(key));
    }

    fn take(&mut self, table: &'static str, key: impl Hash) {
        if let Some(keys) = self.keys.get_mut(table) {
            keys.remove(&self.hasher.hash_one(key));
        }
    }

    /// Takes in an operation that the kernel has accepted.
    pub(super) fn count(&mut self, operation: &TableOp) {
        match operation {
            TableOp::Peer(peer) => self.put("peers", peer.addr),
            TableOp::RemovePeer(addr) => self.take("peers", addr),
            TableOp::Prefix { cidr, .. } => self.put("prefixes", cidr),
            TableOp::RemovePrefix(cidr) => self.take("prefixes", cidr),
            TableOp::PolicySet { id, .. } => self.put("policy-sets", id),
            TableOp::RemovePolicySet { id } => self.take("policy-sets", id),
            TableOp::Rule(rule) => self.put("rules", (rule.key.set, rule.key.class)),
            TableOp::RemoveRule(key) => self.take("rules", (key.set, key.class)),
            TableOp::PortSet { id, chunks, .. } => {
                self.put("port-sets", id);
                for chunk in chunks {
                    self.put("port-chunks", (chunk.key.port_set, chunk.key.chunk, chunk.key.proto));
                }
            }
            TableOp::RemovePortSet { id, chunks } => {
                self.take("port-sets", id);
                for chunk in chunks {
                    self.take("port-chunks", (chunk.key.port_set, chunk.key.chunk, chunk.key.proto));
                }
            }
            TableOp::Frontend(f) => self.put("frontends", (f.key.addr, f.key.port, f.key.proto)),
            TableOp::RemoveFrontend(key) => self.take("frontends", (key.addr, key.port, key.proto)),
            TableOp::Backends(set) => self.put("backends", set.id),
            TableOp::RemoveBackends(id) => self.take("backends", id),
            TableOp::Intern { .. }
            | TableOp::Forget { .. }
            | TableOp::Member(_)
            | TableOp::RemoveMember(_)
            | TableOp::Generation(_)
            | TableOp::AllGenerations
            | TableOp::Endpoint { .. }
            | TableOp::RemoveEndpoint { .. }
            | TableOp::Judgement { .. }
            | TableOp::Source { .. }
            | TableOp::RemoveSource { .. }
            | TableOp::Hook { .. } => {}
        }
    }

    /// Entries, and how many fit into a table that is made with these sizes.
    pub(super) fn lines(&self, sizes: &Sizes) -> BTreeMap<String, TableLine> {
        let line = |name: &str, size: u32| {
            let used = self.keys.get(name).map_or(0, HashSet::len);
            (name.to_owned(), TableLine { used, size: size as usize })
        };
        BTreeMap::from([
            line("peers", sizes.all_peers()),
            line("prefixes", sizes.prefixes),
            line("policy-sets", sizes.policy_sets),
            line("rules", sizes.all_rules()),
            line("port-sets", sizes.port_sets),
            line("port-chunks", sizes.port_chunks),
            line("frontends", sizes.frontends),
            line("backends", sizes.backends),
        ])
    }
}
