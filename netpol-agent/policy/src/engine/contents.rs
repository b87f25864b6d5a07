//! What pods have alike: replicas have one namespace, the same labels and ports.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use super::{few::Few, table::Table};
use crate::model::{Labels, NamedPort, Pod};

/// What selectors and port names see of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) namespace: Arc<str>,
    pub(super) labels: Arc<Labels>,
    pub(super) ports: Arc<[NamedPort]>,
}

#[derive(Debug)]
struct State {
    content: Arc<Content>,
    /// Who has it.
    pods: Few<u32>,
}

/// What pods have alike, by number.
#[derive(Debug, Default)]
pub(super) struct Contents {
    table: Table<State>,
    by_namespace: HashMap<Arc<str>, BTreeSet<u32>>,
    /// Those that may have lost their last pod.
    emptied: BTreeSet<u32>,
    nothing: Arc<str>,
    hasher: RandomState,
}

impl Contents {
    pub(super) fn get(&self, id: u32) -> Option<&Arc<Content>> {
        self.table.get(id).map(|state| &state.content)
    }

    pub(super) fn namespace(&self, id: u32) -> &Arc<str> {
        self.table.get(id).map_or(&self.nothing, |state| &state.content.namespace)
    }

    /// The pods that have a content, those that are gone since the last compile included.
    pub(super) fn pods(&self, id: u32) -> &[u32] {
        self.table.get(id).map_or(&[], |state| &state.pods)
    }

    /// The contents of the pods of a namespace.
    pub(super) fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = u32> {
        self.by_namespace.get(namespace).into_iter().flatten().copied()
    }

    /// What an object has of it.
    pub(super) fn intern(&mut self, pod: &Pod) -> u32 {
        let parts = (&pod.key.namespace, &pod.labels, &pod.named_ports);
        let hash = self.hasher.hash_one(parts);
        let known = self.table.find(hash, |State { content, .. }| {
            (&content.namespace, &content.labels, &content.ports) == parts
        });
        known.unwrap_or_else(|| self.add(pod))
    }

    fn add(&mut self, pod: &Pod) -> u32 {
        let namespace = match self.by_namespace.get_key_value(&pod.key.namespace) {
            Some((known, _)) => known.clone(),
            None => pod.key.namespace.clone(),
        };
        let content = Content {
            namespace: namespace.clone(),
            labels: pod.labels.clone(),
            ports: pod.named_ports.clone(),
        };
        let state = State { content: Arc::new(content), pods: Few::default() };
        let hasher = &self.hasher;
        let id = self.table.insert(state, |State { content, .. }| {
            hasher.hash_one((&content.namespace, &content.labels, &content.ports))
        });
        self.by_namespace.entry(namespace).or_default().insert(id);
        id
    }

    pub(super) fn join(&mut self, id: u32, pod: u32) {
        if let Some(state) = self.table.get_mut(id) {
            state.pods.insert(pod);
        }
    }

    pub(super) fn leave(&mut self, id: u32, pod: u32) {
        if let Some(state) = self.table.get_mut(id) {
            state.pods.remove(&pod);
            if state.pods.is_empty() {
                self.emptied.insert(id);
            }
        }
    }

    /// Drops those that no pod has any more, and no profile.
    pub(super) fn drop_empty(&mut self, has_profile: impl Fn(u32) -> bool) {
        for id in std::mem::take(&mut self.emptied) {
            let Some(state) = self.table.get(id) else { continue };
            if !state.pods.is_empty() {
                continue;
            }
            if has_profile(id) {
                // An endpoint has it for as long as it is not told of the pod's end.
                self.emptied.insert(id);
                continue;
            }
            let content = state.content.clone();
            let hash = self.hasher.hash_one((&content.namespace, &content.labels, &content.ports));
            self.table.remove(id, hash);
            if let Some(ids) = self.by_namespace.get_mut(&content.namespace) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_namespace.remove(&content.namespace);
                }
            }
        }
    }
}
