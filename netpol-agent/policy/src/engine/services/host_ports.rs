//! Ports of this host that lead to a pod (`hostPort`), as the plugin `portmap` makes them: frontends with one backend.

use std::collections::{BTreeMap, BTreeSet};

use super::{Front, GroupKey, Place};
use crate::{
    engine::{Engine, backends::Member, pods::addr},
    model::{Key, Pod},
};

/// What a pod is called among Services. No object has a name with a colon.
fn key_of(pod: &Key) -> Key {
    Key { namespace: pod.namespace.clone(), name: format!("{}:hostPort", pod.name).into() }
}

impl Engine {
    /// A pod is there, has changed or is gone: so have its ports of this host.
    pub(in crate::engine) fn host_ports_changed(&mut self, pod: &Key, object: Option<&Pod>) {
        let has_some = object.is_some_and(|object| {
            object.counts() && !object.host_ports.is_empty() && object.node == self.settings.node
        });
        if has_some {
            let key = key_of(pod);
            self.services.states.entry(key.clone()).or_default();
            self.services.host_ports.insert(key.clone(), pod.clone());
            self.services.dirty.insert(key);
        } else if !self.services.host_ports.is_empty() {
            let key = key_of(pod);
            if self.services.host_ports.remove(&key).is_some() {
                self.services.dirty.insert(key);
            }
        }
    }

    /// The addresses of this node are others.
    pub(in crate::engine) fn refresh_host_ports(&mut self) {
        self.services.dirty.extend(self.services.host_ports.keys().cloned());
    }

    /// The frontends of a pod's ports of this host. Other than NodePorts, they are translated at every address that the
    /// host has.
    pub(super) fn choose_host_ports(
        &self,
        pod: &Pod,
        wanted: &mut BTreeMap<Front, (GroupKey, Place)>,
        chosen: &mut BTreeMap<GroupKey, BTreeSet<Member>>,
    ) {
        let addresses = self.node_port_addresses();
        for port in &pod.host_ports {
            let proto = port.protocol.number();
            for ip in addresses.keys().filter(|ip| port.address.is_none_or(|only| only == **ip)) {
                let front = addr(ip);
                let group = (proto, port.port, front.is_v4(), true);
                let certain = self.host_addresses.is_empty() || self.host_addresses.contains(ip);
                wanted
                    .insert((front.to_bytes(), port.port, proto), (group, Place { cluster: false, certain }));
                let members = pod.addresses.iter().map(addr).filter(|one| one.is_v4() == front.is_v4());
                chosen.entry(group).or_default().extend(members.map(|one| (one.to_bytes(), port.target)));
            }
        }
    }
}
