//! Which endpoints the engine is told of, and whether their packets can be recognised at other pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use netpol_policy::{
    engine::LocalEndpoint,
    model::{Key, Pod},
};
use tracing::{info, warn};

use super::{Datapath, Reconciler};
use crate::{
    config::TrustTag,
    datapath::Surroundings,
    discovery::{Discovered, LocalPod, Owner},
};

/// For how long an interface is left to its gate alone. Most pods are known by then, and those that nothing isolates are
/// never hooked in vain.
const GATE_ALONE: Duration = Duration::from_millis(300);
/// How long after a gate could not be taken off it is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// An endpoint as the engine was told of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) local: LocalEndpoint,
    /// No slot was left for it: it cannot be enforced.
    pub(super) homeless: bool,
    /// Which interface it is of those that have had its index.
    incarnation: Option<u64>,
    /// It has no gate, or none any more.
    pub(super) open: bool,
}

/// The name of a pod's interface, known or waiting.
fn name_of(discovered: &Discovered, ifindex: u32) -> Option<&str> {
    let pod = discovered.pods.get(&ifindex).map(|local| local.interface.as_str());
    pod.or_else(|| discovered.waiting.get(&ifindex).map(String::as_str))
}

/// A local pod's interface, with what the objects say of its owner.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resolved {
    /// The pod; `None` where only its UID is known, and no object has that or its addresses: then it is closed.
    pub(super) pod: Option<Key>,
    uid: Arc<str>,
    /// What it may speak with; empty where only its status says so.
    pub(super) addresses: Vec<IpAddr>,
    /// The pod is among the objects: by its name, and by its UID where both sides say one.
    pub(super) known: bool,
}

impl<D: Datapath> Reconciler<D> {
    /// Finds the objects of the interfaces' owners.
    fn resolve(&self, discovered: &Discovered) -> BTreeMap<u32, Resolved> {
        let by_uid = discovered.pods.values().any(|local| matches!(local.owner, Owner::Uids(_)));
        let mine: Vec<Pod> = if by_uid {
            self.lives.mine().iter().filter_map(|key| self.engine.store().pod(key)).collect()
        } else {
            Vec::new()
        };
        let resolved =
            discovered.pods.iter().map(|(ifindex, local)| (*ifindex, self.resolve_one(local, &mine)));
        resolved.collect()
    }

    fn resolve_one(&self, local: &LocalPod, mine: &[Pod]) -> Resolved {
        let uids = match &local.owner {
            Owner::Named { pod, uid } => {
                let known = self.engine.store().pod(pod).is_some_and(|object| object.has_uid(uid));
                let (pod, uid) = (Some(pod.clone()), uid.as_str().into());
                return Resolved { pod, uid, addresses: local.addresses.clone(), known };
            }
            Owner::Uids(uids) => uids,
        };
        for uid in uids {
            let is_it = |pod: &&Pod| *pod.uid == **uid || pod.mirror_of.as_deref() == Some(uid);
            let mut found = mine.iter().filter(is_it);
            let Some(pod) = found.next() else { continue };
            if found.next().is_some() {
                // Somebody has made a second mirror of a static pod: nobody can say which is the real one.
                break;
            }
            // It may have given itself addresses: only those that the API confirms are its own.
            let addresses: Vec<IpAddr> =
                local.addresses.iter().filter(|a| pod.addresses.contains(a)).copied().collect();
            let confirmed = (!addresses.is_empty()).then(|| pod.key.clone());
            return Resolved { pod: confirmed, uid: uid.as_str().into(), addresses, known: true };
        }
        Resolved::default()
    }

