//! The decision function: one packet, one endpoint, one verdict.
//!
//! Written once, for both families and both directions, generic over the tables that it reads ([`Tables`]) and the
//! flows that it keeps ([`Flows`]): BPF maps in the kernel, ordinary maps in a test and in `explain`. Everything is
//! inlined, results are written through `&mut`, and structs are plain: what the verifiers of old kernels accept.
//!
//! # Precedence
//!
//! The first line that applies decides. The numbers stand again at the branches.
//!
//! 1. The endpoint is not known: drop.
//! 2. An address that cannot be there: egress with a source that is not the pod's, ingress for somebody else, a
//!    multicast or loopback source: drop. The pod to its own address: allow.
//! 3. Link control (neighbour discovery, MLD, IGMP, DHCP): allow.
//! 4. Ingress from the node itself, or from the pod itself through a Service: allow, and keep the flow.
//! 5. A later fragment: as its first one; without that, allow only if some port of its protocol is allowed with the
//!    peer in either direction, since without the first nothing is ever delivered.
//! 6. An ICMP error: as the flow that it quotes, if there is one; else as any other ICMP.
//! 7. A packet of a known flow that is not a pure SYN: as the flow was judged; judged again, in its original
//!    direction and by its origin, when the endpoint's revision or the generation of the peer's address has moved.
//! 8. Anything else is new: [`judge`](judge::judge) by the policy set of its direction, and, where the sender left
//!    its judgement to us, by the sender's egress too. What is allowed is kept as a flow.

mod judge;
#[cfg(test)]
mod tests;

use crate::{
    addr::Addr,
    flow::{
        FIN_PEER, FIN_POD, FRAGMENT_TIMEOUT, Flow, FlowKey, FragmentKey, Origin, REFRESH, STATE_CLOSING,
        STATE_ESTABLISHED, STATE_OPENING, Timeouts,
    },
    packet::{
        ICMP_ERROR, ICMP_OTHER, ICMP_REPLY, KIND_FIRST_FRAGMENT, KIND_LATER_FRAGMENT,
        LINK_CONTROL_ADVERTISES, LINK_CONTROL_SERVES, Packet, TCP, TCP_FIN, TCP_RST,
    },
    tables::{
        BACKENDS_NONE, BackendSet, ENDPOINT_MORE_SOURCES, Endpoint, FIRST_SLOT, FrontendKey,
        INTERFACE_ENDPOINT, INTERFACE_TRUSTED_BRIDGE, Interface, Judgement, PortSet, Prefix, TAG_DEFERRED,
        revision_of, set_of,
    },
    verdict::{Direction, Reason},
};

pub use judge::{Judged, judge, judge_backends, permits};

/// The tables that a decision reads. `None` and the `*_NONE` ids mean "not there"; implementations compare the key
/// that a hash's value repeats, look once more on a mismatch, and then say "not there", which closes.
pub trait Tables {
    /// The endpoint of a slot, if it is live.
    fn endpoint(&self, slot: u32) -> Option<&Endpoint>;
    /// What a direction of the endpoint is judged by, read at once; the closed set for a slot that does not exist.
    fn judgement(&self, slot: u32, direction: Direction) -> Judgement;
    /// Whether the pod in the slot may speak with an address beyond its own two.
    fn more_sources(&self, slot: u32, addr: &Addr) -> bool;
    /// The generation of an address.
    fn generation(&self, addr: &Addr) -> u32;
    /// Class and flags of an address: its own entry, else the longest prefix's.
    fn peer(&self, addr: &Addr, out: &mut Prefix);
    /// The port set of a policy set for classes without a row; [`PORTS_NONE`](crate::tables::PORTS_NONE) for a set
    /// that does not exist.
    fn any_peer(&self, set: u32) -> u32;
    /// The port set of a class in a policy set, `default` without a row.
    fn rule(&self, set: u32, class: u32, default: u32) -> u32;
    /// A port set.
    fn port_set(&self, id: u32) -> Option<&PortSet>;
    /// Whether a port is in the chunks of a port set.
    fn port_chunk(&self, port_set: u32, proto: u8, port: u16) -> bool;
    /// The set of backends of a frontend, [`BACKENDS_NONE`](crate::tables::BACKENDS_NONE) if there is none.
    fn frontend(&self, key: &FrontendKey) -> u32;
    /// A set of backends.
    fn backends(&self, id: u32) -> Option<&BackendSet>;
    /// Whether the pod in the slot is one of the backends.
    fn member(&self, backends: u32, slot: u32) -> bool;
    /// [`judge::permits`]. The kernel calls it as a function of its own, which the verifier walks once instead of once
    /// for each path that leads there.
    #[inline(always)]
    fn permits(&self, port_set: u32, proto: u8, port: u16) -> bool
    where
        Self: Sized,
    {
        permits(self, port_set, proto, port)
    }
    /// [`judge::judge_backends`]; a function of its own in the kernel, as `permits`.
    #[inline(always)]
    fn judge_backends(&self, slot: u32, set: u32, any_peer: u32, backends: u32, proto: u8) -> Reason
    where
        Self: Sized,
    {
        judge_backends(self, slot, set, any_peer, backends, proto)
    }
    /// What is known of the interface by which a packet came to the node; kind 0, as it is found, for nothing.
    #[inline(always)]
    fn interface(&self, ifindex: u32, out: &mut Interface) {
        let _ = (ifindex, out);
    }
}

