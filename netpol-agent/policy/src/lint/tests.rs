//! Each check by what it reports and what it does not: small clusters as manifests.
#![allow(
    clippy::needless_pass_by_value,
    reason = "json! makes values, and a test reads better without borrows"
)]

mod blocks;
mod break_glass;
mod dns;
mod documents;
mod imply;
mod namespaces;
mod pairs;
mod ports;
mod random;
mod rules;
mod selectors;
mod services;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{About, Finding, Outcome, Subject, lint};
use crate::{
    model::{Key, Kind, Object},
    read::{Read, read_document},
    spec::{Cluster, tests::fixture::pod},
};

fn outcome_with(documents: &[Value], service_ranges: &[&str]) -> Outcome {
    let mut objects: Vec<Object> = Vec::new();
    let mut templates = Vec::new();
    let mut about: BTreeMap<(Kind, Key), About> = BTreeMap::new();
    for document in documents {
        for read in read_document(document) {
            match read {
                Read::Object { object, .. } => {
                    about.insert((object.kind(), object.key()), About::of(document));
                    objects.push(object);
                }
                Read::Template { pod, .. } => templates.push(pod),
                other => panic!("{other:?}"),
            }
        }
    }
    let cluster = Cluster::new(&objects, "").with_templates(templates);
    let ranges: Vec<_> = service_ranges.iter().map(|range| range.parse().unwrap()).collect();
    lint(&Subject { cluster: &cluster, about: &about, service_ranges: &ranges })
}

fn outcome(documents: &[Value]) -> Outcome {
    outcome_with(documents, &[])
}

fn findings(documents: &[Value], id: &str) -> Vec<Finding> {
    assert!(super::check(id).is_some(), "{id}");
    outcome(documents).findings.into_iter().filter(|one| one.id == id).collect()
}

/// The only finding of a check, which stands at this field and says this.
#[track_caller]
fn reports(documents: &[Value], id: &str, field: &str, says: &str) -> Finding {
    let mut found = findings(documents, id);
    assert_eq!(found.len(), 1, "{found:#?}");
    let found = found.remove(0);
    assert_eq!(found.field, field, "{found:#?}");
    assert!(found.message.contains(says), "{}", found.message);
    found
}

#[track_caller]
fn silent(documents: &[Value], id: &str) {
    assert_eq!(findings(documents, id), [], "{documents:#?}");
}

/// A pod with the label `app`.
fn app(namespace: &str, name: &str) -> Value {
    pod(namespace, name, json!({"app": name}), &[])
}

/// The pods of a Deployment with the label `app`.
fn deployment(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": []}}},
    })
}

/// A name server, so that everything is known of every namespace.
fn dns() -> Value {
    pod("kube-system", "dns", json!({"k8s-app": "kube-dns"}), &["10.244.0.53"])
}

fn of_app(name: &str) -> Value {
    json!({"podSelector": {"matchLabels": {"app": name}}})
}

fn selects(name: &str) -> Value {
    json!({"matchLabels": {"app": name}})
}

/// A Service of the pods with the label `app`.
fn service(namespace: &str, name: &str, port: u16, target: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"clusterIP": "10.96.0.7", "selector": {"app": name}, "ports": [{"port": port, "targetPort": target}]},
    })
}
