//! Cases 44 to 47, 49 and 51: manifests with mistakes, with fields of a newer API, and with less than usual.

use std::fs;

use crate::{
    ask::API,
    manifest::{Manifest, object, pod, policy},
    scene::{Scene, cast, rules},
    sent::What::{Ping, Sctp, Tcp, Udp},
};

const WEB: &str = "{podSelector: {matchLabels: {app: web}}}";

/// What a bad entry says beside a good one, the field that is wrong, and whether the good one still grants something.
fn check(scene: &mut Scene, bad: &str, field: &str, good_lives: bool) {
    scene.put_all(&[
        rules("q", "[{from: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 81}]}]"),
        rules("p", bad),
    ]);
    scene.reports("shop/p", field);
    scene.answers("shop/web", Tcp(80), good_lives);
    // What the bad entry might have meant.
    for peer in ["world", "192.0.2.1", "other/web", "other/db", "shop/bare", "shop/db"] {
        scene.denies(peer, Tcp(80));
    }
    for what in [Tcp(90), Udp(80), Sctp(80), Ping] {
        scene.denies("shop/web", what);
    }
    // Another policy of the same pod, and pods of which none speaks.
    scene.allows("shop/db", Tcp(81));
    let line = scene.status().policies.into_iter().find(|line| line.policy == "shop/p").unwrap();
    assert!(!line.problems.is_empty() && line.isolates.len() == 1, "{line:?}");
}

