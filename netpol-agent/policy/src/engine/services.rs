//! Services: which frontends there are, and which backends kube-proxy could still use behind each.

mod host_ports;
mod node;
mod selection;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use netpol_common::{
    Addr,
    tables::{Digest, FrontendKey},
};

use super::{
    Engine,
    addresses::Bytes,
    backends::{Member, Use, digest_of_members},
    compile::Work,
    few::Few,
};
use crate::model::Key;

/// Address, port and protocol of a frontend.
pub(super) type Front = (Bytes, u16, u8);

/// What chooses backends alike: protocol and port of the Service, whether it is IPv4, whether it is reached from
/// outside.
pub(super) type GroupKey = (u8, u16, bool, bool);

/// Backends of one port of a Service.
#[derive(Debug)]
struct Group {
    /// With those that are gone for less than the grace period.
    list: Arc<[Member]>,
    /// By when these are forgotten.
    leaving: BTreeMap<Member, Duration>,
    digest: Digest,
}

/// A frontend, as its Service has it.
#[derive(Debug)]
struct FrontOf {
    group: GroupKey,
    kind: Place,
    /// By when it is forgotten, if it is gone.
    until: Option<Duration>,
}

/// What kind of address a frontend has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// A ClusterIP: only Services are there.
    cluster: bool,
    /// Every way of kube-proxy translates there.
    certain: bool,
}

impl FrontOf {
    /// Whether a packet may get to the address itself, since nothing translates there, or does not any more.
    const fn is_doubtful(&self) -> bool {
        !self.kind.certain || self.until.is_some() && !self.kind.cluster
    }
}

/// A Service as it was last compiled.
#[derive(Debug, Default)]
struct State {
    /// The selector by which its endpoints are derived, when there are no slices.
    derived: Option<(Arc<str>, String, String)>,
    pods: BTreeSet<u32>,
    groups: BTreeMap<GroupKey, Group>,
    fronts: BTreeMap<Front, FrontOf>,
}

/// A frontend, as all Services have it.
#[derive(Debug, Default)]
struct Claims {
    by: Few<(Key, GroupKey)>,
    /// The set of backends that it leads to.
    set: Option<u32>,
}

/// The Services.
#[derive(Debug, Default)]
pub(super) struct Services {
    states: BTreeMap<Key, State>,
    fronts: BTreeMap<Front, Claims>,
    /// Services that derive their endpoints, by namespace and one label of their selector.
    by_label: HashMap<(Arc<str>, String, String), BTreeSet<Key>>,
    /// Those that a pod is selected by.
    by_pod: HashMap<u32, BTreeSet<Key>>,
    /// Pods of this node that have ports of the host, by the key that they have among Services.
    host_ports: BTreeMap<Key, Key>,
    pub(super) timers: BTreeSet<(Duration, Key)>,
    pub(super) dirty: BTreeSet<Key>,
}

pub(super) const fn front_key(front: Front) -> FrontendKey {
    FrontendKey { addr: Addr::from_bytes(front.0), port: front.1, proto: front.2, reserved: 0 }
}

impl Services {
    /// The Services that claim a frontend, those that are gone last.
    pub(super) fn at(&self, front: &Front) -> Vec<(&Key, bool)> {
        let mut all: Vec<(&Key, bool)> = self
            .fronts
            .get(front)
            .into_iter()
            .flat_map(|c| &c.by)
            .map(|(key, _)| {
                let of = self.states.get(key).and_then(|s| s.fronts.get(front));
                (key, of.is_none_or(|f| f.until.is_some()))
            })
            .collect();
        all.sort_by_key(|(_, gone)| *gone);
        all
    }

    /// The Services that have an address.
    pub(super) fn of(&self, bytes: &Bytes) -> Option<&Key> {
        let mut claims = self.fronts_at(bytes).filter_map(|front| self.fronts.get(&front));
        claims.find_map(|claims| claims.by.first()).map(|(key, _)| key)
    }

    /// The frontends at an address.
    pub(super) fn fronts_at(&self, bytes: &Bytes) -> impl Iterator<Item = Front> {
        self.fronts.range((*bytes, 0, 0)..=(*bytes, u16::MAX, u8::MAX)).map(|(front, _)| *front)
    }

    pub(super) fn has(&self, key: &FrontendKey) -> bool {
        self.fronts.contains_key(&(key.addr.to_bytes(), key.port, key.proto))
    }
}

