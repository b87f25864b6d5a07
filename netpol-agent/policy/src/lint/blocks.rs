//! ipBlocks that mean more, less or something else than they look like.

use std::net::IpAddr;

use ipnet::IpNet;
use netpol_common::Direction;

use super::{
    Check, Report, Severity,
    report::Said,
    rule::RuleAt,
    scene::{Scene, listed},
};
use crate::{
    model::{IpBlock, PolicyPeer},
    spec::matching,
};

pub(super) static TOO_BROAD: Check = Check {
    id: "block-too-broad",
    severity: Severity::Warning,
    title: "an ipBlock of (nearly) all addresses, with no exception that matters",
    explanation: "0.0.0.0/0 is everybody: the world, the nodes, and the pods of the cluster as well. A policy that allows it \
                  means nothing for these ports. For the outside alone, except the private ranges; where everybody is \
                  meant, leave the list of peers out, which says so for both families.",
    run: too_broad,
};

pub(super) static SERVICE_RANGE: Check = Check {
    id: "block-on-service-range",
    severity: Severity::Warning,
    title: "an ipBlock of ClusterIPs, which rules never see",
    explanation: "A rule is compared with the pod behind a Service, at that pod's address and port. Nobody sends from a ClusterIP, \
                  and nobody is reached at one. Known are the ClusterIPs of the Services at hand and the ranges of \
                  --service-cidr.",
    run: service_range,
};

pub(super) static POD_RANGE: Check = Check {
    id: "block-on-pod-range",
    severity: Severity::Warning,
    title: "an ipBlock that contains addresses of pods",
    explanation: "It does match them here. But pods change their addresses, and engines differ: some let an ipBlock match only \
                  what is outside of the cluster. Selectors say which pods are meant.",
    run: pod_range,
};

pub(super) static ONE_FAMILY: Check = Check {
    id: "block-one-family",
    severity: Severity::Info,
    title: "an ipBlock of all of one family, for pods that have both",
    explanation: "0.0.0.0/0 says nothing of IPv6, and ::/0 nothing of IPv4. Pods with addresses of both families try both, and \
                  clients that prefer the denied one wait for it first.",
    run: one_family,
};

/// Longest prefixes of a block that is (nearly) everything.
const BROAD_V4: u8 = 7;
const BROAD_V6: u8 = 3;
/// Longest prefixes of an exception that takes out more than a spot.
const WIDE_EXCEPT_V4: u8 = 16;
const WIDE_EXCEPT_V6: u8 = 32;

const fn is_broad(block: &IpBlock) -> bool {
    match block.cidr {
        IpNet::V4(net) => net.prefix_len() <= BROAD_V4,
        IpNet::V6(net) => net.prefix_len() <= BROAD_V6,
    }
}

/// Whether exceptions take a range out that is worth naming.
fn is_narrowed(block: &IpBlock) -> bool {
    block.except.iter().any(|except| match except {
        IpNet::V4(net) => net.prefix_len() <= WIDE_EXCEPT_V4,
        IpNet::V6(net) => net.prefix_len() <= WIDE_EXCEPT_V6,
    })
}

/// All of IPv6 that is routed on the Internet: not the private ranges, so no exception is needed.
fn is_global(block: &IpBlock) -> bool {
    matches!(block.cidr, IpNet::V6(net) if net.prefix_len() == BROAD_V6)
}

fn blocks<'a>(scene: &Scene<'a>) -> impl Iterator<Item = (RuleAt<'a>, String, &'a IpBlock)> {
    scene.rules().flat_map(|rule| {
        let peers = rule.rule.peers.as_deref().unwrap_or_default();
        peers.iter().enumerate().filter_map(move |(index, item)| match item {
            PolicyPeer::Block(block) => Some((rule, format!("{}.ipBlock", rule.peer_field(index)), block)),
            _ => None,
        })
    })
}

