//! Case 19: labels, namespaces and addresses that change.

use crate::{
    ask::API,
    led::{Frontend, LedTo},
    manifest::{namespace, pod, policy, service, slice},
    peers::peers,
    scene::{Scene, rules},
    sent::{
        Step,
        What::{Ping, Tcp, Udp},
    },
};

// With real packets: wire/changes.rs, a_label_of_the_remote_pod_reaches_open_connections; wire/pods.rs,
// a_namespaces_label_decides_for_its_pods.
#[test]
#[ignore = "needs root and BPF"]
fn case_19a_a_label_of_a_pod_that_changes_is_judged_anew_also_for_open_connections() {
    Scene::both(|scene| {
        scene
            .put(&peers("{podSelector: {matchLabels: {app: web}}}, {podSelector: {matchLabels: {app: db}}}"));
        for (name, number, app, here) in [("shop/web", 2, "web", false), ("shop/db", 3, "db", true)] {
            let labelled = |labels: &str| {
                let pod = pod(name, number, labels);
                if here { pod.manifest() } else { pod.elsewhere().manifest() }
            };
            let open = [
                scene.opens_with(name, Tcp(80)),
                scene.opens_with(name, Udp(53)),
                scene.opens_with(name, Ping),
            ];
            let others = scene.opens_with(if here { "shop/web" } else { "shop/db" }, Tcp(80));
            open.iter().for_each(|talks| scene.live(talks));
            scene.put(&labelled("app: gone"));
            open.iter().for_each(|talks| scene.stop(talks));
            scene.denies(name, Tcp(80));
            // What is not concerned lives on.
            scene.live(&others);
            scene.time_passes();
            open.iter().for_each(|talks| scene.stop(talks));
            scene.put(&labelled(&format!("app: {app}")));
            open.iter().for_each(|talks| scene.live(talks));
            scene.allows(name, Tcp(80));
        }
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_19b_a_label_of_a_namespace_that_changes_is_judged_anew_also_for_open_connections() {
    Scene::both(|scene| {
        scene.put(&peers("{namespaceSelector: {matchLabels: {team: red}}}"));
        let open = [scene.opens_with("other/web", Tcp(80)), scene.opens_with("other/db", Udp(53))];
        scene.denies("shop/web", Tcp(80));
        scene.put(&namespace("other", "team: green"));
        open.iter().for_each(|talks| scene.stop(talks));
        scene.denies("other/web", Tcp(80));
        scene.put(&namespace("other", "team: red"));
        open.iter().for_each(|talks| scene.live(talks));
        scene.put(&namespace("shop", "team: red"));
        scene.allows("shop/web", Tcp(80));
        // The namespace goes: its pods stay a moment longer in a real cluster, and have only its name.
        scene.remove(&namespace("other", ""));
        open.iter().for_each(|talks| scene.stop(talks));
        scene.denies("other/db", Tcp(80));
        scene.put(&namespace("other", "team: red"));
        open.iter().for_each(|talks| scene.live(talks));
    });
}

// With real packets: wire/pods.rs, an_address_that_passes_to_another_pod_takes_no_right_along.
#[test]
#[ignore = "needs root and BPF"]
fn case_19c_an_address_that_another_pod_gets_is_judged_anew_also_for_open_connections() {
    Scene::both(|scene| {
        scene.put(&peers("{podSelector: {matchLabels: {app: web}}}"));
        let web = pod("shop/web", 2, "app: web").elsewhere().manifest();
        let open = scene.opens_with("shop/web", Tcp(80));
        scene.remove(&web);
        scene.stop(&open);
        scene.denies("10.1.0.2", Tcp(80));
        scene.denies("fd01::2", Tcp(80));
        let heir = pod("shop/heir", 2, "app: heir").elsewhere().manifest();
        scene.put(&heir);
        scene.stop(&open);
        scene.denies("shop/heir", Tcp(80));
        // An heir that is allowed may go on with it.
        scene.put(&pod("shop/heir", 2, "app: web").elsewhere().manifest());
        scene.live(&open);
        // Both at once: one goes, the other has its address in the same change.
        std::fs::remove_file(scene.path(&heir)).unwrap();
        scene.put(&pod("other/heir", 2, "app: web").elsewhere().manifest());
        scene.stop(&open);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_19d_a_label_of_the_pod_itself_that_changes_decides_whether_it_is_isolated() {
    Scene::both(|scene| {
        scene.put(&rules("deny", "[{}]"));
        let open = scene.opens_with("shop/web", Tcp(80));
        scene.put(&rules("deny", "[]"));
        scene.stop(&open);
        scene.put(&pod("shop/api", 1, "app: free").manifest());
        scene.live(&open);
        scene.allows("world", Tcp(80));
        scene.put(&pod("shop/api", 1, "app: api").manifest());
        scene.stop(&open);
        scene.denies("world", Tcp(80));
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_19e_a_label_of_the_destination_is_judged_anew_where_the_sender_is_judged_behind_a_service() {
    const MIXED: Frontend = ["10.96.0.30", "fd96::30"];
    let backend = |name: &str, number: u8, role: &str| pod(name, number, &format!("role: {role}")).manifest();
    let to = "{port: 8080}";
    let mut scene = Scene::with(&[
        backend("shop/a", 40, "good"),
        backend("shop/b", 41, "good"),
        backend("shop/c", 42, "bad"),
        service("shop/mixed", MIXED, "{port: 80, targetPort: 8080}"),
        slice("shop/mixed-4", "mixed", &["10.1.0.40", "10.1.0.41", "10.1.0.42"], to),
        slice("shop/mixed-6", "mixed", &["fd01::40", "fd01::41", "fd01::42"], to),
        policy(
            "shop/out",
            "podSelector: {matchLabels: {app: api}}, policyTypes: [Egress], \
             egress: [{to: [{podSelector: {matchLabels: {role: good}}}]}]",
        ),
        // So that each backend keeps its flows from the first one on.
        policy(
            "shop/in",
            "podSelector: {matchExpressions: [{key: role, operator: Exists}]}, policyTypes: [Ingress], ingress: [{}]",
        ),
    ]);
    let led = |a: bool| [("shop/a", 8080, a), ("shop/b", 8080, true), ("shop/c", 8080, false)];
    scene.leads(API, MIXED, Tcp(80), &led(true));
    let mut flows = Vec::new();
    for (name, v4) in [("shop/a", true), ("shop/a", false), ("shop/b", true), ("shop/b", false)] {
        let flow = LedTo { from: scene.end(API), to: scene.end(name), port: 8080, what: Tcp(80), v4 };
        let client = scene.new_port();
        assert!(scene.led_by(&flow, MIXED, client, Step::Opens).passes);
        assert!(scene.led_by(&flow, MIXED, client, Step::Continues).passes);
        flows.push((name, flow, client));
    }
    for (role, a) in [("bad", false), ("good", true)] {
        scene.put(&backend("shop/a", 40, role));
        scene.leads(API, MIXED, Tcp(80), &led(a));
        for (name, flow, client) in &flows {
            let said = scene.led_by(flow, MIXED, *client, Step::Continues);
            assert_eq!(said.passes, a || *name != "shop/a", "{name} is {role}: {said:?}");
        }
    }
}
