//! NetworkPolicy: its spec, directions and rules.
//!
//! Read from the document and not through the API's types, since those pass over fields that they do not know, and
//! fail as a whole when one value is wrong. A test compares the names of fields with those types.

use super::{
    api_version,
    document::{Document, Object},
    field::{Notes, Path, get, json_type, quoted, unknown_fields},
    meta::Meta,
    peer, port, selector, shown,
};
use crate::model::{Kind, Policy, PolicyPeer, PolicyPort, Rule, Selector};
use netpol_common::Direction;

/// A policy as far as it could be read.
pub(super) struct ReadPolicy {
    pub(super) policy: Policy,
    pub(super) selector_unreadable: bool,
}

const FIELDS: [&str; 4] = ["podSelector", "policyTypes", "ingress", "egress"];

const fn rules_field(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

const fn peers_field(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    }
}

/// What `policyTypes` say of a direction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolates {
    No,
    /// It isolates, and its rules apply.
    Yes,
    /// It may have been meant to isolate: it does, and grants nothing.
    Closed,
}

/// Reads the spec of a policy.
pub(super) fn read(document: &Document<'_>, meta: &Meta<'_>, version: &str, notes: &mut Notes) -> ReadPolicy {
    let path = Path::field_of_root("spec");
    let empty = &Object::default();
    let mut selector_unreadable = false;
    let mut void = false;

    if version != api_version(Kind::NetworkPolicy) {
        void = !version.is_empty();
        let message = if void {
            format!(
                "{} is not a version that is known: the policy isolates and grants nothing",
                quoted(version)
            )
        } else {
            "the policy has no apiVersion: it is read as networking.k8s.io/v1".to_owned()
        };
        notes.add(&Path::field_of_root("apiVersion"), message, "write networking.k8s.io/v1");
    }
    let spec = match document.get("spec") {
        Some(Document::Object(spec)) => spec,
        None | Some(Document::Null) => {
            notes.add(
                &path,
                "the policy has no spec: it denies all ingress of all pods of its namespace",
                "write a spec",
            );
            empty
        }
        Some(other) => {
            let message = format!("is {}, not a spec: {SELECTOR_MEANING}", json_type(other));
            notes.add(&path, message, "write a spec");
            selector_unreadable = true;
            empty
        }
    };
    let message = "this field is not known and may narrow the policy: none of its rules grants anything";
    void |= unknown_fields(spec, &FIELDS, &path, notes, message);

    let pod_selector = match get(spec, "podSelector") {
        None => Selector::default(),
        Some(value) => selector::read(value, &path.field("podSelector"), notes, SELECTOR_MEANING)
            .unwrap_or_else(|_| {
                selector_unreadable = true;
                Selector::default()
            }),
    };
    // Whom it would grant something is not known, so it grants nothing.
    void |= selector_unreadable;

    let isolates = if selector_unreadable && spec.is_empty() {
        [Isolates::Closed; 2]
    } else {
        policy_types(spec, &path.field("policyTypes"), notes)
    };
    let rules = Direction::ALL.map(|direction| match isolates[direction.index()] {
        Isolates::No => None,
        Isolates::Closed => Some(Vec::new()),
        Isolates::Yes => {
            let mut rules = read_rules(spec, direction, &path, notes);
            for rule in &mut rules {
                rule.void |= void;
            }
            Some(rules)
        }
    });
    ReadPolicy { policy: Policy { key: meta.key.clone(), pod_selector, rules }, selector_unreadable }
}

const SELECTOR_MEANING: &str = "whom the policy selects is not known; its last good version stays in force, and without \
                                one it isolates every pod of its namespace and grants nothing";

