//! Which endpoints the engine is told of, and whether their packets can be recognised at other pods.

use std::collections::BTreeSet;

use netpol_policy::engine::LocalEndpoint;
use tracing::{info, warn};

use super::{Datapath, Reconciler};
use crate::{
    config::TrustTag,
    datapath::Surroundings,
    discovery::{Discovered, LocalPod},
};

/// An endpoint as the engine was told of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) local: LocalEndpoint,
    /// No slot was left for it: it cannot be enforced.
    pub(super) homeless: bool,
}

/// The name of a pod's interface, known or waiting.
fn name_of(discovered: &Discovered, ifindex: u32) -> Option<&str> {
    let pod = discovered.pods.get(&ifindex).map(|local| local.interface.as_str());
    pod.or_else(|| discovered.waiting.get(&ifindex).map(String::as_str))
}

impl<D: Datapath> Reconciler<D> {
    /// Whether the pod is among the objects: by its name, and by its UID where both sides say one.
    fn is_known(&self, local: &LocalPod) -> bool {
        self.engine.store().pod(&local.pod).is_some_and(|pod| pod.has_uid(&local.uid))
    }

    /// Tells the engine of every endpoint that has come, changed or gone.
    pub(super) fn tell_endpoints(&mut self) {
        let Some(discovered) = self.discovered.take() else { return };
        self.engine.set_host_addresses(discovered.addresses.clone());
        if !self.settled {
            // There before us, of a pod that nobody knows, and not hooked by an earlier agent: closing it could cut
            // off what has nothing to do with the cluster.
            let unknown =
                discovered.pods.values().filter(|local| !self.is_known(local)).map(|local| local.ifindex);
            self.strangers = unknown
                .chain(discovered.waiting.keys().copied())
                .filter(|ifindex| !self.inherited.contains(ifindex))
                .collect();
        }
        let known: Vec<u32> = discovered
            .pods
            .values()
            .filter(|local| self.is_known(local))
            .map(|local| local.ifindex)
            .collect();
        for ifindex in known {
            self.strangers.remove(&ifindex);
        }
        self.strangers.retain(|ifindex| name_of(&discovered, *ifindex).is_some());

        let gone: Vec<u32> = self
            .endpoints
            .iter()
            .filter(|(ifindex, told)| name_of(&discovered, **ifindex) != Some(&*told.local.ifname))
            .map(|(ifindex, _)| *ifindex)
            .collect();
        for ifindex in gone {
            if let Some(told) = self.endpoints.remove(&ifindex) {
                info!(interface = %told.local.ifname, "a pod's interface is gone");
                self.engine.remove_endpoint(&told.local.ifname);
            }
        }
        let mut wanted = Vec::new();
        for local in discovered.pods.values() {
            wanted.push(LocalEndpoint {
                ifname: local.interface.as_str().into(),
                ifindex: local.ifindex,
                pod: Some(local.pod.clone()),
                uid: local.uid.as_str().into(),
                addresses: local.addresses.clone(),
                hardware: local.hardware,
                sources: Vec::new(),
                tag_trusted: local.bridge.is_none_or(|bridge| self.distrust(&discovered, bridge).is_none()),
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
        for local in wanted {
            self.tell_endpoint(local);
        }
        let surroundings = discovered.pods.values().map(|local| {
            let around = Surroundings { namespace: local.namespace.clone(), bridged: local.bridge.is_some() };
            (local.ifindex, around)
        });
        self.datapath.set_surroundings(surroundings.collect());
        self.discovered = Some(discovered);
    }

    fn tell_endpoint(&mut self, local: LocalEndpoint) {
        let known = self.endpoints.get(&local.ifindex).is_some_and(|told| told.local == local);
        if known || self.strangers.contains(&local.ifindex) {
            return;
        }
        let homeless = self.engine.set_endpoint(local.clone()).is_none();
        let pod = local.pod.as_ref().map_or_else(|| "not known yet".to_owned(), ToString::to_string);
        if homeless {
            warn!(pod, interface = %local.ifname, "no slot is left for a pod: it is not enforced");
        } else {
            info!(pod, interface = %local.ifname, "a local pod");
        }
        self.endpoints.insert(local.ifindex, Told { local, homeless });
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
