//! The objects that are there, by key, and which of them have changed since the last compile.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::pods::Pods;
use crate::model::{EndpointSlice, Key, Kind, Namespace, Node, Object, Pod, Policy, Service, SourceEvent};

/// The objects that are there.
#[derive(Debug, Default)]
pub struct Store {
    pub(super) namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
    pub(super) nodes: BTreeMap<Arc<str>, Arc<Node>>,
    pub(super) pods: Pods,
    pub(super) services: BTreeMap<Key, Arc<Service>>,
    pub(super) slices: BTreeMap<Key, Arc<EndpointSlice>>,
    /// Slices by the Service that they belong to.
    pub(super) slices_of: HashMap<Key, BTreeSet<Key>>,
    pub(super) policies: BTreeMap<Key, Arc<Policy>>,
    /// What lists that are under way have not named yet, of what was there before. Nothing, where it is the first list.
    unnamed: BTreeMap<Kind, Unnamed>,
}

/// Objects of a kind, by what they are known by.
#[derive(Debug)]
enum Unnamed {
    Pods(HashSet<u32>),
    Others(HashSet<Key>),
}

impl Unnamed {
    fn is_named(&mut self, key: &Key, pods: &Pods) {
        match self {
            Self::Pods(unnamed) => pods.id(key).is_some_and(|id| unnamed.remove(&id)),
            Self::Others(unnamed) => unnamed.remove(key),
        };
    }
}

/// What has changed since the last compile.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) namespaces: BTreeSet<Arc<str>>,
    pub(super) nodes: BTreeSet<Arc<str>>,
    pub(super) pods: BTreeSet<u32>,
    /// Pods of which endpoints say something else.
    pub(super) local: BTreeSet<Key>,
    pub(super) services: BTreeSet<Key>,
    pub(super) policies: BTreeSet<Key>,
}

impl Store {
    /// A pod, put together anew from what is kept of it.
    #[must_use]
    pub fn pod(&self, key: &Key) -> Option<Pod> {
        self.pods.object(self.pods.id(key)?)
    }

    /// Whether a pod is there.
    #[must_use]
    pub fn has_pod(&self, key: &Key) -> bool {
        self.pods.id(key).is_some_and(|id| self.pods.is_there(id))
    }

    /// How many pods there are.
    #[must_use]
    pub fn pods(&self) -> usize {
        self.pods.ids().count()
    }

