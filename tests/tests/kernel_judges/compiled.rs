//! A cluster as a compiler makes tables of it, and packets judged over them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use netpol_agent::datapath::Classifier;
use netpol_common::{
    Direction, Reason,
    decide::{Arrival, Decision, Memory, Work, decide},
    event::Event,
    tables::TAG_DEFERRED,
};
use netpol_policy::{
    engine::{Engine, HookLevel, Mirror, Recovered, Settings, TableOp},
    model::SourceEvent,
};
use netpol_tests::kernel::{Came, Kernel, UPLINK};

use crate::{
    case::{Case, Sent},
    cluster::{Cluster, HOST, NODE, SERVICE_RANGES, Told},
    walk::Loses,
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
    pub(crate) const fn slot(self) -> u32 {
        match self {
            Self::From(slot) | Self::To(slot) | Self::Between(slot, _) | Self::FromNode(slot) => slot,
        }
    }

    pub(crate) const fn direction(self) -> Direction {
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

/// How long a frontend or a backend that is gone still counts.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// A compiler, and tables that its operations alone have made; perhaps those of a kernel too.
pub(crate) struct Compiled {
    engine: Engine,
    pub(crate) tables: Mirror,
    pub(crate) memory: Memory,
    pub(crate) now: Duration,
    /// The slot of each interface.
    slots: BTreeMap<Arc<str>, u32>,
    /// The index of the interface that each slot is or was.
    ifindexes: BTreeMap<u32, u32>,
    /// Slots whose flows are gone since somebody has last asked.
    pub(crate) emptied: BTreeSet<u32>,
    pub(crate) kernel: Option<Kernel>,
    /// Operations that get lost on their way, when it is tried whether anybody notices.
    pub(crate) loses: Option<Loses<TableOp>>,
}

fn settings() -> Settings {
    let service_cidrs = SERVICE_RANGES.iter().map(|range| range.parse().unwrap()).collect();
    Settings { node: NODE.into(), service_cidrs, frontend_grace: GRACE, slots: 64, ..Settings::default() }
}

impl Compiled {
    pub(crate) fn new(kernel: Option<Kernel>) -> Self {
        let mut engine = Engine::new(settings(), Recovered::default());
        engine.set_host_addresses(HOST.iter().map(|address| address.parse().unwrap()).collect());
        Self {
            engine,
            tables: Mirror::default(),
            memory: Memory::default(),
            now: Duration::from_secs(1000),
            slots: BTreeMap::new(),
            ifindexes: BTreeMap::new(),
            emptied: BTreeSet::new(),
            kernel,
            loses: None,
        }
    }

    /// A cluster compiled from nothing.
    pub(crate) fn of(cluster: &Cluster, kernel: Option<Kernel>) -> Self {
        let mut compiled = Self::new(kernel);
        compiled.turn_into(cluster);
        compiled
    }

    /// The cluster becomes another one, and everything that takes its time has passed.
    pub(crate) fn turn_into(&mut self, cluster: &Cluster) {
        self.replace(cluster);
        // No flow of the last cluster is asked about any more.
        self.rest(true);
        for slot in self.slots.values() {
            self.memory.forget_all(*slot);
            if let Some(kernel) = &self.kernel {
                kernel.forget_flows(*slot);
            }
        }
    }

    /// All that there is now.
    pub(crate) fn replace(&mut self, cluster: &Cluster) {
        let stays = |ifname: &Arc<str>| cluster.interfaces.iter().any(|one| one.ifname == *ifname);
        let gone: Vec<Arc<str>> = self.slots.keys().filter(|ifname| !stays(ifname)).cloned().collect();
        gone.into_iter().for_each(|ifname| self.hear(Told::Gone(ifname)));
        self.hear(Told::Event(SourceEvent::Reset(cluster.objects.clone())));
        cluster.interfaces.iter().for_each(|one| self.hear(Told::There(one.clone())));
    }

    pub(crate) fn hear(&mut self, told: Told) {
        match told {
            Told::Event(event) => self.engine.apply(event),
            Told::There(interface) => {
                let (ifname, ifindex) = (interface.ifname.clone(), interface.ifindex);
                let slot = self.engine.set_endpoint(interface).expect("a slot");
                self.slots.insert(ifname, slot);
                self.ifindexes.insert(slot, ifindex);
            }
            Told::Gone(ifname) => {
                self.slots.remove(&ifname);
                self.engine.remove_endpoint(&ifname);
            }
        }
    }

    /// The operations that lead to where the tables are to be; [`Compiled::write`] is to be called with each.
    pub(crate) fn operations(&mut self) -> Vec<TableOp> {
        self.engine.compile(self.now)
    }

    /// Writes operations, to the kernel too.
    pub(crate) fn write(&mut self, operations: &[TableOp]) {
        let lost = |op: &&TableOp| self.loses.is_none_or(|loses| !loses(op));
        let operations: Vec<TableOp> = operations.iter().filter(lost).cloned().collect();
        for op in &operations {
            self.tables.apply(op);
            if let TableOp::RemoveEndpoint { slot } = op {
                self.memory.forget_all(*slot);
                self.emptied.insert(*slot);
            }
        }
        self.write_to_kernel(&operations);
    }

    pub(crate) fn write_to_kernel(&mut self, operations: &[TableOp]) {
        if let Some(kernel) = &mut self.kernel {
            kernel.apply(operations);
        }
    }

    /// All of the operations are written.
    pub(crate) fn written(&mut self) {
        self.engine.applied(self.now, &[]);
        if self.loses.is_none() {
            assert_eq!(self.tables.content(), self.engine.tables().content());
        }
    }

    pub(crate) fn compile(&mut self) {
        let operations = self.operations();
        self.write(&operations);
        self.written();
    }

    /// So much time passes.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.engine.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.compile();
        }
        self.now = end;
    }

    /// Everything that takes its time has passed. Sets of backends that no frontend leads to are let go of: all of them,
    /// or those that no flow refers to.
    pub(crate) fn rest(&mut self, all: bool) {
        self.compile();
        self.wait(Duration::from_secs(600));
        self.compile();
        let memory = &self.memory;
        self.engine.release_backends(&|id| !all && memory.all().any(|flow| flow.backends == id));
        self.compile();
        self.wait(Duration::from_secs(600));
    }

    /// Everything goes, so that the kernel's tables are as if nobody had ever heard of anything.
    pub(crate) fn clear(&mut self) {
        if self.kernel.is_none() {
            return;
        }
        let nothing =
            Cluster { objects: Vec::new(), interfaces: Vec::new(), tag_trusted: false, meant: Vec::new() };
        self.turn_into(&nothing);
    }

    /// The slot of an interface.
    pub(crate) fn slot(&self, ifname: &str) -> Option<u32> {
        self.slots.get(ifname).copied()
    }

    pub(crate) fn hook(&self, slot: u32) -> HookLevel {
        self.tables.hook(slot)
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
        self.ifindexes[&slot]
    }

    /// What the decision function says.
    pub(crate) fn decides(&mut self, way: Way, sent: &Sent) -> Said {
        let arrival = self.arrival(way);
        match self.tables.hook(way.slot()) {
            HookLevel::None => return Said::FREE,
            HookLevel::SourceCheck if way.direction() == Direction::Ingress => return Said::FREE,
            HookLevel::SourceCheck => {
                let reason =
                    netpol_common::decide::source_check(&self.tables, way.slot(), &sent.packet.src, false);
                return Said { passes: !reason.is_drop(), by: None };
            }
            HookLevel::Full => {}
        }
        let mut decision = Decision::default();
        let (tables, memory) = (&self.tables, &mut self.memory);
        decide(tables, memory, &sent.packet, &arrival, way.direction(), &mut Work::default(), &mut decision);
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
    pub(crate) fn runs(&mut self, way: Way, sent: &Sent) -> Option<Said> {
        let level = self.hook(way.slot());
        let arrival = self.arrival(way);
        let kernel = self.kernel.as_mut()?;
        let Some(classifier) = Classifier::of(level, way.direction()) else { return Some(Said::FREE) };
        kernel.forget_events();
        let came = Came { by: arrival.ingress_ifindex, tag: arrival.tag };
        let passes = kernel.passes(classifier, arrival.slot, came, &sent.frame);
        let by = kernel.take_events().first().map(by_of);
        Some(Said { passes, by })
    }

    /// A flow is forgotten, if there is one.
    pub(crate) fn forget(&mut self, way: Way, case: &Case) {
        let key = case.key(way.direction() == Direction::Egress);
        if self.memory.forget(way.slot(), &key)
            && let Some(kernel) = &self.kernel
        {
            kernel.forget_flow(way.slot(), &key);
        }
    }

    /// The set of backends that a flow was judged by.
    pub(crate) fn backends_of(&self, way: Way, case: &Case) -> Option<u32> {
        let key = case.key(way.direction() == Direction::Egress);
        self.memory.flow(way.slot(), &key).map(|flow| flow.backends)
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
