//! What can change in a cluster, and whom it is told.

use std::sync::Arc;

use netpol_policy::{
    engine::LocalEndpoint,
    model::{Key, Kind, Object, Policy, SourceEvent},
    read::{Read, read_object},
};
use serde_json::Value;

use super::Cluster;

/// A change.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// An object is there, or has changed.
    Put(Object),
    /// An object is gone.
    Gone(Kind, Key),
    /// A policy is written as a document, perhaps with something wrong in it.
    Written {
        /// The document.
        document: Value,
        /// What its author meant.
        meant: Policy,
    },
    /// An interface is there, or has changed.
    Interface(LocalEndpoint),
    /// An interface is gone.
    InterfaceGone(Arc<str>),
    /// From now on interfaces can be recognised at other pods, or cannot.
    Tags(bool),
}

/// What a compiler hears of a change.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// Of an object.
    Event(SourceEvent),
    /// Of an interface that is there.
    There(LocalEndpoint),
    /// Of an interface that is gone.
    Gone(Arc<str>),
}

impl Cluster {
    /// Changes something, and says what a compiler is told of it.
    pub(crate) fn change(&mut self, change: &Change) -> Vec<Told> {
        match change {
            Change::Put(object) => self.put(object.clone(), None),
            Change::Gone(kind, key) => {
                self.objects.retain(|object| (object.kind(), &object.key()) != (*kind, key));
                self.meant.retain(|(meant, _)| *kind != Kind::NetworkPolicy || meant.key != *key);
                vec![Told::Event(SourceEvent::Delete(*kind, key.clone()))]
            }
            Change::Written { document, meant } => self.read(document, meant),
            Change::Interface(interface) => {
                self.interfaces.retain(|one| one.ifname != interface.ifname);
                self.interfaces.push(interface.clone());
                vec![Told::There(interface.clone())]
            }
            Change::InterfaceGone(ifname) => {
                self.interfaces.retain(|one| one.ifname != *ifname);
                vec![Told::Gone(ifname.clone())]
            }
            Change::Tags(trusted) => {
                self.tag_trusted = *trusted;
                for interface in &mut self.interfaces {
                    interface.tag_trusted = *trusted;
                }
                self.interfaces.iter().cloned().map(Told::There).collect()
            }
        }
    }

    fn put(&mut self, object: Object, meant: Option<(&Policy, bool)>) -> Vec<Told> {
        let key = object.key();
        self.objects.retain(|one| (one.kind(), one.key()) != (object.kind(), key.clone()));
        self.objects.push(object.clone());
        if object.kind() == Kind::NetworkPolicy {
            self.meant.retain(|(meant, _)| meant.key != key);
            self.meant.extend(meant.map(|(meant, exactly)| (meant.clone(), exactly)));
        }
        vec![Told::Event(SourceEvent::Apply(object))]
    }

    fn read(&mut self, document: &Value, meant: &Policy) -> Vec<Told> {
        match read_object(Kind::NetworkPolicy, &document.into()) {
            Read::Object { object, problems } => self.put(object, Some((meant, problems.is_empty()))),
            // Its last good version stays.
            Read::SelectorUnreadable { policy, .. } => {
                let key = &policy.key;
                if self.objects.iter().any(|one| one.kind() == Kind::NetworkPolicy && one.key() == *key) {
                    Vec::new()
                } else {
                    self.put(Object::Policy(policy), Some((meant, false)))
                }
            }
            other => panic!("a policy was read as {other:?}"),
        }
    }
}
