//! The break-glass switch, left in manifests.

use super::{
    Check, Report, Severity,
    report::{At, Said},
    scene::Scene,
};
use crate::model::{BREAK_GLASS, Key, Kind};

pub(super) static SET: Check = Check {
    id: "break-glass",
    severity: Severity::Warning,
    title: "a Namespace or a Node whose break-glass switch is set",
    explanation: "The annotation netpol.io/break-glass: \"true\" stops enforcing for all pods there. It is for an emergency, set by \
                  kubectl annotate and taken away again. In a manifest it comes back with whatever applies the manifest.",
    run: set,
};

fn set(scene: &Scene<'_>, report: &mut Report) {
    let namespaces = scene.cluster.namespaces.iter().filter(|one| one.break_glass);
    let nodes = scene.cluster.nodes.iter().filter(|one| one.break_glass);
    let namespaces = namespaces.map(|one| (Kind::Namespace, &one.name, "of the namespace"));
    for (kind, name, whose) in namespaces.chain(nodes.map(|one| (Kind::Node, &one.name, "of the node"))) {
        let at = At { kind, key: Key::new("", name), field: format!("metadata.annotations.{BREAK_GLASS}") };
        let said = Said::new(
            format!("the break-glass switch {whose} {name} is set"),
            "no policy is enforced for its pods",
            "remove the annotation as soon as the emergency is over",
        );
        report.add(&SET, at, said);
    }
}
