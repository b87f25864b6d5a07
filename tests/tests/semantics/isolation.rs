//! Cases 1 to 11: who is isolated, and how rules and policies add up.

use crate::{
    ask::API,
    manifest::policy,
    scene::{Scene, rules},
    sent::What::{Other, Ping, Sctp, Tcp, Udp},
};

/// Who may be at the other end.
const PEERS: [&str; 6] = ["shop/web", "shop/db", "other/web", "other/db", "world", "node"];

/// Something of every kind.
const EVERYTHING: [crate::sent::What; 6] = [Tcp(80), Tcp(65535), Udp(53), Sctp(9), Ping, Other(47)];

/// Everybody may say everything to the pod, and hear everything of it.
fn is_open(scene: &mut Scene) {
    for peer in PEERS {
        for what in EVERYTHING {
            scene.allows(peer, what);
        }
    }
}

/// Nobody may say anything in the scene's direction; the node's own traffic is a case of its own.
fn is_closed(scene: &mut Scene) {
    for peer in &PEERS[..5] {
        for what in EVERYTHING {
            scene.denies(peer, what);
        }
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_01_what_no_policy_selects_in_a_direction_is_open_there() {
    Scene::both(|scene| {
        is_open(scene);
        // Policies of others, and of another namespace, isolate the neighbours and not this pod.
        scene.put(&policy("shop/db", "podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]"));
        scene.put(&policy("other/all", "podSelector: {}, policyTypes: [Ingress]"));
        is_open(scene);
        scene.put(&policy("shop/all", "podSelector: {}, policyTypes: [Ingress]"));
        is_closed(scene);
    });
    // Isolated in one direction only, it is open in the other.
    let mut scene = Scene::with(&[rules("deny", "[]")]);
    for what in EVERYTHING {
        scene.drops("shop/web", API, what);
        scene.passes(API, "shop/web", what);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_02_no_rules_deny_everything_whether_the_list_is_empty_or_missing() {
    let spec = "podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress]";
    Scene::both(|scene| {
        for rules in ["", ", ingress: []", ", ingress: null"] {
            is_open(scene);
            let deny = policy("shop/deny", &format!("{spec}{rules}"));
            scene.put(&deny);
            scene.reports_nothing();
            is_closed(scene);
            scene.remove(&deny);
            is_open(scene);
        }
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_03_an_empty_rule_allows_everything() {
    Scene::both(|scene| {
        scene.put(&rules("deny", "[]"));
        is_closed(scene);
        let all = rules("all", "[{}]");
        scene.put(&all);
        scene.reports_nothing();
        is_open(scene);
        scene.remove(&all);
        is_closed(scene);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_04_a_rule_without_peers_is_for_any_peer() {
    Scene::both(|scene| {
        for peers in ["", "from: [], ", "from: null, "] {
            scene.put(&rules("web", &format!("[{{{peers}ports: [{{port: 80}}]}}]")));
            scene.reports_nothing();
            for peer in PEERS {
                scene.allows(peer, Tcp(80));
            }
            for peer in &PEERS[..5] {
                scene.denies(peer, Tcp(81));
                scene.denies(peer, Udp(80));
            }
        }
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_05_a_peer_selector_that_matches_no_pod_now_is_nobody() {
    Scene::both(|scene| {
        for selector in [
            "podSelector: {matchLabels: {app: late}}",
            "namespaceSelector: {matchLabels: {team: green}}",
            "namespaceSelector: {matchLabels: {team: green}}, podSelector: {}",
        ] {
            scene.put(&rules("late", &format!("[{{from: [{{{selector}}}]}}]")));
            is_closed(scene);
        }
        // It is whom it says as soon as there is one.
        scene.put(&rules("late", "[{from: [{podSelector: {matchLabels: {app: late}}}]}]"));
        is_closed(scene);
        scene.put(&crate::manifest::pod("shop/late", 9, "app: late").elsewhere().manifest());
        scene.allows("shop/late", Tcp(80));
        is_closed(scene);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_06_a_rule_without_ports_is_for_every_port_and_every_protocol() {
    Scene::both(|scene| {
        for ports in ["", ", ports: []", ", ports: null"] {
            scene.put(&rules("web", &format!("[{{from: [{{podSelector: {{}}}}]{ports}}}]")));
            scene.reports_nothing();
            for what in EVERYTHING {
                scene.allows("shop/web", what);
                scene.allows("shop/db", what);
                scene.denies("other/web", what);
            }
            scene.put(&rules("web", "[{from: [{podSelector: {}}], ports: [{port: 80}]}]"));
            for what in &EVERYTHING[1..] {
                scene.denies("shop/web", *what);
            }
        }
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_07_without_policy_types_ingress_always_and_egress_only_with_an_egress_rule() {
    let selects = "podSelector: {matchLabels: {app: api}}";
    // Nothing more than the selector: all ingress is denied, egress is open.
    for (types, egress) in [("", ""), (", policyTypes: []", ""), ("", ", egress: []"), ("", ", egress: null")]
    {
        let mut scene = Scene::with(&[policy("shop/p", &format!("{selects}{types}{egress}"))]);
        scene.reports_nothing();
        is_closed(&mut scene);
        for what in EVERYTHING {
            scene.passes(API, "shop/web", what);
            scene.passes(API, "world", what);
        }
    }
    // With an egress rule both, so that an egress-only policy also denies all ingress.
    let mut scene = Scene::with(&[]);
    is_open(&mut scene);
    scene.put(&policy("shop/p", &format!("{selects}, egress: [{{ports: [{{port: 80}}]}}]")));
    is_closed(&mut scene);
    scene.passes(API, "shop/web", Tcp(80));
    scene.drops(API, "shop/web", Tcp(81));
    // With ingress rules egress stays open.
    scene.put(&policy("shop/p", &format!("{selects}, ingress: [{{ports: [{{port: 80}}]}}]")));
    scene.passes("shop/web", API, Tcp(80));
    scene.drops("shop/web", API, Tcp(81));
    scene.passes(API, "shop/web", Tcp(81));
}

#[test]
#[ignore = "needs root and BPF"]
fn case_08_rules_of_a_direction_that_policy_types_do_not_name_are_ignored() {
    let rule = "[{ports: [{port: 80}]}]";
    let selects = "podSelector: {matchLabels: {app: api}}";
    let mut scene =
        Scene::with(&[policy("shop/p", &format!("{selects}, policyTypes: [Egress], ingress: {rule}"))]);
    // Ingress is not isolated, egress is, and the rule for ingress allows nothing there.
    is_open(&mut scene);
    scene.drops(API, "shop/web", Tcp(80));
    // Nor do the ignored rules add to another policy.
    scene.put(&rules("deny", "[]"));
    is_closed(&mut scene);
    scene.put(&policy("shop/p", &format!("{selects}, policyTypes: [Ingress], ingress: {rule}")));
    scene.passes("shop/web", API, Tcp(80));
    scene.passes(API, "shop/web", Tcp(80));
    // The other way round.
    scene.put(&policy("shop/p", &format!("{selects}, policyTypes: [Ingress], egress: {rule}")));
    is_closed(&mut scene);
    scene.passes(API, "shop/web", Tcp(81));
}

#[test]
#[ignore = "needs root and BPF"]
fn case_09_several_policies_are_a_union_in_whatever_order_they_come() {
    let all = [
        rules("deny", "[]"),
        rules("web", "[{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}]"),
        rules("db", "[{from: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 81}]}]"),
        rules("any", "[{ports: [{port: 82}]}]"),
    ];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        Scene::both(|scene| {
            for n in order {
                scene.put(&all[n]);
            }
            for (peer, port, passes) in [
                ("shop/web", 80, true),
                ("shop/web", 81, false),
                ("shop/web", 82, true),
                ("shop/db", 80, false),
                ("shop/db", 81, true),
                ("shop/db", 82, true),
                ("world", 80, false),
                ("world", 82, true),
                ("other/web", 80, false),
                ("other/web", 82, true),
            ] {
                scene.answers(peer, Tcp(port), passes);
            }
            // Each takes with it what only it allowed.
            scene.remove(&all[1]);
            scene.denies("shop/web", Tcp(80));
            scene.allows("shop/db", Tcp(81));
            scene.remove(&all[3]);
            scene.denies("world", Tcp(82));
            scene.remove(&all[2]);
            is_closed(scene);
            scene.remove(&all[0]);
            is_open(scene);
        });
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_10_both_ends_must_allow() {
    let receives =
        rules("in", "[{from: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 80}, {port: 81}]}]");
    let sends = policy(
        "shop/out",
        "podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], \
         egress: [{to: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 81}, {port: 82}]}]",
    );
    let ports = [80, 81, 82, 83];
    let mut scene = Scene::with(&[]);
    for (present, passes) in [
        ([false, false], [true, true, true, true]),
        ([true, false], [true, true, false, false]),
        ([true, true], [false, true, false, false]),
        ([false, true], [false, true, true, false]),
    ] {
        for (policy, present) in [&receives, &sends].into_iter().zip(present) {
            if present {
                scene.put(policy);
            } else if scene.path(policy).exists() {
                scene.remove(policy);
            }
        }
        for (port, passes) in ports.into_iter().zip(passes) {
            scene.asks("shop/db", API, Tcp(port), passes);
        }
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_11_the_ports_of_one_rule_are_not_those_of_another() {
    Scene::both(|scene| {
        let web = "{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}";
        let db = "{from: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 81, protocol: UDP}]}";
        let bare = "{from: [{namespaceSelector: {matchLabels: {team: red}}}]}";
        scene.put(&rules("p", &format!("[{web}, {db}, {bare}]")));
        scene.allows("shop/web", Tcp(80));
        scene.allows("shop/db", Udp(81));
        for what in [Udp(81), Tcp(81), Udp(80)] {
            scene.denies("shop/web", what);
        }
        for what in [Tcp(80), Tcp(81), Udp(80)] {
            scene.denies("shop/db", what);
        }
        scene.denies("shop/web", Ping);
        scene.allows("other/web", Ping);
        scene.allows("other/web", Tcp(7));
        // As two policies it is the same.
        scene.put_all(&[rules("p", &format!("[{web}]")), rules("q", &format!("[{db}]"))]);
        scene.denies("shop/web", Udp(81));
        scene.denies("shop/db", Tcp(80));
        scene.allows("shop/db", Udp(81));
        // In one rule they do cross.
        let one = "{from: [{podSelector: {matchLabels: {app: web}}}, {podSelector: {matchLabels: {app: db}}}], \
                   ports: [{port: 80}, {port: 81, protocol: UDP}]}";
        scene.put_all(&[rules("p", &format!("[{one}]")), rules("q", "[]")]);
        scene.allows("shop/web", Udp(81));
        scene.allows("shop/db", Tcp(80));
    });
}
