//! A cluster as objects: 10,000 pods and 1,000 policies, each of which selects some pod of the node, so that the
//! compiler can leave none of them aside.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use netpol_policy::engine::LocalEndpoint;
use netpol_policy::model::{
    IpBlock, Key, Labels, NAME_LABEL, Namespace, NamespaceScope, Object, Pod, Policy, PolicyPeer, PolicyPort,
    Protocol, Requirement, Rule, Selector,
};

use crate::frames::{Family, Range};

/// Namespaces; the first one is ten times as large as the others.
const NAMESPACES: u32 = 100;
/// Pods of the first namespace.
pub(crate) const LARGE: u32 = 1000;
/// Pods of the cluster.
pub(crate) const PODS: u32 = 10_000;
/// Policies of the cluster.
pub(crate) const POLICIES: u32 = 1000;
/// Pods of this node.
pub(crate) const LOCAL: u32 = 110;
/// Applications in each namespace; their pods are replicas of each other.
const APPLICATIONS: u32 = 10;
/// The node.
pub(crate) const NODE: &str = "node-0";

/// Everything that the API would tell.
pub(crate) fn objects() -> Result<Vec<Object>> {
    let mut objects: Vec<Object> =
        (0..NAMESPACES).map(|number| Object::Namespace(namespace(number, "blue"))).collect();
    objects.extend((0..PODS).map(|number| Object::Pod(pod(number))));
    for number in 0..POLICIES {
        objects.push(Object::Policy(policy(number, 8080)?));
    }
    Ok(objects)
}

/// A namespace; `team` is the label that policies of others look at.
pub(crate) fn namespace(number: u32, team: &str) -> Namespace {
    let name = format!("namespace-{number}");
    let labels = Labels::from([
        (NAME_LABEL.to_owned(), name.clone()),
        ("team".to_owned(), format!("{team}-{}", number % 10)),
    ]);
    Namespace { name: name.into(), labels, source_prefixes: Vec::new(), break_glass: false }
}

/// A pod: a tenth of all in the first namespace, the others in turn; one in every namespace, and a few more, on this
/// node.
pub(crate) fn pod(number: u32) -> Pod {
    let namespace = if number < LARGE { 0 } else { 1 + number % (NAMESPACES - 1) };
    let application = number / NAMESPACES % APPLICATIONS;
    let labels = Labels::from([
        ("app".to_owned(), format!("app-{application}")),
        ("tier".to_owned(), format!("tier-{}", application % 3)),
        ("pod-template-hash".to_owned(), format!("{namespace}-{application}")),
    ]);
    let local = (LARGE..LARGE + LOCAL - 1).contains(&number) || number == 0;
    let addresses = [Family::V4, Family::V6].map(|family| Range::Peers.address(family, number));
    Pod {
        key: Key::new(&format!("namespace-{namespace}"), &format!("pod-{number}")),
        uid: format!("{number}").into(),
        mirror_of: None,
        labels: labels.into(),
        node: if local { NODE.into() } else { format!("node-{}", 1 + number % 90).into() },
        addresses: addresses.to_vec(),
        named_ports: [].into(),
        host_ports: Vec::new(),
        host_network: false,
        finished: false,
        terminating: false,
        ready: true,
        created: 0,
    }
}

/// The interfaces of this node's pods.
pub(crate) fn endpoints() -> Vec<LocalEndpoint> {
    let pods = (0..PODS).map(|number| (number, pod(number)));
    pods.filter(|(_, pod)| *pod.node == *NODE).map(|(number, pod)| endpoint(&pod, number)).collect()
}

fn endpoint(pod: &Pod, number: u32) -> LocalEndpoint {
    LocalEndpoint {
        ifname: format!("veth{number}").into(),
        ifindex: 1000 + number,
        pod: Some(pod.key.clone()),
        uid: Arc::clone(&pod.uid),
        addresses: pod.addresses.clone(),
        hardware: None,
        sources: Vec::new(),
        tag_trusted: false,
        tags_allowed: false,
    }
}

/// A policy: in each namespace ten, every second of which selects all its pods.
pub(crate) fn policy(number: u32, port: u16) -> Result<Policy> {
    let namespace = number % NAMESPACES;
    let turn = number / NAMESPACES;
    let has = |key: &str, value: String| Requirement::In(key.to_owned(), [value].into());
    let application = |turn: u32| Selector(vec![has("app", format!("app-{}", turn % APPLICATIONS))]);
    let selector = if turn.is_multiple_of(2) {
        Selector::default()
    } else {
        Selector(vec![Requirement::Exists("app".to_owned())])
    };
    let near = PolicyPeer::Pods { namespaces: NamespaceScope::Own, pods: application(turn) };
    let team = Selector(vec![has("team", format!("blue-{}", (namespace + turn) % 10))]);
    let far = PolicyPeer::Pods { namespaces: NamespaceScope::Selected(team), pods: application(turn + 1) };
    let cidr: IpNet = format!("100.{}.{}.0/24", 64 + turn, namespace).parse().context("a wrong CIDR")?;
    let except: IpNet = format!("100.{}.{}.128/25", 64 + turn, namespace).parse().context("a wrong CIDR")?;
    let block = PolicyPeer::Block(IpBlock { cidr, except: vec![except] });
    let ports = |port| Some(vec![PolicyPort::Range(Protocol::Tcp, port, port)]);
    let rule = |peers, port| Rule { peers: Some(peers), ports: ports(port), void: false };
    let ingress = vec![rule(vec![near.clone(), far], port)];
    let egress = vec![rule(vec![near], port), rule(vec![block], 443)];
    Ok(Policy {
        key: Key::new(&format!("namespace-{namespace}"), &format!("policy-{number}")),
        pod_selector: selector,
        rules: [Some(ingress), Some(egress)],
    })
}
