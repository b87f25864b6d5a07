//! What is expected of this node's pods: an interface for each, with the addresses that its status names. What is not
//! so for a while is said by name; a pod that starts, ends or gets a new sandbox is no news.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use netpol_policy::model::{Key, Kind, Object, Pod, SourceEvent};

use super::{Datapath, Reconciler, endpoints::Resolved};
use crate::{
    discovery::{Cause, Owner, Unenforced},
    sources::Located,
    text::escape,
};

/// How long something may be so before it is said.
const PATIENCE: Duration = Duration::from_secs(3);

/// Something that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// It cannot be enforced.
    Unenforced(Unenforced),
    /// A pod's object and the node say different things.
    Object(Located),
    /// An interface stays closed.
    Closed(String),
    /// Programs of others may move packets past ours.
    Programs(String),
}

impl Doubt {
    fn text(&self) -> String {
        match self {
            Self::Unenforced(what) => escape(&what.text()).into_owned(),
            Self::Object(what) => what.to_string(),
            Self::Closed(what) | Self::Programs(what) => escape(what).into_owned(),
        }
    }
}

/// This node's pods, and what is doubted of them.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// Pods of this node that have a network of their own and are not finished.
    mine: BTreeSet<Key>,
    /// What is not as expected, since when, and whether that was said.
    doubts: BTreeMap<Doubt, (Duration, bool)>,
}

impl Lives {
    /// Takes in what the source says of pods.
    pub(super) fn hear(&mut self, event: &SourceEvent, node: &str) {
        let is_mine = |pod: &Pod| *pod.node == *node && pod.counts();
        match event {
            SourceEvent::Apply(Object::Pod(pod)) if is_mine(pod) => drop(self.mine.insert(pod.key.clone())),
            SourceEvent::Apply(Object::Pod(pod)) => drop(self.mine.remove(&pod.key)),
            SourceEvent::Delete(Kind::Pod, key) => drop(self.mine.remove(key)),
            SourceEvent::Reset(objects) => {
                let pod = |object: &Object| match object {
                    Object::Pod(pod) if is_mine(pod) => Some(pod.key.clone()),
                    _ => None,
                };
                self.mine = objects.iter().filter_map(pod).collect();
            }
            SourceEvent::Apply(_)
            | SourceEvent::Delete(..)
            | SourceEvent::Listing(_)
            | SourceEvent::Stays(..)
            | SourceEvent::Listed(_) => {}
        }
    }

    /// A list of pods is whole: some of them may have gone without a word.
    pub(super) fn keep(&mut self, is_there: impl Fn(&Key) -> bool) {
        self.mine.retain(is_there);
    }

    pub(super) const fn mine(&self) -> &BTreeSet<Key> {
        &self.mine
    }

    /// What is doubted now.
    fn set(&mut self, doubts: BTreeSet<Doubt>, now: Duration) {
        self.doubts.retain(|doubt, _| doubts.contains(doubt));
        for doubt in doubts {
            self.doubts.entry(doubt).or_insert((now, false));
        }
    }

    /// When something has been doubted long enough.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.doubts.values().filter(|(_, said)| !said).map(|(since, _)| *since + PATIENCE).min()
    }

    /// What is to be said now for the first time.
    pub(super) fn ripe(&mut self, now: Duration) -> Vec<String> {
        let ripe = self.doubts.iter_mut().filter(|(_, (since, said))| !said && *since + PATIENCE <= now);
        ripe.map(|(doubt, (_, said))| {
            *said = true;
            doubt.text()
        })
        .collect()
    }

    /// What has been said and is still so.
    pub(super) fn said(&self) -> impl Iterator<Item = &Doubt> {
        self.doubts.iter().filter(|(_, (_, said))| *said).map(|(doubt, _)| doubt)
    }
}

impl<D: Datapath> Reconciler<D> {
    /// What cannot be enforced on this node: said after some seconds, and as long as it is so.
    pub fn unenforced(&self) -> impl Iterator<Item = &Unenforced> {
        self.lives
            .said()
            .filter_map(|doubt| if let Doubt::Unenforced(what) = doubt { Some(what) } else { None })
    }

    /// Compares what was found with what this node's pods should have.
    pub(super) fn doubt(&mut self, now: Duration) {
        let mut doubts = BTreeSet::new();
        self.doubt_interfaces(&mut doubts);
        self.doubt_addresses(&mut doubts);
        self.doubt_closed(&mut doubts);
        self.doubt_programs(&mut doubts);
        self.lives.set(doubts, now);
    }