fn too_broad(scene: &Scene<'_>, report: &mut Report) {
    for (rule, field, block) in blocks(scene) {
        if !is_broad(block) || is_narrowed(block) || is_global(block) {
            continue;
        }
        let little = if block.except.is_empty() {
            "without exception"
        } else {
            "with exceptions that take out little"
        };
        let everybody = match rule.direction {
            Direction::Ingress => "everybody may send here: the world, the nodes and the pods of the cluster",
            Direction::Egress => "everybody may be reached: the world, the nodes and the pods of the cluster",
        };
        let fix = format!(
            "name who is meant; for the outside alone except the private ranges ({}); if everybody is meant, leave `{}` out",
            match block.cidr {
                IpNet::V4(_) => "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16",
                IpNet::V6(_) => "fc00::/7",
            },
            rule.peers_field()
        );
        let what = format!("{}: ipBlock {} {little}", rule.name(), block.cidr);
        report.add(&TOO_BROAD, rule.at(format!("{field}.cidr")), Said::new(what, everybody, fix));
    }
}

/// The pods whose addresses a block contains, with the first of these addresses.
fn pods_in(scene: &Scene<'_>, block: &IpBlock) -> Vec<String> {
    let pods = scene.cluster.pods.iter().filter(|pod| pod.counts());
    pods.filter_map(|pod| {
        let inside = pod.addresses.iter().find(|address| matching::block_contains(block, **address))?;
        Some(format!("{} ({inside})", pod.key))
    })
    .collect()
}

fn service_range(scene: &Scene<'_>, report: &mut Report) {
    for (rule, field, block) in blocks(scene) {
        if is_broad(block) || !pods_in(scene, block).is_empty() {
            continue;
        }
        let services = scene.cluster.services.iter();
        let inside: Vec<String> = services
            .filter_map(|service| {
                let address =
                    service.cluster_ips.iter().find(|address| matching::block_contains(block, **address))?;
                Some(format!("Service {} ({address})", service.key))
            })
            .collect();
        let spared = |range: &IpNet| block.except.iter().any(|except| except.contains(range));
        let range = scene
            .service_ranges
            .iter()
            .find(|range| range.contains(&block.cidr) || block.cidr.contains(*range) && !spared(range));
        let of = match (inside.as_slice(), range) {
            ([], None) => continue,
            ([], Some(range)) => format!("is of the range of ClusterIPs {range}"),
            (some, _) => format!("holds the ClusterIP of {}", listed(some, 3)),
        };
        let said = Said::new(
            format!("{}: ipBlock {} {of}", rule.name(), block.cidr),
            "a rule is compared with the pod behind a Service, never with the ClusterIP: the block does not allow the Service",
            "select the pods behind the Service by their labels, at the port where they listen",
        );
        report.add(&SERVICE_RANGE, rule.at(format!("{field}.cidr")), said);
    }
}

fn pod_range(scene: &Scene<'_>, report: &mut Report) {
    for (rule, field, block) in blocks(scene) {
        // Of a block that means everybody it is said that it means everybody.
        if is_broad(block) && !is_narrowed(block) {
            continue;
        }
        let pods = pods_in(scene, block);
        if !pods.is_empty() {
            let said = Said::new(
                format!(
                    "{}: ipBlock {} holds addresses of pods: {}",
                    rule.name(),
                    block.cidr,
                    listed(&pods, 3)
                ),
                "pods change their addresses, and some engines never match pods by an ipBlock",
                "if they are meant, select them by their labels; if not, except the range of the pods",
            );
            report.add(&POD_RANGE, rule.at(format!("{field}.cidr")), said);
        }
    }
}

fn one_family(scene: &Scene<'_>, report: &mut Report) {
    for (rule, field, block) in blocks(scene) {
        let v4 = block.cidr.addr().is_ipv4();
        let other = |item: &PolicyPeer| matches!(item, PolicyPeer::Block(one) if one.cidr.addr().is_ipv4() != v4 && is_broad(one));
        let selected = scene.selected(rule.policy);
        let both = selected.iter().find(|group| {
            let addresses = &group.pod.addresses;
            addresses.iter().any(IpAddr::is_ipv4) && addresses.iter().any(IpAddr::is_ipv6)
        });
        let Some(group) = both.filter(|_| is_broad(block) && !rule.peers().iter().any(other)) else {
            continue;
        };
        let (this, missing) = if v4 { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
        let said = Said::new(
            format!(
                "{}: ipBlock {} is of {this} only, and {} has {missing} too",
                rule.name(),
                block.cidr,
                group.name()
            ),
            format!(
                "what goes over {missing} is not allowed by it, and clients that prefer that wait for it first"
            ),
            format!("add an ipBlock of {missing}, if that is meant too"),
        );
        report.add(&ONE_FAMILY, rule.at(format!("{field}.cidr")), said);
    }
}
