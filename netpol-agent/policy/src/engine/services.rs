//! Services: which frontends there are, and which backends kube-proxy could still use behind each.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
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
    pods::addr,
};
use crate::model::{Key, Pod, Protocol, Service, ServicePort, TargetPort};

/// Address, port and protocol of a frontend.
pub(super) type Front = (Bytes, u16, u8);

/// What chooses backends alike: protocol and port of the Service, whether it is IPv4, whether it is reached from
/// outside.
pub(super) type GroupKey = (u8, u16, bool, bool);

/// Backends of one port of a Service.
#[derive(Debug)]
struct Group {
    /// By when they are forgotten, for those that are gone.
    members: BTreeMap<Member, Option<Duration>>,
    list: Arc<[Member]>,
    digest: Digest,
}

/// A frontend, as its Service has it.
#[derive(Debug)]
struct FrontOf {
    group: GroupKey,
    cluster: bool,
    /// By when it is forgotten, if it is gone.
    until: Option<Duration>,
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
    by: BTreeSet<(Key, GroupKey)>,
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
    pub(super) timers: BTreeSet<(Duration, Key)>,
    pub(super) dirty: BTreeSet<Key>,
}

/// Something that might be a backend.
struct Candidate {
    member: Member,
    here: bool,
    ready: bool,
    serving: bool,
}

/// What kube-proxy chooses: what is ready; if nothing is, what still serves while it terminates.
fn choose(candidates: &[&Candidate]) -> BTreeSet<Member> {
    let some_ready = candidates.iter().any(|c| c.ready);
    candidates.iter().filter(|c| if some_ready { c.ready } else { c.serving }).map(|c| c.member).collect()
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
        let (from, to) = ((*bytes, 0, 0), (*bytes, u16::MAX, u8::MAX));
        self.fronts.range(from..=to).find_map(|(_, claims)| claims.by.first()).map(|(key, _)| key)
    }

    pub(super) fn has(&self, key: &FrontendKey) -> bool {
        self.fronts.contains_key(&(key.addr.to_bytes(), key.port, key.proto))
    }
}

impl Engine {
    /// A pod is there, has changed or is gone: the Services that select it look again at their endpoints.
    pub(super) fn pod_of_services(&mut self, pod: u32, object: Option<&Arc<Pod>>) {
        let mut now = BTreeSet::new();
        if let Some(object) = object {
            for (key, value) in &object.labels {
                let place = (object.key.namespace.clone(), key.clone(), value.clone());
                for service in self.services.by_label.get(&place).into_iter().flatten() {
                    let selector = self.store.services.get(service).and_then(|s| s.selector.as_ref());
                    if selector.is_some_and(|s| s.iter().all(|(k, v)| object.labels.get(k) == Some(v))) {
                        now.insert(service.clone());
                    }
                }
            }
        }
        let before = self.pods.get_mut(pod).map(|s| std::mem::replace(&mut s.services, now.clone()));
        let before = before.unwrap_or_default();
        for key in before.difference(&now) {
            if let Some(state) = self.services.states.get_mut(key) {
                state.pods.remove(&pod);
            }
        }
        for key in &now {
            if let Some(state) = self.services.states.get_mut(key) {
                state.pods.insert(pod);
            }
        }
        self.services.dirty.extend(before);
        self.services.dirty.extend(now);
    }

