//! What all watches together have said.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Instant,
};

use netpol_policy::{
    model::{Key, Kind, Object, Problem, SourceEvent},
    read::Read,
};
use tracing::{info, warn};

use super::{failure::Failure, watch::Heard};
use crate::{
    control::protocol::Moment,
    sources::{Located, SourceUpdate, WatchState, Watched},
    text::escape,
};

/// What is known of all kinds together; which objects there are, the engine knows.
#[derive(Debug)]
pub(super) struct Gathered {
    node: Key,
    kinds: BTreeMap<Kind, Names>,
    problems: BTreeMap<(Kind, Key), Vec<Located>>,
    /// The same in one list; `None` after a change.
    told_problems: Option<Arc<[Located]>>,
    events: Vec<SourceEvent>,
    /// When the changes among them were read from the wire.
    changes: Vec<Instant>,
    /// Something beside events has changed.
    changed: bool,
    /// Kinds that are cut off and not logged yet, by why.
    to_log: BTreeMap<String, Vec<&'static str>>,
}

#[derive(Debug)]
struct Names {
    /// Of policies and nodes, those that are there; a policy only once a version of it could be read.
    good: HashSet<Key>,
    /// Of these, and of the objects with problems, what a list that is under way has not named yet.
    listing: Option<HashSet<Key>>,
    /// It was listed whole at least once.
    listed: bool,
    /// The newest version of an object that was heard of, also of one that is gone.
    newest: u64,
    /// How far the watch has got, and since when.
    state: (WatchState, Moment),
    /// Why it is cut off.
    cut: Option<Failure>,
}

impl Names {
    fn new() -> Self {
        Self {
            good: HashSet::new(),
            listing: None,
            listed: false,
            newest: 0,
            state: (WatchState::Listing, Moment::now()),
            cut: None,
        }
    }

    /// Takes in how far the watch has got; says whether that is new.
    fn enter(&mut self, state: WatchState) -> bool {
        let new = self.state.0 != state;
        if new {
            self.state = (state, Moment::now());
        }
        new
    }
}

impl Gathered {
    /// Nothing is heard yet. The node is ours.
    pub(super) fn new(node: &str) -> Self {
        Self {
            node: Key::new("", node),
            kinds: Kind::ALL.into_iter().map(|kind| (kind, Names::new())).collect(),
            problems: BTreeMap::new(),
            told_problems: None,
            events: Vec::new(),
            changes: Vec::new(),
            changed: true,
            to_log: BTreeMap::new(),
        }
    }

    /// Takes in what one watch says.
    pub(super) fn take(&mut self, kind: Kind, heard: Heard) {
        match heard {
            Heard::There(read, stamp) => {
                self.reach(kind, stamp.version);
                if self.there(kind, *read) {
                    self.change(kind, stamp.read);
                }
            }
            Heard::Gone(key, stamp) => {
                self.reach(kind, stamp.version);
                self.forget(kind, &key);
                self.events.push(SourceEvent::Delete(kind, key));
                self.change(kind, stamp.read);
                self.miss_own_node(kind);
            }
            Heard::Listing => {
                self.events.push(SourceEvent::Listing(kind));
                let with_problems = self.problems.keys().filter(|(of, _)| *of == kind).map(|(_, key)| key);
                let with_problems: HashSet<Key> = with_problems.cloned().collect();
                let names = self.names(kind);
                names.listing = Some(&names.good | &with_problems);
                // A list that never gets whole is no end of what ails the watch.
                if names.cut.is_none() && names.enter(WatchState::Listing) {
                    self.changed = true;
                }
            }
            Heard::Listed => {
                self.well(kind);
                let names = self.names(kind);
                // No list, no end of one: it would be the end of every object.
                let Some(listing) = names.listing.take() else { return };
                names.listed = true;
                for key in listing {
                    self.forget(kind, &key);
                }
                self.events.push(SourceEvent::Listed(kind));
                self.miss_own_node(kind);
            }
            Heard::Following => self.well(kind),
            Heard::Cut(failure) => self.cut(kind, failure),
        }
    }

    /// Whether some kind is being listed for the first time.
    pub(super) fn lists_first(&self) -> bool {
        self.kinds.values().any(|names| names.listing.is_some() && !names.listed)
    }

    /// What to hand on, if anything has changed.
    pub(super) fn update(&mut self) -> Option<SourceUpdate> {
        for (why, kinds) in std::mem::take(&mut self.to_log) {
            warn!("cannot watch {}, what was heard last stays in force: {}", kinds.join(", "), escape(&why));
        }
        if self.events.is_empty() && !self.changed {
            return None;
        }
        self.changed = false;
        let problems = self
            .told_problems
            .get_or_insert_with(|| self.problems.values().flatten().cloned().collect::<Vec<_>>().into());
        let problems = Arc::clone(problems);
        Some(SourceUpdate {
            events: std::mem::take(&mut self.events),
            read: std::mem::take(&mut self.changes),
            synced: self.kinds.values().all(|names| names.listed),
            newest: self.kinds.iter().map(|(kind, names)| (*kind, names.newest)).collect(),
            problems,
            watches: self.kinds.iter().map(|(kind, names)| watched(*kind, names)).collect(),
            ..SourceUpdate::default()
        })
    }

