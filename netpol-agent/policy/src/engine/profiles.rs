//! Profiles: what selectors and port names see of a pod. Replicas share one, so that a selector is asked once for all
//! of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    features::{Feature, Features, Name, Namespaces},
    selectors,
};
use crate::model::{Key, Labels, NamedPort, Pod};

/// What selectors and port names see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) namespace: Arc<str>,
    pub(super) labels: Arc<Labels>,
    pub(super) ports: Arc<[NamedPort]>,
}

/// A profile in use.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) content: Arc<Content>,
    /// Pods that have it.
    pub(super) pods: BTreeSet<u32>,
    /// Endpoints of this node that have it.
    pub(super) slots: BTreeSet<u32>,
    /// Selectors that match.
    matched: BTreeSet<u32>,
    /// What live port names mean here, as features.
    ports: Vec<u32>,
    /// Both, sorted.
    pub(super) features: Arc<[u32]>,
    /// The policies that select it; kept while it has endpoints.
    pub(super) selected: BTreeSet<Key>,
}

/// The profiles in use.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    by_content: HashMap<Arc<Content>, u32>,
    states: HashMap<u32, Profile>,
    next: u32,
    by_namespace: HashMap<Arc<str>, BTreeSet<u32>>,
    by_port_name: HashMap<Name, BTreeSet<u32>>,
    /// Profiles whose features may be others now.
    pub(super) dirty: BTreeSet<u32>,
    /// Profiles that may have lost their last pod.
    emptied: BTreeSet<u32>,
}

