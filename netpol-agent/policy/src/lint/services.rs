//! Services whose backends are judged differently.

use std::collections::BTreeSet;

use super::{
    Check, Report, Severity,
    ports::{stands_behind, target_on},
    reach::may_reach,
    report::{At, Said},
    scene::{Group, Scene, names},
};
use crate::model::{Kind, Pod, Service, ServicePort};

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
type Backend<'a> = (&'a Pod, u16);

fn backends_differ(scene: &Scene<'_>, report: &mut Report) {
    for service in &scene.cluster.services {
        for (index, port) in service.ports.iter().enumerate() {
            let backends = backends(scene, service, port);
            if backends.len() > 1 {
                judge(scene, service, port, index, &backends, report);
            }
        }
    }
}

/// The pods behind a port of a Service; of those that are alike only one. Pods of workloads where there are no others.
fn backends<'a>(scene: &Scene<'a>, service: &Service, port: &ServicePort) -> Vec<Backend<'a>> {
    let mut alike = BTreeSet::new();
    let mut found: Vec<Backend<'a>> = Vec::new();
    for v4 in [true, false] {
        for backend in scene.cluster.backends_of(service, port, v4, false) {
            if let Some(pod) = scene.cluster.owner(backend.address)
                && alike.insert((&pod.labels, &pod.named_ports, backend.port))
            {
                found.push((pod, backend.port));
            }
        }
    }
    if found.is_empty() {
        let behind = scene.groups.iter().filter(|group| stands_behind(service, group));
        let with_port =
            behind.filter_map(|group| Some((group.pod, target_on(&port.target, port.protocol, group)?)));
        found.extend(with_port);
    }
    found
}

fn judge(
    scene: &Scene<'_>,
    service: &Service,
    port: &ServicePort,
    index: usize,
    backends: &[Backend<'_>],
    report: &mut Report,
) {
    let mut clients: Vec<&Group<'_>> = Vec::new();
    let mut example: Option<(Backend<'_>, Backend<'_>)> = None;
    for client in &scene.groups {
        let reached = |backend: &&Backend<'_>| {
            may_reach(scene, client.pod, backend.0, &Some(vec![(port.protocol, backend.1, backend.1)]))
        };
        // A pod always reaches itself: that says nothing of the others.
        let (open, closed): (Vec<&Backend<'_>>, Vec<&Backend<'_>>) =
            backends.iter().filter(|(pod, _)| pod.key != client.pod.key).partition(reached);
        if let (Some(open), Some(closed)) = (open.first(), closed.first()) {
            example.get_or_insert((**open, **closed));
            clients.push(client);
        }
    }
    let Some((open, closed)) = example else { return };
    let protocol = port.protocol.name();
    let said = Said::new(
        format!(
            "port {}/{protocol}: {} may reach {} (at {}/{protocol}), not {} (at {}/{protocol})",
            port.port,
            names(&clients),
            open.0.key,
            open.1,
            closed.0.key,
            closed.1
        ),
        "which backend answers is decided after the packet was judged, so such a flow is closed, or decided at the backend \
         where that is on the sender's node",
        "let the policies treat all backends of the Service alike, or narrow the Service's selector",
    );
    let at = At { kind: Kind::Service, key: service.key.clone(), field: format!("spec.ports[{index}]") };
    report.add(&BACKENDS_DIFFER, at, said);
}