/// Which of an endpoint's two tables a flow is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Both directions were seen.
    Established,
    /// One direction was seen; a flood of these cannot push out the others.
    Opening,
}

/// The flows and fragments that a decision keeps. All calls may fail silently (a full table): what is not kept is
/// judged anew.
pub trait Flows {
    /// Copies a flow whose check fits into `out`.
    fn get(&mut self, slot: u32, table: Table, key: &FlowKey, out: &mut Flow) -> bool;
    /// Replaces or adds a flow, in one step for readers.
    fn put(&mut self, slot: u32, table: Table, key: &FlowKey, flow: &Flow);
    /// Writes only the time at which a flow was last seen.
    fn touch(&mut self, slot: u32, table: Table, key: &FlowKey, now: u32);
    /// Removes a flow.
    fn remove(&mut self, slot: u32, table: Table, key: &FlowKey);
    /// The idle time after which a flow is forgotten, in [`ticks`](crate::flow::ticks).
    #[inline(always)]
    fn timeout(&self, proto: u8, state: u8) -> u32 {
        Timeouts::DEFAULT.of(proto, state)
    }
    /// What became of the first fragment, and when: 0 unknown, 1 allowed, 2 denied.
    fn fragment(&mut self, key: &FragmentKey, now: u32) -> u32;
    /// Remembers what became of a first fragment.
    fn remember_fragment(&mut self, key: &FragmentKey, now: u32, denied: bool);
}

/// Where and when a packet was met.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The endpoint.
    pub slot: u32,
    /// The time in [`ticks`](crate::flow::ticks).
    pub now: u32,
    /// The interface by which the packet came to the node; 0 when the node made it.
    pub ingress_ifindex: u32,
    /// What an earlier hook wrote to the packet: see [`Decision::tag`].
    pub tag: u32,
    /// 1 when a socket of the node, or of the pod that sent it, holds the packet.
    pub has_socket: u32,
}

impl Arrival {
    /// Whether the packet is the node's own: it did not come in anywhere, and a socket of the node holds it. A socket
    /// alone says nothing, since a packet between two pods of a bridge still carries its sender's.
    #[inline(always)]
    #[must_use]
    pub const fn is_from_node(&self) -> bool {
        self.ingress_ifindex == 0 && self.has_socket != 0
    }
}

/// The local pod that sent a packet, as far as that can be trusted.
#[derive(Clone, Copy)]
struct Sender {
    /// Its slot; 0 when it is not known.
    slot: u32,
    /// Whether its own classifier has said the last word on its egress.
    judged: bool,
}

