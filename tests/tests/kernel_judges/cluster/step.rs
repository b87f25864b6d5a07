//! One random change of a cluster: of every kind that a real one sees.

use std::sync::Arc;

use fastrand::Rng;
use netpol_policy::model::{Key, Kind, Namespace, Node, Object, Pod, Policy, Service};

use super::{
    Change, Cluster, NAMES, NAMESPACES, NODE, PORTS, chance,
    documents::{document, spoil},
    ifindex, interface, is_local, labels, node, number, pod, policy, protocol, service, slice,
};

/// What makes a change. Without anything to change it gives nothing.
type Way = fn(&mut Rng, &Cluster) -> Vec<Change>;

/// Every kind of change, and what makes it.
pub(crate) const KINDS: [(&str, Way); 27] = [
    ("a pod comes", pod_comes),
    ("a pod goes", pod_goes),
    ("a pod is relabelled", |rng, cluster| {
        pod_changes(rng, cluster, |rng, pod| pod.labels = labels(rng).into())
    }),
    ("a pod terminates", |rng, cluster| pod_changes(rng, cluster, |_, pod| pod.terminating ^= true)),
    ("a pod finishes", |rng, cluster| pod_changes(rng, cluster, |_, pod| pod.finished ^= true)),
    ("a pod's readiness changes", |rng, cluster| pod_changes(rng, cluster, |_, pod| pod.ready ^= true)),
    ("a pod's port names change", |rng, cluster| pod_changes(rng, cluster, port_names_change)),
    ("an address is used again", address_again),
    ("a local address is used again", local_address_again),
    ("a namespace is relabelled or comes", namespace_comes),
    ("a namespace goes", |rng, cluster| goes(rng, cluster, Kind::Namespace)),
    ("a policy comes or changes", |rng, _| vec![Change::Put(Object::Policy(some_policy(rng)))]),
    ("a policy changes a little", policy_changes),
    ("a policy is written", |rng, _| written(rng, false)),
    ("a policy is written wrongly", |rng, _| written(rng, true)),
    ("a policy goes", |rng, cluster| goes(rng, cluster, Kind::NetworkPolicy)),
    ("a Service comes or changes", |rng, cluster| {
        vec![Change::Put(Object::Service(some_service(rng, cluster)))]
    }),
    ("a Service goes", |rng, cluster| goes(rng, cluster, Kind::Service)),
    ("a slice comes or changes", slice_comes),
    ("a slice goes", |rng, cluster| goes(rng, cluster, Kind::EndpointSlice)),
    ("an interface comes", interface_comes),
    ("an interface goes", interface_goes),
    ("an interface is another one", interface_is_another),
    ("tags are trusted or not", |_, cluster| vec![Change::Tags(!cluster.tag_trusted)]),
    ("the node's addresses change", node_changes),
    ("break-glass of a namespace is switched", switch_of_namespace),
    ("break-glass of the node is switched", switch_of_node),
];

/// A random change, and its name.
pub(crate) fn random_change(rng: &mut Rng, cluster: &Cluster) -> (&'static str, Vec<Change>) {
    loop {
        let (name, way) = KINDS[rng.usize(..KINDS.len())];
        // What decides most changes most often.
        if rng.bool() && !name.contains("polic") && !name.contains("labelled") {
            continue;
        }
        let changes = way(rng, cluster);
        if !changes.is_empty() {
            return (name, changes);
        }
    }
}

fn some_pod<'a>(rng: &mut Rng, cluster: &'a Cluster, fits: impl Fn(&Pod) -> bool) -> Option<&'a Pod> {
    let pods: Vec<&Pod> = cluster.pods().filter(|pod| fits(pod)).collect();
    rng.choice(pods)
}

fn pod_comes(rng: &mut Rng, cluster: &Cluster) -> Vec<Change> {
    let there = |n: &u8| cluster.pods().any(|pod| *pod.key.name == format!("p{n}"));
    let Some(n) = rng.choice((0..14).filter(|n| !there(n)).collect::<Vec<u8>>()) else { return Vec::new() };
    let mut new = pod(rng, n);
    new.uid = format!("uid-{n}-{}", rng.u8(..3)).into();
    let mut changes = vec![Change::Put(Object::Pod(new.clone()))];
    if is_local(&new) && !chance(rng, 3) {
        changes.push(Change::Interface(interface(&new, 0, cluster.tag_trusted)));
    }
    changes
}

