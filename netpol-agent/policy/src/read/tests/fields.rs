//! The names of fields that are known, compared with the API's types: a field that a newer API adds shows here when
//! the types are updated, and until then rules that hold it grant nothing.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
        NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
        util::intstr::IntOrString,
    },
};
use serde_json::{Value, to_value};

use crate::{
    model::Object,
    read::{Read, read_document},
};

/// A spec in which every field of every type has a value. No `..`: a new field does not compile here.
fn everything() -> NetworkPolicySpec {
    let selector = || LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "key".into(),
            operator: "In".into(),
            values: Some(vec!["value".into()]),
        }]),
        match_labels: Some([("key".to_owned(), "value".to_owned())].into()),
    };
    let pods = NetworkPolicyPeer {
        ip_block: None,
        namespace_selector: Some(selector()),
        pod_selector: Some(selector()),
    };
    let block = NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: "10.0.0.0/8".into(), except: Some(vec!["10.1.0.0/16".into()]) }),
        namespace_selector: None,
        pod_selector: None,
    };
    let port = NetworkPolicyPort {
        end_port: Some(90),
        port: Some(IntOrString::Int(80)),
        protocol: Some("TCP".into()),
    };
    NetworkPolicySpec {
        egress: Some(vec![NetworkPolicyEgressRule {
            ports: Some(vec![port.clone()]),
            to: Some(vec![pods.clone(), block.clone()]),
        }]),
        ingress: Some(vec![NetworkPolicyIngressRule {
            from: Some(vec![pods, block]),
            ports: Some(vec![port]),
        }]),
        pod_selector: Some(selector()),
        policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
    }
}

#[test]
fn every_field_that_the_api_defines_is_known() {
    let spec = to_value(everything()).unwrap();
    let mut names = BTreeSet::new();
    collect(&spec, &mut names);
    assert!(names.contains("endPort") && names.contains("except"), "{names:?}");

    let document = serde_json::json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                                      "metadata": {"name": "p"}, "spec": spec});
    let [Read::Object { object: Object::Policy(policy), problems }] = &read_document(&document)[..] else {
        panic!()
    };
    assert_eq!(problems[..], []);
    assert!(policy.rules.iter().flatten().flatten().all(|rule| !rule.void));
}

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                names.insert(name.clone());
                collect(value, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