/// Who sent a packet that arrives at a pod: by the interface first; by the tag only where that was a bridge all of
/// whose pod ports carry our classifier. A tag that is not the sender's own leaves the judgement of its egress to us.
#[inline(always)]
fn sender_of<T: Tables>(tables: &T, arrival: &Arrival) -> Sender {
    let tagged = arrival.tag & (TAG_DEFERRED - 1);
    let mut interface = Interface { ifindex: 0, kind: 0, slot: 0 };
    if arrival.ingress_ifindex != 0 {
        tables.interface(arrival.ingress_ifindex, &mut interface);
    }
    let slot = if interface.kind == INTERFACE_ENDPOINT {
        interface.slot
    } else if interface.kind == INTERFACE_TRUSTED_BRIDGE && tagged >= FIRST_SLOT {
        tagged
    } else {
        0
    };
    Sender { slot, judged: arrival.tag == slot }
}

/// What was decided, and by what.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What the policies said, where they were asked.
    pub judged: Judged,
    /// The policy set that judged.
    pub set: u32,
    /// The endpoint's revision in the direction that judged.
    pub revision: u32,
    /// [`Reason`] as a number; says whether the packet passes.
    pub reason: u8,
    /// 1 when the verdict is worth an event: a new flow, a changed one, a drop.
    pub report: u8,
    /// 1 when the packet is a reply of its flow.
    pub reply: u8,
    /// 1 when the destination has to judge the sender's egress: see [`Decision::tag`].
    pub deferred: u8,
}

impl Decision {
    /// Whether the packet passes.
    #[inline(always)]
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.reason < crate::verdict::FIRST_DROP
    }

    /// The tag that an allowed packet carries away from its sender.
    #[inline(always)]
    #[must_use]
    pub const fn tag(&self, slot: u32) -> u32 {
        if self.deferred == 0 { slot } else { slot | TAG_DEFERRED }
    }

    #[inline(always)]
    const fn drop_as(&mut self, reason: Reason) {
        self.reason = reason as u8;
        self.report = 1;
    }

    #[inline(always)]
    const fn pass_as(&mut self, reason: Reason) {
        self.reason = reason as u8;
    }
}

/// Whether the endpoint may speak with an address, and is spoken to by it.
#[inline(always)]
fn owns<T: Tables>(tables: &T, slot: u32, endpoint: &Endpoint, addr: &Addr) -> bool {
    // An endpoint without an address of a family holds the unspecified one there.
    if addr.is_unspecified() {
        return false;
    }
    if addr.is_v4() {
        if addr.0[3] == endpoint.v4 {
            return true;
        }
    } else if addr.same(&endpoint.v6) {
        return true;
    }
    endpoint.flags & ENDPOINT_MORE_SOURCES != 0 && tables.more_sources(slot, addr)
}

/// Whether a pod may send a packet with this source at all: the whole of what a pod is asked that no policy selects,
/// on a node where another one is isolated.
///
/// The unspecified address and link-local ones are let through only for link control.
#[inline(always)]
pub fn source_check<T: Tables>(tables: &T, slot: u32, src: &Addr, link_control: bool) -> Reason {
    let Some(endpoint) = tables.endpoint(slot) else {
        return Reason::UnknownEndpoint; // 1
    };
    if owns(tables, slot, endpoint, src) || link_control && (src.is_unspecified() || src.is_link_local()) {
        Reason::NotIsolated
    } else {
        Reason::SpoofedSource // 2
    }
}

/// The flow that a packet belongs to, as the endpoint sees it.
#[inline(always)]
const fn own_key(packet: &Packet, egress: bool) -> FlowKey {
    let proto = packet.proto;
    let reserved = [0; 3];
    if egress {
        FlowKey {
            pod: packet.src,
            peer: packet.dst,
            pod_port: packet.src_port,
            peer_port: packet.dst_port,
            proto,
            reserved,
        }
    } else {
        FlowKey {
            pod: packet.dst,
            peer: packet.src,
            pod_port: packet.dst_port,
            peer_port: packet.src_port,
            proto,
            reserved,
        }
    }
}

