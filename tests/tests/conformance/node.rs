//! A node on which all pods of a case are local, so that both sides of every probe are judged on it: an engine with its
//! tables, perhaps those of a kernel too, which goes from step to step by what has changed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use netpol_agent::datapath::Classifier;
use netpol_common::Direction;
use netpol_common::decide::{Arrival, Decision, Memory, Work, decide, source_check};
use netpol_common::packet::{Packet, SCTP, TCP, TCP_SYN};
use netpol_policy::engine::{Engine, HookLevel, LocalEndpoint, Recovered, Settings};
use netpol_policy::model::{Key, Object, Pod, SourceEvent};
use netpol_policy::spec::Verdict;
use netpol_tests::conformance::{PlacedPod, Probe, Step};
use netpol_tests::kernel::{Came, Kernel, craft};

const NODE: &str = "here";

/// The node.
pub(crate) struct Node {
    engine: Engine,
    now: Duration,
    objects: Vec<Object>,
    /// The slots of the step's pods, in their order.
    slots: Vec<u32>,
    next_ifindex: u32,
    /// The port of the next sender: probes are flows of their own.
    port: u16,
    kernel: Option<Kernel>,
    /// How often a program in the kernel was run.
    pub(crate) runs: u64,
}

/// What is said of a probe, side by side.
pub(crate) struct Said {
    /// By the decision function over the engine's tables.
    pub(crate) tables: Verdict,
    /// By the programs, where there is a kernel.
    pub(crate) kernel: Option<Verdict>,
}

/// One side of a probe, as packet and place.
struct Side {
    direction: Direction,
    slot: u32,
    /// The sender's slot and interface.
    sender: u32,
    ifindex: u32,
}

impl Node {
    pub(crate) fn new(kernel: Option<Kernel>) -> Self {
        let settings = Settings { node: NODE.into(), slots: 64, ..Settings::default() };
        Self {
            engine: Engine::new(settings, Recovered::default()),
            now: Duration::from_secs(1000),
            objects: Vec::new(),
            slots: Vec::new(),
            next_ifindex: 1000,
            port: 0,
            kernel,
            runs: 0,
        }
    }

    /// The cluster becomes that of a step: one change after the other, each compiled and written for itself.
    pub(crate) fn turn_into(&mut self, step: &Step) {
        let objects = step.objects(NODE).unwrap();
        let before = std::mem::replace(&mut self.objects, objects.clone());
        for object in &before {
            let id = (object.kind(), object.key());
            if !objects.iter().any(|one| (one.kind(), one.key()) == id) {
                if let Object::Pod(pod) = object {
                    self.engine.remove_endpoint(&ifname(&pod.key));
                }
                self.change(SourceEvent::Delete(id.0, id.1));
            }
        }
        for object in objects {
            if before.contains(&object) {
                continue;
            }
            if let Object::Pod(pod) = &object
                && self.engine.slot_of(&pod.key).is_none()
            {
                self.add_endpoint(pod);
            }
            self.change(SourceEvent::Apply(object));
        }
        let slot = |pod: &PlacedPod| {
            self.engine.slot_of(&Key::new(&pod.spec.namespace, &pod.spec.name)).expect("a slot")
        };
        self.slots = step.pods.iter().map(slot).collect();
    }

    fn add_endpoint(&mut self, pod: &Pod) {
        self.next_ifindex += 1;
        let endpoint = LocalEndpoint {
            ifname: ifname(&pod.key),
            ifindex: self.next_ifindex,
            pod: Some(pod.key.clone()),
            uid: pod.uid.clone(),
            addresses: pod.addresses.clone(),
            hardware: None,
            sources: Vec::new(),
            tag_trusted: false,
            tags_allowed: false,
        };
        self.engine.set_endpoint(endpoint).expect("a slot");
    }

    fn change(&mut self, event: SourceEvent) {
        self.engine.apply(event);
        self.compile();
        // Past the grace period, so that what was replaced goes before the next change.
        self.now += Duration::from_secs(1);
        self.compile();
    }

