//! Which policies and rules decided, by the state that an event was judged in: its revision says which policies, its
//! class what the peer was. Where the state has moved on so far that this cannot be told any more, that is said, rather
//! than something wrong.

use std::{net::IpAddr, sync::Arc};

use netpol_common::{
    Addr, Direction, Reason,
    decide::Tables as _,
    event::Event,
    packet::{ICMP, ICMPV6, SCTP, TCP, UDP},
    tables::{BACKENDS_NONE, CLASS_NONE, PORTS_ALL, Prefix, SET_CLOSED, SET_NONE},
};
use netpol_policy::{
    engine::Engine,
    model::{Key, Namespace, Object, Pod, Policy, PolicyPort, Protocol, Rule, Selector},
    spec::{Cluster, Payload},
    why::{self, IsolatingPolicy, Miss, Side},
};

use crate::control::protocol::{Nearest, PolicyPart};

/// Whether policies have to do with it.
pub(super) const fn is_by_policy(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Policy
            | Reason::Deferred
            | Reason::Flow
            | Reason::PolicyDenied
            | Reason::FlowDenied
            | Reason::BackendsDiffer
            | Reason::UnknownFrontend
            | Reason::NoBackend
            | Reason::SenderDenied
    )
}

/// What an answer depends on, beside the objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    slot: u32,
    revision: u32,
    set: u32,
    class: u32,
    port_set: u32,
    backends: u32,
    judged: Direction,
    own: Addr,
    peer: Addr,
    port: u16,
    proto: u8,
    reason: Reason,
    /// An ICMP error is judged as the flow that it quotes, which the event does not hold.
    quotes: bool,
}

impl Question {
    pub(super) fn of(event: &Event, direction: Direction, reason: Reason) -> Self {
        // A reply is judged as the flow that it belongs to.
        let (judged, port) = if event.reply != 0 {
            (direction.reverse(), event.src_port)
        } else {
            (direction, event.dst_port)
        };
        let (own, peer) =
            if direction == Direction::Egress { (event.src, event.dst) } else { (event.dst, event.src) };
        let error = match event.proto {
            ICMP => matches!(event.icmp_type, 3..=5 | 11 | 12),
            ICMPV6 => event.icmp_type < 128,
            _ => false,
        };
        Self {
            slot: event.slot,
            revision: event.revision,
            set: event.set,
            class: event.class,
            port_set: event.port_set,
            backends: event.backends,
            judged,
            own,
            peer,
            port,
            proto: event.proto,
            reason,
            quotes: error && matches!(reason, Reason::Flow | Reason::FlowDenied),
        }
    }

    /// Whether it was allowed by what holds for everybody, so that nobody has asked what the peer is.
    const fn by_any_peer(&self) -> bool {
        matches!(self.reason, Reason::Policy | Reason::Flow)
            && self.class == CLASS_NONE
            && self.port_set == PORTS_ALL
    }

    /// Whether names of ports that rules use may mean something else on the pod than they did: they are part of its
    /// policy set. What they mean on a peer is part of its class.
    fn names_have_moved(&self, engine: &Engine, policies: &[Arc<Policy>]) -> bool {
        let set = engine.endpoint(self.slot).map(|endpoint| endpoint.sets[self.judged.index()]);
        let ports = |rule: &Rule| rule.ports.as_deref().unwrap_or_default().iter().any(is_named);
        self.judged == Direction::Ingress
            && set != Some(self.set)
            && policies
                .iter()
                .any(|policy| policy.rules(self.judged).is_some_and(|all| all.iter().any(ports)))
    }

    /// Whether the peer is no longer what it was to the kernel.
    fn peer_has_moved(&self, engine: &Engine) -> bool {
        let looked_up = match self.reason {
            Reason::Policy | Reason::PolicyDenied => true,
            // A flow that was judged before is not looked up again.
            Reason::Flow | Reason::FlowDenied => self.class != CLASS_NONE,
            _ => false,
        };
        let mut now = Prefix { class: CLASS_NONE, flags: 0 };
        engine.tables().peer(&self.peer, &mut now);
        looked_up && self.backends == BACKENDS_NONE && now.class != self.class
    }
}

