//! Peer classes: sets of features, interned.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use netpol_common::tables::{CLASS_NONE, Digest, FIRST_CLASS, INTERNED_CLASS};

use super::{
    features::Features,
    interner::{Ids, digest_of_parts},
    ops::TableOp,
};

/// A class in use.
#[derive(Debug)]
pub(super) struct Class {
    /// Sorted.
    pub(super) features: Arc<[u32]>,
    pub(super) digest: Digest,
    /// Policy sets in which it has a row.
    pub(super) rows: BTreeSet<u32>,
    refs: u32,
    dead_since: u64,
}

/// The classes in use.
#[derive(Debug)]
pub(super) struct Classes {
    by_content: HashMap<Arc<[u32]>, u32>,
    states: HashMap<u32, Class>,
    pub(super) ids: Ids,
    /// Classes that have no rows yet.
    pub(super) born: Vec<u32>,
    /// Classes that lost their last user since the last look.
    pub(super) died: Vec<u32>,
}

impl Classes {
    pub(super) fn new() -> Self {
        Self {
            by_content: HashMap::new(),
            states: HashMap::new(),
            ids: Ids::new(FIRST_CLASS, u32::MAX),
            born: Vec::new(),
            died: Vec::new(),
        }
    }

    pub(super) fn get(&self, id: u32) -> Option<&Class> {
        self.states.get(&id)
    }

    pub(super) fn features(&self, id: u32) -> &[u32] {
        self.states.get(&id).map_or(&[], |c| &c.features)
    }

    /// The class of these features (sorted), for one more user.
    pub(super) fn acquire(
        &mut self,
        content: &[u32],
        features: &mut Features,
        ops: &mut Vec<TableOp>,
    ) -> u32 {
        if content.is_empty() {
            return CLASS_NONE;
        }
        if let Some(&id) = self.by_content.get(content) {
            if let Some(class) = self.states.get_mut(&id) {
                class.refs += 1;
            }
            return id;
        }
        let mut digests: Vec<Digest> =
            content.iter().filter_map(|f| features.get(*f).map(|s| s.digest)).collect();
        digests.sort_unstable();
        let digest = digest_of_parts(std::iter::once(&b"class"[..]).chain(digests.iter().map(|d| &d[..])));
        let Some(id) = self.ids.assign(digest) else { return CLASS_NONE };
        let content: Arc<[u32]> = content.into();
        for feature in &*content {
            if let Some(state) = features.get_mut(*feature) {
                state.classes.insert(id);
            }
        }
        self.by_content.insert(content.clone(), id);
        // The same content can come back under other ids of features while the old class waits to be collected.
        let mut rows = BTreeSet::new();
        if let Some(old) = self.states.remove(&id) {
            self.by_content.remove(&old.features);
            rows = old.rows;
        }
        self.states.insert(id, Class { features: content, digest, rows, refs: 1, dead_since: 0 });
        ops.push(TableOp::Intern { kind: INTERNED_CLASS, id, digest });
        self.born.push(id);
        id
    }

    /// The class has a row in a policy set.
    pub(super) fn has_row(&mut self, id: u32, set: u32) {
        if let Some(class) = self.states.get_mut(&id) {
            class.rows.insert(set);
        }
    }

    /// One user less.
    pub(super) fn release(&mut self, id: u32, batch: u64) {
        if let Some(class) = self.states.get_mut(&id) {
            class.refs -= 1;
            if class.refs == 0 {
                class.dead_since = batch;
                self.died.push(id);
            }
        }
    }

    /// Takes a class out that has had no user since `batch`.
    pub(super) fn collect(&mut self, id: u32, batch: u64, features: &mut Features) -> Option<Class> {
        if self.states.get(&id).is_none_or(|c| c.refs != 0 || c.dead_since != batch) {
            return None;
        }
        let class = self.states.remove(&id)?;
        self.by_content.remove(&class.features);
        for feature in &*class.features {
            if let Some(state) = features.get_mut(*feature) {
                state.classes.remove(&id);
            }
        }
        Some(class)
    }
}