impl Profiles {
    pub(super) fn get(&self, id: u32) -> Option<&Profile> {
        self.states.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Profile> {
        self.states.get_mut(&id)
    }

    pub(super) fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = u32> {
        self.by_namespace.get(namespace).into_iter().flatten().copied()
    }

    /// The profile of a pod; a new one is matched against the selectors that are there.
    pub(super) fn intern(&mut self, pod: &Pod, features: &Features, labels_of: &mut LabelsOf<'_>) -> u32 {
        let content = Content {
            namespace: pod.key.namespace.clone(),
            labels: pod.labels.clone(),
            ports: pod.named_ports.clone(),
        };
        if let Some(id) = self.by_content.get(&content) {
            return *id;
        }
        let id = self.next;
        self.next += 1;
        let content = Arc::new(content);
        self.by_content.insert(content.clone(), id);
        self.by_namespace.entry(content.namespace.clone()).or_default().insert(id);
        for port in content.ports.iter() {
            self.by_port_name.entry((port.protocol, port.name.clone())).or_default().insert(id);
        }
        let mut profile = Profile {
            content,
            pods: BTreeSet::new(),
            slots: BTreeSet::new(),
            matched: BTreeSet::new(),
            ports: Vec::new(),
            features: Arc::new([]),
            selected: BTreeSet::new(),
        };
        profile.rematch(features, labels_of);
        self.states.insert(id, profile);
        self.dirty.insert(id);
        id
    }

    /// A pod or an endpoint has left a profile.
    pub(super) fn left(&mut self, id: u32) {
        self.emptied.insert(id);
    }

    /// Drops the profiles that nobody has any more.
    pub(super) fn drop_empty(&mut self, features: &mut Features) {
        for id in std::mem::take(&mut self.emptied) {
            if self.states.get(&id).is_none_or(|p| !p.pods.is_empty() || !p.slots.is_empty()) {
                continue;
            }
            let Some(profile) = self.states.remove(&id) else { continue };
            self.dirty.remove(&id);
            self.by_content.remove(&profile.content);
            remove_from(&mut self.by_namespace, &profile.content.namespace, id);
            for port in profile.content.ports.iter() {
                remove_from(&mut self.by_port_name, &(port.protocol, port.name.clone()), id);
            }
            for port in profile.ports {
                features.release(port);
            }
        }
    }

    /// The labels of a namespace are others now.
    pub(super) fn namespace_changed(
        &mut self,
        namespace: &str,
        features: &Features,
        labels_of: &mut LabelsOf<'_>,
    ) {
        for id in self.by_namespace.get(namespace).into_iter().flatten() {
            if let Some(profile) = self.states.get_mut(id)
                && profile.rematch(features, labels_of)
            {
                self.dirty.insert(*id);
            }
        }
    }

    /// A selector is new: asks every profile that it can match.
    pub(super) fn feature_born(&mut self, id: u32, feature: &Feature, labels_of: &mut LabelsOf<'_>) {
        let Feature::Pods { namespaces, pods } = feature else { return };
        for (namespace, profiles) in &self.by_namespace {
            if !labels_of.in_scope(namespaces, namespace) {
                continue;
            }
            for profile in profiles {
                if let Some(state) = self.states.get_mut(profile)
                    && selectors::matches(pods, &state.content.labels)
                    && state.matched.insert(id)
                {
                    self.dirty.insert(*profile);
                }
            }
        }
    }

    /// A selector is gone.
    pub(super) fn feature_died(&mut self, id: u32, feature: &Feature) {
        let Feature::Pods { namespaces, .. } = feature else { return };
        let within: Vec<&BTreeSet<u32>> = match namespaces {
            Namespaces::Named(name) => self.by_namespace.get(name).into_iter().collect(),
            Namespaces::Selected(_) => self.by_namespace.values().collect(),
        };
        for profile in within.into_iter().flatten() {
            if let Some(state) = self.states.get_mut(profile)
                && state.matched.remove(&id)
            {
                self.dirty.insert(*profile);
            }
        }
    }

    /// A port name is asked for, or no more.
    pub(super) fn name_changed(&mut self, name: &Name) {
        self.dirty.extend(self.by_port_name.get(name).into_iter().flatten());
    }

    /// Puts the features of a profile together anew; says whether they are others now.
    pub(super) fn refresh(&mut self, id: u32, features: &mut Features) -> bool {
        let Some(profile) = self.states.get_mut(&id) else { return false };
        let content = profile.content.clone();
        let mut ports = Vec::new();
        for port in content.ports.iter() {
            let name = (port.protocol, port.name.clone());
            if features.is_live(&name) {
                ports.push(features.acquire(&Feature::Port { name, port: port.port }));
            }
        }
        for port in std::mem::replace(&mut profile.ports, ports) {
            features.release(port);
        }
        let mut all: Vec<u32> = profile.matched.iter().chain(&profile.ports).copied().collect();
        all.sort_unstable();
        all.dedup();
        let changed = *profile.features != *all;
        if changed {
            profile.features = all.into();
        }
        changed
    }
}

impl Profile {
    /// Asks all selectors again; says whether the answer is another.
    fn rematch(&mut self, features: &Features, labels_of: &mut LabelsOf<'_>) -> bool {
        let matched: BTreeSet<u32> = features
            .selectors_for(&self.content.namespace)
            .filter(|(_, state)| match &*state.content {
                Feature::Pods { namespaces, pods } => {
                    selectors::matches(pods, &self.content.labels)
                        && labels_of.in_scope(namespaces, &self.content.namespace)
                }
                _ => false,
            })
            .map(|(id, _)| id)
            .collect();
        let changed = matched != self.matched;
        self.matched = matched;
        changed
    }
}

/// The labels of namespaces, looked up once per compile.
pub(super) struct LabelsOf<'a> {
    store: &'a super::store::Store,
    known: BTreeMap<Arc<str>, Labels>,
}

impl<'a> LabelsOf<'a> {
    pub(super) const fn new(store: &'a super::store::Store) -> Self {
        Self { store, known: BTreeMap::new() }
    }

    fn in_scope(&mut self, scope: &Namespaces, namespace: &Arc<str>) -> bool {
        match scope {
            Namespaces::Named(name) => name == namespace,
            Namespaces::Selected(selector) if selector.0.is_empty() => true,
            Namespaces::Selected(selector) => {
                let labels = self
                    .known
                    .entry(namespace.clone())
                    .or_insert_with(|| self.store.namespace_labels(namespace));
                selectors::matches(selector, labels)
            }
        }
    }
}

fn remove_from<K: std::hash::Hash + Eq>(map: &mut HashMap<K, BTreeSet<u32>>, key: &K, id: u32) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}