/// Decides one packet; `out` is always filled in whole.
#[inline(always)]
pub fn decide<T: Tables, F: Flows>(
    tables: &T,
    flows: &mut F,
    packet: &Packet,
    arrival: &Arrival,
    direction: Direction,
    out: &mut Decision,
) {
    *out = Decision::default();
    let slot = arrival.slot;
    let egress = matches!(direction, Direction::Egress);
    let Some(endpoint) = tables.endpoint(slot) else {
        return out.drop_as(Reason::UnknownEndpoint); // 1
    };

    let mut key = own_key(packet, egress);
    // A pod asks for an address; it does not give them to others.
    let link_control =
        if egress && packet.link_control == LINK_CONTROL_SERVES { 0 } else { packet.link_control };

    // 2. Addresses that cannot be there.
    if egress {
        let own = owns(tables, slot, endpoint, &packet.src);
        if !own && !(link_control != 0 && (packet.src.is_unspecified() || packet.src.is_link_local())) {
            return out.drop_as(Reason::SpoofedSource);
        }
        if packet.dst.is_loopback() || packet.dst.is_unspecified() {
            return out.drop_as(Reason::MartianAddress);
        }
        // A neighbour advertisement speaks for its target.
        if link_control == LINK_CONTROL_ADVERTISES
            && !packet.quoted_src.is_link_local()
            && !owns(tables, slot, endpoint, &packet.quoted_src)
        {
            return out.drop_as(Reason::SpoofedNeighbour);
        }
        if own && link_control == 0 && packet.src.same(&packet.dst) {
            return out.pass_as(Reason::Itself);
        }
    } else {
        if packet.src.is_multicast_or_broadcast() || packet.src.is_loopback() {
            return out.drop_as(Reason::MartianAddress);
        }
        if link_control == 0 && !packet.dst.is_multicast_or_broadcast() && !packet.dst.is_link_local() {
            if !owns(tables, slot, endpoint, &packet.dst) {
                // Silent: a bridge floods what it has not learned, to every port.
                out.reason = Reason::NotForThisPod as u8;
                return;
            }
            if packet.src.same(&packet.dst) {
                if sender_of(tables, arrival).slot == slot {
                    return out.pass_as(Reason::Itself);
                }
                return out.drop_as(Reason::SpoofedSource);
            }
        }
    }

    // 3. Link control.
    if link_control != 0 {
        return out.pass_as(Reason::LinkControl);
    }

    // 4. The node, and the pod itself; kept as a flow below, so that replies pass.
    let from_node = !egress && arrival.is_from_node();

    // 5. Later fragments.
    if packet.kind == KIND_LATER_FRAGMENT {
        if from_node {
            return out.pass_as(Reason::Node);
        }
        if !egress && sender_of(tables, arrival).slot == slot {
            return out.pass_as(Reason::Itself);
        }
        return later_fragment(tables, flows, packet, arrival, direction, &key, out);
    }

    // 6. ICMP errors speak of another flow.
    // They go to who sent the packet that they quote; otherwise anything could be said to anybody in their name.
    let error =
        packet.icmp_kind == ICMP_ERROR && packet.quoted_proto != 0 && packet.dst.same(&packet.quoted_src);
    if error {
        // The quoted packet went the other way: an error that comes in quotes what the pod sent.
        if egress {
            key.pod = packet.quoted_dst;
            key.peer = packet.quoted_src;
            key.pod_port = packet.quoted_dst_port;
            key.peer_port = packet.quoted_src_port;
        } else {
            key.pod = packet.quoted_src;
            key.peer = packet.quoted_dst;
            key.pod_port = packet.quoted_src_port;
            key.peer_port = packet.quoted_dst_port;
        }
        key.proto = packet.quoted_proto;
    }

    // 7. Known flows.
    let syn = packet.is_pure_syn();
    let mut flow = Flow {
        check: 0,
        revision: 0,
        generation: 0,
        backends: 0,
        last_seen: 0,
        sender_revision: 0,
        sender: 0,
        origin: 0,
        state: 0,
        denied: 0,
        fins: 0,
        reserved: [0; 2],
    };
    let mut table = Table::Established;
    let mut known = flows.get(slot, table, &key, &mut flow);
    if !known && !syn {
        table = Table::Opening;
        known = flows.get(slot, table, &key, &mut flow);
    }
    if known && arrival.now.wrapping_sub(flow.last_seen) > flows.timeout(key.proto, flow.state) {
        // A time in the future (another CPU was ahead of us) wraps to a huge age; that is no age at all.
        known = flow.last_seen.wrapping_sub(arrival.now) <= REFRESH;
    }
    let old_syn_flow = known && syn;
    if old_syn_flow {
        known = false;
    }
    if error && !known {
        key = own_key(packet, egress);
    }

    // Revisions and the generation are read before any class is.
    let original = if known {
        if flow.origin == Origin::Pod as u8 { Direction::Egress } else { Direction::Ingress }
    } else {
        direction
    };
    let word = tables.judgement(slot, original);
    let generation = tables.generation(&key.peer);
    let mut sender = 0;
    let mut from_itself = false;
    if known {
        sender = flow.sender as u32;
    } else if !egress && !from_node {
        let seen = sender_of(tables, arrival);
        from_itself = seen.slot == slot;
        if !from_itself && !seen.judged {
            sender = seen.slot;
        }
    }
    let sender_word = if sender == 0 { 0 } else { tables.judgement(sender, Direction::Egress) };
    out.set = set_of(word);
    out.revision = revision_of(word);

    let privileged = if known {
        flow.origin != Origin::Pod as u8 && flow.origin != Origin::Peer as u8
    } else {
        from_node || from_itself
    };
    let current = known
        && flow.revision == revision_of(word)
        && flow.generation == generation
        && flow.sender_revision == revision_of(sender_word);

    let judged = &mut out.judged;
    if privileged {
        judged.reason = if known {
            Reason::Flow as u8
        } else if from_node {
            Reason::Node as u8
        } else {
            Reason::Itself as u8
        };
    } else if current {
        judged.reason = if flow.denied == 0 { Reason::Flow as u8 } else { Reason::FlowDenied as u8 };
        judged.backends = flow.backends;
    } else {
        // 8. New, or to be judged again.
        let stored = if known { flow.backends } else { BACKENDS_NONE };
        judge(tables, slot, original, set_of(word), &key, stored, judged);
        if sender != 0 && judged.passes() {
            judge::judge_sender(tables, set_of(sender_word), &key, judged);
        }
    }
    let allowed = judged.passes();
    let backends = judged.backends;
    out.reason = judged.reason;
    // Where translation chooses, the destination looks again: harmless when all backends agree, exact when not.
    out.deferred = u8::from(egress && backends != 0);

    if known {
        let from_pod_side = egress == (flow.origin == Origin::Pod as u8);
        out.reply = u8::from(!from_pod_side);
        let was_denied = flow.denied != 0;
        if !current && !privileged {
            out.report = u8::from(was_denied == allowed);
            flow.revision = revision_of(word);
            flow.generation = generation;
            flow.sender_revision = revision_of(sender_word);
            flow.denied = u8::from(!allowed);
            if allowed {
                flow.backends = backends;
            }
            flows.put(slot, table, &key, &flow);
        }
        if !allowed {
            if was_denied || !current {
                out.reason = Reason::FlowDenied as u8;
            }
            out.report = 1;
            // The node's own packets always reach its pod, whatever became of a flow that the pod opened.
            if from_node {
                out.report = 0;
                out.reason = Reason::Node as u8;
            }
            remember_first_fragment(flows, packet, arrival, direction, out);
            return;
        }
        out.reason = if error { Reason::IcmpError as u8 } else { Reason::Flow as u8 };
        if !error {
            keep_up(flows, packet, arrival, egress, table, &key, &mut flow, out.reply != 0);
        }
    } else {
        out.report = 1;
        if allowed
            && packet.icmp_kind != ICMP_ERROR
            && packet.icmp_kind != ICMP_OTHER
            && packet.icmp_kind != ICMP_REPLY
        {
            let origin = if from_node {
                Origin::Node
            } else if from_itself {
                Origin::Itself
            } else if egress {
                Origin::Pod
            } else {
                Origin::Peer
            };
            // A SYN on a living flow of the same origin renews it where it is; otherwise the tuple starts anew.
            let renewed = old_syn_flow && flow.origin == origin as u8 && flow.denied == 0;
            if old_syn_flow && !renewed {
                flows.remove(slot, Table::Established, &key);
            }
            let opened = Flow {
                check: key.check(),
                revision: revision_of(word),
                generation,
                backends,
                last_seen: arrival.now,
                sender_revision: revision_of(sender_word),
                sender: sender as u16,
                origin: origin as u8,
                state: if renewed { STATE_ESTABLISHED } else { STATE_OPENING },
                denied: 0,
                fins: 0,
                reserved: [0; 2],
            };
            flows.put(slot, if renewed { Table::Established } else { Table::Opening }, &key, &opened);
        }
    }
    remember_first_fragment(flows, packet, arrival, direction, out);
}

