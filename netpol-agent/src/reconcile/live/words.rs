//! Reasons and entries of tables in words.

use std::net::IpAddr;

use netpol_common::{
    Reason,
    tables::{BACKENDS_NONE, Peer, Prefix, SET_CLOSED, SET_NONE},
};
use netpol_policy::{
    engine::{Cidr, TableOp},
    why::escaped,
};

use crate::{
    datapath::Entry,
    reconcile::{Datapath, Reconciler},
};

/// Whether policies were asked.
pub(super) const fn is_by_policy(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Policy
            | Reason::Deferred
            | Reason::PolicyDenied
            | Reason::BackendsDiffer
            | Reason::SenderDenied
            | Reason::UnknownFrontend
            | Reason::NoBackend
    )
}

/// What a reason means for the first packet of a flow.
pub(super) const fn meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::NotIsolated => "no policy isolates the pod in this direction",
        Reason::Policy => "a rule allows it",
        Reason::Node => "the node reaches its own pods",
        Reason::Itself => "the pod reaches itself",
        Reason::Deferred => {
            "some backend may not be reached; the sender is judged again where the packet arrives"
        }
        Reason::PolicyDenied => "no rule allows it",
        Reason::BackendsDiffer => {
            "the Service's backends are judged differently, and it is not known which it will be"
        }
        Reason::UnknownFrontend => "the address is one of Services, and no Service has it with this port",
        Reason::NoBackend => "nothing stands behind the Service",
        Reason::SenderDenied => "judged where it arrives: the sender's egress does not allow this backend",
        Reason::SpoofedSource => "the source is not an address that the pod may speak with",
        Reason::NotForThisPod => {
            "the destination is not an address that the pod's interface is known to have"
        }
        Reason::MartianAddress => "an address that cannot be on the wire",
        Reason::UnknownEndpoint => "the classifier does not know its endpoint",
        Reason::TableInconsistent => "a table does not hold what another one names",
        // Not of a first packet that is whole and well-formed.
        _ => "see the list of reasons",
    }
}

/// What a reason says of why the outcome is another one than that of the objects.
pub(super) const fn cause(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::BackendsDiffer => {
            "the Service's backends (those that are gone for some seconds only, too) are judged differently for this \
             sender, which one it will be is chosen later, and not all of those that are denied can recognise the \
             sender: so all are closed; let the rules speak of all backends alike"
        }
        Reason::UnknownFrontend => {
            "the address is in a range of Services, and no Service is known to have it with this port; rules speak of \
             the backends, never of such an address"
        }
        Reason::NoBackend => "nothing stands behind the Service, so it leads nowhere",
        Reason::SpoofedSource => "the source is not an address that the pod's interface is known to have",
        Reason::NotForThisPod => {
            "the destination is not an address that the pod's interface is known to have"
        }
        Reason::MartianAddress => "such an address is never let through",
        _ => return None,
    })
}

impl<D: Datapath> Reconciler<D> {
    /// An entry that is not as the agent wanted it.
    pub(super) fn changed_entry(&self, held: &Entry, wanted: &Entry) -> String {
        let (table, key, found) = self.entry_words(held);
        let (_, _, expected) = self.entry_words(wanted);
        let differs = if found == expected {
            format!("the kernel's table {table} holds something else for {key} than the agent wants there")
        } else {
            format!(
                "the kernel's table {table} holds {found} for {key}, and the agent wants {expected} there"
            )
        };
        if self.engine.refused().iter().any(|operation| is_about(operation, wanted)) {
            format!(
                "{differs}: the kernel refused it; `netpol status` says why, and how full each table is, which the agent's \
                 configuration can enlarge"
            )
        } else {
            format!("{differs}: somebody else has changed it; a new start of the agent writes it again")
        }
    }

