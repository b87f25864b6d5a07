//! Profiles: what selectors and port names see of a pod. Replicas share one, so that a selector is asked once for all
//! of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    contents::{Content, Contents},
    features::{Feature, Features, Name, Namespaces},
    selectors,
};
use crate::model::{Key, Labels, NAME_LABEL, Namespace};

/// A profile in use.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) content: Arc<Content>,
    /// How many pods have it.
    pods: u32,
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

/// The profiles in use, by the numbers of their contents.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    states: HashMap<u32, Profile>,
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

    /// Whether a content is a profile.
    pub(super) fn has(&self, id: u32) -> bool {
        self.states.contains_key(&id)
    }

    /// One pod more has a profile; a new one is matched against the selectors that are there.
    pub(super) fn join(
        &mut self,
        id: u32,
        contents: &Contents,
        features: &Features,
        labels_of: &mut LabelsOf<'_>,
    ) {
        if let Some(profile) = self.states.get_mut(&id) {
            profile.pods += 1;
            return;
        }
        let Some(content) = contents.get(id).cloned() else { return };
        self.by_namespace.entry(content.namespace.clone()).or_default().insert(id);
        for port in content.ports.iter() {
            self.by_port_name.entry((port.protocol, port.name.clone())).or_default().insert(id);
        }
        let mut profile = Profile {
            content,
            pods: 1,
            slots: BTreeSet::new(),
            matched: BTreeSet::new(),
            ports: Vec::new(),
            features: Arc::new([]),
            selected: BTreeSet::new(),
        };
        profile.rematch(features, labels_of);
        self.states.insert(id, profile);
        self.dirty.insert(id);
    }

    /// One pod less has a profile.
    pub(super) fn leave(&mut self, id: u32) {
        if let Some(profile) = self.states.get_mut(&id) {
            profile.pods -= 1;
            self.emptied.insert(id);
        }
    }

    /// An endpoint has left a profile.
    pub(super) fn left(&mut self, id: u32) {
        self.emptied.insert(id);
    }

    /// Drops the profiles that nobody has any more.
    pub(super) fn drop_empty(&mut self, features: &mut Features) {
        for id in std::mem::take(&mut self.emptied) {
            if self.states.get(&id).is_none_or(|p| p.pods != 0 || !p.slots.is_empty()) {
                continue;
            }
            let Some(profile) = self.states.remove(&id) else { continue };
            self.dirty.remove(&id);
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
    namespaces: &'a BTreeMap<Arc<str>, Arc<Namespace>>,
    known: BTreeMap<Arc<str>, Labels>,
}

impl<'a> LabelsOf<'a> {
    pub(super) const fn new(namespaces: &'a BTreeMap<Arc<str>, Arc<Namespace>>) -> Self {
        Self { namespaces, known: BTreeMap::new() }
    }

    fn in_scope(&mut self, scope: &Namespaces, namespace: &Arc<str>) -> bool {
        match scope {
            Namespaces::Named(name) => name == namespace,
            Namespaces::Selected(selector) if selector.0.is_empty() => true,
            Namespaces::Selected(selector) => {
                let labels = self
                    .known
                    .entry(namespace.clone())
                    .or_insert_with(|| labels_of(self.namespaces.get(namespace), namespace));
                selectors::matches(selector, labels)
            }
        }
    }
}

/// The labels of a namespace; one without an object has its name as its only label.
fn labels_of(namespace: Option<&Arc<Namespace>>, name: &Arc<str>) -> Labels {
    let mut labels = namespace.map(|namespace| namespace.labels.clone()).unwrap_or_default();
    labels.entry(NAME_LABEL.into()).or_insert_with(|| name.to_string());
    labels
}

fn remove_from<K: std::hash::Hash + Eq>(map: &mut HashMap<K, BTreeSet<u32>>, key: &K, id: u32) {
    if let Some(ids) = map.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}