#[test]
#[ignore = "needs root and BPF"]
fn case_44a_a_bad_entry_is_reported_and_grants_nothing_while_the_policy_isolates() {
    Scene::both(|scene| {
        let ports = "ports: [{port: 80}]";
        let at = "spec.ingress[0].from[1]";
        for (peer, field) in [
            ("{ipBlock: {cidr: 192.0.2.0/33}}", "ipBlock.cidr"),
            ("{ipBlock: {except: [192.0.2.0/30]}}", "ipBlock.cidr"),
            ("{ipBlock: 192.0.2.0/24}", "ipBlock"),
            (
                "{podSelector: {matchExpressions: [{key: app, operator: Near, values: [db]}]}}",
                "podSelector.matchExpressions[0].operator",
            ),
            (
                "{podSelector: {matchExpressions: [{key: app, operator: In}]}}",
                "podSelector.matchExpressions[0].values",
            ),
            (
                "{podSelector: {matchExpressions: [{operator: Exists}]}}",
                "podSelector.matchExpressions[0].key",
            ),
            ("{namespaceSelector: {matchLabels: [team]}}", "namespaceSelector.matchLabels"),
            ("{namespaceSelector: all}", "namespaceSelector"),
        ] {
            check(scene, &format!("[{{from: [{WEB}, {peer}], {ports}}}]"), &format!("{at}.{field}"), true);
        }
        check(scene, &format!("[{{from: [{WEB}, all], {ports}}}]"), at, true);
        check(
            scene,
            &format!("[{{from: {{podSelector: {{}}}}, {ports}}}, {{from: [{WEB}], {ports}}}]"),
            "spec.ingress[0].from",
            true,
        );
        // A rule that is none, beside one.
        check(scene, &format!("[{{from: [{WEB}], {ports}}}, all]"), "spec.ingress[1]", true);
        // Ports.
        for (port, field) in [
            ("{port: 90, endPort: 85}", "endPort"),
            ("{endPort: 90}", "endPort"),
            ("{port: 0}", "port"),
            ("{port: 65616}", "port"),
            ("{port: \"90\"}", "port"),
            ("{port: 90, protocol: tcp}", "protocol"),
            ("{port: 90, protocol: ICMP}", "protocol"),
        ] {
            check(
                scene,
                &format!("[{{from: [{WEB}], ports: [{{port: 80}}, {port}]}}]"),
                &format!("spec.ingress[0].ports[1].{field}"),
                true,
            );
            check(
                scene,
                &format!("[{{from: [{WEB}], ports: [{port}]}}]"),
                &format!("spec.ingress[0].ports[0].{field}"),
                false,
            );
        }
        check(scene, &format!("[{{from: [{WEB}], ports: 80}}]"), "spec.ingress[0].ports", false);
        check(scene, "all", "spec.ingress", false);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_44b_a_bad_exception_voids_its_whole_block() {
    for (except, field) in [
        ("[192.0.2.0/30, nonsense]", "except[1]"),
        ("[192.0.2.8]", "except[0]"),
        ("[198.51.100.0/24]", "except[0]"),
        ("192.0.2.8/30", "except"),
    ] {
        Scene::both(|scene| {
            let block = |except: &str| format!("{{ipBlock: {{cidr: 192.0.2.0/24, except: {except}}}}}");
            scene.put(&rules(
                "p",
                &format!("[{{from: [{}, {WEB}], ports: [{{port: 80}}]}}]", block("[192.0.2.8/30]")),
            ));
            scene.allows("192.0.2.1", Tcp(80));
            scene.put(&rules("p", &format!("[{{from: [{}, {WEB}], ports: [{{port: 80}}]}}]", block(except))));
            scene.reports("shop/p", &format!("spec.ingress[0].from[0].ipBlock.{field}"));
            for address in ["192.0.2.1", "192.0.2.9", "192.0.2.77"] {
                scene.denies(address, Tcp(80));
            }
            scene.allows("shop/web", Tcp(80));
        });
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_44c_one_bad_policy_leaves_others_alone_and_isolates_in_its_types() {
    let bad = "{from: [{ipBlock: {cidr: x}}]}";
    let mut scene = Scene::with(&[
        policy(
            "shop/bad",
            &format!("podSelector: {{matchLabels: {{app: api}}}}, policyTypes: [Ingress], ingress: [{bad}]"),
        ),
        policy("shop/good", "podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 80}]}]"),
    ]);
    scene.drops("world", API, Tcp(80));
    scene.passes(API, "world", Tcp(80));
    scene.passes("world", "shop/db", Tcp(80));
    scene.drops("world", "shop/db", Tcp(81));
    scene.passes("world", "other/db", Tcp(81));
    // A type that is none may have meant either direction.
    scene.put(&policy("shop/bad", "podSelector: {matchLabels: {app: api}}, policyTypes: [Ingres]"));
    scene.reports("shop/bad", "spec.policyTypes[0]");
    scene.drops("world", API, Tcp(80));
    scene.drops(API, "world", Tcp(80));
    scene.put(&policy("shop/bad", "podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress]"));
    scene.passes(API, "world", Tcp(80));
    scene.reports_nothing();
}

#[test]
#[ignore = "needs root and BPF"]
fn case_45_a_pod_selector_that_cannot_be_read_leaves_the_last_good_version_and_else_means_every_pod() {
    let ingress = format!("policyTypes: [Ingress], ingress: [{{from: [{WEB}]}}]");
    for selector in [
        "{matchExpressions: [{key: app, operator: Near, values: [api]}]}",
        "{matchLabels: {app: 1}}",
        "{matchLabels: {app: api}, matchSomethingNew: {tier: x}}",
        "api",
    ] {
        let bad = policy("shop/p", &format!("podSelector: {selector}, {ingress}"));
        Scene::both(|scene| {
            scene.put(&policy("shop/p", &format!("podSelector: {{matchLabels: {{app: api}}}}, {ingress}")));
            scene.allows("shop/web", Tcp(80));
            scene.denies("other/web", Tcp(80));
            scene.put(&bad);
            let said = scene.problems_of("NetworkPolicy", "shop/p");
            assert!(said.iter().any(|(field, _)| field.starts_with("spec.podSelector")), "{said:?}");
            scene.allows("shop/web", Tcp(80));
            scene.denies("other/web", Tcp(80));
            let (from, to) = match scene.side {
                crate::scene::Side::Ingress => ("world", "shop/db"),
                crate::scene::Side::Egress => ("shop/db", "world"),
            };
            scene.passes(from, to, Tcp(80));
            // It goes and comes again, with nothing to fall back on: every pod of its namespace, to whom it grants nothing.
            scene.remove(&bad);
            scene.allows("other/web", Tcp(80));
            scene.put(&bad);
            scene.denies("shop/web", Tcp(80));
            scene.denies("other/web", Tcp(80));
            scene.drops(from, to, Tcp(80));
            let (from, to) = match scene.side {
                crate::scene::Side::Ingress => ("world", "other/db"),
                crate::scene::Side::Egress => ("other/db", "world"),
            };
            scene.passes(from, to, Tcp(80));
            // Once it can be read again it is what it says.
            scene.put(&policy("shop/p", &format!("podSelector: {{matchLabels: {{app: api}}}}, {ingress}")));
            scene.reports_nothing();
            scene.allows("shop/web", Tcp(80));
        });
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_46_a_rule_with_a_field_that_is_not_known_grants_nothing() {
    let ports = "ports: [{port: 80}]";
    for (rule, field) in [
        (format!("{{from: [{WEB}], {ports}, fromNodes: []}}"), "fromNodes"),
        (format!("{{to: [{WEB}], {ports}, from: [{WEB}]}}"), "to"),
        (
            format!("{{from: [{WEB}, {{podSelector: {{}}, serviceAccounts: [a]}}], {ports}}}"),
            "from[1].serviceAccounts",
        ),
        (
            format!("{{from: [{WEB}, {{podSelector: {{matchFields: {{}}}}}}], {ports}}}"),
            "from[1].podSelector.matchFields",
        ),
        (
            format!(
                "{{from: [{WEB}, {{namespaceSelector: {{matchExpressions: [{{key: a, operator: Exists, deep: 1}}]}}}}], {ports}}}"
            ),
            "from[1].namespaceSelector.matchExpressions[0].deep",
        ),
        (
            format!("{{from: [{WEB}, {{ipBlock: {{cidr: 192.0.2.0/24, only: [192.0.2.1]}}}}], {ports}}}"),
            "from[1].ipBlock.only",
        ),
        (
            format!("{{from: [{WEB}], ports: [{{port: 80}}, {{port: 81, appProtocol: http}}]}}"),
            "ports[1].appProtocol",
        ),
    ] {
        let mut scene = Scene::with(&[rules("p", &format!("[{{from: [{WEB}], {ports}}}]"))]);
        scene.passes("shop/web", API, Tcp(80));
        let other = "{from: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 82}]}";
        scene.put(&rules("p", &format!("[{rule}, {other}]")));
        scene.reports("shop/p", &format!("spec.ingress[0].{field}"));
        for peer in ["shop/web", "192.0.2.9", "other/web", "shop/db"] {
            for port in [80, 81] {
                scene.drops(peer, API, Tcp(port));
            }
        }
        // The rule beside it is whole.
        scene.passes("shop/db", API, Tcp(82));
    }
    // In the spec itself it may narrow every rule.
    let selects = "podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress]";
    let rule = format!("ingress: [{{from: [{WEB}]}}, {{}}]");
    let mut scene = Scene::with(&[policy("shop/p", &format!("{selects}, {rule}, tier: admin"))]);
    scene.reports("shop/p", "spec.tier");
    scene.drops("shop/web", API, Tcp(80));
    scene.passes(API, "shop/web", Tcp(80));
    scene.put(&policy("shop/p", &format!("{selects}, {rule}")));
    scene.passes("shop/web", API, Tcp(80));
}

#[test]
#[ignore = "needs root and BPF"]
fn case_47_a_peer_that_is_empty_or_unknown_or_both_block_and_selector_matches_nothing() {
    Scene::both(|scene| {
        for (peer, field) in [
            ("{}", ""),
            ("{serviceAccountSelector: {}}", ".serviceAccountSelector"),
            ("{podSelector: null}", ""),
            ("{ipBlock: {cidr: 0.0.0.0/0}, podSelector: {}}", ""),
            ("{ipBlock: {cidr: 192.0.2.0/24}, namespaceSelector: {}}", ""),
            ("{ipBlock: {cidr: 10.1.0.0/16}, namespaceSelector: {}, podSelector: {}}", ""),
        ] {
            check(
                scene,
                &format!("[{{from: [{WEB}, {peer}], ports: [{{port: 80}}]}}]"),
                &format!("spec.ingress[0].from[1]{field}"),
                true,
            );
            // Alone it is nobody, and not anybody.
            check(
                scene,
                &format!("[{{from: [{peer}], ports: [{{port: 80}}]}}]"),
                &format!("spec.ingress[0].from[0]{field}"),
                false,
            );
        }
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_49_a_manifest_without_a_namespace_is_of_the_default_one_and_the_name_label_is_always_there() {
    let nameless = |manifest: Manifest| manifest.with(", namespace: default", "");
    let web = nameless(pod("default/web", 30, "app: web").elsewhere().manifest());
    let api = nameless(pod("default/api", 31, "app: api").manifest());
    let deny = nameless(policy(
        "default/p",
        "podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}]}]",
    ));
    Scene::both(|scene| {
        scene.put_all(&[web.clone(), api.clone()]);
        let ends = |peer, side| {
            if side == crate::scene::Side::Ingress { (peer, "default/api") } else { ("default/api", peer) }
        };
        let side = scene.side;
        let (from, to) = ends("shop/web", side);
        scene.passes(from, to, Tcp(80));
        scene.put(&deny);
        scene.reports_nothing();
        scene.drops(from, to, Tcp(80));
        let (from, to) = ends("default/web", side);
        scene.passes(from, to, Tcp(80));
        // The policy is not one of every namespace.
        scene.allows("world", Tcp(80));
        // A peer means it by the name that its Namespace does not say, or that has no Namespace at all.
        let by_name = "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}}";
        scene.put(&rules("p", &format!("[{{from: [{by_name}]}}]")));
        scene.allows("default/web", Tcp(80));
        scene.denies("shop/web", Tcp(80));
        scene.put(&object("v1", "Namespace", "/default", "", ""));
        scene.allows("default/web", Tcp(80));
        scene.denies("shop/web", Tcp(80));
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_51_a_file_that_is_no_yaml_keeps_its_objects_and_at_the_first_start_holds_everything_back() {
    let allow = rules("allow", &format!("[{{from: [{WEB}]}}]"));
    let broken = format!("{}---\n}}\n---\n", allow.text);
    let mut scene = Scene::empty();
    for manifest in cast().iter().chain([&rules("deny", "[]")]) {
        fs::write(scene.path(manifest), &manifest.text).unwrap();
    }
    fs::write(scene.path(&allow), &broken).unwrap();
    scene.settle();
    // Not ready, the file and the line are named, and nothing is written.
    let status = scene.status();
    assert!(!status.ready && status.revision == 0 && status.endpoints.is_empty(), "{status:?}");
    let [problem] = &scene.problems[..] else { panic!("{:?}", scene.problems) };
    let place = (problem.file.clone().unwrap(), problem.line.unwrap());
    assert_eq!(place, (scene.path(&allow), broken.lines().count() as u64 - 1), "{problem:?}");
    assert!(status.not_ready.iter().any(|why| why.contains(&allow.file)), "{:?}", status.not_ready);
    let api = netpol_policy::model::Key::new("shop", "api");
    assert_eq!(scene.local(&api), None);
    assert_eq!(scene.engine().store().policies().count(), 0);

    // It is corrected.
    scene.put(&allow);
    assert!(scene.status().ready, "{:?}", scene.status().not_ready);
    scene.reports_nothing();
    scene.passes("shop/web", API, Tcp(80));
    scene.drops("shop/db", API, Tcp(80));
    let open = scene.opens("shop/web", API, Tcp(80));

    // From then on what stood there before stays: of a policy, and of a pod that is a peer.
    let web = pod("shop/web", 2, "app: web").elsewhere().manifest();
    for manifest in [&allow, &web] {
        let broken = Manifest { text: format!("{}---\n}}\n", manifest.text), ..manifest.clone() };
        scene.put(&broken);
        assert!(scene.status().ready);
        let [problem] = &scene.problems[..] else { panic!("{:?}", scene.problems) };
        assert_eq!((problem.file.clone().unwrap(), problem.line.is_some()), (scene.path(manifest), true));
        scene.live(&open);
        scene.passes("shop/web", API, Tcp(80));
        scene.drops("shop/db", API, Tcp(80));
        // Others are heard of meanwhile.
        scene.put(&rules("more", "[{from: [{podSelector: {matchLabels: {app: db}}}]}]"));
        scene.passes("shop/db", API, Tcp(80));
        scene.remove(&rules("more", ""));
        scene.drops("shop/db", API, Tcp(80));
        scene.put(manifest);
        scene.reports_nothing();
    }
    scene.remove(&allow);
    scene.stop(&open);
}