    fn doubt_interfaces(&self, doubts: &mut BTreeSet<Doubt>) {
        let Some(discovered) = &self.discovered else { return };
        let mut accounted: BTreeSet<&Key> = self.resolved.values().filter_map(|r| r.pod.as_ref()).collect();
        for what in &discovered.unenforced {
            accounted.extend(&what.pod);
            doubts.insert(Doubt::Unenforced(what.clone()));
        }
        for told in self.endpoints.values().filter(|told| told.homeless) {
            doubts.insert(Doubt::Unenforced(Unenforced {
                pod: told.local.pod.clone(),
                interface: told.local.ifname.to_string(),
                cause: Cause::NoSlot,
                detail: String::new(),
            }));
        }
        for key in self.lives.mine().iter().filter(|key| !accounted.contains(key)) {
            let Some(pod) = self.engine.store().pod(key).filter(|pod| !pod.addresses.is_empty()) else {
                continue;
            };
            let doubt = Doubt::Unenforced(Unenforced {
                pod: Some(key.clone()),
                interface: String::new(),
                cause: Cause::NoInterface,
                detail: String::new(),
            });
            // A pod that ends loses its interface before its object goes.
            if !pod.terminating || self.lives.doubts.contains_key(&doubt) {
                doubts.insert(doubt);
            }
        }
    }

    /// Addresses are frozen when a pod is found; what its status says beyond them widens nothing.
    fn doubt_addresses(&self, doubts: &mut BTreeSet<Doubt>) {
        let mut by_pod: BTreeMap<&Key, Vec<&Resolved>> = BTreeMap::new();
        for resolved in self.resolved.values().filter(|r| r.known && !r.addresses.is_empty()) {
            if let Some(pod) = &resolved.pod {
                by_pod.entry(pod).or_default().push(resolved);
            }
        }
        for (key, interfaces) in by_pod {
            let Some(pod) = self.engine.store().pod(key).filter(|pod| !pod.addresses.is_empty()) else {
                continue;
            };
            let has = |address| interfaces.iter().any(|one| one.addresses.contains(address));
            let mut say = |message: String, remedy: &str| {
                doubts.insert(Doubt::Object(Located {
                    file: None,
                    line: None,
                    kind: Kind::Pod.name().to_owned(),
                    object: key.to_string(),
                    field: "status.podIPs".to_owned(),
                    message,
                    remedy: remedy.to_owned(),
                }));
            };
            for address in pod.addresses.iter().filter(|address| !has(address)) {
                say(
                    format!(
                        "names {address}, which no interface of the pod was given: the pod may not speak with it, and nobody there is taken for the pod"
                    ),
                    "see what the CNI has given to the pod (libcni's cache) and what the kubelet reports",
                );
            }
            // The addresses of further interfaces are never in a pod's status.
            let first =
                interfaces.iter().filter(|one| one.addresses.iter().any(|a| pod.addresses.contains(a)));
            for address in first.flat_map(|one| &one.addresses).filter(|a| !pod.addresses.contains(a)) {
                say(
                    format!(
                        "does not name {address}, which the pod's interface was given: other nodes do not take it for the pod's"
                    ),
                    "see what the CNI has given to the pod (libcni's cache) and what the kubelet reports",
                );
            }
        }
    }

    /// Interfaces that lead into a sandbox and stay closed.
    fn doubt_closed(&self, doubts: &mut BTreeSet<Doubt>) {
        let Some(discovered) = &self.discovered else { return };
        for (ifindex, name) in &discovered.waiting {
            if !self.strangers.contains(ifindex) {
                doubts.insert(Doubt::Closed(format!(
                    "the interface {name} leads into a pod's sandbox and nothing says whose: it stays closed (neither libcni's cache nor the cgroup of a process in there names the pod)"
                )));
            }
        }
        for (ifindex, resolved) in &self.resolved {
            let Some(local) = discovered.pods.get(ifindex) else { continue };
            let Owner::Uids(uids) = &local.owner else { continue };
            if resolved.pod.is_some() || self.strangers.contains(ifindex) {
                continue;
            }
            let why = if resolved.known {
                let addresses: Vec<String> = local.addresses.iter().map(ToString::to_string).collect();
                format!("none of its addresses ({}) is in the pod's status.podIPs", addresses.join(", "))
            } else {
                "no pod of this node with that UID is known".to_owned()
            };
            doubts.insert(Doubt::Closed(format!(
                "the interface {} is of the pod with the UID {} by its cgroup, and {why}: it stays closed",
                local.interface,
                uids.join(" or ")
            )));
        }
    }
}
