//! The pods of the cluster, each as small as it can be, and what the tables have of them: who has which profile and claims
//! which address.
//!
//! A pod has a number. Bytes for each, with a name of 27 and one IPv4 address:
//!
//! | what | bytes |
//! |---|---|
//! | its [`Record`] | 64 |
//! | its name (`texts`) | 27 |
//! | its number, in the index by name | 7 |
//! | its number, among those with its content | 6 |
//! | its address: what is known of it (`addresses`) | 40 |
//! | its address: what the kernel's table holds (`mirror`) | 25 |
//!
//! What pods have alike is held once (`contents`), and what few have stands apart.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use netpol_common::Addr;

use super::{
    Engine,
    contents::Contents,
    names::Names,
    profiles::LabelsOf,
    table::Table,
    texts::{Text, Texts},
    uid::Uid,
};
use crate::model::{HostPort, Key, Pod};

/// No profile.
const NONE: u32 = u32::MAX;

const HOST_NETWORK: u8 = 1;
const FINISHED: u8 = 1 << 1;
const TERMINATING: u8 = 1 << 2;
const READY: u8 = 1 << 3;
/// It claims the addresses that its status has.
const CLAIMS: u8 = 1 << 4;
/// It claims what interfaces of this node were given, not what its status has.
const SEEN_HERE: u8 = 1 << 5;

/// A pod: its object, and what was compiled of it.
#[derive(Debug)]
struct Record {
    name: Text,
    uid: Uid,
    created: i64,
    addresses: Addresses,
    /// Its namespace, labels and named ports, as its object has them.
    content: u32,
    /// Its node's name.
    node: u32,
    /// Those by which it was compiled; `NONE` when no policy knows it: it is on the host's network, or finished.
    profile: u32,
    is: u8,
    /// The object is gone, and what was compiled of it is not taken back yet.
    gone: bool,
}

const _: () = assert!(size_of::<Option<Record>>() <= 64);

/// The addresses of a pod.
#[derive(Debug)]
enum Addresses {
    One(Ipv4Addr),
    Others(Box<[IpAddr]>),
}

impl Addresses {
    fn new(addresses: &[IpAddr]) -> Self {
        match addresses {
            [IpAddr::V4(one)] => Self::One(*one),
            others => Self::Others(others.into()),
        }
    }

    fn iter(&self) -> impl Iterator<Item = IpAddr> {
        let (one, others) = match self {
            Self::One(one) => (Some(IpAddr::V4(*one)), &[][..]),
            Self::Others(others) => (None, &**others),
        };
        one.into_iter().chain(others.iter().copied())
    }
}

/// What few pods have.
#[derive(Debug, Default)]
struct Rare {
    /// A UID that is no UUID.
    uid: Arc<str>,
    mirror_of: Option<Arc<str>>,
    host_ports: Vec<HostPort>,
}

/// The pods.
#[derive(Debug, Default)]
pub(super) struct Pods {
    table: Table<Record>,
    names: Texts,
    pub(super) contents: Contents,
    nodes: Names,
    rare: HashMap<u32, Rare>,
    /// What a pod claims that does not claim what its status has.
    claimed: HashMap<u32, Box<[Addr]>>,
    hasher: RandomState,
}

