//! The addresses of this node at which NodePorts are translated.
//!
//! kube-proxy in nftables mode translates them at the addresses that the Node object names first, one of each family
//! (`nodePortAddresses: primary`); in iptables mode at every address that the host has, those of its bridges too; and an
//! administrator may name others. What is configured is not known here. So at the first ones a packet is taken to be
//! translated, and at the others it must be allowed both ways: to the backends, and to the address itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::engine::Engine;

impl Engine {
    /// The addresses that this host's interfaces have, as far as somebody has looked; without any, those of the Node
    /// object are taken to be all.
    pub fn set_host_addresses(&mut self, addresses: BTreeSet<IpAddr>) {
        if self.host_addresses != addresses {
            self.host_addresses = addresses;
            self.changes.nodes.insert(self.settings.node.clone());
        }
    }

    /// The addresses that this host's interfaces have.
    #[must_use]
    pub const fn host_addresses(&self) -> &BTreeSet<IpAddr> {
        &self.host_addresses
    }

    /// Where NodePorts may be translated, with whether they are for certain.
    pub(super) fn node_port_addresses(&self) -> BTreeMap<IpAddr, bool> {
        let named = self.store.nodes.get(&self.settings.node).map_or(&[][..], |node| &node.addresses);
        // A ClusterIP is the host's where a proxy or a cache of names sits on it; nothing but Services is there.
        let of_services = |ip: &&IpAddr| self.settings.service_cidrs.iter().any(|range| range.contains(*ip));
        let host = self.host_addresses.iter().filter(|ip| !of_services(ip));
        let mut all: BTreeMap<IpAddr, bool> = host.chain(named).map(|ip| (*ip, false)).collect();
        for v4 in [true, false] {
            let first = named.iter().find(|ip| ip.is_ipv4() == v4);
            // An address that the host does not have is translated somewhere before it.
            if let Some(first) = first
                && (self.host_addresses.is_empty() || self.host_addresses.contains(first))
            {
                all.insert(*first, true);
            }
        }
        all
    }
}
