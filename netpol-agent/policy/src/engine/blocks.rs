//! Blocks: the trie of CIDRs, in which every node already carries the union of the blocks that cover it.
//!
//! Its nodes are every block, every exception of one, the ranges of Services and the root of each family. An address
//! is then fully described by the longest node around it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::IpNet;
use netpol_common::{
    Addr,
    tables::{CLASS_NONE, PEER_SERVICE_ONLY, Prefix},
};

use super::{cidr::Cidr, classes::Classes, features::Features, ops::TableOp};
use crate::model::IpBlock;

#[derive(Debug, Default)]
struct Node {
    /// Blocks and exceptions of this CIDR; ranges of Services and roots count too and never go.
    refs: u32,
    /// Written, and its class counted.
    value: Option<Prefix>,
}

/// The trie.
#[derive(Debug)]
pub(super) struct Blocks {
    nodes: BTreeMap<Cidr, Node>,
    lengths: BTreeMap<u8, u32>,
    /// Blocks by their CIDR, with their exceptions.
    by_cidr: HashMap<Cidr, BTreeMap<u32, Vec<Cidr>>>,
    block_lengths: BTreeMap<u8, u32>,
    services: Vec<Cidr>,
    dirty: BTreeSet<Cidr>,
    /// Nodes that fit.
    limit: usize,
    /// Blocks that found no room: they match nobody.
    waiting: BTreeMap<u32, IpBlock>,
}

fn count(lengths: &mut BTreeMap<u8, u32>, bits: u8) {
    *lengths.entry(bits).or_default() += 1;
}

fn discount(lengths: &mut BTreeMap<u8, u32>, bits: u8) {
    if let Some(n) = lengths.get_mut(&bits) {
        *n -= 1;
        if *n == 0 {
            lengths.remove(&bits);
        }
    }
}

impl Blocks {
    pub(super) fn new(service_cidrs: &[IpNet], limit: u32) -> Self {
        let services: Vec<Cidr> = service_cidrs.iter().map(|net| Cidr::from(*net)).collect();
        let mut blocks = Self {
            nodes: BTreeMap::new(),
            lengths: BTreeMap::new(),
            by_cidr: HashMap::new(),
            block_lengths: BTreeMap::new(),
            services: services.clone(),
            dirty: BTreeSet::new(),
            limit: limit as usize,
            waiting: BTreeMap::new(),
        };
        for cidr in services.into_iter().chain([Cidr::ROOT_V4, Cidr::ROOT_V6]) {
            blocks.refer(cidr);
        }
        blocks
    }

    fn refer(&mut self, cidr: Cidr) {
        let node = self.nodes.entry(cidr).or_default();
        node.refs += 1;
        if node.refs == 1 {
            count(&mut self.lengths, cidr.bits());
            self.dirty.insert(cidr);
        }
    }

    fn unrefer(&mut self, cidr: Cidr) {
        if let Some(node) = self.nodes.get_mut(&cidr) {
            node.refs -= 1;
            if node.refs == 0 {
                discount(&mut self.lengths, cidr.bits());
                self.dirty.insert(cidr);
            }
        }
    }

    /// A block is asked for. One that finds no room matches nobody: a block without its exceptions would match more.
    pub(super) fn add(&mut self, id: u32, block: &IpBlock) {
        if self.nodes.len() + 1 + block.except.len() > self.limit {
            self.waiting.insert(id, block.clone());
            return;
        }
        let cidr = Cidr::from(block.cidr);
        let except: Vec<Cidr> =
            block.except.iter().map(|e| Cidr::from(*e)).filter(|e| cidr.contains(e)).collect();
        self.refer(cidr);
        for e in &except {
            self.refer(*e);
        }
        count(&mut self.block_lengths, cidr.bits());
        self.by_cidr.entry(cidr).or_default().insert(id, except);
        self.dirty.insert(cidr);
    }

    /// A block is asked for no more.
    pub(super) fn remove(&mut self, id: u32, block: &IpBlock) {
        if self.waiting.remove(&id).is_some() {
            return;
        }
        let cidr = Cidr::from(block.cidr);
        let Some(blocks) = self.by_cidr.get_mut(&cidr) else { return };
        let Some(except) = blocks.remove(&id) else { return };
        if blocks.is_empty() {
            self.by_cidr.remove(&cidr);
        }
        discount(&mut self.block_lengths, cidr.bits());
        self.unrefer(cidr);
        for e in except {
            self.unrefer(e);
        }
        self.dirty.insert(cidr);
    }

    /// The blocks that hold all of a CIDR, sorted.
    fn covering(&self, cidr: &Cidr) -> Vec<u32> {
        let mut ids = Vec::new();
        for &bits in self.block_lengths.keys().take_while(|b| **b <= cidr.bits()) {
            let around = cidr.shortened(bits);
            if around.is_v4() != cidr.is_v4() {
                continue;
            }
            for (id, except) in self.by_cidr.get(&around).into_iter().flatten() {
                if !except.iter().any(|e| e.contains(cidr)) {
                    ids.push(*id);
                }
            }
        }
        ids.sort_unstable();
        ids
    }