/// Who decided.
#[derive(Clone, Debug, Default)]
pub(super) struct Decided {
    pub(super) allowed_by: Vec<PolicyPart>,
    pub(super) isolated_by: Vec<String>,
    pub(super) nearest: Vec<Nearest>,
    pub(super) closed: bool,
    pub(super) changed_since: bool,
}

impl Decided {
    /// Only the policies are known.
    fn isolated(policies: &[Arc<Policy>]) -> Self {
        Self {
            isolated_by: policies.iter().map(|policy| policy.key.to_string()).collect(),
            ..Self::default()
        }
    }

    fn changed(mut self) -> Self {
        self.changed_since = true;
        self
    }
}

/// Finds out which policies and rules decided.
pub(super) fn decided(engine: &Engine, node: &str, question: &Question, own: Option<&Key>) -> Decided {
    if question.reason == Reason::SenderDenied {
        return sender(engine, node, question).unwrap_or_default();
    }
    match question.set {
        SET_CLOSED => return Decided { closed: question.reason.is_drop(), ..Decided::default() },
        SET_NONE => return Decided::default(),
        _ => {}
    }
    let Some(policies) = engine.policies_at(question.revision) else {
        return Decided::default().changed();
    };
    let denied = question.reason.is_drop();
    let isolated = if denied { Decided::isolated(policies) } else { Decided::default() };
    if question.quotes || matches!(question.reason, Reason::UnknownFrontend | Reason::NoBackend) {
        return isolated;
    }
    if !denied && question.by_any_peer() {
        return Decided { allowed_by: for_everybody(policies, question.judged), ..isolated };
    }
    let peers = match question.backends {
        BACKENDS_NONE => vec![(IpAddr::from(question.peer), question.port)],
        backends if question.judged == Direction::Egress => engine.backends(backends),
        _ => Vec::new(),
    };
    let judge = own.and_then(|own| engine.store().pod(own));
    let moved = || question.peer_has_moved(engine) || question.names_have_moved(engine, policies);
    let Some(judge) = judge.filter(|_| !peers.is_empty() && !moved()) else {
        return isolated.changed();
    };
    let sides = Sides::of(engine, node, &judge, question.judged, policies, question.proto, &peers);
    if sides.explain(question.reason) {
        return Decided {
            allowed_by: if denied { Vec::new() } else { sides.allowed_by },
            nearest: if denied { sides.nearest } else { Vec::new() },
            ..isolated
        };
    }
    // What the sender's own policies deny is a denied flow at its destination.
    let by_sender = question.reason == Reason::FlowDenied && question.judged == Direction::Ingress;
    let by_sender = if by_sender { sender(engine, node, question) } else { None };
    by_sender.filter(|decided| !decided.changed_since).unwrap_or_else(|| isolated.changed())
}

const fn is_named(port: &PolicyPort) -> bool {
    matches!(port, PolicyPort::Named(..))
}

/// The rules that allow everything with anybody: where there is one, it alone decides.
fn for_everybody(policies: &[Arc<Policy>], judged: Direction) -> Vec<PolicyPart> {
    let mut parts = Vec::new();
    for policy in policies {
        let rules = policy.rules(judged).into_iter().flatten().enumerate();
        for (index, _) in rules.filter(|(_, rule)| !rule.void && rule.peers.is_none() && rule.ports.is_none())
        {
            parts.push(PolicyPart {
                policy: why::name_of(&policy.key),
                number: index + 1,
                rule: format!("spec.{}[{index}]", judged.name()),
            });
        }
    }
    parts
}

/// At its destination, a packet was denied by its sender's egress. `None` when the sender is not known by its address.
fn sender(engine: &Engine, node: &str, question: &Question) -> Option<Decided> {
    let sender = engine.pod_at(question.peer.into())?;
    let slot = engine.slot_of(&sender.key)?;
    let closed = engine.endpoint(slot)?.sets[Direction::Egress.index()] == SET_CLOSED;
    if closed {
        return Some(Decided { closed, ..Decided::default() });
    }
    let policies = engine.policies_of(slot, Direction::Egress);
    let towards = [(IpAddr::from(question.own), question.port)];
    let sides = Sides::of(engine, node, &sender, Direction::Egress, &policies, question.proto, &towards);
    let isolated = Decided::isolated(&policies);
    Some(if sides.explain(Reason::SenderDenied) {
        Decided { nearest: sides.nearest, ..isolated }
    } else {
        Decided::default().changed()
    })
}

