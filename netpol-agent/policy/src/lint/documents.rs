//! Manifests as such: what the reader of them reports, and what people should write into them.

use super::{
    CHECKS, Check, Report, Severity,
    about::IGNORE,
    near::nearest,
    report::{At, Said},
    scene::Scene,
};

/// A file that is no YAML; its caller reports it.
pub static UNREADABLE_FILE: Check = Check {
    id: "unreadable-file",
    severity: Severity::Error,
    title: "a file that is no YAML or cannot be read",
    explanation: "Nothing of such a file counts, and what it holds is missing for all other checks.",
    run: reported_by_the_reader,
};

/// What the reader of objects reports; its caller reports it.
pub static INVALID_OBJECT: Check = Check {
    id: "invalid-object",
    severity: Severity::Error,
    title: "an object that is wrong in part: a bad value, or a field that is not known",
    explanation: "The API server refuses such an object or drops the field. Where it stands in a folder of manifests, the part \
                  that is wrong grants nothing: a policy goes on isolating the pods that it selects.",
    run: reported_by_the_reader,
};

/// An object that stands in two places; its caller reports it.
pub static DUPLICATE_OBJECT: Check = Check {
    id: "duplicate-object",
    severity: Severity::Error,
    title: "an object that stands in two places",
    explanation: "Only one of them can be in force: with kubectl apply the one that is applied last, for netpol's agent the \
                  first one in the order of paths.",
    run: reported_by_the_reader,
};

pub(super) static UNDOCUMENTED: Check = Check {
    id: "undocumented-policy",
    severity: Severity::Info,
    title: "a policy without an annotation that says what it is for",
    explanation: "Who finds a policy a year later must know whether it may go. Any annotation whose name is description, \
                  documentation or docs counts, whatever its prefix; kubernetes.io/description is the one that Kubernetes \
                  defines.",
    run: undocumented,
};

pub(super) static NO_NAMESPACE: Check = Check {
    id: "policy-without-namespace",
    severity: Severity::Info,
    title: "a policy whose manifest names no namespace",
    explanation: "It goes wherever it is applied to: by kubectl into the namespace of the context, from a folder of netpol's \
                  agent into default. Here it is judged as of namespace default. Fine where a tool such as Kustomize or Helm \
                  sets the namespace: then judge what that tool puts out.",
    run: no_namespace,
};

pub(super) static UNKNOWN_ID: Check = Check {
    id: "unknown-lint-id",
    severity: Severity::Warning,
    title: "the annotation netpol.io/lint-ignore names a check that does not exist",
    explanation: "The annotation holds ids of checks with commas between them; an id that is not there keeps nothing back.",
    run: unknown_id,
};

const fn reported_by_the_reader(_: &Scene<'_>, _: &mut Report) {}

fn undocumented(scene: &Scene<'_>, report: &mut Report) {
    for policy in scene.policies() {
        if scene.about(policy).is_some_and(|about| !about.documented) {
            let said = Said::new(
                "no annotation says what the policy is for",
                "who finds it later cannot tell whether it may go",
                "add the annotation kubernetes.io/description",
            );
            report.add(&UNDOCUMENTED, At::policy(policy, "metadata.annotations"), said);
        }
    }
}

fn no_namespace(scene: &Scene<'_>, report: &mut Report) {
    for policy in scene.policies() {
        if scene.about(policy).is_some_and(|about| !about.namespace_written) {
            let said = Said::new(
                "the manifest names no namespace: it is judged as of namespace default",
                "the policy goes wherever it happens to be applied to",
                "write metadata.namespace, or judge what your tool makes of the manifest",
            );
            report.add(&NO_NAMESPACE, At::policy(policy, "metadata.namespace"), said);
        }
    }
}

fn unknown_id(scene: &Scene<'_>, report: &mut Report) {
    for ((kind, key), about) in scene.about {
        for id in about.ignored.iter().filter(|id| super::check(id).is_none()) {
            let hint = nearest(id, CHECKS.iter().map(|check| check.id))
                .map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            let said = Said::new(
                format!("{IGNORE} names {id}, which is no check{hint}"),
                "it keeps nothing back",
                "take an id of `netpol lint --list`",
            );
            let at = At { kind: *kind, key: key.clone(), field: format!("metadata.annotations.{IGNORE}") };
            report.add(&UNKNOWN_ID, at, said);
        }
    }
}
