//! Cases 37 to 39 and 48: pods at the end of their lives, and whose an address is.

use crate::{
    ask::API,
    manifest::{Manifest, pod, policy},
    scene::{Scene, Side, rules},
    sent::What::{Ping, Tcp, Udp},
};

/// A policy whose only peers are pods with this label, of any namespace.
fn app(value: &str) -> Manifest {
    let peer = format!("{{namespaceSelector: {{}}, podSelector: {{matchLabels: {{app: {value}}}}}}}");
    rules("p", &format!("[{{from: [{peer}]}}]"))
}

const ANY_POD: &str = "[{from: [{namespaceSelector: {}}]}]";

#[test]
#[ignore = "needs root and BPF"]
fn case_37_a_finished_pod_is_ignored_and_the_running_one_has_its_address() {
    for phase in ["Succeeded", "Failed"] {
        Scene::both(|scene| {
            let web = pod("shop/web", 2, "app: web").elsewhere();
            scene.put(&app("web"));
            let open = scene.opens_with("shop/web", Tcp(80));
            scene.put(&web.clone().phase(phase).manifest());
            scene.stop(&open);
            scene.put(&rules("p", ANY_POD));
            scene.denies("10.1.0.2", Tcp(80));
            scene.denies("fd01::2", Tcp(80));
            // Another one runs with its address.
            let heir = pod("other/heir", 2, "app: heir").elsewhere().manifest();
            scene.put(&heir);
            scene.allows("other/heir", Tcp(80));
            scene.put(&app("heir"));
            scene.allows("other/heir", Tcp(80));
            scene.put(&app("web"));
            scene.denies("other/heir", Tcp(80));
            // Whichever of the two is heard of last.
            scene.put(&web.clone().phase(phase).metadata("annotations: {seen: again}").manifest());
            scene.denies("other/heir", Tcp(80));
            scene.put(&app("heir"));
            scene.allows("other/heir", Tcp(80));
            assert!(scene.engine().problems().is_empty(), "nobody claims what is another's");
            scene.remove(&heir);
            scene.denies("10.1.0.2", Tcp(80));
        });
        // Nor is it a target: what selects the finished one does not isolate who has its address now.
        let old = pod("shop/old", 1, "app: old");
        let deny = policy("shop/deny", "podSelector: {matchLabels: {app: old}}");
        let mut scene = Scene::with(&[old.phase(phase).manifest(), deny.clone()]);
        scene.passes("world", API, Tcp(80));
        scene.put(&policy("shop/deny", "podSelector: {matchLabels: {app: api}}"));
        scene.drops("world", API, Tcp(80));
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_38_a_terminating_pod_is_target_and_peer_until_it_is_gone() {
    const ENDS: &str = "deletionTimestamp: \"2026-01-01T00:00:00Z\", deletionGracePeriodSeconds: 30";
    Scene::both(|scene| {
        scene.put(&app("web"));
        let open = scene.opens_with("shop/web", Tcp(80));
        let web = pod("shop/web", 2, "app: web").elsewhere().metadata(ENDS).manifest();
        scene.put(&web);
        scene.live(&open);
        scene.allows("shop/web", Udp(53));
        scene.denies("shop/db", Udp(53));
        // The target itself ends.
        scene.put(&pod("shop/api", 1, "app: api").metadata(ENDS).manifest());
        scene.live(&open);
        scene.allows("shop/web", Udp(53));
        scene.denies("shop/db", Tcp(80));
        scene.remove(&web);
        scene.stop(&open);
        scene.denies("10.1.0.2", Tcp(80));
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_39_every_address_of_a_pod_is_the_pods() {
    let three = ["10.1.0.2", "fd01::2", "10.1.7.7"];
    Scene::both(|scene| {
        scene.put(&pod("shop/web", 0, "app: web").elsewhere().at(&three).manifest());
        scene.put(&app("web"));
        for address in three {
            scene.allows(address, Tcp(80));
            scene.allows(address, Ping);
        }
        scene.denies("10.1.7.8", Tcp(80));
        // The order says nothing, and one of them may go while the others stay.
        scene.put(&pod("shop/web", 0, "app: web").elsewhere().at(&["fd01::2", "10.1.7.7"]).manifest());
        scene.denies("10.1.0.2", Tcp(80));
        scene.allows("fd01::2", Tcp(80));
        scene.allows("10.1.7.7", Tcp(80));
        scene.put(&pod("shop/web", 0, "app: web").elsewhere().at(&["fd01::2"]).manifest());
        scene.denies("10.1.7.7", Tcp(80));
        scene.allows("shop/web", Tcp(80));
        // An old object has only the one.
        let old = pod("shop/web", 0, "app: web").elsewhere().at(&[]).manifest();
        scene.put(&old.with("podIPs: []", "podIP: 10.1.0.2"));
        scene.allows("10.1.0.2", Tcp(80));
        scene.denies("fd01::2", Tcp(80));
        // The selected pod is so by each of its families.
        scene.put(&rules("p", "[]"));
        scene.denies("world", Tcp(80));
        scene.put(&rules("p", "[{}]"));
        scene.allows("world", Tcp(80));
    });
    // And port names mean the same by each.
    let http = "{name: http, containerPort: 8080}";
    let mut scene = Scene::of(
        Side::Egress,
        &[
            pod("shop/web", 0, "app: web").elsewhere().at(&three).ports(http).manifest(),
            rules("p", "[{ports: [{port: http}]}]"),
        ],
    );
    for address in three {
        scene.passes(API, address, Tcp(8080));
        scene.drops(API, address, Tcp(80));
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_48_of_two_pods_with_one_address_it_is_the_newest_that_does_not_terminate() {
    const ENDS: &str = "deletionTimestamp: \"2026-03-01T00:00:00Z\"";
    let claim = |name: &str, day: u8, more: &str| {
        let label = name.split('/').next_back().unwrap();
        pod(name, 20, &format!("app: {label}"))
            .elsewhere()
            .ports(&format!("{{name: http, containerPort: {}}}", if label == "one" { 80 } else { 8080 }))
            .metadata(&format!("creationTimestamp: \"2026-02-{day:02}T00:00:00Z\"{more}"))
            .manifest()
    };
    let ends = format!(", {ENDS}");
    Scene::both(|scene| {
        for (one, two, owner) in [
            (claim("shop/one", 1, ""), claim("other/two", 2, ""), "two"),
            (claim("shop/one", 3, ""), claim("other/two", 2, ""), "one"),
            (claim("shop/one", 3, &ends), claim("other/two", 2, ""), "two"),
            (claim("shop/one", 3, &ends), claim("other/two", 4, &ends), "two"),
            (claim("shop/one", 3, ""), claim("other/two", 4, &ends), "one"),
        ] {
            // The order in which they are heard of says nothing.
            for order in [[&one, &two], [&two, &one]] {
                order.into_iter().for_each(|manifest| scene.put(manifest));
                for app_of in ["one", "two"] {
                    scene.put(&app(app_of));
                    for address in ["10.1.0.20", "fd01::20"] {
                        scene.answers(address, Tcp(80), app_of == owner);
                    }
                }
                // It is said of the one that does not have it.
                let loser = if owner == "one" { "other/two" } else { "shop/one" };
                let said = scene.engine().problems();
                assert!(
                    !said.is_empty() && said.iter().all(|one| one.object.to_string() == loser),
                    "{said:?}"
                );
                scene.remove(&two);
                scene.remove(&one);
                scene.denies("10.1.0.20", Tcp(80));
            }
        }
    });
    // Neither do they share what their port names mean.
    let mut scene = Scene::of(
        Side::Egress,
        &[claim("shop/one", 1, ""), claim("other/two", 2, ""), rules("p", "[{ports: [{port: http}]}]")],
    );
    scene.passes(API, "10.1.0.20", Tcp(8080));
    scene.drops(API, "10.1.0.20", Tcp(80));
    // The one that is left has it at once, with its open connections.
    scene.put(&app("two"));
    let open = scene.opens_with("other/two", Tcp(80));
    scene.remove(&claim("other/two", 2, ""));
    scene.stop(&open);
    scene.put(&app("one"));
    scene.live(&open);
}