    /// Whether endpoints of a Service are derived, and from which pods.
    pub(super) fn refresh_selection(&mut self, key: &Key) {
        let service = self.store.services.get(key).cloned();
        let selector = service
            .as_ref()
            .filter(|_| !self.store.slices_of.contains_key(key))
            .and_then(|s| s.selector.as_ref())
            .filter(|s| !s.is_empty());
        let state = self.services.states.entry(key.clone()).or_default();
        let derived = selector
            .and_then(|s| s.first_key_value())
            .map(|(k, v)| (key.namespace.clone(), k.clone(), v.clone()));
        if let Some(old) = state.derived.take()
            && derived.as_ref() != Some(&old)
            && let Some(services) = self.services.by_label.get_mut(&old)
        {
            services.remove(key);
            if services.is_empty() {
                self.services.by_label.remove(&old);
            }
        }
        state.derived.clone_from(&derived);
        let pods: BTreeSet<u32> = match selector {
            None => BTreeSet::new(),
            Some(selector) => {
                let selects = |pod: &u32| {
                    let labels = self.pods.get(*pod).map(|p| &p.object.labels);
                    labels.is_some_and(|l| selector.iter().all(|(k, v)| l.get(k) == Some(v)))
                };
                self.pods.of_namespace(&key.namespace).filter(selects).collect()
            }
        };
        if let Some(place) = derived {
            self.services.by_label.entry(place).or_default().insert(key.clone());
        }
        for pod in state.pods.difference(&pods) {
            if let Some(p) = self.pods.get_mut(*pod) {
                p.services.remove(key);
            }
        }
        for pod in &pods {
            if let Some(p) = self.pods.get_mut(*pod) {
                p.services.insert(key.clone());
            }
        }
        state.pods = pods;
    }

    /// Everything that might stand behind a port of a Service.
    fn candidates(&self, service: &Service, port: &ServicePort) -> Vec<Candidate> {
        let mut all = Vec::new();
        let mut add = |ip: &IpAddr, number: u16, here: bool, ready: bool, serving: bool| {
            all.push(Candidate { member: (addr(ip).to_bytes(), number), here, ready, serving });
        };
        if let Some(slices) = self.store.slices_of.get(&service.key) {
            for slice in slices.iter().filter_map(|s| self.store.slices.get(s)) {
                let Some(target) =
                    slice.ports.iter().find(|p| p.name == port.name && p.protocol == port.protocol)
                else {
                    continue;
                };
                for endpoint in &slice.endpoints {
                    let here = endpoint.node == self.settings.node;
                    let serving = endpoint.serving && endpoint.terminating;
                    for ip in &endpoint.addresses {
                        add(ip, target.port, here, endpoint.ready, serving);
                    }
                }
            }
            return all;
        }
        let pods = self.services.states.get(&service.key).map(|s| &s.pods);
        for pod in pods.into_iter().flatten().filter_map(|p| self.pods.get(*p)).map(|p| &p.object) {
            if pod.finished {
                continue;
            }
            let here = pod.node == self.settings.node;
            let ready = pod.ready && !pod.terminating || service.publish_not_ready;
            let serving = pod.ready && pod.terminating;
            for number in target_ports(pod, port) {
                for ip in &pod.addresses {
                    add(ip, number, here, ready, serving);
                }
            }
        }
        all
    }

    /// Looks again at the frontends of a Service and at what stands behind them.
    pub(super) fn refresh_service(&mut self, key: &Key, work: &mut Work) {
        let service = self.store.services.get(key).cloned();
        let mut wanted: BTreeMap<Front, (GroupKey, bool)> = BTreeMap::new();
        let mut chosen: BTreeMap<GroupKey, BTreeSet<Member>> = BTreeMap::new();
        if let Some(service) = &service {
            self.choose(service, &mut wanted, &mut chosen);
        }
        let Some(state) = self.services.states.get_mut(key) else { return };
        let (now, grace) = (work.now, self.settings.frontend_grace);

        for (group, members) in &chosen {
            state.groups.entry(*group).or_insert_with(|| Group {
                members: BTreeMap::new(),
                list: Arc::new([]),
                digest: digest_of_members(&[]),
            });
            if let Some(group) = state.groups.get_mut(group) {
                group.members.extend(members.iter().map(|m| (*m, None)));
            }
        }
        let mut next: Option<Duration> = None;
        for (group_key, group) in &mut state.groups {
            // The backends of a frontend that is gone stay as they were.
            if let Some(chosen) = chosen.get(group_key) {
                group.members.retain(|member, until| {
                    if !chosen.contains(member) {
                        let until = *until.get_or_insert(now + grace);
                        next = Some(next.map_or(until, |n| n.min(until)));
                        return until > now;
                    }
                    true
                });
            }
            if !group.members.keys().eq(group.list.iter()) {
                group.list = group.members.keys().copied().collect();
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
                self.addresses.remove_frontend(&Addr::from_bytes(front.0), of.cluster);
                if let Some(claims) = self.services.fronts.get_mut(&front) {
                    claims.by.remove(&(key.clone(), of.group));
                }
            }
        }
        for (front, (group, cluster)) in wanted {
            touched.insert(front);
            let old = state.fronts.insert(front, FrontOf { group, cluster, until: None });
            let same = old.as_ref().is_some_and(|o| o.group == group && o.cluster == cluster);
            if !same {
                let claims = self.services.fronts.entry(front).or_default();
                if let Some(old) = old {
                    self.addresses.remove_frontend(&Addr::from_bytes(front.0), old.cluster);
                    claims.by.remove(&(key.clone(), old.group));
                }
                claims.by.insert((key.clone(), group));
                self.addresses.add_frontend(&Addr::from_bytes(front.0), cluster);
            }
        }
        let used: BTreeSet<GroupKey> = state.fronts.values().map(|f| f.group).collect();
        state.groups.retain(|key, _| used.contains(key));
        if let Some(next) = next {
            self.services.timers.insert((next, key.clone()));
        }
        let over = service.is_none() && state.fronts.is_empty();
        work.touched.extend(touched);
        if over {
            self.services.states.remove(key);
        }
    }