    /// Tells the engine of every endpoint that has come, changed or gone.
    pub(super) fn tell_endpoints(&mut self, now: Duration) {
        let Some(discovered) = self.discovered.take() else { return };
        self.engine.set_host_addresses(discovered.addresses.clone());
        let resolved = self.resolve(&discovered);
        let is_known = |local: &&LocalPod| resolved.get(&local.ifindex).is_some_and(|r| r.known);
        if !self.settled {
            // There before us, of a pod that nobody knows, and neither hooked nor closed by an earlier agent: closing it
            // could cut off what has nothing to do with the cluster.
            let unknown =
                discovered.pods.values().filter(|local| !is_known(local)).map(|local| local.ifindex);
            self.strangers = unknown
                .chain(discovered.waiting.keys().copied())
                .filter(|ifindex| self.old.contains(ifindex) && !self.inherited.contains(ifindex))
                .filter(|ifindex| !self.datapath.is_gated(*ifindex))
                .collect();
        }
        for local in discovered.pods.values().filter(is_known) {
            self.strangers.remove(&local.ifindex);
        }
        self.strangers.retain(|ifindex| name_of(&discovered, *ifindex).is_some());

        let gone: Vec<u32> = self
            .endpoints
            .iter()
            .filter(|(ifindex, told)| {
                name_of(&discovered, **ifindex) != Some(&*told.local.ifname)
                    || discovered.incarnations.get(ifindex).copied() != told.incarnation
            })
            .map(|(ifindex, _)| *ifindex)
            .collect();
        for ifindex in gone {
            if let Some(told) = self.endpoints.remove(&ifindex) {
                info!(interface = %told.local.ifname, "a pod's interface is gone");
                self.engine.remove_endpoint(&told.local.ifname);
            }
        }
        let bridges: BTreeSet<u32> = discovered.pods.values().filter_map(|local| local.bridge).collect();
        let trusted: BTreeSet<u32> =
            bridges.into_iter().filter(|bridge| self.distrust(&discovered, *bridge).is_none()).collect();
        let mut wanted = Vec::new();
        for local in discovered.pods.values() {
            let Resolved { pod, uid, addresses, .. } =
                resolved.get(&local.ifindex).cloned().unwrap_or_default();
            wanted.push(LocalEndpoint {
                ifname: local.interface.as_str().into(),
                ifindex: local.ifindex,
                pod,
                uid,
                addresses,
                hardware: local.hardware,
                sources: Vec::new(),
                tag_trusted: local.bridge.is_none_or(|bridge| trusted.contains(&bridge)),
                tags_allowed: false,
            });
        }
        for (ifindex, name) in &discovered.waiting {
            wanted.push(LocalEndpoint {
                ifname: name.as_str().into(),
                ifindex: *ifindex,
                pod: None,
                uid: "".into(),
                addresses: Vec::new(),
                hardware: None,
                sources: Vec::new(),
                tag_trusted: false,
                tags_allowed: false,
            });
        }
        let known: BTreeSet<u32> =
            discovered.pods.values().filter(is_known).map(|local| local.ifindex).collect();
        self.gated.retain(|ifindex, _| name_of(&discovered, *ifindex).is_some() && !known.contains(ifindex));
        for local in wanted {
            if known.contains(&local.ifindex) || !self.waits_at_gate(local.ifindex, now) {
                let incarnation = discovered.incarnations.get(&local.ifindex).copied();
                self.tell_endpoint(local, incarnation);
            }
        }
        let surroundings = discovered.pods.values().map(|local| {
            let around = Surroundings { namespace: local.namespace.clone(), bridged: local.bridge.is_some() };
            (local.ifindex, around)
        });
        self.datapath.set_surroundings(surroundings.collect());
        self.discovered = Some(discovered);
        self.resolved = resolved;
    }

    /// Whether the gate alone keeps an interface closed for the time being, since its pod may soon be known.
    fn waits_at_gate(&mut self, ifindex: u32, now: Duration) -> bool {
        if self.endpoints.contains_key(&ifindex) || !self.datapath.is_gated(ifindex) {
            return false;
        }
        let until = *self.gated.entry(ifindex).or_insert(now + GATE_ALONE);
        if until <= now {
            self.gated.remove(&ifindex);
        }
        until > now
    }

