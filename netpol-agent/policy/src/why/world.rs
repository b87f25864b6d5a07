//! An address that stands for the world outside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::{
    model::{IpBlock, Policy, PolicyPeer},
    spec::{Cluster, matching},
};

/// An address that nobody has, and that every block either holds as it holds its whole family or does not hold:
/// what is said of the world is said of it. `None` when blocks leave no such address among those that are tried.
pub(super) fn representative(cluster: &Cluster, v4: bool) -> Option<IpAddr> {
    let nets: Vec<IpNet> = cluster.policies.iter().flat_map(blocks).flat_map(nets).collect();
    candidates(v4).find(|address| {
        let narrow = nets.iter().any(|net| net.prefix_len() > 0 && net.contains(address));
        let of_service = cluster.services.iter().any(|service| {
            [&service.cluster_ips, &service.external_ips, &service.load_balancer_ips]
                .into_iter()
                .any(|addresses| addresses.contains(address))
        });
        let of_node = cluster.nodes.iter().any(|node| node.addresses.contains(address));
        !narrow
            && !of_service
            && !of_node
            && !matching::never_a_pods(*address)
            && !cluster.service_ranges.iter().any(|range| range.contains(address))
            && !cluster.pods.iter().any(|pod| pod.addresses.contains(address))
    })
}

/// Addresses all over the public part of a family.
fn candidates(v4: bool) -> impl Iterator<Item = IpAddr> {
    let not_private = |first: &u8| !matches!(first, 10 | 100 | 127 | 169 | 172 | 192 | 198 | 203);
    let of_v4 = (1..=223u8).rev().filter(not_private).map(|first| Ipv4Addr::new(first, 254, 254, 254).into());
    let of_v6 = (0x2003..=0x3ffeu16)
        .step_by(31)
        .map(|first| Ipv6Addr::new(first, 0xfefe, 0xfefe, 0xfefe, 0xfefe, 0xfefe, 0xfefe, 0xfefe).into());
    of_v4.filter(move |_| v4).chain(of_v6.filter(move |_| !v4))
}

/// The blocks of a policy.
pub(super) fn blocks(policy: &Policy) -> impl Iterator<Item = &IpBlock> {
    let rules = policy.rules.iter().flatten().flatten();
    rules.flat_map(|rule| rule.peers.iter().flatten()).filter_map(|peer| match peer {
        PolicyPeer::Block(block) => Some(block),
        PolicyPeer::Pods { .. } | PolicyPeer::Nobody => None,
    })
}

fn nets(block: &IpBlock) -> impl Iterator<Item = IpNet> {
    std::iter::once(block.cidr).chain(block.except.iter().copied())
}
