//! A cluster as the specification sees it, now and a moment ago.

use std::rc::Rc;

use netpol_policy::{
    engine::LocalEndpoint,
    model::Pod,
    spec::{self, Backend, Payload},
};

use crate::{
    case::Case,
    cluster::{Cluster, HOST, NODE, SERVICE_RANGES},
    compiled::Compiled,
};

/// A cluster, and which slots its interfaces have.
#[derive(Clone)]
pub(crate) struct Sight {
    pub(crate) tag_trusted: bool,
    /// The break-glass switch of the node is set.
    pub(crate) switched_off: bool,
    pub(crate) spec: Rc<spec::Cluster>,
    /// What was there before, the latest first, as long as frontends and backends of then still count.
    pub(crate) past: Vec<Rc<spec::Cluster>>,
    interfaces: Vec<(LocalEndpoint, u32, bool)>,
}

/// What may stand behind a destination.
#[derive(Clone, Debug)]
pub(crate) struct Behind {
    /// What stands there now, or did last.
    pub(crate) backends: Vec<Backend>,
    /// There is nothing else that still counts.
    pub(crate) certain: bool,
}

impl Sight {
    pub(crate) fn new(cluster: &Cluster, past: Vec<Rc<spec::Cluster>>, compiled: &Compiled) -> Self {
        let host = HOST.iter().map(|address| address.parse().unwrap()).collect();
        let spec = spec::Cluster::new(&cluster.objects, NODE)
            .with_host_addresses(host)
            .with_given_addresses(cluster.given());
        let interfaces = cluster.interfaces.iter().filter_map(|one| {
            let slot = compiled.slot(&one.ifname)?;
            Some((one.clone(), slot, cluster.knows(one)))
        });
        Self {
            tag_trusted: cluster.tag_trusted,
            switched_off: cluster.is_switched_off(),
            spec: Rc::new(spec),
            past,
            interfaces: interfaces.collect(),
        }
    }

    /// The slot of a pod, if it has an interface here.
    pub(crate) fn slot(&self, pod: &Pod) -> Option<u32> {
        let of_pod = |(interface, _, known): &&(LocalEndpoint, u32, bool)| {
            *known && interface.pod.as_ref() == Some(&pod.key) && interface.uid == pod.uid
        };
        self.interfaces.iter().find(of_pod).map(|(_, slot, _)| *slot)
    }

    /// The slot of the pod that has an address.
    pub(crate) fn slot_at(&self, address: std::net::IpAddr) -> Option<u32> {
        self.slot(self.spec.owner(address)?)
    }

    /// Whether a slot is an interface's that is there.
    pub(crate) fn has(&self, slot: u32) -> bool {
        self.interfaces.iter().any(|(_, of, _)| *of == slot)
    }

    /// Whether the interface in a slot has an address.
    pub(crate) fn is_at(&self, slot: u32, address: std::net::IpAddr) -> bool {
        self.interfaces.iter().any(|(one, of, _)| *of == slot && one.addresses.contains(&address))
    }

    /// Interfaces whose pods are not there, with their slots.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = (&LocalEndpoint, u32)> {
        self.interfaces.iter().filter(|(_, _, known)| !known).map(|(interface, slot, _)| (interface, *slot))
    }

    /// What stands behind the destination of a packet; `None` when it is no Service's and was none.
    pub(crate) fn behind(&self, case: &Case) -> Option<Behind> {
        let Payload::Port(protocol, port) = case.payload else { return None };
        let all = || std::iter::once(&self.spec).chain(&self.past);
        let answers: Vec<_> = all().map(|spec| spec.backends(case.dst, protocol, port)).collect();
        let mut backends = answers.iter().flatten().next()?.clone();
        let mut certain = answers.iter().all(|one| one.as_ref() == Some(&backends));
        // What leads to a pod that has just gone leads nowhere.
        backends.retain(|one| {
            let gone = self.is_gone(one);
            certain &= !gone;
            !gone
        });
        Some(Behind { backends, certain })
    }

    /// Whether a backend was a pod a moment ago, and is none now.
    pub(crate) fn is_gone(&self, backend: &Backend) -> bool {
        let owned = |spec: &Rc<spec::Cluster>| spec.owner(backend.address).is_some();
        !owned(&self.spec) && self.past.iter().any(owned)
    }

    /// Whether it is an address that only Services use, without a frontend for this packet.
    pub(crate) fn is_services(&self, case: &Case) -> bool {
        let in_range =
            SERVICE_RANGES.iter().any(|range| range.parse::<ipnet::IpNet>().unwrap().contains(&case.dst));
        let mut all = std::iter::once(&self.spec).chain(&self.past);
        let no_port = matches!(case.payload, Payload::Other(_));
        in_range
            || no_port
                && all.any(|spec| spec.backends(case.dst, netpol_policy::model::Protocol::Tcp, 1).is_some())
    }
}