    fn compile(&mut self) {
        let operations = self.engine.compile(self.now);
        if let Some(kernel) = &mut self.kernel {
            kernel.apply(&operations);
        }
        self.engine.applied(self.now, &[]);
    }

    /// What both sides say of a probe.
    pub(crate) fn judge(&mut self, step: &Step, probe: &Probe) -> Said {
        self.port = 1024 + (self.port + 1) % 60_000;
        let (sender, receiver) = (self.slots[probe.source], self.slots[probe.destination]);
        let ifindex = self.engine.endpoint(sender).expect("an endpoint").local.ifindex;
        let egress = Side { direction: Direction::Egress, slot: sender, sender, ifindex };
        let ingress = Side { direction: Direction::Ingress, slot: receiver, sender, ifindex };
        let packet = self.packet(step, probe);
        let tables =
            Verdict { egress: self.decides(&egress, &packet), ingress: self.decides(&ingress, &packet) };
        let frame = frame(&packet);
        let sides = self.runs(&egress, &frame).zip(self.runs(&ingress, &frame));
        Said { tables, kernel: sides.map(|(egress, ingress)| Verdict { egress, ingress }) }
    }

    fn packet(&self, step: &Step, probe: &Probe) -> Packet {
        let address = |pod: usize| IpAddr::V4(step.pods[pod].address).into();
        let proto = probe.protocol.number();
        Packet {
            src: address(probe.source),
            dst: address(probe.destination),
            proto,
            src_port: self.port,
            dst_port: probe.port,
            tcp_flags: if proto == TCP { TCP_SYN } else { 0 },
            ..Packet::default()
        }
    }

    fn decides(&self, side: &Side, packet: &Packet) -> bool {
        let mirror = self.engine.tables();
        match (mirror.hook(side.slot), side.direction) {
            // Without a classifier nobody judges.
            (HookLevel::None, _) | (HookLevel::SourceCheck, Direction::Ingress) => true,
            (HookLevel::SourceCheck, Direction::Egress) => {
                !source_check(mirror, side.slot, &packet.src, false).is_drop()
            }
            (HookLevel::Full, _) => {
                let arrival = Arrival {
                    slot: side.slot,
                    now: 1000,
                    ingress_ifindex: side.ifindex,
                    tag: side.tag(),
                    has_socket: 1,
                };
                let mut decision = Decision::default();
                // Every packet is a new flow.
                decide(
                    mirror,
                    &mut Memory::default(),
                    packet,
                    &arrival,
                    side.direction,
                    &mut Work::default(),
                    &mut decision,
                );
                decision.passes()
            }
        }
    }

    fn runs(&mut self, side: &Side, frame: &[u8]) -> Option<bool> {
        let kernel = self.kernel.as_mut()?;
        let level = self.engine.tables().hook(side.slot);
        let Some(classifier) = Classifier::of(level, side.direction) else { return Some(true) };
        self.runs += 1;
        Some(kernel.passes(classifier, side.slot, Came { by: side.ifindex, tag: side.tag() }, frame))
    }
}

impl Side {
    /// What the sender's own classifier has written when the packet arrives: that it has judged the egress.
    const fn tag(&self) -> u32 {
        match self.direction {
            Direction::Egress => 0,
            Direction::Ingress => self.sender,
        }
    }
}

fn ifname(pod: &Key) -> Arc<str> {
    format!("veth-{}-{}", pod.namespace, pod.name).into()
}

fn frame(packet: &Packet) -> Vec<u8> {
    let address = |addr: netpol_common::Addr| IpAddr::from(addr);
    let src = craft::at(address(packet.src), packet.src_port);
    let dst = craft::at(address(packet.dst), packet.dst_port);
    match packet.proto {
        TCP => craft::tcp(src, dst, TCP_SYN),
        SCTP => craft::sctp(src, dst),
        _ => craft::udp(src, dst),
    }
}
