//! What the first packet of a flow meets in the kernel's tables, named, and compared with what the objects say.

mod differences;
mod words;

use std::net::IpAddr;

use netpol_common::{
    Addr, Direction, Reason,
    decide::{Arrival, Decision},
    packet::{ICMP, ICMP_QUERY, ICMPV6, Packet, TCP, TCP_SYN},
    tables::BACKENDS_NONE,
};
use netpol_policy::{
    model::Key,
    spec::Payload,
    why::{FlowExplanation, Path, Who, escaped},
};

use super::{Datapath, Reconciler};
use crate::{
    control::protocol::{LivePath, LiveSide, LiveVerdict, Outcome},
    datapath::{Hook, Meeting, Met},
};

/// The port of who opens a flow: any that is not used otherwise.
const CLIENT_PORT: u16 = 50_000;
/// An interface by which packets come from other machines.
const UPLINK: u32 = u32::MAX;
/// The type of an echo request, which opens an exchange of ICMP.
const ECHO: [u8; 2] = [8, 128];

/// What one side was asked, and what came of it.
struct Asked {
    side: LiveSide,
    /// The meeting and what was met, if a classifier is there.
    met: Option<(Meeting, Met)>,
}

impl Asked {
    const fn not(side: LiveSide) -> Self {
        Self { side, met: None }
    }

    fn elsewhere(why: impl Into<String>) -> Self {
        Self::not(elsewhere(why))
    }
}

fn elsewhere(why: impl Into<String>) -> LiveSide {
    LiveSide::Elsewhere { why: why.into(), node: None }
}

impl<D: Datapath> Reconciler<D> {
    /// What the live tables say of each address of a flow.
    pub(super) fn live(&self, flow: &FlowExplanation) -> Vec<LivePath> {
        flow.paths.iter().map(|path| self.live_path(flow, path)).collect()
    }

    fn live_path(&self, flow: &FlowExplanation, path: &Path) -> LivePath {
        let frontend = flow.frontend.as_ref().map(|frontend| (frontend.address, frontend.port));
        let direct = path.destination.map(|address| (address, port_of(flow.ends.payload)));
        let packet = |to: Option<(IpAddr, u16)>| Some(first_packet_of(flow.ends.payload, path.source?, to?));
        let egress = self.egress(&flow.ends.source, packet(frontend.or(direct)));
        let ingress = self.ingress(flow, packet(direct), &egress);
        let differences = self.differences(flow, &egress, &ingress);
        LivePath {
            source: path.source,
            destination: path.destination,
            egress: egress.side,
            ingress: ingress.side,
            differences,
        }
    }

    fn egress(&self, source: &Who, packet: Option<Packet>) -> Asked {
        let Who::Pod(pod) = source else { return Asked::not(LiveSide::NoPod) };
        let (slot, ifindex) = match self.place_of(pod) {
            Ok(place) => place,
            Err(side) => return Asked::not(side),
        };
        let Some(packet) = packet else { return Asked::elsewhere("an end has no address") };
        let arrival = Arrival { slot, now: 0, ingress_ifindex: ifindex, tag: 0, has_socket: 1 };
        self.ask(Meeting { packet, arrival, direction: Direction::Egress })
    }

    fn ingress(&self, flow: &FlowExplanation, packet: Option<Packet>, egress: &Asked) -> Asked {
        let Who::Pod(pod) = &flow.ends.destination else { return Asked::not(LiveSide::NoPod) };
        let (slot, _) = match self.place_of(pod) {
            Ok(place) => place,
            Err(side) => return Asked::not(side),
        };
        let Some(packet) = packet else { return Asked::elsewhere("an end has no address") };
        let (ingress_ifindex, tag, has_socket) = match (&flow.ends.source, &egress.met) {
            // By the sender's interface, with what its classifier has written to the packet.
            (_, Some((meeting, met))) => {
                let tag = if matches!(met.hook, Hook::None | Hook::Gone) {
                    0
                } else {
                    met.decision.tag(meeting.arrival.slot)
                };
                (meeting.arrival.ingress_ifindex, tag, 0)
            }
            (Who::Node, None) => (0, 0, 1),
            (Who::Pod(source), None) if self.is_of_this_nodes_network(source) => (0, 0, 1),
            (Who::Pod(_) | Who::World | Who::Address, None) => (UPLINK, 0, 0),
        };
        let arrival = Arrival { slot, now: 0, ingress_ifindex, tag, has_socket };
        self.ask(Meeting { packet, arrival, direction: Direction::Ingress })
    }

    fn is_of_this_nodes_network(&self, pod: &Key) -> bool {
        self.engine.store().pod(pod).is_some_and(|pod| pod.host_network && *pod.node == *self.options.node)
    }

