//! A cluster as a compiler makes tables of it, and packets judged over them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use netpol_common::{
    Direction, Reason,
    decide::{Arrival, Decision, decide},
    event::Event,
    tables::TAG_DEFERRED,
};
use netpol_policy::{
    engine::{Engine, HookLevel, LocalEndpoint, Recovered, Settings},
    model::{Key, SourceEvent},
    spec::Payload,
};
use netpol_tests::kernel::{Came, Kernel, UPLINK};

use crate::{
    case::Case,
    cluster::{Cluster, NODE, SERVICE_RANGES},
    view::{NoFlows, WithInterfaces},
};

/// How a packet comes to where it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Out of the pod in the slot.
    From(u32),
    /// To the pod in the slot, by an uplink.
    To(u32),
    /// To the pod in the first slot, by the interface of the pod in the second one.
    Between(u32, u32),
    /// To the pod in the slot, from a socket of the node.
    FromNode(u32),
}

impl Way {
    const fn slot(self) -> u32 {
        match self {
            Self::From(slot) | Self::To(slot) | Self::Between(slot, _) | Self::FromNode(slot) => slot,
        }
    }

    const fn direction(self) -> Direction {
        if matches!(self, Self::From(_)) { Direction::Egress } else { Direction::Ingress }
    }
}

/// What a judge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) passes: bool,
    /// The whole of it, where it is known.
    pub(crate) by: Option<By>,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct By {
    pub(crate) reason: Reason,
    pub(crate) set: u32,
    pub(crate) class: u32,
    pub(crate) port_set: u32,
    pub(crate) backends: u32,
}

impl Said {
    const FREE: Self = Self { passes: true, by: None };

    pub(crate) fn reason(&self) -> Option<Reason> {
        self.by.map(|by| by.reason)
    }
}

/// A compiler with its tables; perhaps those of a kernel too.
pub(crate) struct Compiled {
    engine: Engine,
    now: Duration,
    slots: BTreeMap<Key, u32>,
    pub(crate) kernel: Option<Kernel>,
}

fn settings() -> Settings {
    let service_cidrs = SERVICE_RANGES.iter().map(|range| range.parse().unwrap()).collect();
    Settings { node: NODE.into(), service_cidrs, slots: 64, ..Settings::default() }
}

fn ifname(pod: &Key) -> Arc<str> {
    format!("veth-{}-{}", pod.namespace, pod.name).into()
}

impl Compiled {
    pub(crate) fn new(kernel: Option<Kernel>) -> Self {
        let engine = Engine::new(settings(), Recovered::default());
        Self { engine, now: Duration::from_secs(1000), slots: BTreeMap::new(), kernel }
    }

    /// A cluster compiled from nothing.
    pub(crate) fn of(cluster: &Cluster, kernel: Option<Kernel>) -> Self {
        let mut compiled = Self::new(kernel);
        compiled.turn_into(cluster);
        compiled
    }

    /// The cluster becomes another one, and everything that takes its time has passed.
    pub(crate) fn turn_into(&mut self, cluster: &Cluster) {
        let local: BTreeSet<&Key> = cluster.local().map(|pod| &pod.key).collect();
        self.slots.retain(|key, _| {
            let stays = local.contains(key);
            if !stays {
                self.engine.remove_endpoint(&ifname(key));
            }
            stays
        });
        self.engine.apply(SourceEvent::Reset(cluster.objects.clone()));
        for pod in cluster.local() {
            let number: u32 = pod.key.name.trim_start_matches('p').parse().unwrap();
            let endpoint = LocalEndpoint {
                ifname: ifname(&pod.key),
                ifindex: 100 + number,
                pod: Some(pod.key.clone()),
                uid: pod.uid.clone(),
                addresses: pod.addresses.clone(),
                hardware: None,
                sources: Vec::new(),
                tag_trusted: cluster.tag_trusted,
                tags_allowed: false,
            };
            let slot = self.engine.set_endpoint(endpoint).expect("a slot");
            self.slots.insert(pod.key.clone(), slot);
        }
        self.compile();
        let end = self.now + Duration::from_secs(600);
        while let Some(at) = self.engine.next_deadline().filter(|at| *at < end) {
            self.now = self.now.max(at);
            self.compile();
        }
        // No flow of the last cluster is asked about any more.
        self.engine.release_backends(&|_| false);
        self.compile();
        if let Some(kernel) = &self.kernel {
            self.slots.values().for_each(|slot| kernel.forget_flows(*slot));
        }
    }

