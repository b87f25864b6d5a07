//! Items of `from` and `to` in a rule.

use super::{
    block,
    document::Document,
    field::{Notes, Path, get, json_type, unknown_fields},
    selector,
};
use crate::model::{NamespaceScope, PolicyPeer, Selector};

const FIELDS: [&str; 3] = ["podSelector", "namespaceSelector", "ipBlock"];

/// Reads an item. The flag says that it holds a field that is not known beside or inside of known ones, so that the
/// whole rule grants nothing; an item of unknown fields only is another kind of peer, and matches nobody.
pub(super) fn read(value: &Document<'_>, path: &Path<'_>, notes: &mut Notes) -> (PolicyPeer, bool) {
    let Document::Object(item) = value else {
        notes.add(
            path,
            format!("is {}, not a peer: it matches nothing", json_type(value)),
            "write podSelector, namespaceSelector or ipBlock",
        );
        return (PolicyPeer::Nobody, false);
    };
    let pods = get(item, FIELDS[0]);
    let namespaces = get(item, FIELDS[1]);
    let addresses = get(item, FIELDS[2]);

    if pods.is_none() && namespaces.is_none() && addresses.is_none() {
        let only = "this field is not known: the peer matches nothing";
        if !unknown_fields(item, &FIELDS, path, notes, only) {
            notes.add(
                path,
                "the peer is empty: it matches nothing",
                "for all pods write namespaceSelector: {}",
            );
        }
        return (PolicyPeer::Nobody, false);
    }
    let beside = "this field is not known and may narrow the peer: the whole rule grants nothing";
    let mut void = unknown_fields(item, &FIELDS, path, notes, beside);

    if let Some(value) = addresses {
        if pods.is_some() || namespaces.is_some() {
            notes.add(
                path,
                "ipBlock together with a selector: the peer matches nothing",
                "make two items of them, each with its own dash",
            );
            return (PolicyPeer::Nobody, void);
        }
        return match block::read(value, &path.field(FIELDS[2]), notes) {
            Ok(block) => (PolicyPeer::Block(block), void),
            Err(block::Void::Bad) => (PolicyPeer::Nobody, void),
            Err(block::Void::UnknownField) => (PolicyPeer::Nobody, true),
        };
    }

    let mut bad = false;
    let mut read = |value: Option<&Document<'_>>, name: &str| -> Option<Selector> {
        let meaning = "the peer matches nothing";
        match selector::read(value?, &path.field(name), notes, meaning) {
            Ok(selector) => Some(selector),
            Err(selector::Unreadable { unknown_field }) => {
                bad = true;
                void |= unknown_field;
                None
            }
        }
    };
    let pods = read(pods, FIELDS[0]);
    let namespaces = read(namespaces, FIELDS[1]);
    if bad {
        return (PolicyPeer::Nobody, void);
    }
    let namespaces = namespaces.map_or(NamespaceScope::Own, NamespaceScope::Selected);
    (PolicyPeer::Pods { namespaces, pods: pods.unwrap_or_default() }, void)
}
