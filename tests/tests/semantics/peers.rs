//! Cases 13 to 18: whom a peer means.

use crate::{
    ask::API,
    manifest::{Manifest, namespace, object, pod, policy},
    scene::{Scene, rules},
    sent::What::{Ping, Tcp},
};

/// Addresses that are no pods: nodes, this one's as something else could use it, and the world.
const NO_PODS: [&str; 7] =
    ["172.16.0.1", "172.16.0.2", "fd16::1", "fd16::2", "192.0.2.9", "2001:db8::9", "world"];

/// All other pods of the cast.
const PODS: [&str; 5] = ["shop/web", "shop/db", "other/web", "other/db", "shop/bare"];

/// Exactly these pods are allowed, and nothing that is no pod.
fn only(scene: &mut Scene, peers: &[&str]) {
    for pod in PODS {
        for what in [Tcp(80), Ping] {
            scene.answers(pod, what, peers.contains(&pod));
        }
    }
    for address in NO_PODS {
        scene.denies(address, Tcp(80));
    }
}

/// A policy whose only rule has these peers.
pub(crate) fn peers(list: &str) -> Manifest {
    rules("p", &format!("[{{from: [{list}]}}]"))
}

#[test]
#[ignore = "needs root and BPF"]
fn case_13_a_pod_selector_alone_means_pods_of_the_policys_namespace() {
    Scene::both(|scene| {
        for address in NO_PODS {
            scene.allows(address, Tcp(80));
        }
        scene.put(&peers("{podSelector: {matchLabels: {app: web}}}"));
        only(scene, &["shop/web"]);
        scene.put(&peers("{podSelector: {}}"));
        only(scene, &["shop/web", "shop/db", "shop/bare"]);
        // The same words in a policy of another namespace mean other pods.
        scene.remove(&peers("{podSelector: {}}"));
        scene.put(&policy(
            "other/p",
            "podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], \
             ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]",
        ));
        let ends = |peer, side| {
            if side == crate::scene::Side::Ingress { (peer, "other/db") } else { ("other/db", peer) }
        };
        let (from, to) = ends("other/web", scene.side);
        scene.passes(from, to, Tcp(80));
        let (from, to) = ends("shop/web", scene.side);
        scene.drops(from, to, Tcp(80));
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_14_a_namespace_selector_alone_means_all_their_pods_and_never_what_is_no_pod() {
    Scene::both(|scene| {
        scene.put(&peers("{namespaceSelector: {matchLabels: {team: red}}}"));
        only(scene, &["other/web", "other/db"]);
        for everybody in [
            "{namespaceSelector: {}}",
            "{namespaceSelector: {}, podSelector: {}}",
            "{namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [green]}]}}",
            "{namespaceSelector: {matchExpressions: [{key: none, operator: DoesNotExist}]}}",
        ] {
            scene.put(&peers(everybody));
            only(scene, &PODS);
        }
        scene.put(&peers(
            "{namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [blue]}]}}",
        ));
        only(scene, &["other/web", "other/db"]);
        // The control: without peers they pass.
        scene.put(&rules("p", "[{}]"));
        for address in NO_PODS {
            scene.allows(address, Tcp(80));
        }
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_15_both_selectors_in_one_item_are_and_in_two_items_or() {
    Scene::both(|scene| {
        let (namespace, pods) =
            ("namespaceSelector: {matchLabels: {team: red}}", "podSelector: {matchLabels: {app: web}}");
        scene.put(&peers(&format!("{{{namespace}, {pods}}}")));
        only(scene, &["other/web"]);
        scene.put(&peers(&format!("{{{namespace}}}, {{{pods}}}")));
        only(scene, &["other/web", "other/db", "shop/web"]);
        scene.put(&peers(&format!("{{{pods}}}, {{{namespace}}}")));
        only(scene, &["other/web", "other/db", "shop/web"]);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_16_not_in_and_does_not_exist_match_what_lacks_the_key() {
    let expressions = |list: &str| format!("{{matchExpressions: [{list}]}}");
    Scene::both(|scene| {
        for (expression, peers_of) in [
            ("{key: app, operator: NotIn, values: [web]}", &["shop/db", "shop/bare"][..]),
            ("{key: app, operator: NotIn, values: [web, db]}", &["shop/bare"]),
            ("{key: app, operator: DoesNotExist}", &["shop/bare"]),
            ("{key: app, operator: Exists}", &["shop/web", "shop/db"]),
            ("{key: app, operator: In, values: [web, db]}", &["shop/web", "shop/db"]),
            ("{key: app, operator: Exists}, {key: app, operator: NotIn, values: [web]}", &["shop/db"]),
        ] {
            scene.put(&peers(&format!("{{podSelector: {}}}", expressions(expression))));
            only(scene, peers_of);
        }
        // A namespace without labels, and one without an object.
        scene.put_all(&[
            object("v1", "Namespace", "/plain", "", ""),
            pod("plain/one", 20, "app: web").elsewhere().manifest(),
            pod("ghost/one", 21, "app: web").elsewhere().manifest(),
        ]);
        for (expression, blue, others) in [
            ("{key: team, operator: NotIn, values: [blue]}", false, true),
            ("{key: team, operator: DoesNotExist}", false, true),
            ("{key: team, operator: Exists}", true, false),
        ] {
            scene.put(&peers(&format!("{{namespaceSelector: {}}}", expressions(expression))));
            for (peer, passes) in [("shop/web", blue), ("plain/one", others), ("ghost/one", others)] {
                scene.answers(peer, Tcp(80), passes);
            }
        }
    });
    // As the selector of the policy itself: a pod without any label is isolated.
    let mut scene = Scene::with(&[pod("shop/plain", 22, "").manifest()]);
    for expression in ["{key: app, operator: NotIn, values: [api]}", "{key: app, operator: DoesNotExist}"] {
        let deny = policy("shop/deny", &format!("podSelector: {}", expressions(expression)));
        scene.passes("world", "shop/plain", Tcp(80));
        scene.put(&deny);
        scene.drops("world", "shop/plain", Tcp(80));
        scene.passes("world", API, Tcp(80));
        scene.remove(&deny);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_17_an_empty_value_means_that_the_key_is_there_and_empty() {
    Scene::both(|scene| {
        scene.put(&pod("shop/blank", 20, "app: \"\"").elsewhere().manifest());
        for selector in
            ["{matchLabels: {app: \"\"}}", "{matchExpressions: [{key: app, operator: In, values: [\"\"]}]}"]
        {
            scene.put(&peers(&format!("{{podSelector: {selector}}}")));
            scene.allows("shop/blank", Tcp(80));
            only(scene, &[]);
        }
        scene.put(&peers("{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [\"\"]}]}}"));
        scene.denies("shop/blank", Tcp(80));
        only(scene, &["shop/web", "shop/db", "shop/bare"]);
    });
    // As the selector of the policy itself.
    let mut scene = Scene::with(&[
        pod("shop/blank", 20, "app: \"\"").manifest(),
        pod("shop/plain", 21, "").manifest(),
        policy("shop/deny", "podSelector: {matchLabels: {app: \"\"}}"),
    ]);
    scene.drops("world", "shop/blank", Tcp(80));
    scene.passes("world", "shop/plain", Tcp(80));
    scene.passes("world", API, Tcp(80));
}

#[test]
#[ignore = "needs root and BPF"]
fn case_18_the_name_label_of_a_namespace_is_always_there_and_immutable() {
    const NAME: &str = "kubernetes.io/metadata.name";
    Scene::both(|scene| {
        scene.put(&peers(&format!("{{namespaceSelector: {{matchLabels: {{{NAME}: other}}}}}}")));
        only(scene, &["other/web", "other/db"]);
        // It says that it is another one.
        scene.put(&namespace("other", &format!("team: red, {NAME}: shop")));
        assert_eq!(scene.problems_of("Namespace", "other").len(), 1, "{:?}", scene.problems);
        only(scene, &["other/web", "other/db"]);
        scene.put(&peers(&format!("{{namespaceSelector: {{matchLabels: {{{NAME}: shop}}}}}}")));
        only(scene, &["shop/web", "shop/db", "shop/bare"]);
        // Without its object it still has its name, and nothing else.
        scene.remove(&namespace("other", ""));
        scene.put(&peers(&format!("{{namespaceSelector: {{matchLabels: {{{NAME}: other}}}}}}")));
        only(scene, &["other/web", "other/db"]);
        scene.put(&peers(&format!(
            "{{namespaceSelector: {{matchExpressions: [{{key: {NAME}, operator: DoesNotExist}}]}}}}"
        )));
        only(scene, &[]);
    });
}
