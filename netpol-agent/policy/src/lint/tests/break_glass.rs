use serde_json::json;

use super::*;
use crate::{
    model::BREAK_GLASS,
    spec::tests::fixture::{namespace, with},
};

#[test]
fn a_break_glass_switch_in_a_manifest_is_reported() {
    let (id, field) = ("break-glass", "metadata.annotations.netpol.io/break-glass");
    let with_switch =
        |document: Value, value: &str| with(document, "/metadata/annotations", json!({BREAK_GLASS: value}));
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    reports(&[with_switch(namespace("x", json!({})), "true")], id, field, "of the namespace x is set");
    reports(&[with_switch(node.clone(), "true")], id, field, "of the node n is set");
    silent(&[with_switch(namespace("x", json!({})), "false"), with_switch(node, "no")], id);
}
