//! Which policies and rules decided, by the state that an event was judged in: its revision says which policies, its
//! class what the peer was. Where the state has moved on so far that this cannot be told any more, that is said, rather
//! than something wrong.
//!
//! When an event comes, only the objects that this follows from are taken hold of ([`Basis`]): to ask each rule of a hundred
//! policies takes half a millisecond, which is for who reads.

use std::sync::Arc;

use netpol_common::{
    Addr, Direction, Reason,
    decide::Tables as _,
    event::Event,
    packet::{ICMP, ICMPV6, SCTP, TCP, UDP},
    tables::{BACKENDS_NONE, CLASS_NONE, PORTS_ALL, Prefix, SET_CLOSED, SET_NONE},
};
use netpol_policy::{
    engine::Engine,
    model::{Namespace, Object, Policy, PolicyPort, Protocol, Rule, Selector},
    spec::{Cluster, Payload},
    why::{self, IsolatingPolicy, Miss, Side},
};

use super::{Memory, Peer, Slot, Snapshot};
use crate::control::protocol::{Nearest, PolicyPart, Verdict};

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

/// Policies in the order of their keys.
type Policies = Arc<[Arc<Policy>]>;

/// Who decided.
#[derive(Debug, Default)]
pub(in crate::verdicts) struct Decided {
    allowed_by: Vec<PolicyPart>,
    isolated_by: Vec<String>,
    nearest: Vec<Nearest>,
    closed: bool,
    changed_since: bool,
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

    /// Says it in a verdict.
    pub(in crate::verdicts) fn tell(&self, verdict: &mut Verdict) {
        verdict.allowed_by.clone_from(&self.allowed_by);
        verdict.isolated_by.clone_from(&self.isolated_by);
        verdict.nearest.clone_from(&self.nearest);
        (verdict.closed, verdict.changed_since) = (self.closed, self.changed_since);
    }
}

/// What it follows from who decided, as it was when the event came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// No policy did.
    None,
    /// The endpoint is closed.
    Closed,
    /// It is not known any more.
    Changed,
    /// These dropped it. How, is not asked, or not known any more since something `changed`.
    Isolated { by: Policies, changed: bool },
    /// Rules of these that allow everything with anybody.
    Everybody(Policies, Direction),
    /// What policies say of the flow's ends. If that is not what was decided, it was by what follows from the second.
    Ends(Case, Option<Box<Self>>),
}

impl Basis {
    pub(super) fn of(engine: &Engine, memory: &mut Memory, question: &Question, own: &Slot) -> Self {
        let denied = question.reason.is_drop();
        if question.reason == Reason::SenderDenied {
            return Self::of_sender(engine, memory, question).unwrap_or(Self::None);
        }
        match question.set {
            SET_CLOSED if denied => return Self::Closed,
            SET_CLOSED | SET_NONE => return Self::None,
            _ => {}
        }
        let Some(policies) = engine.policies_at(question.revision).cloned() else { return Self::Changed };
        if question.quotes || matches!(question.reason, Reason::UnknownFrontend | Reason::NoBackend) {
            return if denied { Self::Isolated { by: policies, changed: false } } else { Self::None };
        }
        if !denied && question.by_any_peer() {
            return Self::Everybody(policies, question.judged);
        }
        let peers = match question.backends {
            BACKENDS_NONE => [memory.peer(engine, (question.peer.into(), question.port))].into(),
            backends if question.judged == Direction::Egress => memory.backends(engine, backends),
            _ => Arc::default(),
        };
        let is_known = !peers.is_empty() && !question.peer_has_moved(engine);
        let Some(judge) = own.pod.clone().filter(|_| is_known) else {
            return if denied { Self::Isolated { by: policies, changed: true } } else { Self::Changed };
        };
        // What the sender's own policies deny is a denied flow at its destination.
        let by_sender = question.reason == Reason::FlowDenied && question.judged == Direction::Ingress;
        let by_sender = by_sender.then(|| Self::of_sender(engine, memory, question)).flatten();
        let set = own.sets.map(|sets| sets[question.judged.index()]);
        let case = Case {
            judge,
            judged: question.judged,
            set_has_moved: question.judged == Direction::Ingress && set != Some(question.set),
            policies,
            proto: question.proto,
            peers,
            reason: question.reason,
        };
        Self::Ends(case, by_sender.map(Box::new))
    }

