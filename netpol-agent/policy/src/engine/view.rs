//! Read access: the names behind the numbers.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use netpol_common::{
    Addr, Direction,
    tables::{FrontendKey, PORTS_ALL, PORTS_NONE, SET_CLOSED},
};

use super::{Engine, HookLevel, LocalEndpoint, TableOp, pods::addr, store::Store};
use crate::model::{Key, Kind, Pod, Policy, Problem};

/// What is known of a local endpoint.
#[derive(Clone, Debug)]
pub struct EndpointView<'a> {
    /// Its slot.
    pub slot: u32,
    /// As it was discovered.
    pub local: &'a LocalEndpoint,
    /// The pod's object; `None`: not known (yet), so both directions are closed.
    pub pod: Option<Pod>,
    /// The policy sets, by [`Direction::index`].
    pub sets: [u32; 2],
    /// Policies isolate it in that direction, and the break-glass switch keeps them from being enforced.
    pub released: [bool; 2],
    /// Which classifiers it carries.
    pub hook: HookLevel,
}

/// A Service that has a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// The Service.
    pub service: Key,
    /// It is gone, and counts for a grace period only.
    pub gone: bool,
}

impl Engine {
    /// The objects.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Ranges in which only Services have addresses, as far as they are known.
    #[must_use]
    pub fn service_ranges(&self) -> &[IpNet] {
        &self.settings.service_cidrs
    }

    /// The pod that has an address.
    #[must_use]
    pub fn pod_at(&self, ip: IpAddr) -> Option<Pod> {
        self.store.pods.object(self.addresses.get(&addr(&ip))?.owner()?)
    }

    /// The Service of a frontend.
    #[must_use]
    pub fn service_at(&self, frontend: &FrontendKey) -> Option<ServiceView> {
        let front = (frontend.addr.to_bytes(), frontend.port, frontend.proto);
        let all = self.services.at(&front);
        all.first().map(|(key, gone)| ServiceView { service: (*key).clone(), gone: *gone })
    }

    /// The Service that has an address, on whatever port.
    #[must_use]
    pub fn service_of(&self, ip: IpAddr) -> Option<&Key> {
        self.services.of(&addr(&ip).to_bytes())
    }

    /// The Services whose frontends lead to a set of backends, or did.
    #[must_use]
    pub fn services_of_backends(&self, id: u32) -> Vec<Key> {
        self.backends.get(id).map(|s| s.services.iter().cloned().collect()).unwrap_or_default()
    }

    /// Address and port of each backend of a set, those that are gone for less than the grace period included.
    #[must_use]
    pub fn backends(&self, id: u32) -> Vec<(IpAddr, u16)> {
        let members = self.backends.get(id).map(|s| s.members.clone()).unwrap_or_default();
        members.iter().map(|(bytes, port)| (IpAddr::from(Addr::from_bytes(*bytes)), *port)).collect()
    }

