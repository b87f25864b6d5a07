//! Which backends kube-proxy could choose: from slices, or, when a Service has none, from the pods that it selects.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use netpol_common::Addr;

use super::{Front, GroupKey, Place};
use crate::{
    engine::{Engine, backends::Member, pods::addr},
    model::{Key, Pod, Protocol, Service, ServicePort, TargetPort},
};

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

impl Engine {
    /// A pod is there, has changed or is gone: the Services that select it look again at their endpoints.
    pub(in crate::engine) fn pod_of_services(&mut self, pod: u32, object: Option<&Pod>) {
        if self.services.by_label.is_empty() && self.services.by_pod.is_empty() {
            return;
        }
        let mut now = BTreeSet::new();
        if let Some(object) = object {
            for (key, value) in object.labels.iter() {
                let place = (object.key.namespace.clone(), key.clone(), value.clone());
                for service in self.services.by_label.get(&place).into_iter().flatten() {
                    let selector = self.store.services.get(service).and_then(|s| s.selector.as_ref());
                    if selector.is_some_and(|s| s.iter().all(|(k, v)| object.labels.get(k) == Some(v))) {
                        now.insert(service.clone());
                    }
                }
            }
        }
        let before = self.services.by_pod.remove(&pod).unwrap_or_default();
        if !now.is_empty() {
            self.services.by_pod.insert(pod, now.clone());
        }
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
    pub(in crate::engine) fn refresh_selection(&mut self, key: &Key) {
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
                let contents = &self.store.pods.contents;
                let selects = |content: &u32| {
                    let labels = contents.get(*content).map(|content| &content.labels);
                    labels.is_some_and(|l| selector.iter().all(|(k, v)| l.get(k) == Some(v)))
                };
                let selected = contents.of_namespace(&key.namespace).filter(selects);
                selected.flat_map(|content| contents.pods(content)).copied().collect()
            }
        };
        if let Some(place) = derived {
            self.services.by_label.entry(place).or_default().insert(key.clone());
        }
        for pod in state.pods.difference(&pods) {
            if let Some(services) = self.services.by_pod.get_mut(pod) {
                services.remove(key);
                if services.is_empty() {
                    self.services.by_pod.remove(pod);
                }
            }
        }
        for pod in &pods {
            self.services.by_pod.entry(*pod).or_default().insert(key.clone());
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
        for pod in pods.into_iter().flatten().filter_map(|pod| self.store.pods.object(*pod)) {
            if pod.finished {
                continue;
            }
            let here = pod.node == self.settings.node;
            let ready = pod.ready && !pod.terminating || service.publish_not_ready;
            let serving = pod.ready && pod.terminating;
            for number in target_ports(&pod, port) {
                for ip in &pod.addresses {
                    add(ip, number, here, ready, serving);
                }
            }
        }
        all
    }

    /// The frontends of a Service and the backends that kube-proxy could choose.
    pub(super) fn choose(
        &self,
        service: &Service,
        wanted: &mut BTreeMap<Front, (GroupKey, Place)>,
        chosen: &mut BTreeMap<GroupKey, BTreeSet<Member>>,
    ) {
        let has_node_ports = service.ports.iter().any(|port| port.node_port != 0);
        let node = if has_node_ports { self.node_port_addresses() } else { BTreeMap::new() };
        let outside = Place { cluster: false, certain: true };
        for port in &service.ports {
            let proto = port.protocol.number();
            let candidates = self.candidates(service, port);
            let mut front = |ip: &IpAddr, number: u16, external: bool, kind: Place| {
                let addr = addr(ip);
                let v4 = addr.is_v4();
                let group = (proto, port.port, v4, external);
                wanted.entry((addr.to_bytes(), number, proto)).or_insert((group, kind));
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
                front(ip, port.port, false, Place { cluster: true, certain: true });
            }
            for ip in service.external_ips.iter().chain(&service.load_balancer_ips) {
                front(ip, port.port, true, outside);
            }
            if port.node_port != 0 {
                for (ip, certain) in &node {
                    front(ip, port.node_port, true, Place { certain: *certain, ..outside });
                }
            }
        }
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