impl Engine {
    /// Looks again at the frontends of a Service and at what stands behind them.
    pub(super) fn refresh_service(&mut self, key: &Key, work: &mut Work) {
        let service = self.store.services.get(key).cloned();
        let mut wanted: BTreeMap<Front, (GroupKey, Place)> = BTreeMap::new();
        let mut chosen: BTreeMap<GroupKey, BTreeSet<Member>> = BTreeMap::new();
        if let Some(service) = &service {
            self.choose(service, &mut wanted, &mut chosen);
        }
        let pod = self.services.host_ports.get(key).and_then(|pod| self.store.pod(pod));
        let is_there = service.is_some() || pod.is_some();
        if let Some(pod) = &pod {
            self.choose_host_ports(pod, &mut wanted, &mut chosen);
        }
        let Some(state) = self.services.states.get_mut(key) else { return };
        let (now, grace) = (work.now, self.settings.frontend_grace);

        let mut next: Option<Duration> = None;
        // The backends of a frontend that is gone stay as they were.
        for (group, members) in chosen {
            let group = state.groups.entry(group).or_insert_with(|| Group {
                list: Arc::new([]),
                leaving: BTreeMap::new(),
                digest: digest_of_members(&[]),
            });
            for member in group.list.iter().filter(|member| !members.contains(member)) {
                group.leaving.entry(*member).or_insert(now + grace);
            }
            group.leaving.retain(|member, until| *until > now && !members.contains(member));
            next = next.into_iter().chain(group.leaving.values().copied()).min();
            let mut all = members;
            all.extend(group.leaving.keys());
            if !all.iter().eq(group.list.iter()) {
                group.list = all.into_iter().collect();
                group.digest = digest_of_members(&group.list);
            }
        }

        let mut gone: Vec<Front> = Vec::new();
        for (front, of) in &mut state.fronts {
            if !wanted.contains_key(front) {
                let until = *of.until.get_or_insert(now + grace);
                if until <= now {
                    gone.push(*front);
                } else {
                    next = Some(next.map_or(until, |n| n.min(until)));
                }
            }
        }
        let mut touched: BTreeSet<Front> = state.fronts.keys().copied().collect();
        for front in gone {
            if let Some(of) = state.fronts.remove(&front) {
                self.addresses.remove_frontend(&Addr::from_bytes(front.0), of.kind.cluster);
                if let Some(claims) = self.services.fronts.get_mut(&front) {
                    claims.by.remove(&(key.clone(), of.group));
                }
            }
        }
        for (front, (group, kind)) in wanted {
            touched.insert(front);
            let old = state.fronts.insert(front, FrontOf { group, kind, until: None });
            let same = old.as_ref().is_some_and(|o| o.group == group && o.kind.cluster == kind.cluster);
            if !same {
                let claims = self.services.fronts.entry(front).or_default();
                if let Some(old) = old {
                    self.addresses.remove_frontend(&Addr::from_bytes(front.0), old.kind.cluster);
                    claims.by.remove(&(key.clone(), old.group));
                }
                claims.by.insert((key.clone(), group));
                self.addresses.add_frontend(&Addr::from_bytes(front.0), kind.cluster);
            }
        }
        let used: BTreeSet<GroupKey> = state.fronts.values().map(|f| f.group).collect();
        state.groups.retain(|key, _| used.contains(key));
        if let Some(next) = next {
            self.services.timers.insert((next, key.clone()));
        }
        let over = !is_there && state.fronts.is_empty();
        work.touched.extend(touched);
        if over {
            self.services.states.remove(key);
        }
    }

    /// Whether a packet to a frontend may get to the address itself: then all of it must be allowed, as if the address
    /// were one more backend.
    fn is_doubtful(&self, front: &Front, claims: &Claims) -> bool {
        let of = |(key, _): &(Key, GroupKey)| self.services.states.get(key).and_then(|s| s.fronts.get(front));
        // A Service may name the address of a pod among its externalIPs.
        self.addresses.is_claimed(&front.0) || claims.by.iter().filter_map(of).all(FrontOf::is_doubtful)
    }

    /// Which set of backends a frontend leads to.
    pub(super) fn refresh_front(&mut self, front: Front, work: &mut Work) {
        let Some(claims) = self.services.fronts.get(&front) else { return };
        let old = claims.set;
        let groups: Vec<(&Key, &Group)> = claims
            .by
            .iter()
            .filter_map(|(key, group)| {
                self.services.states.get(key).and_then(|s| s.groups.get(group)).map(|g| (key, g))
            })
            .collect();
        let doubtful = self.is_doubtful(&front, claims);
        let (service, list, digest) = match groups.as_slice() {
            [] => {
                self.services.fronts.remove(&front);
                if let Some(old) = old {
                    self.release_backend_set(old, work);
                }
                work.fronts.insert(front, None);
                return;
            }
            [(key, group)] if !doubtful => ((*key).clone(), group.list.clone(), group.digest),
            [(key, _), ..] => {
                // Which one kube-proxy follows is not known.
                let all = groups.iter().flat_map(|(_, g)| g.list.iter().copied());
                let all: BTreeSet<Member> = all.chain(doubtful.then_some((front.0, front.1))).collect();
                let list: Arc<[Member]> = all.into_iter().collect();
                let digest = digest_of_members(&list);
                ((*key).clone(), list, digest)
            }
        };
        if old.is_some_and(|id| self.backends.get(id).is_some_and(|s| s.digest == digest)) {
            return;
        }
        let user = Use { front: front.0, proto: front.2, service: &service };
        let Some(new) = self.acquire_backends(&list, digest, &user, work) else { return };
        if let Some(old) = old {
            self.release_backend_set(old, work);
        }
        if let Some(claims) = self.services.fronts.get_mut(&front) {
            claims.set = Some(new);
        }
        work.fronts.insert(front, Some(new));
    }
}