    /// What the longest node says of an address.
    pub(super) fn lookup(&self, addr: &Addr) -> Prefix {
        for bits in self.lengths.keys().rev() {
            let cidr = Cidr::around(*addr, *bits);
            if cidr.is_v4() == addr.is_v4()
                && let Some(node) = self.nodes.get(&cidr)
                && node.refs != 0
            {
                return node.value.unwrap_or(Prefix { class: CLASS_NONE, flags: 0 });
            }
        }
        Prefix { class: CLASS_NONE, flags: 0 }
    }

    /// Recomputes what has changed. Returns the CIDRs whose addresses may be something else now, none inside another.
    pub(super) fn refresh(
        &mut self,
        features: &mut Features,
        classes: &mut Classes,
        batch: u64,
        moves: &mut PrefixMoves,
        ops: &mut Vec<TableOp>,
    ) -> Vec<Cidr> {
        // In the order of the set, what a CIDR contains follows it, but for the other family in between.
        let mut widest: Vec<Cidr> = Vec::new();
        let mut last: [Option<Cidr>; 2] = [None; 2];
        for cidr in std::mem::take(&mut self.dirty) {
            let last = &mut last[usize::from(cidr.is_v4())];
            if !last.is_some_and(|w| w.contains(&cidr)) {
                widest.push(cidr);
                *last = Some(cidr);
            }
        }
        let mut changed = Vec::new();
        for range in &widest {
            let (from, to) = range.range();
            let inside: Vec<Cidr> =
                self.nodes.range(from..=to).map(|(c, _)| *c).filter(|c| range.contains(c)).collect();
            let mut any = false;
            for cidr in inside {
                any |= self.refresh_node(cidr, features, classes, batch, moves, ops);
            }
            if any {
                changed.push(*range);
            }
        }
        changed
    }

    fn refresh_node(
        &mut self,
        cidr: Cidr,
        features: &mut Features,
        classes: &mut Classes,
        batch: u64,
        moves: &mut PrefixMoves,
        ops: &mut Vec<TableOp>,
    ) -> bool {
        let gone = self.nodes.get(&cidr).is_none_or(|n| n.refs == 0);
        let new = if gone {
            None
        } else {
            let class = classes.acquire(&self.covering(&cidr), features, ops);
            let service = self.services.iter().any(|s| s.contains(&cidr));
            Some(Prefix { class, flags: if service { PEER_SERVICE_ONLY } else { 0 } })
        };
        let old = self.nodes.get_mut(&cidr).and_then(|n| std::mem::replace(&mut n.value, new));
        if let Some(old) = old {
            classes.release(old.class, batch);
        }
        match (old, new) {
            (_, None) => {
                self.nodes.remove(&cidr);
                moves.gone.push(cidr);
            }
            (None, Some(value)) => moves.added.push((cidr, value)),
            (Some(old), Some(value)) if old != value => moves.changed.push((cidr, value)),
            _ => {}
        }
        old != new
    }

    /// Every node, for a comparison with tables that were found.
    pub(super) fn has(&self, cidr: &Cidr) -> bool {
        self.nodes.get(cidr).is_some_and(|n| n.refs != 0)
    }

    /// The blocks that found no room.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &IpBlock> {
        self.waiting.values()
    }

    /// Gives those that found no room another chance, once others have gone from the table.
    pub(super) fn retry(&mut self) {
        if self.nodes.len() < self.limit {
            for (id, block) in std::mem::take(&mut self.waiting) {
                self.add(id, &block);
            }
        }
    }
}

/// What happens to the nodes of the trie, in an order in which every address has its old or its new class at every
/// moment: more specific ones come first and go last.
#[derive(Debug, Default)]
pub(super) struct PrefixMoves {
    pub(super) added: Vec<(Cidr, Prefix)>,
    pub(super) changed: Vec<(Cidr, Prefix)>,
    pub(super) gone: Vec<Cidr>,
}

impl PrefixMoves {
    /// The operations, once all peers that get an entry of their own have it.
    pub(super) fn ops(mut self) -> Vec<TableOp> {
        self.added.sort_by_key(|(cidr, _)| std::cmp::Reverse((cidr.bits(), *cidr)));
        self.gone.sort_by_key(|cidr| (cidr.bits(), *cidr));
        let set = |(cidr, value)| TableOp::Prefix { cidr, value };
        self.added
            .into_iter()
            .map(set)
            .chain(self.changed.into_iter().map(set))
            .chain(self.gone.into_iter().map(TableOp::RemovePrefix))
            .collect()
    }
}