    /// The frontends of a Service and the backends that kube-proxy could choose.
    fn choose(
        &self,
        service: &Service,
        wanted: &mut BTreeMap<Front, (GroupKey, bool)>,
        chosen: &mut BTreeMap<GroupKey, BTreeSet<Member>>,
    ) {
        let no_addresses = Vec::new();
        let node = self.store.nodes.get(&self.settings.node).map_or(&no_addresses, |n| &n.addresses);
        for port in &service.ports {
            let proto = port.protocol.number();
            let candidates = self.candidates(service, port);
            let mut front = |ip: &IpAddr, number: u16, external: bool, cluster: bool| {
                let addr = addr(ip);
                let v4 = addr.is_v4();
                let group = (proto, port.port, v4, external);
                wanted.entry((addr.to_bytes(), number, proto)).or_insert((group, cluster));
                chosen.entry(group).or_insert_with(|| {
                    let family: Vec<&Candidate> =
                        candidates.iter().filter(|c| Addr::from_bytes(c.member.0).is_v4() == v4).collect();
                    let here: Vec<&Candidate> = family.iter().copied().filter(|c| c.here).collect();
                    if service.internal_local && !external {
                        return choose(&here);
                    }
                    let mut members = choose(&family);
                    if service.external_local && external {
                        // A pod's packet can be taken for one from outside.
                        members.extend(choose(&here));
                    }
                    members
                });
            };
            for ip in &service.cluster_ips {
                front(ip, port.port, false, true);
            }
            for ip in service.external_ips.iter().chain(&service.load_balancer_ips) {
                front(ip, port.port, true, false);
            }
            if port.node_port != 0 {
                for ip in node {
                    front(ip, port.node_port, true, false);
                }
            }
        }
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
        let (service, list, digest) = match groups.as_slice() {
            [] => {
                self.services.fronts.remove(&front);
                if let Some(old) = old {
                    self.release_backend_set(old, work);
                }
                work.fronts.insert(front, None);
                return;
            }
            [(key, group)] => ((*key).clone(), group.list.clone(), group.digest),
            [(key, _), ..] => {
                // Which one kube-proxy follows is not known.
                let all: BTreeSet<Member> = groups.iter().flat_map(|(_, g)| g.list.iter().copied()).collect();
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

/// What the target port of a Service is on a pod.
fn target_ports(pod: &Pod, port: &ServicePort) -> Vec<u16> {
    match &port.target {
        TargetPort::Number(number) => vec![*number],
        TargetPort::Name(name) => named(pod, port.protocol, name),
    }
}

fn named(pod: &Pod, protocol: Protocol, name: &Arc<str>) -> Vec<u16> {
    pod.named_ports.iter().filter(|p| p.protocol == protocol && p.name == *name).map(|p| p.port).collect()
}