fn pod_goes(rng: &mut Rng, cluster: &Cluster) -> Vec<Change> {
    let Some(pod) = some_pod(rng, cluster, |_| true) else { return Vec::new() };
    let mut changes = vec![Change::Gone(Kind::Pod, pod.key.clone())];
    if let Some(interface) = cluster.interface_of(pod)
        && rng.bool()
    {
        changes.push(Change::InterfaceGone(interface.ifname.clone()));
    }
    changes
}

fn pod_changes(rng: &mut Rng, cluster: &Cluster, change: fn(&mut Rng, &mut Pod)) -> Vec<Change> {
    let Some(pod) = some_pod(rng, cluster, |_| true) else { return Vec::new() };
    let mut pod = pod.clone();
    change(rng, &mut pod);
    vec![Change::Put(Object::Pod(pod))]
}

fn port_names_change(rng: &mut Rng, pod: &mut Pod) {
    let name = NAMES[rng.usize(..NAMES.len())];
    let mut ports = pod.named_ports.to_vec();
    ports.retain(|port| &*port.name != name);
    if !chance(rng, 3) {
        let port = PORTS[rng.usize(..PORTS.len())];
        let new = netpol_policy::model::NamedPort { name: name.into(), protocol: protocol(rng), port };
        ports.push(new);
    }
    ports.sort();
    pod.named_ports = ports.into();
}

/// The UID of a pod that has the addresses of another one: no two pods have the same, and by it is told whose they are.
fn uid_of_another(key: &Key) -> Arc<str> {
    format!("uid-again-{}-{}", key.namespace, key.name).into()
}

/// Another pod elsewhere has the addresses of one, which may be there still.
fn address_again(rng: &mut Rng, cluster: &Cluster) -> Vec<Change> {
    let Some(old) = some_pod(rng, cluster, |pod| &*pod.node != NODE && !pod.host_network) else {
        return Vec::new();
    };
    let mut new = pod(rng, number(&old.key) as u8);
    new.key = Key::new(NAMESPACES[rng.usize(..3)], &format!("q{}", number(&old.key)));
    new.uid = uid_of_another(&new.key);
    new.addresses.clone_from(&old.addresses);
    new.host_network = false;
    let mut changes = vec![Change::Put(Object::Pod(new))];
    if rng.bool() {
        changes.insert(0, Change::Gone(Kind::Pod, old.key.clone()));
    }
    changes
}

/// Another pod of this node has the addresses of one that goes.
fn local_address_again(rng: &mut Rng, cluster: &Cluster) -> Vec<Change> {
    let Some(old) = some_pod(rng, cluster, |pod| cluster.interface_of(pod).is_some()) else {
        return Vec::new();
    };
    let n = number(&old.key);
    let mut new = pod(rng, n as u8);
    let name = if old.key.name.starts_with('p') { "q" } else { "p" };
    new.key = Key::new(NAMESPACES[n as usize % 3], &format!("{name}{n}"));
    new.uid = uid_of_another(&new.key);
    new.addresses.clone_from(&old.addresses);
    new.host_network = false;
    let old_interface = Change::InterfaceGone(super::ifname(&old.key));
    let there = Change::Interface(interface(&new, 0, cluster.tag_trusted));
    let mut finished = old.clone();
    finished.finished = true;
    let over = if rng.bool() {
        Change::Put(Object::Pod(finished))
    } else {
        Change::Gone(Kind::Pod, old.key.clone())
    };
    vec![over, old_interface, Change::Put(Object::Pod(new)), there]
}

fn namespace_comes(rng: &mut Rng, _: &Cluster) -> Vec<Change> {
    let mut namespace = Namespace::implied(NAMESPACES[rng.usize(..3)]);
    namespace.labels.extend(labels(rng));
    namespace.break_glass = chance(rng, 8);
    vec![Change::Put(Object::Namespace(namespace))]
}

/// Break-glass of a namespace is set or taken away, and nothing else changes.
fn switch_of_namespace(rng: &mut Rng, cluster: &Cluster) -> Vec<Change> {
    let namespaces: Vec<&Namespace> = cluster
        .objects
        .iter()
        .filter_map(|object| if let Object::Namespace(namespace) = object { Some(namespace) } else { None })
        .collect();
    let Some(old) = rng.choice(namespaces) else { return Vec::new() };
    let break_glass = !old.break_glass;
    vec![Change::Put(Object::Namespace(Namespace { break_glass, ..old.clone() }))]
}