/// What policies say of a pod's flow to or from some peers.
#[derive(Debug, Default)]
struct Sides {
    allowed: usize,
    denied: usize,
    allowed_by: Vec<PolicyPart>,
    nearest: Vec<Nearest>,
}

impl Sides {
    fn of(
        engine: &Engine,
        node: &str,
        judge: &Pod,
        judged: Direction,
        policies: &[Arc<Policy>],
        proto: u8,
        peers: &[(IpAddr, u16)],
    ) -> Self {
        // Only what the question is about: as exact as the whole cluster, and nothing to copy.
        let mut objects = Vec::new();
        let mut add = |pod: Pod| {
            if let Some(namespace) = engine.store().namespace(&pod.key.namespace) {
                // Policies judged it, whatever the break-glass switch is now.
                objects
                    .push(Object::Namespace(Namespace { break_glass: false, ..Namespace::clone(namespace) }));
            }
            objects.push(Object::Pod(pod));
        };
        add(judge.clone());
        for (address, _) in peers {
            if let Some(other) = engine.pod_at(*address).filter(|other| other.key != judge.key) {
                add(other);
            }
        }
        // These did select the pod, whatever its labels are now.
        objects.extend(policies.iter().map(|policy| {
            Object::Policy(Policy { pod_selector: Selector::default(), ..Policy::clone(policy) })
        }));
        let cluster = Cluster::new(&objects, node);
        let mut sides = Self::default();
        for (address, port) in peers {
            for attribution in why::attribute(&cluster, &judge.key, judged, *address, payload(proto, *port)) {
                sides.note(attribution.side);
            }
        }
        sides
    }

    fn note(&mut self, side: Side) {
        match side {
            Side::Allowed { by } => {
                self.allowed += 1;
                for granted in by {
                    let part =
                        PolicyPart { policy: granted.policy, number: granted.rule, rule: granted.field };
                    if !self.allowed_by.contains(&part) {
                        self.allowed_by.push(part);
                    }
                }
            }
            Side::Denied { policies } => {
                self.denied += 1;
                for policy in &policies {
                    let nearest = nearest(policy);
                    if !self.nearest.contains(&nearest) {
                        self.nearest.push(nearest);
                    }
                }
            }
            Side::NoPod
            | Side::HostNetwork
            | Side::Finished
            | Side::NotIsolated
            | Side::BreakGlass { .. }
            | Side::Always { .. } => {}
        }
    }

    /// Whether that is why the kernel decided as it did.
    const fn explain(&self, reason: Reason) -> bool {
        match reason {
            Reason::Deferred | Reason::BackendsDiffer => self.denied > 0,
            _ if reason.is_drop() => self.denied > 0 && self.allowed == 0,
            _ => self.allowed > 0 && self.denied == 0,
        }
    }
}

fn nearest(policy: &IsolatingPolicy) -> Nearest {
    let miss = policy.nearest.as_ref().map(|nearest| match nearest.miss {
        Miss::Void => "void",
        Miss::PeerAndPort => "peer-and-port",
        Miss::Peer => "peer",
        Miss::Port => "port",
    });
    Nearest {
        policy: policy.policy.clone(),
        number: policy.nearest.as_ref().map(|nearest| nearest.rule),
        rule: policy.nearest.as_ref().map(|nearest| nearest.field.clone()).unwrap_or_default(),
        miss: miss.unwrap_or_default().to_owned(),
        text: policy.to_string(),
    }
}

fn payload(proto: u8, port: u16) -> Payload {
    match proto {
        TCP => Payload::Port(Protocol::Tcp, port),
        UDP => Payload::Port(Protocol::Udp, port),
        SCTP => Payload::Port(Protocol::Sctp, port),
        other => Payload::Other(other),
    }
}