/// Keeps an allowed flow up to date with a packet of it: its time, its state, its table.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "inlined; a struct would cost stack that the program does not have"
)]
fn keep_up<F: Flows>(
    flows: &mut F,
    packet: &Packet,
    arrival: &Arrival,
    egress: bool,
    table: Table,
    key: &FlowKey,
    flow: &mut Flow,
    reply: bool,
) {
    let mut changed = false;
    if packet.proto == TCP && packet.tcp_flags & (TCP_FIN | TCP_RST) != 0 {
        let fins = flow.fins | if egress { FIN_POD } else { FIN_PEER };
        let closing = packet.tcp_flags & TCP_RST != 0 || fins == FIN_POD | FIN_PEER;
        if fins != flow.fins || closing && flow.state != STATE_CLOSING {
            flow.fins = fins;
            if closing {
                flow.state = STATE_CLOSING;
            }
            changed = true;
        }
    }
    let promote = reply && matches!(table, Table::Opening);
    if promote && flow.state == STATE_OPENING {
        flow.state = STATE_ESTABLISHED;
    }
    if promote {
        flow.last_seen = arrival.now;
        flows.put(arrival.slot, Table::Established, key, flow);
        flows.remove(arrival.slot, Table::Opening, key);
    } else if changed {
        flow.last_seen = arrival.now;
        flows.put(arrival.slot, table, key, flow);
    } else if arrival.now.wrapping_sub(flow.last_seen) >= REFRESH {
        flows.touch(arrival.slot, table, key, arrival.now);
    }
}