    /// An entry's table, key and value.
    fn entry_words(&self, entry: &Entry) -> (&'static str, String, String) {
        let yes = |found: bool| if found { "an entry" } else { "none" }.to_owned();
        match entry {
            Entry::Endpoint { slot, found } => {
                let value = found.map_or("none".to_owned(), |(v6, v4, flags)| {
                    let v4 = IpAddr::from(v4.to_ne_bytes());
                    format!("{v4}, {} and the flags {flags:#x}", IpAddr::from(v6))
                });
                ("ENDPOINTS", self.endpoint_name(*slot), value)
            }
            Entry::Judgement { slot, direction, set } => {
                let key = format!("{} of {}", direction.name(), self.endpoint_name(*slot));
                ("ENDPOINTS", key, self.set_words(*set))
            }
            Entry::Source { slot, addr, found } => {
                let key = format!("{} of {}", IpAddr::from(*addr), self.endpoint_name(*slot));
                ("SOURCES", key, yes(*found))
            }
            Entry::Peer { addr, found: Prefix { class, flags } } => {
                let class = self.class_words(*class);
                let value = if *flags == 0 { class } else { format!("{class} with the flags {flags:#x}") };
                ("PEER_BUCKETS", IpAddr::from(*addr).to_string(), value)
            }
            Entry::AnyPeer { set, ports } => {
                ("POLICY_SETS", format!("any peer in {}", self.set_words(*set)), self.port_words(*ports))
            }
            Entry::Rule { set, class, ports } => {
                let key = format!("{} in {}", self.class_words(*class), self.set_words(*set));
                ("RULE_BUCKETS", key, self.port_words(*ports))
            }
            Entry::PortSet { id, found } => ("PORT_SETS", self.port_words(*id), content(found.is_some())),
            Entry::PortChunk { id, port, found, .. } => {
                ("PORT_CHUNKS", format!("port {port} in {}", self.port_words(*id)), yes(*found))
            }
            Entry::Frontend { key, backends } => {
                let value = if *backends == BACKENDS_NONE {
                    "none".to_owned()
                } else {
                    self.backend_words(*backends)
                };
                ("FRONTENDS", format!("{} port {}", IpAddr::from(key.addr), key.port), value)
            }
            Entry::Backends { id, found } => ("BACKENDS", self.backend_words(*id), content(found.is_some())),
            Entry::Member { backends, slot, found } => {
                let key = format!("{} among {}", self.endpoint_name(*slot), self.backend_words(*backends));
                ("MEMBERS", key, yes(*found))
            }
            Entry::Interface { ifindex, kind, slot } => {
                let value = if *kind == 0 { "none".to_owned() } else { self.endpoint_name(*slot) };
                ("INTERFACES", format!("the interface {ifindex}"), value)
            }
        }
    }

    fn set_words(&self, set: u32) -> String {
        match set {
            SET_NONE => "\"not isolated\"".to_owned(),
            SET_CLOSED => "\"closed\"".to_owned(),
            _ => {
                let policies = self.engine.policies_of_set(set);
                let names: Vec<String> =
                    policies.iter().map(|policy| escaped(&policy.key.to_string())).collect();
                let names = if names.is_empty() { "unknown policies".to_owned() } else { names.join(", ") };
                format!("policy set {set} ({names})")
            }
        }
    }

    fn class_words(&self, class: u32) -> String {
        format!("class {class} ({})", self.peer_words(class).join(" and "))
    }

    fn port_words(&self, ports: u32) -> String {
        format!("port set {ports} ({})", escaped(&self.engine.ports_text(ports)))
    }

    fn backend_words(&self, backends: u32) -> String {
        let services = self.engine.services_of_backends(backends);
        let names: Vec<String> = services.iter().map(|key| escaped(&key.to_string())).collect();
        let names = if names.is_empty() { "no Service".to_owned() } else { names.join(", ") };
        format!("set of backends {backends} ({names})")
    }
}

/// Whether an operation writes what an entry was read from.
fn is_about(operation: &TableOp, entry: &Entry) -> bool {
    match (operation, entry) {
        (TableOp::Rule(rule), Entry::Rule { set, class, .. }) => {
            (rule.key.set, rule.key.class) == (*set, *class)
        }
        (TableOp::RemoveRule(key), Entry::Rule { set, class, .. }) => (key.set, key.class) == (*set, *class),
        (TableOp::Peer(Peer { addr: of, .. }) | TableOp::RemovePeer(of), Entry::Peer { addr, .. }) => {
            of == addr
        }
        (TableOp::Prefix { cidr, .. } | TableOp::RemovePrefix(cidr), Entry::Peer { addr, .. }) => {
            cidr.contains(&Cidr::host(*addr))
        }
        (TableOp::PolicySet { id, .. }, Entry::AnyPeer { set, .. }) => id == set,
        (TableOp::PortSet { id: of, .. }, Entry::PortSet { id, .. } | Entry::PortChunk { id, .. }) => {
            of == id
        }
        (TableOp::Frontend(of), Entry::Frontend { key, .. }) => of.key == *key,
        (TableOp::RemoveFrontend(of), Entry::Frontend { key, .. }) => of == key,
        (TableOp::Backends(of), Entry::Backends { id, .. }) => of.id == *id,
        (TableOp::Member(of) | TableOp::RemoveMember(of), Entry::Member { backends, slot, .. }) => {
            (of.backends, of.slot) == (*backends, *slot)
        }
        (
            TableOp::Source { slot: of, .. } | TableOp::RemoveSource { slot: of, .. },
            Entry::Source { slot, .. },
        )
        | (
            TableOp::Endpoint { slot: of, .. } | TableOp::Judgement { slot: of, .. },
            Entry::Endpoint { slot, .. } | Entry::Judgement { slot, .. },
        ) => of == slot,
        _ => false,
    }
}

fn content(found: bool) -> String {
    if found { "another content" } else { "none" }.to_owned()
}
