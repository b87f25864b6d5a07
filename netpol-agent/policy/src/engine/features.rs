//! What a peer class is made of: selectors of pods, blocks, and what a port name means on a pod. Only what policy sets
//! of this node ask for is there.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use netpol_common::tables::Digest;

use super::interner::digest_of;
use crate::{
    model::{IpBlock, Protocol, Selector},
    policy_text::selector_text,
};

/// A port name with its protocol.
pub(super) type Name = (Protocol, Arc<str>);

/// Which namespaces a selector of pods speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Namespaces {
    /// This one.
    Named(Arc<str>),
    /// Those that match.
    Selected(Selector),
}

/// Something that an address is, or is not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Feature {
    /// A pod that is selected.
    Pods { namespaces: Namespaces, pods: Selector },
    /// Inside a block and outside its exceptions.
    Block(IpBlock),
    /// A pod on which a name means a port.
    Port { name: Name, port: u16 },
}

impl Feature {
    /// For people.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Pods { namespaces, pods } => {
                let place = match namespaces {
                    Namespaces::Named(name) => format!("in {name}"),
                    Namespaces::Selected(s) if s.0.is_empty() => "in every namespace".into(),
                    Namespaces::Selected(s) => format!("in namespaces {}", selector_text(s)),
                };
                if pods.0.is_empty() {
                    format!("pods {place}")
                } else {
                    format!("pods {} {place}", selector_text(pods))
                }
            }
            Self::Block(block) if block.except.is_empty() => block.cidr.to_string(),
            Self::Block(block) => {
                let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
                format!("{} except {}", block.cidr, except.join(", "))
            }
            Self::Port { name: (protocol, name), port } => {
                format!("port {name} is {} {port}", protocol.name())
            }
        }
    }
}

/// A feature in use.
#[derive(Debug)]
pub(super) struct State {
    pub(super) content: Arc<Feature>,
    pub(super) digest: Digest,
    /// Policy sets that ask for it; for a port: profiles that have it.
    refs: u32,
    /// Classes that hold it.
    pub(super) classes: BTreeSet<u32>,
    /// Policy sets with rows for it.
    pub(super) sets: BTreeSet<u32>,
}

/// A port name that rules of egress use.
#[derive(Debug, Default)]
pub(super) struct NameState {
    refs: u32,
    /// What it means on some pod: features.
    pub(super) features: BTreeSet<u32>,
    /// Policy sets with the name in a rule for any peer.
    pub(super) sets: BTreeSet<u32>,
}

/// The features in use. Ids of features are never used again within a process.
#[derive(Debug, Default)]
pub(super) struct Features {
    by_content: HashMap<Arc<Feature>, u32>,
    states: HashMap<u32, State>,
    next: u32,
    names: HashMap<Name, NameState>,
    /// Selectors of pods by the namespace that they name.
    named: HashMap<Arc<str>, BTreeSet<u32>>,
    /// Selectors of pods that select namespaces.
    selected: BTreeSet<u32>,
    /// Selectors and blocks that are asked for since the last look.
    pub(super) born: Vec<u32>,
    /// Selectors and blocks that nobody asks for since the last look, unless somebody does again.
    dying: Vec<u32>,
    /// Names that began or ceased to be asked for.
    pub(super) changed_names: BTreeSet<Name>,
}

impl Features {
    pub(super) fn get(&self, id: u32) -> Option<&State> {
        self.states.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut State> {
        self.states.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &State> {
        self.states.values()
    }

    pub(super) fn name(&self, name: &Name) -> Option<&NameState> {
        self.names.get(name)
    }

    pub(super) fn name_mut(&mut self, name: &Name) -> Option<&mut NameState> {
        self.names.get_mut(name)
    }

    /// Whether some rule of egress asks for a name.
    pub(super) fn is_live(&self, name: &Name) -> bool {
        self.names.get(name).is_some_and(|n| n.refs != 0)
    }

    /// One user more.
    pub(super) fn acquire(&mut self, content: &Feature) -> u32 {
        if let Some(&id) = self.by_content.get(content) {
            if let Some(state) = self.states.get_mut(&id) {
                state.refs += 1;
            }
            return id;
        }
        let id = self.next;
        self.next += 1;
        let content = Arc::new(content.clone());
        match &*content {
            Feature::Pods { namespaces: Namespaces::Named(name), .. } => {
                self.named.entry(name.clone()).or_default().insert(id);
            }
            Feature::Pods { namespaces: Namespaces::Selected(_), .. } => {
                self.selected.insert(id);
            }
            Feature::Block(_) => {}
            Feature::Port { name, .. } => {
                self.names.entry(name.clone()).or_default().features.insert(id);
            }
        }
        if !matches!(*content, Feature::Port { .. }) {
            self.born.push(id);
        }
        let digest = digest_of(&("feature", &content));
        self.by_content.insert(content.clone(), id);
        self.states
            .insert(id, State { content, digest, refs: 1, classes: BTreeSet::new(), sets: BTreeSet::new() });
        id
    }

    /// One user less.
    pub(super) fn release(&mut self, id: u32) {
        if let Some(state) = self.states.get_mut(&id) {
            state.refs -= 1;
            if state.refs == 0 {
                self.dying.push(id);
            }
        }
    }

    /// One policy set more that asks for a name.
    pub(super) fn acquire_name(&mut self, name: &Name) {
        let state = self.names.entry(name.clone()).or_default();
        state.refs += 1;
        if state.refs == 1 {
            self.changed_names.insert(name.clone());
        }
    }

    /// One policy set less that asks for a name.
    pub(super) fn release_name(&mut self, name: &Name) {
        if let Some(state) = self.names.get_mut(name) {
            state.refs -= 1;
            if state.refs == 0 {
                self.changed_names.insert(name.clone());
                if state.features.is_empty() {
                    self.names.remove(name);
                }
            }
        }
    }

    /// The features that nobody asks for any more; they are forgotten here.
    pub(super) fn bury(&mut self) -> Vec<(u32, Arc<Feature>)> {
        let mut gone = Vec::new();
        for id in std::mem::take(&mut self.dying) {
            if self.states.get(&id).is_none_or(|s| s.refs != 0) {
                continue;
            }
            let Some(state) = self.states.remove(&id) else { continue };
            self.by_content.remove(&state.content);
            match &*state.content {
                Feature::Pods { namespaces: Namespaces::Named(name), .. } => {
                    if let Some(ids) = self.named.get_mut(name) {
                        ids.remove(&id);
                        if ids.is_empty() {
                            self.named.remove(name);
                        }
                    }
                }
                Feature::Pods { .. } => {
                    self.selected.remove(&id);
                }
                Feature::Block(_) => {}
                Feature::Port { name, .. } => {
                    if let Some(state) = self.names.get_mut(name) {
                        state.features.remove(&id);
                        if state.refs == 0 && state.features.is_empty() {
                            self.names.remove(name);
                        }
                    }
                }
            }
            gone.push((id, state.content));
        }
        gone
    }

    /// The selectors that can match pods of a namespace.
    pub(super) fn selectors_for(&self, namespace: &str) -> impl Iterator<Item = (u32, &State)> {
        self.named
            .get(namespace)
            .into_iter()
            .flatten()
            .chain(&self.selected)
            .filter_map(|id| self.states.get(id).map(|s| (*id, s)))
    }
}