    /// A namespace.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.namespaces.get(name)
    }

    /// Every namespace of which there is an object.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.namespaces.values()
    }

    /// A node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// Every node.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// A Service.
    #[must_use]
    pub fn service(&self, key: &Key) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// Every Service.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// Every slice.
    pub fn slices(&self) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices.values()
    }

    /// A policy.
    #[must_use]
    pub fn policy(&self, key: &Key) -> Option<&Arc<Policy>> {
        self.policies.get(key)
    }

    /// Every policy, in the order of its key.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    /// Everything, as the objects that it was read from, in the order of kind and key.
    #[must_use]
    pub fn objects(&self) -> Vec<Object> {
        let mut pods: Vec<Pod> = self.pods.objects().collect();
        pods.sort_by(|a, b| a.key.cmp(&b.key));
        let mut all = Vec::new();
        all.extend(self.namespaces.values().map(|o| Object::Namespace(Namespace::clone(o))));
        all.extend(self.nodes.values().map(|o| Object::Node(Node::clone(o))));
        all.extend(pods.into_iter().map(Object::Pod));
        all.extend(self.services.values().map(|o| Object::Service(Service::clone(o))));
        all.extend(self.slices.values().map(|o| Object::EndpointSlice(EndpointSlice::clone(o))));
        all.extend(self.policies.values().map(|o| Object::Policy(Policy::clone(o))));
        all
    }

    /// Takes in an event; notes in `changes` what is different now.
    pub(super) fn take(&mut self, event: SourceEvent, changes: &mut Changes) {
        match event {
            SourceEvent::Apply(object) => {
                if !self.unnamed.is_empty() {
                    self.is_named(object.kind(), &object.key());
                }
                self.put(object, changes);
            }
            SourceEvent::Listing(kind) => {
                let unnamed = match kind {
                    Kind::Pod => Unnamed::Pods(self.pods.ids().collect()),
                    _ => Unnamed::Others(self.keys_of(kind).collect()),
                };
                self.unnamed.insert(kind, unnamed);
            }
            SourceEvent::Stays(kind, key) => self.is_named(kind, &key),
            SourceEvent::Listed(kind) => match self.unnamed.remove(&kind) {
                Some(Unnamed::Pods(gone)) => {
                    changes.pods.extend(gone.into_iter().filter(|id| self.pods.delete(*id)));
                }
                Some(Unnamed::Others(gone)) => {
                    for key in &gone {
                        self.delete(kind, key, changes);
                    }
                }
                None => {}
            },
            SourceEvent::Delete(kind, key) => self.delete(kind, &key, changes),
            SourceEvent::Reset(objects) => {
                let stay: BTreeSet<(Kind, Key)> = objects.iter().map(|o| (o.kind(), o.key())).collect();
                let gone: Vec<(Kind, Key)> = self.keys().filter(|k| !stay.contains(k)).collect();
                for (kind, key) in gone {
                    self.delete(kind, &key, changes);
                }
                for object in objects {
                    self.put(object, changes);
                }
            }
        }
    }

    fn is_named(&mut self, kind: Kind, key: &Key) {
        if let Some(unnamed) = self.unnamed.get_mut(&kind) {
            unnamed.is_named(key, &self.pods);
        }
    }

    fn keys(&self) -> impl Iterator<Item = (Kind, Key)> {
        Kind::ALL.into_iter().flat_map(|kind| self.keys_of(kind).map(move |key| (kind, key)))
    }

    fn keys_of(&self, kind: Kind) -> Box<dyn Iterator<Item = Key> + '_> {
        let cluster = |name: &Arc<str>| Key { namespace: "".into(), name: name.clone() };
        match kind {
            Kind::Namespace => Box::new(self.namespaces.keys().map(cluster)),
            Kind::Node => Box::new(self.nodes.keys().map(cluster)),
            Kind::Pod => Box::new(self.pods.ids().filter_map(|id| self.pods.key(id))),
            Kind::Service => Box::new(self.services.keys().cloned()),
            Kind::EndpointSlice => Box::new(self.slices.keys().cloned()),
            Kind::NetworkPolicy => Box::new(self.policies.keys().cloned()),
        }
    }

    fn put(&mut self, object: Object, changes: &mut Changes) {
        match object {
            Object::Namespace(new) => {
                let name = new.name.clone();
                if self.namespaces.get(&name).is_none_or(|old| **old != new) {
                    self.namespaces.insert(name.clone(), Arc::new(new));
                    changes.namespaces.insert(name);
                }
            }
            Object::Node(new) => {
                let name = new.name.clone();
                if self.nodes.get(&name).is_none_or(|old| **old != new) {
                    self.nodes.insert(name.clone(), Arc::new(new));
                    changes.nodes.insert(name);
                }
            }
            Object::Pod(new) => changes.pods.extend(self.pods.put(new)),
            Object::Service(new) => {
                let key = new.key.clone();
                if self.services.get(&key).is_none_or(|old| **old != new) {
                    self.services.insert(key.clone(), Arc::new(new));
                    changes.services.insert(key);
                }
            }
            Object::EndpointSlice(new) => {
                if self.slices.get(&new.key).is_none_or(|old| **old != new) {
                    let key = new.key.clone();
                    self.forget_slice(&key, changes);
                    let service = Key { namespace: key.namespace.clone(), name: new.service.clone() };
                    self.slices_of.entry(service.clone()).or_default().insert(key.clone());
                    changes.services.insert(service);
                    self.slices.insert(key, Arc::new(new));
                }
            }
            Object::Policy(new) => {
                let key = new.key.clone();
                if self.policies.get(&key).is_none_or(|old| **old != new) {
                    self.policies.insert(key.clone(), Arc::new(new));
                    changes.policies.insert(key);
                }
            }
        }
    }

    fn forget_slice(&mut self, key: &Key, changes: &mut Changes) {
        let Some(old) = self.slices.remove(key) else { return };
        let service = Key { namespace: key.namespace.clone(), name: old.service.clone() };
        if let Some(slices) = self.slices_of.get_mut(&service) {
            slices.remove(key);
            if slices.is_empty() {
                self.slices_of.remove(&service);
            }
        }
        changes.services.insert(service);
    }

    fn delete(&mut self, kind: Kind, key: &Key, changes: &mut Changes) {
        match kind {
            Kind::Namespace => {
                if self.namespaces.remove(&key.name).is_some() {
                    changes.namespaces.insert(key.name.clone());
                }
            }
            Kind::Node => {
                if self.nodes.remove(&key.name).is_some() {
                    changes.nodes.insert(key.name.clone());
                }
            }
            Kind::Pod => {
                changes.pods.extend(self.pods.id(key).filter(|id| self.pods.delete(*id)));
            }
            Kind::Service => {
                if self.services.remove(key).is_some() {
                    changes.services.insert(key.clone());
                }
            }
            Kind::EndpointSlice => self.forget_slice(key, changes),
            Kind::NetworkPolicy => {
                if self.policies.remove(key).is_some() {
                    changes.policies.insert(key.clone());
                }
            }
        }
    }
}
