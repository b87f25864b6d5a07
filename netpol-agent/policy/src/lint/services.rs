//! Services whose backends are judged differently.

use std::{collections::BTreeMap, fmt};

use netpol_common::Direction;

use super::{
    Check, Report, Severity,
    ports::{stands_behind, target_on},
    reach::may_reach,
    report::{At, Said},
    scene::{Group, Scene, names},
};
use crate::{
    model::{EndpointSlice, Key, Kind, Policy, Protocol, Service, ServicePort},
    spec,
};

pub(super) static BACKENDS_DIFFER: Check = Check {
    id: "service-backends-differ",
    severity: Severity::Warning,
    title: "a Service some of whose backends a client may reach, and others not",
    explanation: "Which backend a connection gets is decided by the Service's translation, after the sender's packet was judged. \
                  Where the backends are judged differently, netpol lets the packet through only if every backend that would \
                  be denied is a pod of the same node that can judge the sender itself; otherwise it is closed. Other engines \
                  let some connections fail at random. Either way the client sees a Service that works now and then or never.",
    run: backends_differ,
};

/// A backend and the port that the Service leads to there.
#[derive(Clone, Copy)]
struct Backend<'s, 'a> {
    group: &'s Group<'a>,
    port: u16,
}

impl fmt::Display for Backend<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.group.name())
    }
}

fn backends_differ(scene: &Scene<'_>, report: &mut Report) {
    for service in &scene.cluster.services {
        for (index, port) in service.ports.iter().enumerate() {
            let backends = backends(scene, service, port);
            if backends.len() > 1 {
                judge(scene, service, index, &backends, report);
            }
        }
    }
}

/// The pods behind a port of a Service; of those that are alike only one.
fn backends<'s, 'a>(scene: &'s Scene<'a>, service: &Service, port: &ServicePort) -> Vec<Backend<'s, 'a>> {
    let namespace = &service.key.namespace;
    let of_service =
        |slice: &EndpointSlice| slice.key.namespace == *namespace && slice.service == service.key.name;
    if !scene.cluster.slices.iter().any(of_service) {
        let behind = scene.groups_of(namespace).iter().filter(|group| stands_behind(service, group));
        return behind
            .filter_map(|group| Some(Backend { group, port: target_on(&port.target, port.protocol, group)? }))
            .collect();
    }
    let mut found: Vec<Backend<'s, 'a>> = Vec::new();
    for v4 in [true, false] {
        for spec::Backend { address, port } in scene.cluster.backends_of(service, port, v4, false) {
            let Some(pod) = scene.cluster.owner(address) else { continue };
            let alike = |group: &&Group<'_>| {
                group.pod.labels == pod.labels && group.pod.named_ports == pod.named_ports
            };
            let Some(group) = scene.groups_of(&pod.key.namespace).iter().find(alike) else { continue };
            if !found.iter().any(|one| std::ptr::eq(one.group, group) && one.port == port) {
                found.push(Backend { group, port });
            }
        }
    }
    found
}

/// The first backend that a client reaches, and the first one that it does not.
type Difference<'s, 'a> = Option<(Backend<'s, 'a>, Backend<'s, 'a>)>;

fn judge(
    scene: &Scene<'_>,
    service: &Service,
    index: usize,
    backends: &[Backend<'_, '_>],
    report: &mut Report,
) {
    let Some(port) = service.ports.get(index) else { return };
    // Where all backends are isolated by the same policies and mean the same by names, only what isolates the client
    // can make a difference: it is judged once for all clients that the same policies isolate.
    let alike = backends.windows(2).all(|pair| {
        let [one, other] = pair else { return true };
        same_policies(one.group.isolating(Direction::Ingress), other.group.isolating(Direction::Ingress))
            && one.group.pod.named_ports == other.group.pod.named_ports
            && one.port == other.port
            && one.group.pod.addresses.is_empty() == other.group.pod.addresses.is_empty()
    });
    let mut judged: BTreeMap<Vec<&Key>, Difference<'_, '_>> = BTreeMap::new();
    let mut clients: Vec<&Group<'_>> = Vec::new();
    let mut example: Difference<'_, '_> = None;
    for client in &scene.groups {
        let itself = backends.iter().any(|backend| std::ptr::eq(backend.group, client));
        let egress = client.isolating(Direction::Egress);
        let found = if alike && !itself {
            if egress.is_empty() {
                continue;
            }
            let keys = egress.iter().map(|policy| &policy.key).collect();
            *judged.entry(keys).or_insert_with(|| difference(scene, client, port.protocol, backends))
        } else {
            difference(scene, client, port.protocol, backends)
        };
        if let Some(found) = found {
            example.get_or_insert(found);
            clients.push(client);
        }
    }
    let Some((open, closed)) = example else { return };
    let protocol = port.protocol.name();
    let said = Said::new(
        format!(
            "port {}/{protocol}: {} may reach {open} (at {}/{protocol}), not {closed} (at {}/{protocol})",
            port.port,
            names(&clients),
            open.port,
            closed.port
        ),
        "which backend answers is decided after the packet was judged, so such a flow is closed, or decided at the backend \
         where that is on the sender's node",
        "let the policies treat all backends of the Service alike, or narrow the Service's selector",
    );
    let at = At { kind: Kind::Service, key: service.key.clone(), field: format!("spec.ports[{index}]") };
    report.add(&BACKENDS_DIFFER, at, said);
}

fn same_policies(one: &[&Policy], other: &[&Policy]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.key == other.key)
}

fn difference<'s, 'a>(
    scene: &Scene<'_>,
    client: &Group<'_>,
    protocol: Protocol,
    backends: &[Backend<'s, 'a>],
) -> Difference<'s, 'a> {
    let reached = |backend: &&Backend<'_, '_>| {
        may_reach(scene, client, backend.group, &Some(vec![(protocol, backend.port, backend.port)]))
    };
    // A pod always reaches itself: that says nothing of the others.
    let others = backends.iter().filter(|backend| !std::ptr::eq(backend.group, client));
    let (open, closed): (Vec<&Backend<'s, 'a>>, Vec<&Backend<'s, 'a>>) = others.partition(reached);
    open.first().zip(closed.first()).map(|(open, closed)| (**open, **closed))
}