    /// The endpoint in a slot.
    #[must_use]
    pub fn endpoint(&self, slot: u32) -> Option<EndpointView<'_>> {
        let state = self.endpoints.get(slot)?;
        Some(EndpointView {
            slot,
            local: &state.local,
            pod: state.pod.and_then(|pod| self.store.pods.object(pod)),
            sets: state.sets,
            released: state.released,
            hook: state.hook,
        })
    }

    /// Every endpoint, in the order of its slot.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointView<'_>> {
        self.endpoints.iter().filter_map(|(slot, _)| self.endpoint(slot))
    }

    /// The slot of a local pod.
    #[must_use]
    pub fn slot_of(&self, pod: &Key) -> Option<u32> {
        self.endpoints.of_pod(pod).next()
    }

    /// The policies that isolate the pod in a slot in a direction, in the order of their keys.
    #[must_use]
    pub fn policies_of(&self, slot: u32, direction: Direction) -> Arc<[Arc<Policy>]> {
        let set = self.endpoints.get(slot).map_or(SET_CLOSED, |s| s.sets[direction.index()]);
        self.policies_of_set(set)
    }

    /// The policies that a revision of an endpoint stood for; revisions are never used twice, and the last
    /// thousands are known. `None`: not known any more; empty: not isolated, or closed.
    #[must_use]
    pub fn policies_at(&self, revision: u32) -> Option<&Arc<[Arc<Policy>]>> {
        self.endpoints.policies_at(revision)
    }

    /// The objects whose break-glass switch is set: this node, and any namespace.
    pub fn break_glass(&self) -> impl Iterator<Item = (Kind, &str)> {
        let namespaces = self.store.namespaces.values().filter(|namespace| namespace.break_glass);
        let namespaces = namespaces.map(|namespace| (Kind::Namespace, &*namespace.name));
        self.switch_over(None).into_iter().chain(namespaces)
    }

    /// The object whose break-glass switch keeps policies from judging the pods of a namespace here: this node, else the
    /// namespace, if it is known.
    #[must_use]
    pub fn switch_over(&self, namespace: Option<&str>) -> Option<(Kind, &str)> {
        if let Some(node) = self.store.nodes.get(&self.settings.node).filter(|node| node.break_glass) {
            return Some((Kind::Node, &*node.name));
        }
        let namespace = self.store.namespaces.get(namespace?).filter(|namespace| namespace.break_glass)?;
        Some((Kind::Namespace, &*namespace.name))
    }

    /// The policies of a policy set.
    #[must_use]
    pub fn policies_of_set(&self, set: u32) -> Arc<[Arc<Policy>]> {
        self.sets.get(set).map(|s| s.policies.clone()).unwrap_or_default()
    }

    /// The local pods that a policy isolates, by their slots.
    #[must_use]
    pub fn isolated_by(&self, policy: &Key) -> Vec<u32> {
        let isolates = |sets: &[u32; 2]| {
            sets.iter().filter_map(|s| self.sets.get(*s)).any(|s| s.policies.iter().any(|p| p.key == *policy))
        };
        self.endpoints.iter().filter(|(_, s)| isolates(&s.sets)).map(|(slot, _)| slot).collect()
    }

    /// What an address must be to have this class, a line for each selector, block and port name.
    #[must_use]
    pub fn class_text(&self, class: u32) -> Vec<String> {
        let features = self.classes.features(class).iter();
        features.filter_map(|f| self.features.get(*f)).map(|f| f.content.text()).collect()
    }

    /// A port set as text, such as `TCP 80, UDP 53-54`.
    #[must_use]
    pub fn ports_text(&self, port_set: u32) -> String {
        match port_set {
            PORTS_ALL | PORTS_NONE => self.ports.content(port_set).text(),
            id if self.ports.knows(id) => self.ports.content(id).text(),
            _ => "not known any more".into(),
        }
    }

    /// What the kernel has refused, and is tried again.
    #[must_use]
    pub fn refused(&self) -> &[TableOp] {
        &self.refusals.ops
    }

    /// What cannot be realized as it is written, and what was done instead.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut all = Vec::new();
        let mut say = |kind: &str, object: &Key, field: &str, message: String, remedy: &str| {
            let (kind, field, remedy) = (kind.to_owned(), field.to_owned(), remedy.to_owned());
            all.push(Problem { kind, object: object.clone(), field, message, remedy });
        };
        for set in self.backends.too_many() {
            for service in &set.services {
                let message = "more than 16 kinds of backends (labels and port) stand behind a frontend; \
                               isolated pods cannot use it";
                say(Kind::Service.name(), service, "spec.ports", message.into(), "split the Service");
            }
        }
        for (addr, claims) in self.addresses.contested() {
            let owner = self.store.pods.owner(claims);
            let others = claims.iter().filter(|pod| Some(**pod) != owner);
            for pod in others.filter_map(|pod| self.store.pods.key(*pod)) {
                let message = format!("another pod has {}, and keeps it", IpAddr::from(addr));
                say(Kind::Pod.name(), &pod, "status.podIPs", message, "delete one of the two pods");
            }
        }
        let node = Key::new("", &self.settings.node);
        let enlarge = "enlarge the table in the agent's configuration";
        if self.sets.exhausted {
            say(
                Kind::Node.name(),
                &node,
                "policy_sets",
                "the table is full; some pods are closed".into(),
                enlarge,
            );
        }
        if self.ports.exhausted {
            let message = "the table is full; some rules allow nothing";
            say(Kind::Node.name(), &node, "port_sets", message.into(), enlarge);
        }
        for block in self.blocks.waiting() {
            let message = format!("the table is full; {} matches nobody", block.cidr);
            say(Kind::Node.name(), &node, "prefixes", message, enlarge);
        }
        for ifname in &self.endpoints.refused {
            let message = format!("{ifname} found no slot and is not enforced");
            say(Kind::Node.name(), &node, "endpoints", message, enlarge);
        }
        for op in &self.refusals.ops {
            let message = format!("the kernel refused {op:?}; what it would have allowed is closed");
            say(Kind::Node.name(), &node, "tables", message, enlarge);
        }
        all.sort();
        all.dedup();
        all
    }
}
