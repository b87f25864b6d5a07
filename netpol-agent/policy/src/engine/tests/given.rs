//! Addresses as the interfaces of this node were given them, against what the pods' statuses say.

use super::{
    build::{ingress, pod, pods, rule},
    lab::{Lab, local},
};
use crate::{
    engine::LocalEndpoint,
    model::{Key, Object, Pod},
};

/// A pod with an interface that was given addresses.
fn given(lab: &mut Lab, pod: Pod, addresses: &[&str]) -> u32 {
    let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let slot = lab.engine.set_endpoint(LocalEndpoint { addresses, ..local(&pod.key) }).unwrap();
    lab.put(Object::Pod(pod));
    slot
}

/// A server that lets in the pods of one label.
fn server(lab: &mut Lab) -> u32 {
    lab.put(ingress("a/in", "app=web", vec![rule(&[pods("app=client")], &[])]));
    lab.local(pod("a/web", "app=web", &["10.0.0.100"]))
}

#[test]
fn a_status_of_another_sandbox_widens_nothing() {
    let mut lab = Lab::new();
    let web = server(&mut lab);
    let client = pod("a/client", "app=client", &["10.0.0.9"]);
    let slot = given(&mut lab, client.clone(), &[]);
    lab.settle();
    assert!(
        lab.lets_in(web, "10.0.0.9", 80),
        "where nobody says what the interface was given, the status counts"
    );
    given(&mut lab, client, &["10.0.0.1"]);
    lab.settle();
    assert!(lab.lets_in(web, "10.0.0.1", 80));
    assert!(!lab.lets_in(web, "10.0.0.9", 80), "nobody else is taken for the pod");
    assert!(lab.kernel.sources.get(&slot).is_none_or(Vec::is_empty), "and it speaks with nothing else");
}

#[test]
fn an_address_is_its_pods_that_has_it_on_an_interface_here() {
    let mut lab = Lab::new();
    let web = server(&mut lab);
    let mut old = pod("a/old", "app=client", &["10.0.0.1"]);
    old.created = 2;
    lab.put(Object::Pod(old));
    lab.settle();
    assert!(lab.lets_in(web, "10.0.0.1", 80));
    // Its sandbox is gone, its status not yet; and it is even the newer one of the two.
    let mut new = pod("a/new", "app=other", &[]);
    new.created = 1;
    given(&mut lab, new, &["10.0.0.1"]);
    lab.settle();
    assert!(!lab.lets_in(web, "10.0.0.1", 80));
    lab.engine.remove_endpoint(&local(&Key::new("a", "new")).ifname);
    lab.settle();
    assert!(lab.lets_in(web, "10.0.0.1", 80), "and the other's again when that one's interface is gone");
}

#[test]
fn each_interface_of_a_pod_has_its_own_addresses() {
    let mut lab = Lab::new();
    let web = server(&mut lab);
    let client = pod("a/client", "app=client", &["10.0.0.1"]);
    let second = LocalEndpoint {
        ifname: "net1".into(),
        ifindex: 77,
        addresses: vec!["192.168.0.1".parse().unwrap()],
        ..local(&client.key)
    };
    let first = given(&mut lab, client, &["10.0.0.1", "fd00::1"]);
    let second = lab.engine.set_endpoint(second).unwrap();
    lab.settle();
    for address in ["10.0.0.1", "fd00::1", "192.168.0.1"] {
        assert!(lab.lets_in(web, address, 80), "{address} is the pod's");
    }
    let v4 = |slot| lab.kernel.endpoints[&slot].v4.to_ne_bytes();
    assert_ne!(v4(first), v4(second));
    for slot in [first, second] {
        assert!(lab.kernel.sources.get(&slot).is_none_or(Vec::is_empty));
    }
}

#[test]
fn an_endpoint_that_is_nobodys_any_more_is_closed() {
    let mut lab = Lab::new();
    let web = server(&mut lab);
    lab.put(Object::Pod(pod("a/client", "app=client", &["10.0.0.1"])));
    lab.settle();
    assert!(lab.lets_in(web, "10.0.0.1", 80));
    let nobodys = LocalEndpoint { pod: None, ..local(&Key::new("a", "web")) };
    assert_eq!(lab.engine.set_endpoint(nobodys), Some(web));
    lab.settle();
    assert!(!lab.lets_in(web, "10.0.0.1", 80) && !lab.lets_out(web, "10.0.0.1", 80));
    lab.engine.set_endpoint(local(&Key::new("a", "web")));
    lab.settle();
    assert!(lab.lets_in(web, "10.0.0.1", 80));
}