    /// At its destination, a packet was denied by its sender's egress. `None` when the sender is not known by its address.
    fn of_sender(engine: &Engine, memory: &mut Memory, question: &Question) -> Option<Self> {
        let judge = memory.address(engine, question.peer).pod.clone()?;
        let slot = engine.slot_of(&judge.pod.key)?;
        if memory.slot(engine, slot).sets?[Direction::Egress.index()] == SET_CLOSED {
            return Some(Self::Closed);
        }
        let case = Case {
            judge,
            judged: Direction::Egress,
            set_has_moved: false,
            policies: engine.policies_of(slot, Direction::Egress),
            proto: question.proto,
            peers: [memory.peer(engine, (question.own.into(), question.port))].into(),
            reason: Reason::SenderDenied,
        };
        Some(Self::Ends(case, None))
    }

    /// Finds out who decided.
    pub(super) fn decided(&self, node: &str) -> Decided {
        match self {
            Self::None => Decided::default(),
            Self::Closed => Decided { closed: true, ..Decided::default() },
            Self::Changed => Decided::default().changed(),
            Self::Isolated { by, changed: false } => Decided::isolated(by),
            Self::Isolated { by, changed: true } => Decided::isolated(by).changed(),
            Self::Everybody(policies, judged) => {
                Decided { allowed_by: for_everybody(policies, *judged), ..Decided::default() }
            }
            Self::Ends(case, otherwise) => case.decided(node).unwrap_or_else(|| {
                let otherwise = otherwise.as_ref().map(|basis| basis.decided(node));
                otherwise.filter(|decided| !decided.changed_since).unwrap_or_else(|| case.unexplained())
            }),
        }
    }
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

/// A flow that policies have judged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Case {
    judge: Arc<Snapshot>,
    judged: Direction,
    policies: Policies,
    peers: Arc<[Peer]>,
    proto: u8,
    reason: Reason,
    /// The pod had another policy set by then, of which is part what names of its own ports mean. What they mean on a peer is
    /// part of the peer's class.
    set_has_moved: bool,
}

impl Case {
    /// Who decided, if that is why the kernel decided as it did.
    fn decided(&self, node: &str) -> Option<Decided> {
        if self.set_has_moved && self.names_ports() {
            return Some(self.unexplained());
        }
        let sides = self.sides(node);
        if !sides.explain(self.reason) {
            return None;
        }
        Some(if self.reason.is_drop() {
            Decided { nearest: sides.nearest, ..Decided::isolated(&self.policies) }
        } else {
            Decided { allowed_by: sides.allowed_by, ..Decided::default() }
        })
    }

    /// Something has changed. Which policies dropped it is known nevertheless by the revision, but for those of its sender.
    fn unexplained(&self) -> Decided {
        if self.reason.is_drop() && self.reason != Reason::SenderDenied {
            Decided::isolated(&self.policies).changed()
        } else {
            Decided::default().changed()
        }
    }

    fn names_ports(&self) -> bool {
        let ports = |rule: &Rule| rule.ports.as_deref().unwrap_or_default().iter().any(is_named);
        self.policies
            .iter()
            .any(|policy| policy.rules(self.judged).is_some_and(|rules| rules.iter().any(ports)))
    }

    fn sides(&self, node: &str) -> Sides {
        // Only what the question is about: as exact as the whole cluster.
        let mut objects = Vec::new();
        let mut add = |of: &Snapshot| {
            if let Some(namespace) = &of.namespace {
                // Policies judged it, whatever the break-glass switch is now.
                objects
                    .push(Object::Namespace(Namespace { break_glass: false, ..Namespace::clone(namespace) }));
            }
            objects.push(Object::Pod(of.pod.clone()));
        };
        add(&self.judge);
        let others = self.peers.iter().filter_map(|peer| peer.pod.as_ref());
        for other in others.filter(|other| other.pod.key != self.judge.pod.key) {
            add(other);
        }
        // These did select the pod, whatever its labels are now.
        objects.extend(self.policies.iter().map(|policy| {
            Object::Policy(Policy { pod_selector: Selector::default(), ..Policy::clone(policy) })
        }));
        let cluster = Cluster::new(&objects, node);
        let mut sides = Sides::default();
        for Peer { address, port, .. } in &*self.peers {
            let sent = payload(self.proto, *port);
            for attribution in why::attribute(&cluster, &self.judge.pod.key, self.judged, *address, sent) {
                sides.note(attribution.side);
            }
        }
        sides
    }
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
