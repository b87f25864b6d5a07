use std::sync::Arc;

use netpol_policy::{
    model::{Kind, Object},
    read::{Read, read_object},
};
use serde_json::{Value, json};

use super::{FIRST_LOOK, Shared};

fn object(kind: Kind, object: &Value) -> Object {
    let Read::Object { object, .. } = read_object(kind, &object.into()) else {
        panic!("{object} was not read")
    };
    object
}

#[test]
fn the_nodes_of_endpoints_are_held_once() {
    let mut shared = Shared::default();
    let endpoint = |address: &str| json!({"addresses": [address], "nodeName": "there"});
    let mut slice = object(
        Kind::EndpointSlice,
        &json!({
            "metadata": {"name": "web-1", "namespace": "team"},
            "addressType": "IPv4",
            "endpoints": [endpoint("10.0.0.1"), endpoint("10.0.0.2")],
        }),
    );
    shared.share(&mut slice);
    let Object::EndpointSlice(slice) = slice else { panic!("no slice") };
    assert!(Arc::ptr_eq(&slice.endpoints[0].node, &slice.endpoints[1].node));
}

#[test]
fn what_no_object_has_any_more_is_let_go() {
    let mut shared = Shared::default();
    let mut kept: Arc<str> = "kept".into();
    shared.share_name(&mut kept);
    for number in 0..10 * FIRST_LOOK {
        shared.share_name(&mut number.to_string().into());
        assert!(shared.names.len() <= FIRST_LOOK);
    }
    let mut again: Arc<str> = "kept".into();
    shared.share_name(&mut again);
    assert!(Arc::ptr_eq(&kept, &again));
}

#[test]
fn what_is_held_is_looked_at_as_seldom_as_there_is_much() {
    let mut shared = Shared::default();
    let mut held = Vec::new();
    let mut looks = 0;
    for number in 0..10 * FIRST_LOOK {
        let mut name: Arc<str> = number.to_string().into();
        let before = shared.look_at;
        shared.share_name(&mut name);
        looks += usize::from(shared.look_at != before);
        held.push(name);
    }
    assert_eq!((shared.names.len(), looks), (10 * FIRST_LOOK, 4));
}
