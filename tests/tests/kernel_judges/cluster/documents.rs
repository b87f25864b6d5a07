//! Policies as documents: as somebody writes them, rightly or with something wrong in them.

use fastrand::Rng;
use netpol_policy::model::{NamespaceScope, Policy, PolicyPeer, PolicyPort, Requirement, Rule, Selector};
use serde_json::{Map, Value, json};

fn selector(selector: &Selector) -> Value {
    let expression = |one: &Requirement| match one {
        Requirement::In(key, values) => json!({"key": key, "operator": "In", "values": values}),
        Requirement::NotIn(key, values) => json!({"key": key, "operator": "NotIn", "values": values}),
        Requirement::Exists(key) => json!({"key": key, "operator": "Exists"}),
        Requirement::DoesNotExist(key) => json!({"key": key, "operator": "DoesNotExist"}),
    };
    if let [Requirement::In(key, values)] = selector.0.as_slice()
        && let (1, Some(value)) = (values.len(), values.first())
    {
        return json!({"matchLabels": {key: value}});
    }
    let all: Vec<Value> = selector.0.iter().map(expression).collect();
    if all.is_empty() { json!({}) } else { json!({"matchExpressions": all}) }
}

fn peer(peer: &PolicyPeer) -> Value {
    match peer {
        PolicyPeer::Pods { namespaces: NamespaceScope::Own, pods } => json!({"podSelector": selector(pods)}),
        PolicyPeer::Pods { namespaces: NamespaceScope::Selected(namespaces), pods } => {
            json!({"namespaceSelector": selector(namespaces), "podSelector": selector(pods)})
        }
        PolicyPeer::Block(block) => {
            let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
            json!({"ipBlock": {"cidr": block.cidr.to_string(), "except": except}})
        }
        PolicyPeer::Nobody => json!({}),
    }
}

fn port(port: &PolicyPort) -> Value {
    match port {
        PolicyPort::All(protocol) => json!({"protocol": protocol.name()}),
        PolicyPort::Range(protocol, low, high) if low == high => {
            json!({"protocol": protocol.name(), "port": low})
        }
        PolicyPort::Range(protocol, low, high) => {
            json!({"protocol": protocol.name(), "port": low, "endPort": high})
        }
        PolicyPort::Named(protocol, name) => json!({"protocol": protocol.name(), "port": &**name}),
        PolicyPort::Nothing => json!({"port": 70_000}),
    }
}

fn rule(rule: &Rule, peers: &str) -> Value {
    let mut fields = Map::new();
    if let Some(all) = &rule.peers {
        fields.insert(peers.into(), all.iter().map(peer).collect());
    }
    if let Some(all) = &rule.ports {
        fields.insert("ports".into(), all.iter().map(port).collect());
    }
    if rule.void {
        fields.insert("fromTheFuture".into(), json!(true));
    }
    Value::Object(fields)
}

/// A policy as its author writes it. It must isolate in some direction, since no document says otherwise.
pub(crate) fn document(policy: &Policy) -> Value {
    let mut spec = Map::new();
    spec.insert("podSelector".into(), selector(&policy.pod_selector));
    let mut types = Vec::new();
    for (rules, name, list, peers) in
        [(&policy.rules[0], "Ingress", "ingress", "from"), (&policy.rules[1], "Egress", "egress", "to")]
    {
        let Some(rules) = rules else { continue };
        types.push(json!(name));
        spec.insert(list.into(), rules.iter().map(|one| rule(one, peers)).collect());
    }
    spec.insert("policyTypes".into(), types.into());
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": &*policy.key.namespace, "name": &*policy.key.name},
        "spec": spec,
    })
}

/// Peers that are wrong in themselves.
fn wrong_peers() -> Vec<Value> {
    vec![
        json!({}),
        json!(null),
        json!("everybody"),
        json!({"ipBlock": {"cidr": "10.1.0.0/33"}}),
        json!({"ipBlock": {"cidr": "everywhere"}}),
        json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.1.0.0/99"]}}),
        json!({"ipBlock": {"cidr": "10.1.0.0/24", "except": ["192.0.2.0/24"]}}),
        json!({"ipBlock": {"cidr": "0.0.0.0/0", "unless": ["10.1.0.0/24"]}}),
        json!({"ipBlock": {"cidr": "0.0.0.0/0"}, "podSelector": {}}),
        json!({"serviceSelector": {}}),
        json!({"podSelector": {}, "serviceAccount": "web"}),
        json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Sometimes"}]}}),
        json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": []}]}}),
        json!({"namespaceSelector": {"matchLabels": ["app"]}}),
        json!({"namespaceSelector": {"matchLabels": {"app": 1}}}),
    ]
}

/// Ports that are wrong in themselves.
fn wrong_ports() -> Vec<Value> {
    vec![
        json!(null),
        json!({"protocol": "TCP", "endPort": 65_535}),
        json!({"protocol": "TCP", "port": 443, "endPort": 80}),
        json!({"port": "web", "endPort": 9000}),
        json!({"port": 0}),
        json!({"port": 80.5}),
        json!({"port": ""}),
        json!({"protocol": "ICMP"}),
        json!({"protocol": "TCP", "port": 80, "ports": [81]}),
    ]
}

/// Something goes wrong with a document: less may be meant by it than before, never more.
pub(crate) fn spoil(rng: &mut Rng, document: &mut Value) {
    let spec = &mut document["spec"];
    let (list, peers) = if rng.bool() { ("ingress", "from") } else { ("egress", "to") };
    let kind = rng.u32(..12);
    let rules = spec[list].as_array_mut().filter(|rules| !rules.is_empty());
    if let Some(rules) = rules
        && kind < 9
    {
        let n = rng.usize(..rules.len());
        let rule = &mut rules[n];
        let (name, wrong) = if kind < 5 { (peers, wrong_peers()) } else { ("ports", wrong_ports()) };
        match rule[name].as_array_mut() {
            _ if kind == 8 => rule["unless"] = json!({"podSelector": {}}),
            Some(items) => {
                let n = rng.usize(..items.len());
                items[n] = wrong[rng.usize(..wrong.len())].clone();
            }
            // A list that is none: not the same as none.
            None => rule[name] = json!("none"),
        }
        return;
    }
    match kind % 5 {
        0 => spec["serviceSelector"] = json!({}),
        1 => spec["podSelector"] = json!({"matchExpressions": [{"key": "app", "operator": "Perhaps"}]}),
        2 => spec["policyTypes"] = json!(["Ingress", "Egress", "Sideways"]),
        3 => document["apiVersion"] = json!("networking.k8s.io/v9"),
        _ => spec[list] = json!({"from": []}),
    }
}
