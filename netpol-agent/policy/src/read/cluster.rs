//! Namespaces and nodes.

use super::{
    block,
    document::Document,
    field::{Notes, Path, get, list, quoted, text},
    meta::Meta,
    shown,
};
use crate::model::{BREAK_GLASS, NAME_LABEL, Namespace, Node};

/// Prefixes that the pods of a namespace may speak with, beyond their own addresses.
const SOURCE_PREFIXES: &str = "netpol.io/source-prefixes";

/// Reads a namespace; its name label is there and right whatever the manifest says, as on an API server.
pub(super) fn namespace(meta: &Meta<'_>, notes: &mut Notes) -> Namespace {
    let path = Path::field_of_root("metadata");
    let name = meta.key.name.clone();
    let mut labels = meta.labels.clone();
    if let Some(other) = labels.insert(NAME_LABEL.to_owned(), name.to_string())
        && *other != *name
    {
        let message =
            format!("the label is always the name of the namespace: {} is not used", quoted(&other));
        notes.add(&path.field("labels").field(NAME_LABEL), message, "remove the label");
    }

    let mut source_prefixes = Vec::new();
    let annotation = meta.annotations.and_then(|annotations| annotations.get(SOURCE_PREFIXES));
    let annotations = path.field("annotations");
    let path = annotations.field(SOURCE_PREFIXES);
    for part in text(annotation, &path, notes).split([',', ' ', '\n']).filter(|part| !part.is_empty()) {
        match block::cidr_or_address(part) {
            Some(prefix) => source_prefixes.push(prefix),
            None => notes.add(
                &path,
                format!("{} is no CIDR: pods may not speak with it", quoted(part)),
                "write CIDRs with commas between them",
            ),
        }
    }
    source_prefixes.sort_unstable();
    source_prefixes.dedup();
    Namespace { name, labels, source_prefixes, break_glass: break_glass(meta, notes) }
}

/// The break-glass switch. A value that cannot be read switches nothing: policies stay in force.
fn break_glass(meta: &Meta<'_>, notes: &mut Notes) -> bool {
    let value = meta.annotations.and_then(|annotations| get(annotations, BREAK_GLASS));
    match value.map(|value| (value, value.as_str())) {
        None | Some((_, Some("false"))) => false,
        Some((_, Some("true"))) => true,
        Some((other, _)) => {
            let path = Path::field_of_root("metadata");
            let path = path.field("annotations");
            notes.add(
                &path.field(BREAK_GLASS),
                format!("is {}, neither \"true\" nor \"false\": policies stay in force", shown(other)),
                "write \"true\", in quotes, to stop enforcing there, or remove the annotation",
            );
            false
        }
    }
}

/// Reads a node. Addresses that are names are left out.
pub(super) fn node(document: &Document<'_>, meta: &Meta<'_>, notes: &mut Notes) -> Node {
    let status = Path::field_of_root("status");
    let path = status.field("addresses");
    let mut addresses = Vec::new();
    for entry in list(document.at(&["status", "addresses"]), &path, notes) {
        let address =
            entry.get("address").and_then(Document::as_str).and_then(|address| address.parse().ok());
        if let Some(address) = address.map(|address: std::net::IpAddr| address.to_canonical())
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    Node { name: meta.key.name.clone(), addresses, break_glass: break_glass(meta, notes) }
}