    /// The slot and interface of a local pod, or why it has none here.
    fn place_of(&self, pod: &Key) -> Result<(u32, u32), LiveSide> {
        let Some(object) = self.engine.store().pod(pod) else {
            return Err(elsewhere("there is no such pod yet"));
        };
        if object.host_network {
            return Err(LiveSide::NoPod);
        }
        let endpoint = self.engine.slot_of(pod).and_then(|slot| self.engine.endpoint(slot));
        if let Some(endpoint) = endpoint {
            return Ok((endpoint.slot, endpoint.local.ifindex));
        }
        let node = &object.node;
        Err(if **node == *self.options.node {
            elsewhere("no interface of the pod is known on this node; see `netpol status`")
        } else if node.is_empty() {
            elsewhere("the pod is on no node yet")
        } else {
            LiveSide::Elsewhere {
                why: format!("judged on its own node, {}", escaped(node)),
                node: Some(node.to_string()),
            }
        })
    }

    fn ask(&self, meeting: Meeting) -> Asked {
        let met = match self.datapath.meet(&meeting) {
            Ok(met) => met,
            Err(error) => return Asked::elsewhere(format!("the tables cannot be read: {error}")),
        };
        let side = match met.hook {
            Hook::None => LiveSide::Unhooked { why: self.why_unhooked(&meeting) },
            Hook::Gone => {
                LiveSide::Unhooked { why: "somebody has taken our classifier off the interface".into() }
            }
            Hook::Empty | Hook::SourceCheck | Hook::Full => {
                LiveSide::Judged(Box::new(self.verdict(&meeting, &met)))
            }
        };
        Asked { side, met: Some((meeting, met)) }
    }

    fn why_unhooked(&self, meeting: &Meeting) -> String {
        match self.failed_hooks.get(&meeting.arrival.slot) {
            Some(reason) => format!("its interface could not be hooked: {reason}"),
            None => format!("no policy asks for a classifier on the pod's {}", meeting.direction.name()),
        }
    }

    fn verdict(&self, meeting: &Meeting, met: &Met) -> LiveVerdict {
        let Decision { judged, set, .. } = met.decision;
        let reason = reason_of(met);
        let drops = reason.is_none_or(Reason::is_drop);
        let by_policy = reason.is_some_and(words::is_by_policy);
        let policies = if by_policy {
            let set =
                if reason == Some(Reason::SenderDenied) { self.set_of_sender(met, meeting) } else { set };
            self.engine.policies_of_set(set).iter().map(|policy| escaped(&policy.key.to_string())).collect()
        } else {
            Vec::new()
        };
        // What was consulted, if it was one class and one port set that decided.
        let one = by_policy && judged.backends == BACKENDS_NONE && reason != Some(Reason::SenderDenied);
        let named = one && !policies.is_empty();
        let backend = |(address, port): (IpAddr, u16)| match self.engine.pod_at(address) {
            Some(pod) => format!("{} ({address}) {port}", escaped(&pod.key.to_string())),
            None => format!("{address} {port}"),
        };
        LiveVerdict {
            verdict: if drops { Outcome::Dropped } else { Outcome::Allowed },
            reason: reason.map_or("no-classifier", Reason::name).to_owned(),
            meaning: reason
                .map_or("the entry on the interface calls no classifier", words::meaning)
                .to_owned(),
            policies,
            peer: if named { self.peer_words(judged.class) } else { Vec::new() },
            ports: if named { escaped(&self.engine.ports_text(judged.port_set)) } else { String::new() },
            backends: self.engine.backends(judged.backends).into_iter().map(backend).collect(),
            known_flows: met.known,
            denied_flows: met.denied,
        }
    }

    fn peer_words(&self, class: u32) -> Vec<String> {
        let words: Vec<String> = self.engine.class_text(class).iter().map(|text| escaped(text)).collect();
        if words.is_empty() { vec!["one that policies do not name".to_owned()] } else { words }
    }
}

/// The reason that counts; `None` where the entry calls nothing.
fn reason_of(met: &Met) -> Option<Reason> {
    let decided = Reason::from_number(met.decision.reason)?;
    match met.hook {
        Hook::Empty => None,
        // It asks for nothing but the source.
        Hook::SourceCheck if !matches!(decided, Reason::SpoofedSource | Reason::UnknownEndpoint) => {
            Some(Reason::NotIsolated)
        }
        _ => Some(decided),
    }
}

const fn port_of(payload: Payload) -> u16 {
    match payload {
        Payload::Port(_, port) => port,
        Payload::Other(_) => 0,
    }
}

/// The packet that opens a flow.
fn first_packet_of(payload: Payload, source: IpAddr, (destination, port): (IpAddr, u16)) -> Packet {
    let (src, dst) = (Addr::from(source), Addr::from(destination));
    match payload {
        Payload::Port(protocol, _) => {
            let proto = protocol.number();
            let tcp_flags = if proto == TCP { TCP_SYN } else { 0 };
            Packet { src, dst, proto, src_port: CLIENT_PORT, dst_port: port, tcp_flags, ..Packet::default() }
        }
        Payload::Other(proto @ (ICMP | ICMPV6)) => {
            let icmp_type = ECHO[usize::from(proto == ICMPV6)];
            Packet {
                src,
                dst,
                proto,
                src_port: CLIENT_PORT,
                icmp_kind: ICMP_QUERY,
                icmp_type,
                ..Packet::default()
            }
        }
        Payload::Other(proto) => Packet { src, dst, proto, ..Packet::default() },
    }
}