/// Which directions are isolated, by [`Direction::index`].
fn policy_types(spec: &Object<'_>, path: &Path<'_>, notes: &mut Notes) -> [Isolates; 2] {
    const REMEDY: &str = "use Ingress and Egress";
    let types = match get(spec, "policyTypes") {
        None => &[],
        Some(Document::Array(types)) => types.as_slice(),
        Some(other) => {
            let message = format!(
                "is {}, not a list: the policy isolates in both directions and grants nothing",
                json_type(other)
            );
            notes.add(path, message, REMEDY);
            return [Isolates::Closed; 2];
        }
    };
    if types.is_empty() {
        // A value of the wrong type may have been rules.
        let egress = match get(spec, "egress") {
            None => false,
            Some(Document::Array(rules)) => !rules.is_empty(),
            Some(_) => true,
        };
        return [Isolates::Yes, if egress { Isolates::Yes } else { Isolates::No }];
    }
    let mut isolates = [Isolates::No; 2];
    let mut others = Isolates::No;
    for (index, value) in types.iter().enumerate() {
        let named =
            value.as_str().and_then(|text| Direction::ALL.into_iter().find(|one| type_name(*one) == text));
        if let Some(direction) = named {
            isolates[direction.index()] = Isolates::Yes;
        } else {
            // It may have meant any direction, in this spelling or in a newer API.
            others = Isolates::Closed;
            let message = format!(
                "{} is no type: the policy isolates in the directions that are not named too, and grants nothing there",
                shown(value)
            );
            notes.add(&path.index(index), message, REMEDY);
        }
    }
    isolates.map(|isolates| if isolates == Isolates::No { others } else { isolates })
}

const fn type_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "Ingress",
        Direction::Egress => "Egress",
    }
}

fn read_rules(spec: &Object<'_>, direction: Direction, path: &Path<'_>, notes: &mut Notes) -> Vec<Rule> {
    let path = path.field(rules_field(direction));
    match get(spec, rules_field(direction)) {
        None => Vec::new(),
        Some(Document::Array(rules)) => rules
            .iter()
            .enumerate()
            .map(|(index, rule)| read_rule(rule, direction, &path.index(index), notes))
            .collect(),
        Some(other) => {
            notes.add(
                &path,
                format!("is {}, not a list: nothing is allowed", json_type(other)),
                "write a list of rules",
            );
            Vec::new()
        }
    }
}

fn read_rule(value: &Document<'_>, direction: Direction, path: &Path<'_>, notes: &mut Notes) -> Rule {
    let Document::Object(rule) = value else {
        let message = format!("is {}, not a rule: it grants nothing", json_type(value));
        notes.add(path, message, "write a rule; one that allows everything is {}");
        return Rule { peers: None, ports: None, void: true };
    };
    let peers_name = peers_field(direction);
    let message = if rule.contains_key(peers_field(direction.reverse())) {
        "this field belongs to rules of the other direction: the whole rule grants nothing"
    } else {
        "this field is not known and may narrow the rule: the whole rule grants nothing"
    };
    let mut void = unknown_fields(rule, &[peers_name, "ports"], path, notes, message);

    let wrong = ("no peer matches", "write a list of peers");
    let peers =
        items(get(rule, peers_name), &path.field(peers_name), notes, peer::read, wrong, PolicyPeer::Nobody);
    let wrong = ("no port is allowed", "write a list of ports");
    let ports =
        items(get(rule, "ports"), &path.field("ports"), notes, port::read, wrong, PolicyPort::Nothing);
    void |= peers.1 || ports.1;
    Rule { peers: peers.0, ports: ports.0, void }
}

/// Reads the peers or the ports of a rule: `None` where the list is missing or empty, which is any; one that is no list
/// grants nothing. Says also whether an item voids the rule.
fn items<T>(
    value: Option<&Document<'_>>,
    path: &Path<'_>,
    notes: &mut Notes,
    read: fn(&Document<'_>, &Path<'_>, &mut Notes) -> (T, bool),
    (meaning, remedy): (&str, &str),
    nothing: T,
) -> (Option<Vec<T>>, bool) {
    let list = match value {
        None => return (None, false),
        Some(Document::Array(list)) if list.is_empty() => return (None, false),
        Some(Document::Array(list)) => list,
        Some(other) => {
            notes.add(path, format!("is {}, not a list: {meaning}", json_type(other)), remedy);
            return (Some(vec![nothing]), false);
        }
    };
    let mut void = false;
    let each = list.iter().enumerate().map(|(index, item)| {
        let (item, voids) = read(item, &path.index(index), notes);
        void |= voids;
        item
    });
    let read = each.collect();
    (Some(read), void)
}