    fn tell_endpoint(&mut self, local: LocalEndpoint, incarnation: Option<u64>) {
        let known = self.endpoints.get(&local.ifindex).is_some_and(|told| told.local == local);
        if known || self.strangers.contains(&local.ifindex) {
            return;
        }
        let open = self.endpoints.get(&local.ifindex).is_some_and(|told| told.open);
        let homeless = self.engine.set_endpoint(local.clone()).is_none();
        let pod = local.pod.as_ref().map_or_else(|| "not known yet".to_owned(), ToString::to_string);
        if homeless {
            warn!(pod, interface = %local.ifname, "no slot is left for a pod: it is not enforced");
        } else {
            info!(pod, interface = %local.ifname, "a local pod");
        }
        self.endpoints.insert(local.ifindex, Told { local, homeless, incarnation, open });
    }

    /// Why the tag cannot be believed of what comes in by a bridge; `None` when it can.
    pub(super) fn distrust(&self, discovered: &Discovered, bridge: u32) -> Option<String> {
        if self.options.trust_tag == TrustTag::Never {
            return Some("switched off by trust-tag".to_owned());
        }
        let bridge = discovered.bridges.get(&bridge)?;
        // A port that carries no classifier of ours lets its own tag through.
        let carries_ours = |ifindex: &&u32| {
            name_of(discovered, **ifindex).is_some()
                && !self.strangers.contains(*ifindex)
                && !self.endpoints.get(*ifindex).is_some_and(|told| told.homeless)
        };
        let alien = bridge.veths.iter().filter(|ifindex| !carries_ours(ifindex));
        match alien.count() {
            0 => None,
            n => Some(format!("{n} of its veth ports carry no classifier of ours")),
        }
    }

    /// Takes the gates off the interfaces of endpoints that are judged by now, and those of an earlier agent off what is no
    /// pod's. One that could not be hooked stays closed.
    pub(super) fn open_gates(&mut self, now: Duration) {
        self.closed.clear();
        for endpoint in self.engine.endpoints() {
            let ifindex = endpoint.local.ifindex;
            let Some(told) = self.endpoints.get_mut(&ifindex).filter(|told| !told.open) else { continue };
            if self.failed_hooks.contains_key(&endpoint.slot) {
                continue;
            }
            match self.datapath.open_gate(ifindex) {
                Ok(()) => told.open = true,
                Err(error) => {
                    warn!(interface = %told.local.ifname, "cannot open a new interface: {error}");
                    self.closed.insert(told.local.ifname.to_string(), error);
                }
            }
        }
        let Some(discovered) = &self.discovered else { return };
        for ifindex in std::mem::take(&mut self.left_gates) {
            if name_of(discovered, ifindex).is_some() {
                continue;
            }
            match self.datapath.open_gate(ifindex) {
                Ok(()) => {
                    info!(ifindex, "an earlier agent closed an interface that is no pod's: it is opened");
                }
                Err(error) => {
                    warn!(ifindex, "cannot open an interface that is no pod's: {error}");
                    self.closed.insert(format!("with index {ifindex}"), error);
                    self.left_gates.insert(ifindex);
                }
            }
        }
        self.open_at = (!self.closed.is_empty()).then_some(now + OPEN_AGAIN);
    }

    /// Tells the datapath which bridges are believed, after the hooks are made.
    pub(super) fn tell_bridges(&mut self) {
        let Some(discovered) = &self.discovered else { return };
        let wanted: BTreeSet<u32> = if self.failed_hooks.is_empty() {
            let used = discovered.pods.values().filter_map(|local| local.bridge);
            used.filter(|bridge| self.distrust(discovered, *bridge).is_none()).collect()
        } else {
            BTreeSet::new()
        };
        let mut changes: Vec<(u32, bool)> = self.trusted.difference(&wanted).map(|b| (*b, false)).collect();
        changes.extend(wanted.difference(&self.trusted).map(|b| (*b, true)));
        for (bridge, trusted) in changes {
            match self.datapath.trust_bridge(bridge, trusted) {
                Ok(()) if trusted => drop(self.trusted.insert(bridge)),
                Ok(()) => drop(self.trusted.remove(&bridge)),
                Err(error) => warn!(bridge, "cannot say whether a bridge is believed: {error}"),
            }
        }
    }
}