#[inline(always)]
const fn fragment_key(packet: &Packet, slot: u32, direction: Direction) -> FragmentKey {
    FragmentKey {
        src: packet.src,
        dst: packet.dst,
        id: packet.fragment_id,
        slot_and_direction: slot | (direction as u32) << 31,
        // IPv6 reassembles by addresses and identification alone.
        proto: if packet.src.is_v4() { packet.proto as u32 } else { 0 },
    }
}

#[inline(always)]
fn remember_first_fragment<F: Flows>(
    flows: &mut F,
    packet: &Packet,
    arrival: &Arrival,
    direction: Direction,
    out: &Decision,
) {
    if packet.kind == KIND_FIRST_FRAGMENT {
        let key = fragment_key(packet, arrival.slot, direction);
        flows.remember_fragment(&key, arrival.now, !out.passes());
    }
}

/// 5. A later fragment.
#[inline(always)]
fn later_fragment<T: Tables, F: Flows>(
    tables: &T,
    flows: &mut F,
    packet: &Packet,
    arrival: &Arrival,
    direction: Direction,
    key: &FlowKey,
    out: &mut Decision,
) {
    let fragment = fragment_key(packet, arrival.slot, direction);
    match flows.fragment(&fragment, arrival.now) {
        1 => return out.pass_as(Reason::Fragment),
        2 => return out.drop_as(Reason::FragmentDenied),
        _ => {}
    }
    let word = tables.judgement(arrival.slot, direction);
    let other = tables.judgement(arrival.slot, direction.reverse());
    out.set = set_of(word);
    out.revision = revision_of(word);
    if judge::some_port(tables, set_of(word), key, packet.proto)
        || judge::some_port(tables, set_of(other), key, packet.proto)
    {
        out.pass_as(Reason::Fragment);
    } else {
        out.drop_as(Reason::FragmentDenied);
    }
}

const _: () = assert!(FRAGMENT_TIMEOUT > 0);