/// The same of the node.
fn switch_of_node(_: &mut Rng, cluster: &Cluster) -> Vec<Change> {
    let own = |object: &Object| match object {
        Object::Node(node) if &*node.name == NODE => Some(node.clone()),
        _ => None,
    };
    let own = cluster.objects.iter().find_map(own);
    let switched = own.map(|node| Node { break_glass: !node.break_glass, ..node });
    switched.into_iter().map(|node| Change::Put(Object::Node(node))).collect()
}

fn goes(rng: &mut Rng, cluster: &Cluster, kind: Kind) -> Vec<Change> {
    let of_kind: Vec<&Object> = cluster.objects.iter().filter(|object| object.kind() == kind).collect();
    rng.choice(of_kind).map(|object| vec![Change::Gone(kind, object.key())]).unwrap_or_default()
}

fn some_policy(rng: &mut Rng) -> Policy {
    let n = rng.usize(..7);
    policy(rng, n)
}

/// One rule more, or one less.
fn policy_changes(rng: &mut Rng, cluster: &Cluster) -> Vec<Change> {
    let policies: Vec<&Policy> = cluster
        .objects
        .iter()
        .filter_map(|object| if let Object::Policy(policy) = object { Some(policy) } else { None })
        .collect();
    let Some(old) = rng.choice(policies) else { return Vec::new() };
    let other = some_policy(rng);
    let mut new = old.clone();
    for (rules, others) in new.rules.iter_mut().zip(other.rules) {
        let Some(rules) = rules else { continue };
        if rng.bool() && !rules.is_empty() {
            rules.remove(rng.usize(..rules.len()));
        } else {
            rules.extend(others.into_iter().flatten().take(1));
        }
    }
    vec![Change::Put(Object::Policy(new))]
}

fn written(rng: &mut Rng, wrongly: bool) -> Vec<Change> {
    let mut meant = some_policy(rng);
    if meant.rules == [None, None] {
        meant.rules[rng.usize(..2)] = Some(Vec::new());
    }
    let mut document = document(&meant);
    if wrongly {
        spoil(rng, &mut document);
    }
    vec![Change::Written { document, meant }]
}

fn some_service(rng: &mut Rng, cluster: &Cluster) -> Service {
    let pods: Vec<Pod> = cluster.pods().cloned().collect();
    let n = rng.usize(..4);
    service(rng, n, &pods)
}

fn slice_comes(rng: &mut Rng, cluster: &Cluster) -> Vec<Change> {
    let services = cluster.objects.iter().filter_map(|object| match object {
        Object::Service(service) => Some(service),
        _ => None,
    });
    let services: Vec<&Service> = services.collect();
    let Some(of) = rng.choice(services) else { return Vec::new() };
    vec![Change::Put(Object::EndpointSlice(slice(rng, number(&of.key) as usize, of)))]
}

fn interface_comes(rng: &mut Rng, cluster: &Cluster) -> Vec<Change> {
    let without = |pod: &Pod| is_local(pod) && cluster.interface_of(pod).is_none();
    let Some(pod) = some_pod(rng, cluster, without) else { return Vec::new() };
    vec![Change::Interface(interface(pod, rng.u32(..4), cluster.tag_trusted))]
}

fn interface_goes(rng: &mut Rng, cluster: &Cluster) -> Vec<Change> {
    let some = rng.choice(&cluster.interfaces);
    some.map(|one| vec![Change::InterfaceGone(one.ifname.clone())]).unwrap_or_default()
}

/// A pod has another interface of the same name, or the same one again.
fn interface_is_another(rng: &mut Rng, cluster: &Cluster) -> Vec<Change> {
    let Some(old) = rng.choice(&cluster.interfaces) else { return Vec::new() };
    let mut new = old.clone();
    if rng.bool() {
        new.ifindex = ifindex(old.pod.as_ref().unwrap(), rng.u32(..4));
    }
    vec![Change::InterfaceGone(old.ifname.clone()), Change::Interface(new)]
}

fn node_changes(rng: &mut Rng, cluster: &Cluster) -> Vec<Change> {
    let addresses = &["172.16.0.1", "fd16::1"][..rng.usize(1..3)];
    vec![Change::Put(Object::Node(node(NODE, addresses, cluster.is_switched_off())))]
}
