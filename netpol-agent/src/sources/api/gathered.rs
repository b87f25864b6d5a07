//! What all watches together have said.

use std::collections::{BTreeMap, HashMap, HashSet};

use netpol_policy::{
    model::{Key, Kind, Object, Problem, SourceEvent},
    read::Read,
};

use super::watch::Heard;
use crate::sources::{Located, SourceUpdate};

/// Which objects there are, by name; the objects themselves are with the engine.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    kinds: BTreeMap<Kind, Names>,
    problems: BTreeMap<(Kind, Key), Vec<Located>>,
    cuts: BTreeMap<Kind, Located>,
    events: Vec<SourceEvent>,
    /// Something beside events has changed.
    changed: bool,
}

#[derive(Debug, Default)]
struct Names {
    there: HashMap<Key, Quality>,
    /// What a list that is under way has named so far.
    listing: Option<HashSet<Key>>,
    /// It was listed whole at least once.
    listed: bool,
    /// The newest version of an object that was heard of, also of one that is gone.
    newest: u64,
}

/// Whether an object's version is one to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quality {
    Good,
    /// A policy of which nobody knows what it selects: what stands in isolates all of its namespace.
    StandIn,
}

impl Gathered {
    /// Takes in what one watch says.
    pub(super) fn take(&mut self, kind: Kind, heard: Heard) {
        let names = self.kinds.entry(kind).or_default();
        if !matches!(heard, Heard::Cut(_)) && self.cuts.remove(&kind).is_some() {
            self.changed = true;
        }
        match heard {
            Heard::Listing => names.listing = Some(HashSet::new()),
            Heard::There(read, version) => {
                names.newest = names.newest.max(version);
                self.there(kind, *read);
            }
            Heard::Gone(key, version) => {
                names.newest = names.newest.max(version);
                self.gone(kind, &key);
            }
            Heard::Listed => {
                let listing = names.listing.take().unwrap_or_default();
                self.changed |= !std::mem::replace(&mut names.listed, true);
                let gone: Vec<Key> =
                    names.there.keys().filter(|key| !listing.contains(key)).cloned().collect();
                for key in gone {
                    self.gone(kind, &key);
                }
            }
            Heard::Cut(why) => {
                let problem = cut(kind, &why);
                if self.cuts.get(&kind) != Some(&problem) {
                    self.cuts.insert(kind, problem);
                    self.changed = true;
                }
            }
        }
    }

    /// What to hand on, if anything has changed.
    pub(super) fn update(&mut self) -> Option<SourceUpdate> {
        if self.events.is_empty() && !self.changed {
            return None;
        }
        self.changed = false;
        Some(SourceUpdate {
            events: std::mem::take(&mut self.events),
            synced: Kind::ALL.iter().all(|kind| self.kinds.get(kind).is_some_and(|names| names.listed)),
            newest: self.kinds.iter().map(|(kind, names)| (*kind, names.newest)).collect(),
            problems: self.cuts.values().chain(self.problems.values().flatten()).cloned().collect(),
            ..SourceUpdate::default()
        })
    }

    fn there(&mut self, kind: Kind, read: Read) {
        let (object, quality, problems) = match read {
            Read::Object { object, problems } => (object, Quality::Good, problems),
            Read::SelectorUnreadable { policy, problems } => {
                (Object::Policy(policy), Quality::StandIn, problems)
            }
            // The server gives every object a name and only the kinds that were asked for.
            Read::Unreadable { .. } | Read::Template { .. } | Read::Skipped { .. } => return,
        };
        let key = object.key();
        self.note(kind, &key, &problems);
        let names = self.kinds.entry(kind).or_default();
        if let Some(listing) = &mut names.listing {
            listing.insert(key.clone());
        }
        // The last version that could be read stays in force.
        if quality == Quality::StandIn && names.there.get(&key) == Some(&Quality::Good) {
            return;
        }
        names.there.insert(key, quality);
        self.events.push(SourceEvent::Apply(object));
    }

    fn gone(&mut self, kind: Kind, key: &Key) {
        self.note(kind, key, &[]);
        if self.kinds.entry(kind).or_default().there.remove(key).is_some() {
            self.events.push(SourceEvent::Delete(kind, key.clone()));
        }
    }

    fn note(&mut self, kind: Kind, key: &Key, problems: &[Problem]) {
        let located: Vec<Located> = problems.iter().map(|p| Located::of(p, None, None)).collect();
        let id = (kind, key.clone());
        self.changed |= if located.is_empty() {
            self.problems.remove(&id).is_some()
        } else {
            self.problems.insert(id, located.clone()) != Some(located)
        };
    }
}

/// The watch of a kind is cut.
fn cut(kind: Kind, why: &str) -> Located {
    Located {
        file: None,
        line: None,
        kind: kind.name().to_owned(),
        object: "of the whole cluster".to_owned(),
        field: String::new(),
        message: format!("cannot be watched, so that what was heard last stays in force: {why}"),
        remedy: "the agent tries again every few seconds".to_owned(),
    }
}

#[cfg(test)]
mod tests;
