//! Pods as the tables see them: who has which profile and claims which address.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use netpol_common::Addr;

use super::Engine;
use crate::model::{Key, Pod};

/// A pod, as it was last compiled.
#[derive(Debug)]
pub(super) struct State {
    pub(super) object: Arc<Pod>,
    /// `None` when no policy knows it: it is on the host's network, or finished.
    pub(super) profile: Option<u32>,
    /// The addresses that it claims.
    pub(super) addresses: Box<[Addr]>,
    /// They are what interfaces of this node were given, not only what its status says.
    seen_here: bool,
    /// Services that derive their endpoints from pods and select this one.
    pub(super) services: BTreeSet<Key>,
}

/// The pods.
#[derive(Debug, Default)]
pub(super) struct Pods {
    by_key: HashMap<Key, u32>,
    states: HashMap<u32, State>,
    by_namespace: HashMap<Arc<str>, BTreeSet<u32>>,
    next: u32,
}

impl Pods {
    pub(super) fn get(&self, id: u32) -> Option<&State> {
        self.states.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut State> {
        self.states.get_mut(&id)
    }

    pub(super) fn id(&self, key: &Key) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub(super) fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = u32> {
        self.by_namespace.get(namespace).into_iter().flatten().copied()
    }

    fn put(&mut self, object: Arc<Pod>) -> u32 {
        if let Some(id) = self.by_key.get(&object.key) {
            if let Some(state) = self.states.get_mut(id) {
                state.object = object;
            }
            return *id;
        }
        let id = self.next;
        self.next += 1;
        self.by_key.insert(object.key.clone(), id);
        self.by_namespace.entry(object.key.namespace.clone()).or_default().insert(id);
        self.states.insert(
            id,
            State {
                object,
                profile: None,
                addresses: Box::default(),
                seen_here: false,
                services: BTreeSet::new(),
            },
        );
        id
    }

    fn remove(&mut self, key: &Key) {
        let Some(id) = self.by_key.remove(key) else { return };
        self.states.remove(&id);
        if let Some(ids) = self.by_namespace.get_mut(&key.namespace) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_namespace.remove(&key.namespace);
            }
        }
    }

    /// Whose address it is when several pods claim it: one that has it on an interface of this node, then one that is not
    /// terminating, then the newest, then the first by its key. Never the union.
    pub(super) fn owner(&self, claims: &[u32]) -> Option<u32> {
        claims.iter().copied().filter(|id| self.states.contains_key(id)).min_by_key(|id| {
            let state = self.states.get(id);
            state.map(|s| (!s.seen_here, s.object.terminating, Reverse(s.object.created), &s.object.key))
        })
    }
}

/// Whether an address can be a pod's at all.
fn can_be_a_pods(addr: &Addr) -> bool {
    !(addr.is_unspecified() || addr.is_loopback() || addr.is_link_local() || addr.is_multicast_or_broadcast())
}

/// An address in the form of the tables; IPv4-mapped IPv6 is IPv4.
pub(super) fn addr(ip: &IpAddr) -> Addr {
    Addr::from(ip.to_canonical())
}

impl Engine {
    /// Brings what depends on a pod's object and on its endpoints up to date.
    pub(super) fn refresh_pod(&mut self, key: &Key) {
        let object = self.store.pods.get(key).cloned();
        let old = self.pods.id(key);
        let id = object.as_ref().map(|o| self.pods.put(o.clone()));
        let slots: Vec<u32> = self.endpoints.of_pod(key).collect();
        let bound: BTreeSet<u32> = slots
            .iter()
            .copied()
            .filter(|slot| object.as_ref().is_some_and(|o| self.endpoints.is_of(*slot, o)))
            .collect();

        let counts = object.as_ref().filter(|o| o.counts());
        let mut addresses: Vec<Addr> = Vec::new();
        let mut seen_here = false;
        let mut profile = None;
        if let Some(object) = counts {
            // What its interfaces were given is all that a local pod has: its status may be of an earlier sandbox.
            let mut own: Vec<&IpAddr> = bound
                .iter()
                .filter_map(|slot| self.endpoints.get(*slot))
                .flat_map(|e| &e.local.addresses)
                .collect();
            seen_here = !own.is_empty();
            if !seen_here {
                own.extend(&object.addresses);
            }
            for ip in own {
                let addr = addr(ip);
                if can_be_a_pods(&addr) && !addresses.contains(&addr) {
                    addresses.push(addr);
                }
            }
            let mut labels_of = super::profiles::LabelsOf::new(&self.store);
            profile = Some(self.profiles.intern(object, &self.features, &mut labels_of));
        }

        if let Some(pod) = id.or(old) {
            let old = self.pods.get_mut(pod).map(|s| (s.profile, std::mem::take(&mut s.addresses)));
            let (old_profile, old_addresses) = old.unwrap_or_default();
            for addr in &*old_addresses {
                if !addresses.contains(addr) {
                    self.addresses.unclaim(addr, pod);
                }
                // Members of a set of backends say which endpoint they are.
                if !slots.is_empty() {
                    self.backends.dirty.extend(self.addresses.sets_of(addr));
                }
            }
            for addr in &addresses {
                self.addresses.claim(addr, pod);
                if !slots.is_empty() {
                    self.backends.dirty.extend(self.addresses.sets_of(addr));
                }
            }
            if old_profile != profile {
                if let Some(new) = profile.and_then(|p| self.profiles.get_mut(p)) {
                    new.pods.insert(pod);
                }
                if let Some(old) = old_profile {
                    if let Some(state) = self.profiles.get_mut(old) {
                        state.pods.remove(&pod);
                    }
                    self.profiles.left(old);
                }
            }
            if let Some(state) = self.pods.get_mut(pod) {
                state.profile = profile;
                state.addresses = addresses.into();
                state.seen_here = seen_here;
            }
            self.pod_of_services(pod, object.as_ref());
        }
        self.host_ports_changed(key);
        for slot in slots {
            let is_bound = bound.contains(&slot);
            self.bind_endpoint(slot, id.filter(|_| is_bound), profile.filter(|_| is_bound));
        }
        if object.is_none() {
            self.pods.remove(key);
        }
    }
}
