use std::sync::Arc;

use netpol_policy::{
    model::{Kind, Object, Pod},
    read::{Read, read_object},
};
use serde_json::{Value, json};

use super::{FIRST_LOOK, Pool, Shared};

fn object(kind: Kind, object: &Value) -> Object {
    let Read::Object { object, .. } = read_object(kind, object) else { panic!("{object} was not read") };
    object
}

fn pod(shared: &mut Shared, name: &str, app: &str) -> Pod {
    let mut read = object(
        Kind::Pod,
        &json!({
            "metadata": {"name": name, "namespace": "team", "labels": {"app": app}},
            "spec": {
                "nodeName": "there",
                "containers": [{"ports": [{"name": "web", "containerPort": 80}]}],
            },
        }),
    );
    let before = read.clone();
    shared.share(&mut read);
    assert_eq!(read, before);
    let Object::Pod(pod) = read else { panic!("no pod") };
    pod
}

#[test]
fn what_pods_have_alike_is_held_once() {
    let mut shared = Shared::default();
    let [one, replica, other] =
        [("x", "a"), ("y", "a"), ("z", "b")].map(|(name, app)| pod(&mut shared, name, app));
    assert!(Arc::ptr_eq(&one.labels, &replica.labels));
    assert!(!Arc::ptr_eq(&one.labels, &other.labels));
    for pod in [replica, other] {
        assert!(Arc::ptr_eq(&one.key.namespace, &pod.key.namespace));
        assert!(Arc::ptr_eq(&one.node, &pod.node));
        assert!(Arc::ptr_eq(&one.named_ports, &pod.named_ports));
    }
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
    let mut pool = Pool::<str>::default();
    let mut kept: Arc<str> = "kept".into();
    pool.share(&mut kept);
    for number in 0..10 * FIRST_LOOK {
        pool.share(&mut number.to_string().into());
        assert!(pool.parts.len() <= FIRST_LOOK);
    }
    let mut again: Arc<str> = "kept".into();
    pool.share(&mut again);
    assert!(Arc::ptr_eq(&kept, &again));
}

#[test]
fn what_is_held_is_looked_at_as_seldom_as_there_is_much() {
    let mut pool = Pool::<str>::default();
    let mut held = Vec::new();
    let mut looks = 0;
    for number in 0..10 * FIRST_LOOK {
        let mut part: Arc<str> = number.to_string().into();
        let before = pool.look_at;
        pool.share(&mut part);
        looks += usize::from(pool.look_at != before);
        held.push(part);
    }
    assert_eq!((pool.parts.len(), looks), (10 * FIRST_LOOK, 4));
}