    fn compile(&mut self) {
        let operations = self.engine.compile(self.now);
        if let Some(kernel) = &mut self.kernel {
            kernel.apply(&operations);
        }
        self.engine.applied(self.now, &[]);
    }

    pub(crate) fn slot(&self, pod: &Key) -> Option<u32> {
        self.slots.get(pod).copied()
    }

    pub(crate) fn hook(&self, slot: u32) -> HookLevel {
        self.engine.tables().hook(slot)
    }

    fn arrival(&self, way: Way) -> Arrival {
        let (slot, ingress_ifindex) = match way {
            Way::From(slot) => (slot, self.ifindex(slot)),
            Way::To(slot) => (slot, UPLINK),
            Way::Between(slot, sender) => (slot, self.ifindex(sender)),
            Way::FromNode(slot) => (slot, 0),
        };
        let tag = if let Way::Between(_, sender) = way { sender | TAG_DEFERRED } else { 0 };
        // Test runs always have a socket.
        Arrival { slot, now: 1000, ingress_ifindex, tag, has_socket: 1 }
    }

    fn ifindex(&self, slot: u32) -> u32 {
        self.engine.endpoint(slot).expect("an endpoint").local.ifindex
    }

    /// What the decision function says.
    pub(crate) fn decides(&self, way: Way, case: &Case) -> Said {
        let mirror = self.engine.tables();
        match mirror.hook(way.slot()) {
            HookLevel::None => return Said::FREE,
            HookLevel::SourceCheck if way.direction() == Direction::Ingress => return Said::FREE,
            HookLevel::SourceCheck => {
                let reason = netpol_common::decide::source_check(mirror, way.slot(), &case.src.into(), false);
                return Said { passes: !reason.is_drop(), by: None };
            }
            HookLevel::Full => {}
        }
        let tables = WithInterfaces { mirror, engine: &self.engine };
        let mut decision = Decision::default();
        decide(&tables, &mut NoFlows, &case.packet(), &self.arrival(way), way.direction(), &mut decision);
        let by = By {
            reason: Reason::from_number(decision.reason).expect("a reason"),
            set: decision.set,
            class: decision.judged.class,
            port_set: decision.judged.port_set,
            backends: decision.judged.backends,
        };
        Said { passes: decision.passes(), by: Some(by) }
    }

    /// What the programs in the kernel say.
    pub(crate) fn runs(&mut self, way: Way, case: &Case) -> Option<Said> {
        let level = self.hook(way.slot());
        let arrival = self.arrival(way);
        let kernel = self.kernel.as_mut()?;
        let program = match (level, way.direction()) {
            (HookLevel::None, _) | (HookLevel::SourceCheck, Direction::Ingress) => return Some(Said::FREE),
            (HookLevel::SourceCheck, Direction::Egress) => "source_check",
            (HookLevel::Full, Direction::Egress) => "from_pod",
            (HookLevel::Full, Direction::Ingress) => "to_pod",
        };
        if matches!(case.payload, Payload::Other(_)) {
            // Without ports there is nothing by which the next packet would be another flow.
            kernel.forget_flows(arrival.slot);
        }
        kernel.forget_events();
        let came = Came { by: arrival.ingress_ifindex, tag: arrival.tag };
        let passes = kernel.passes(program, arrival.slot, came, &case.frame());
        let by = kernel.take_events().first().map(by_of);
        Some(Said { passes, by })
    }
}

fn by_of(event: &Event) -> By {
    By {
        reason: Reason::from_number(event.reason).expect("a reason"),
        set: event.set,
        class: event.class,
        port_set: event.port_set,
        backends: event.backends,
    }
}