impl Pods {
    /// The numbers of those that are there.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.table.iter().filter(|(_, record)| !record.gone).map(|(id, _)| id)
    }

    /// Whether there is an object.
    pub(super) fn is_there(&self, id: u32) -> bool {
        self.table.get(id).is_some_and(|record| !record.gone)
    }

    /// The number of a pod that is there, or that something was compiled of.
    pub(super) fn id(&self, key: &Key) -> Option<u32> {
        let hash = self.hasher.hash_one((&*key.namespace, &*key.name));
        self.table.find(hash, |record| {
            self.names.get(record.name) == &*key.name
                && *self.contents.namespace(record.content) == key.namespace
        })
    }

    /// Namespace and name.
    pub(super) fn key(&self, id: u32) -> Option<Key> {
        let record = self.table.get(id)?;
        let name = self.names.get(record.name).into();
        Some(Key { namespace: self.contents.namespace(record.content).clone(), name })
    }

    fn object_of(&self, id: u32, record: &Record) -> Option<Pod> {
        if record.gone {
            return None;
        }
        let content = self.contents.get(record.content)?;
        let rare = self.rare.get(&id);
        Some(Pod {
            key: Key { namespace: content.namespace.clone(), name: self.names.get(record.name).into() },
            uid: rare
                .map(|rare| rare.uid.clone())
                .filter(|uid| !uid.is_empty())
                .unwrap_or_else(|| record.uid.text()),
            mirror_of: rare.and_then(|rare| rare.mirror_of.clone()),
            labels: content.labels.clone(),
            node: self.nodes.get(record.node),
            addresses: record.addresses.iter().collect(),
            named_ports: content.ports.clone(),
            host_ports: rare.map(|rare| rare.host_ports.clone()).unwrap_or_default(),
            host_network: record.is & HOST_NETWORK != 0,
            finished: record.is & FINISHED != 0,
            terminating: record.is & TERMINATING != 0,
            ready: record.is & READY != 0,
            created: record.created,
        })
    }

    /// A pod's object, put together anew.
    pub(super) fn object(&self, id: u32) -> Option<Pod> {
        self.object_of(id, self.table.get(id)?)
    }

    /// Every object, in no order.
    pub(super) fn objects(&self) -> impl Iterator<Item = Pod> {
        self.table.iter().filter_map(|(id, record)| self.object_of(id, record))
    }

    /// Takes in an object. Returns its number if anything about it is new.
    pub(super) fn put(&mut self, pod: Pod) -> Option<u32> {
        let known = self.id(&pod.key);
        if known.is_some_and(|id| self.object(id).as_ref() == Some(&pod)) {
            return None;
        }
        let uid = Uid::parse(&pod.uid);
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let record = Record {
            uid: uid.unwrap_or_default(),
            created: pod.created,
            addresses: Addresses::new(&pod.addresses),
            content: self.contents.intern(&pod),
            node: self.nodes.acquire(&pod.node),
            profile: NONE,
            is: flag(pod.host_network, HOST_NETWORK)
                | flag(pod.finished, FINISHED)
                | flag(pod.terminating, TERMINATING)
                | flag(pod.ready, READY),
            name: self.names.put(&pod.key.name),
            gone: false,
        };
        let (content, is_rare) =
            (record.content, uid.is_none() || pod.mirror_of.is_some() || !pod.host_ports.is_empty());
        let id = match known {
            Some(id) => {
                self.replace(id, record);
                id
            }
            None => {
                let (contents, names, hasher) = (&self.contents, &self.names, &self.hasher);
                let hash_of = |record: &Record| {
                    hasher.hash_one((&**contents.namespace(record.content), names.get(record.name)))
                };
                self.table.insert(record, hash_of)
            }
        };
        self.contents.join(content, id);
        if is_rare {
            let uid = if uid.is_none() { pod.uid } else { "".into() };
            let rare = Rare { uid, mirror_of: pod.mirror_of, host_ports: pod.host_ports };
            self.rare.insert(id, rare);
        } else {
            self.rare.remove(&id);
        }
        Some(id)
    }

    /// Another object has a pod's name. What was compiled stays noted.
    fn replace(&mut self, id: u32, new: Record) {
        self.keep_claims(id);
        let Some(record) = self.table.get_mut(id) else { return };
        let compiled = record.is & SEEN_HERE;
        let old = std::mem::replace(record, Record { profile: record.profile, is: new.is | compiled, ..new });
        self.release(id, &old);
    }

    /// Lets go of what a record refers to.
    fn release(&mut self, id: u32, record: &Record) {
        self.contents.leave(record.content, id);
        self.nodes.release(record.node);
        self.names.remove(record.name);
    }

    /// What a pod claims stays noted although its object is another, or none, from now on.
    fn keep_claims(&mut self, id: u32) {
        let claims = self.claims(id);
        if let Some(record) = self.table.get_mut(id)
            && record.is & CLAIMS != 0
        {
            record.is &= !CLAIMS;
            self.claimed.insert(id, claims.into());
        }
    }

    /// An object is gone. Says whether it was there.
    pub(super) fn delete(&mut self, id: u32) -> bool {
        self.keep_claims(id);
        self.table.get_mut(id).is_some_and(|record| !std::mem::replace(&mut record.gone, true))
    }

    /// Forgets a pod whose object is gone.
    fn forget(&mut self, id: u32) {
        let Some(key) = self.key(id) else { return };
        let hash = self.hasher.hash_one((&*key.namespace, &*key.name));
        if let Some(record) = self.table.remove(id, hash) {
            self.release(id, &record);
        }
        self.rare.remove(&id);
        self.claimed.remove(&id);
    }

    /// The addresses that a pod claims, as it was last compiled.
    pub(super) fn claims(&self, id: u32) -> Vec<Addr> {
        match self.table.get(id) {
            Some(record) if record.is & CLAIMS != 0 => own(record.addresses.iter()),
            _ => self.claimed.get(&id).map(|claimed| claimed.to_vec()).unwrap_or_default(),
        }
    }

    fn set_claims(&mut self, id: u32, claims: Vec<Addr>, seen_here: bool) {
        let Some(record) = self.table.get_mut(id) else { return };
        record.is &= !(CLAIMS | SEEN_HERE);
        if seen_here {
            record.is |= SEEN_HERE;
        }
        self.claimed.remove(&id);
        if claims == own(record.addresses.iter()) {
            record.is |= CLAIMS;
        } else if !claims.is_empty() {
            self.claimed.insert(id, claims.into());
        }
    }

    /// The profile that a pod was compiled with; `None` when no policy knows it.
    pub(super) fn profile(&self, id: u32) -> Option<u32> {
        self.table.get(id).map(|record| record.profile).filter(|profile| *profile != NONE)
    }

    /// Whose address it is when several pods claim it: one that has it on an interface of this node, then one that is not
    /// terminating, then the newest, then the first by its key. Never the union.
    pub(super) fn owner(&self, claims: &[u32]) -> Option<u32> {
        if let [one] = claims {
            return self.table.get(*one).map(|_| *one);
        }
        let record = |id: &u32| self.table.get(*id).map(|record| (*id, record));
        let owner = claims.iter().filter_map(record).min_by_key(|(_, record)| {
            let is = |flag| record.is & flag != 0;
            let place = (self.contents.namespace(record.content), self.names.get(record.name));
            (!is(SEEN_HERE), is(TERMINATING), Reverse(record.created), place)
        });
        owner.map(|(id, _)| id)
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

/// Those of the addresses that a pod can claim.
fn own(addresses: impl Iterator<Item = IpAddr>) -> Vec<Addr> {
    let mut own = Vec::new();
    for addr in addresses.map(|ip| addr(&ip)) {
        if can_be_a_pods(&addr) && !own.contains(&addr) {
            own.push(addr);
        }
    }
    own
}

impl Engine {
    /// Brings what depends on the pod of this name and on its endpoints up to date.
    pub(super) fn refresh_pod_of(&mut self, key: &Key) {
        if let Some(id) = self.store.pods.id(key) {
            return self.refresh_pod(id);
        }
        let slots: Vec<u32> = self.endpoints.of_pod(key).collect();
        for slot in slots {
            self.bind_endpoint(slot, None, None);
        }
    }

    /// Brings what depends on a pod's object and on its endpoints up to date.
    pub(super) fn refresh_pod(&mut self, id: u32) {
        let Some(key) = self.store.pods.key(id) else { return };
        let object = self.store.pods.object(id);
        let slots: Vec<u32> = self.endpoints.of_pod(&key).collect();
        let bound: BTreeSet<u32> = slots
            .iter()
            .copied()
            .filter(|slot| object.as_ref().is_some_and(|o| self.endpoints.is_of(*slot, o)))
            .collect();

        let mut claims: Vec<Addr> = Vec::new();
        let mut seen_here = false;
        let mut profile = None;
        if let Some(object) = object.as_ref().filter(|o| o.counts()) {
            // What its interfaces were given is all that a local pod has: its status may be of an earlier sandbox.
            let endpoints = bound.iter().filter_map(|slot| self.endpoints.get(*slot));
            let given: Vec<IpAddr> = endpoints.flat_map(|e| &e.local.addresses).copied().collect();
            seen_here = !given.is_empty();
            claims = own(if seen_here { given.iter() } else { object.addresses.iter() }.copied());
            profile = self.store.pods.table.get(id).map(|record| record.content);
        }

        let old_claims = self.store.pods.claims(id);
        for addr in &old_claims {
            if !claims.contains(addr) {
                self.addresses.unclaim(addr, id);
            }
            // Members of a set of backends say which endpoint they are.
            if !slots.is_empty() {
                self.backends.dirty.extend(self.addresses.sets_of(addr));
            }
        }
        for addr in &claims {
            self.addresses.claim(addr, id);
            if !slots.is_empty() {
                self.backends.dirty.extend(self.addresses.sets_of(addr));
            }
        }
        let old_profile = self.store.pods.profile(id);
        if old_profile != profile {
            if let Some(new) = profile {
                let mut labels_of = LabelsOf::new(&self.store.namespaces);
                self.profiles.join(new, &self.store.pods.contents, &self.features, &mut labels_of);
            }
            if let Some(old) = old_profile {
                self.profiles.leave(old);
            }
            if let Some(record) = self.store.pods.table.get_mut(id) {
                record.profile = profile.unwrap_or(NONE);
            }
        }
        self.store.pods.set_claims(id, claims, seen_here);
        self.pod_of_services(id, object.as_ref());
        self.host_ports_changed(&key, object.as_ref());
        let is_there = object.is_some();
        for slot in slots {
            let is_bound = bound.contains(&slot);
            self.bind_endpoint(slot, (is_there && is_bound).then_some(id), profile.filter(|_| is_bound));
        }
        if !is_there {
            self.store.pods.forget(id);
        }
    }
}