    fn names(&mut self, kind: Kind) -> &mut Names {
        self.kinds.entry(kind).or_insert_with(Names::new)
    }

    fn reach(&mut self, kind: Kind, version: u64) {
        let names = self.names(kind);
        if names.newest < version {
            names.newest = version;
            self.changed = true;
        }
    }

    /// Notes a change. An object of a list is none: most were there before, and which were not is not said.
    fn change(&mut self, kind: Kind, read: Instant) {
        if self.names(kind).listing.is_none() {
            self.changes.push(read);
        }
    }

    /// The watch is up to date.
    fn well(&mut self, kind: Kind) {
        let names = self.names(kind);
        let since = names.state.1;
        let was_cut = names.cut.take().is_some();
        if names.enter(WatchState::Watching) {
            self.changed = true;
        }
        if was_cut {
            let away = Moment::now().milliseconds().saturating_sub(since.milliseconds());
            info!(kind = kind.name(), "is watched again, after {}.{} s", away / 1000, away % 1000 / 100);
        }
    }

    fn cut(&mut self, kind: Kind, failure: Failure) {
        let names = self.names(kind);
        names.enter(WatchState::Behind);
        // Said once, and again only when it is something else: not at each try.
        if names.cut.as_ref().is_none_or(|known| known.code != failure.code) {
            self.to_log.entry(failure.words.clone()).or_default().push(kind.name());
        }
        let names = self.names(kind);
        if names.cut.as_ref() != Some(&failure) {
            names.cut = Some(failure);
            self.changed = true;
        }
    }

    /// Without our node, NodePorts are not known, and most likely not one pod is taken for ours.
    fn miss_own_node(&mut self, kind: Kind) {
        if kind != Kind::Node || !self.names(kind).good.is_empty() {
            return;
        }
        let node = self.node.clone();
        let problem = Problem {
            kind: kind.name().to_owned(),
            object: node.clone(),
            field: String::new(),
            message: "the API server knows no node of this name: its NodePorts are not known, and pods of the node are not \
                      found if it is the name that is wrong"
                .to_owned(),
            remedy: "give the node's name by --node or NODE_NAME (`kubectl get nodes` lists them)".to_owned(),
        };
        self.note(kind, &node, &[problem]);
    }

    /// Takes in an object; says whether it is handed on.
    fn there(&mut self, kind: Kind, read: Read) -> bool {
        let (object, is_good, problems) = match read {
            Read::Object { object, problems } => (object, true, problems),
            // Nobody knows what it selects: what stands in isolates all of its namespace.
            Read::SelectorUnreadable { policy, problems } => (Object::Policy(policy), false, problems),
            // The server gives every object a name and only the kinds that were asked for.
            Read::Unreadable { .. } | Read::Template { .. } | Read::Skipped { .. } => return false,
        };
        let key = object.key();
        self.note(kind, &key, &problems);
        let names = self.names(kind);
        if let Some(listing) = &mut names.listing {
            listing.remove(&key);
        }
        // The last version that could be read stays in force.
        if !is_good && names.good.contains(&key) {
            if names.listing.is_some() {
                self.events.push(SourceEvent::Stays(kind, key));
            }
            return false;
        }
        if is_good && matches!(kind, Kind::Node | Kind::NetworkPolicy) {
            names.good.insert(key);
        }
        self.events.push(SourceEvent::Apply(object));
        true
    }

    /// An object is gone.
    fn forget(&mut self, kind: Kind, key: &Key) {
        self.note(kind, key, &[]);
        self.names(kind).good.remove(key);
    }

    fn note(&mut self, kind: Kind, key: &Key, problems: &[Problem]) {
        let located: Vec<Located> = problems.iter().map(|p| Located::of(p, None, None)).collect();
        let id = (kind, key.clone());
        let changed = if located.is_empty() {
            self.problems.remove(&id).is_some()
        } else {
            self.problems.insert(id, located.clone()) != Some(located)
        };
        if changed {
            self.told_problems = None;
            self.changed = true;
        }
    }
}

fn watched(kind: Kind, names: &Names) -> Watched {
    Watched {
        kind: kind.name().to_owned(),
        state: names.state.0,
        since: names.state.1,
        listed: names.listed,
        error: names.cut.as_ref().map(|failure| failure.words.clone()),
    }
}

#[cfg(test)]
mod tests;
