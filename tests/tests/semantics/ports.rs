//! Cases 20 to 25: which ports a rule means, by number, by name and behind a Service.

use crate::{
    ask::API,
    led::Frontend,
    manifest::{Manifest, pod, policy, service, slice},
    scene::{Scene, rules},
    sent::What::{Other, Ping, Sctp, Tcp, Udp},
};

/// A policy whose only rule has these ports and any peer.
fn ports(list: &str) -> Manifest {
    rules("p", &format!("[{{ports: [{list}]}}]"))
}

/// A policy of egress for `shop/api` with one rule.
fn egress(rule: &str) -> Manifest {
    let spec = "podSelector: {matchLabels: {app: api}}, policyTypes: [Egress]";
    policy("shop/out", &format!("{spec}, egress: [{rule}]"))
}

#[test]
#[ignore = "needs root and BPF"]
fn case_20_without_a_protocol_a_port_is_tcps() {
    Scene::both(|scene| {
        scene.put(&ports("{port: 80}"));
        scene.allows("shop/web", Tcp(80));
        for what in [Udp(80), Sctp(80), Tcp(81), Ping, Other(47)] {
            scene.denies("shop/web", what);
        }
        scene.put(&ports("{port: 80, endPort: 90}, {port: 7, protocol: null}"));
        scene.allows("shop/web", Tcp(85));
        scene.allows("shop/web", Tcp(7));
        scene.denies("shop/web", Udp(85));
        scene.denies("shop/web", Sctp(7));
        // Neither protocol nor port: every port of TCP.
        scene.put(&ports("{}"));
        scene.reports_nothing();
        scene.allows("shop/web", Tcp(1));
        scene.allows("shop/web", Tcp(65535));
        for what in [Udp(80), Sctp(80), Ping] {
            scene.denies("shop/web", what);
        }
        scene.put(&ports("{port: 80}, {port: 80, protocol: UDP}, {port: 80, protocol: SCTP}"));
        for what in [Tcp(80), Udp(80), Sctp(80)] {
            scene.allows("shop/web", what);
        }
    });
    // A name without a protocol is a TCP port too.
    let web = pod("shop/web", 2, "app: web").elsewhere();
    let mut scene = Scene::with(&[
        web.ports("{name: a, containerPort: 53}, {name: a, containerPort: 54, protocol: UDP}").manifest(),
        egress("{ports: [{port: a}]}"),
    ]);
    scene.passes(API, "shop/web", Tcp(53));
    for what in [Udp(54), Udp(53), Tcp(54)] {
        scene.drops(API, "shop/web", what);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_21_a_protocol_without_a_port_is_every_port_of_it() {
    Scene::both(|scene| {
        let of = |port: u16| [("TCP", Tcp(port)), ("UDP", Udp(port)), ("SCTP", Sctp(port))];
        for name in ["TCP", "UDP", "SCTP"] {
            scene.put(&ports(&format!("{{protocol: {name}}}")));
            for (protocol, what) in [1, 80, 32_768, 65_535].into_iter().flat_map(of) {
                scene.answers("shop/web", what, protocol == name);
            }
            scene.denies("shop/web", Ping);
        }
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_22a_a_named_port_is_looked_up_on_the_destination_pod_with_its_protocol() {
    let http = |number| format!("{{name: http, containerPort: {number}}}");
    let dns = "{name: dns, containerPort: 53, protocol: UDP}, {name: dns, containerPort: 5353}";
    let mut scene = Scene::with(&[
        pod("shop/web", 2, "app: web").elsewhere().ports(&http(80)).manifest(),
        pod("shop/db", 3, "app: db").ports(&http(8080)).manifest(),
        pod("other/web", 4, "app: web").elsewhere().ports(dns).manifest(),
        // One that runs first and is gone, one that keeps running beside the others.
        pod("other/db", 5, "app: db")
            .spec(
                "initContainers: [{name: setup, ports: [{name: http, containerPort: 90}]}, \
                 {name: sidecar, restartPolicy: Always, ports: [{name: http, containerPort: 91}]}]",
            )
            .manifest(),
    ]);
    for to in ["shop/web", "shop/db", "other/web", "other/db"] {
        scene.passes(API, to, Tcp(80));
    }
    scene.put(&egress("{ports: [{port: http}, {port: dns, protocol: UDP}]}"));
    for (to, open) in [
        ("shop/web", &[Tcp(80)][..]),
        ("shop/db", &[Tcp(8080)]),
        ("other/web", &[Udp(53)]),
        ("other/db", &[Tcp(91)]),
        ("shop/bare", &[]),
    ] {
        for what in
            [Tcp(80), Tcp(8080), Tcp(90), Tcp(91), Udp(80), Sctp(80), Udp(53), Tcp(53), Tcp(5353), Ping]
        {
            scene.asks(API, to, what, open.contains(&what));
        }
    }
    // What the pod says changes.
    scene.put(&pod("shop/web", 2, "app: web").elsewhere().ports(&http(81)).manifest());
    scene.passes(API, "shop/web", Tcp(81));
    scene.drops(API, "shop/web", Tcp(80));
}

#[test]
#[ignore = "needs root and BPF"]
fn case_22b_on_ingress_a_name_is_looked_up_on_each_pod_that_the_policy_selects() {
    let http = |number| format!("{{name: http, containerPort: {number}}}");
    let all =
        policy("shop/in", "podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: http}]}]");
    let mut scene = Scene::with(&[
        pod("shop/api", 1, "app: api").ports(&http(80)).manifest(),
        pod("shop/db", 3, "app: db").ports(&http(8080)).manifest(),
        pod("shop/plain", 7, "app: plain").manifest(),
    ]);
    scene.passes("shop/web", "shop/plain", Tcp(80));
    scene.put(&all);
    for (to, open) in [("shop/api", 80), ("shop/db", 8080), ("shop/plain", 0)] {
        for port in [80, 8080] {
            if port == open {
                scene.passes("shop/web", to, Tcp(port));
                scene.passes("world", to, Tcp(port));
            } else {
                scene.drops("shop/web", to, Tcp(port));
            }
            scene.drops("shop/web", to, Udp(port));
        }
    }
}

/// Every form that the peers of a rule can have; `PEERS` stands for `from` or `to`.
const FORMS: [&str; 6] = [
    "",
    "PEERS: [{podSelector: {matchLabels: {app: web}}}], ",
    "PEERS: [{namespaceSelector: {}}], ",
    "PEERS: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}], ",
    "PEERS: [{ipBlock: {cidr: 10.1.0.0/16}}, {ipBlock: {cidr: \"fd01::/64\"}}], ",
    "PEERS: [{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: \"::/0\"}}], ",
];

#[test]
#[ignore = "needs root and BPF"]
fn case_23a_a_name_is_looked_up_on_the_destination_whatever_form_the_peer_has() {
    let http = |number| format!("{{name: http, containerPort: {number}}}");
    let mut scene = Scene::with(&[
        pod("shop/web", 2, "app: web").elsewhere().ports(&http(80)).manifest(),
        pod("shop/named", 8, "app: web").elsewhere().ports(&http(8080)).manifest(),
        pod("shop/unnamed", 9, "app: web").elsewhere().manifest(),
    ]);
    for to in ["shop/web", "shop/named", "shop/unnamed", "world"] {
        scene.passes(API, to, Tcp(80));
    }
    for peers in FORMS {
        scene.put(&egress(&format!("{{{}ports: [{{port: http}}]}}", peers.replace("PEERS", "to"))));
        for (to, open) in [("shop/web", 80), ("shop/named", 8080), ("shop/unnamed", 0), ("world", 0)] {
            for port in [80, 8080] {
                scene.asks(API, to, Tcp(port), port == open);
            }
        }
        // By number the same peers are allowed: it is the name that leads nowhere.
        scene.put(&egress(&format!("{{{}ports: [{{port: 80}}]}}", peers.replace("PEERS", "to"))));
        scene.passes(API, "shop/unnamed", Tcp(80));
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_23b_on_ingress_a_name_is_the_selected_pods_also_for_a_peer_that_is_no_pod() {
    let http = |number| format!("{{name: http, containerPort: {number}}}");
    let mut scene = Scene::with(&[
        pod("shop/api", 1, "app: api").ports(&http(80)).manifest(),
        pod("shop/web", 2, "app: web").elsewhere().ports(&http(8080)).manifest(),
    ]);
    for peers in FORMS {
        scene.put(&rules("in", &format!("[{{{}ports: [{{port: http}}]}}]", peers.replace("PEERS", "from"))));
        scene.passes("shop/web", API, Tcp(80));
        scene.drops("shop/web", API, Tcp(8080));
        if peers.is_empty() || peers.contains("::/0") {
            scene.passes("world", API, Tcp(80));
            scene.drops("world", API, Tcp(8080));
        } else {
            scene.drops("world", API, Tcp(80));
        }
    }
    scene.put(&pod("shop/api", 1, "app: api").manifest());
    scene.drops("shop/web", API, Tcp(80));
}

#[test]
#[ignore = "needs root and BPF"]
fn case_24_a_range_of_ports_has_both_its_ends() {
    Scene::both(|scene| {
        scene.put(&ports("{port: 8000, endPort: 8010}"));
        for (port, passes) in
            [(7999, false), (8000, true), (8005, true), (8010, true), (8011, false), (80, false)]
        {
            scene.answers("shop/web", Tcp(port), passes);
            scene.denies("shop/web", Udp(port));
        }
        scene.put(&ports("{port: 80, endPort: 80}, {port: 65535, endPort: 65535}, {port: 1, endPort: 1}"));
        for (port, passes) in
            [(1, true), (2, false), (79, false), (80, true), (81, false), (65534, false), (65535, true)]
        {
            scene.answers("shop/web", Tcp(port), passes);
        }
        // More ranges than an entry holds, across the borders of its chunks.
        let many: Vec<String> = (0_u32..12)
            .map(|n| format!("{{port: {}, endPort: {}, protocol: UDP}}", 500 + 1024 * n, 600 + 1024 * n))
            .collect();
        scene.put(&ports(&many.join(", ")));
        for n in [0, 5, 11] {
            for (port, passes) in
                [(499, false), (500, true), (511, true), (512, true), (600, true), (601, false)]
            {
                let what = Udp(port + 1024 * n);
                scene.answers("shop/web", what, passes);
                scene.denies("shop/web", Tcp(port + 1024 * n));
            }
        }
    });
}

// With real packets: wire/services.rs, rules_speak_of_the_backends_port.
#[test]
#[ignore = "needs root and BPF"]
fn case_25_rules_speak_of_the_backend_and_never_of_the_cluster_ip() {
    const WEB: Frontend = ["10.96.0.10", "fd96::10"];
    let web = service("shop/web", WEB, "{port: 80, targetPort: 8080}");
    let to = "{port: 8080}";
    let (four, six) =
        (slice("shop/web-4", "web", &["10.1.0.2"], to), slice("shop/web-6", "web", &["fd01::2"], to));
    let mut scene = Scene::with(&[web, egress("{ports: [{port: 8080}]}")]);
    // Nothing stands behind it yet.
    scene.leads(API, WEB, Tcp(80), &[]);
    scene.put_all(&[four, six]);
    scene.leads(API, WEB, Tcp(80), &[("shop/web", 8080, true)]);
    scene.put(&egress("{}"));
    scene.leads(API, WEB, Tcp(80), &[("shop/web", 8080, true)]);
    for (rule, passes) in [
        // The backend's port, not the Service's.
        ("{ports: [{port: 8080}]}", true),
        ("{ports: [{port: 80}]}", false),
        ("{to: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}]}", true),
        ("{to: [{podSelector: {matchLabels: {app: db}}}]}", false),
        // The backend's address, not the ClusterIP.
        ("{to: [{ipBlock: {cidr: 10.1.0.2/32}}, {ipBlock: {cidr: \"fd01::2/128\"}}]}", true),
        ("{to: [{ipBlock: {cidr: 10.96.0.10/32}}, {ipBlock: {cidr: \"fd96::10/128\"}}]}", false),
        (
            "{to: [{ipBlock: {cidr: 10.96.0.0/16}}, {ipBlock: {cidr: \"fd96::/112\"}}], ports: [{port: 80}]}",
            false,
        ),
        (
            "{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.96.0.0/16]}}, \
             {ipBlock: {cidr: \"::/0\", except: [\"fd96::/112\"]}}]}",
            true,
        ),
        (
            "{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.1.0.2/32]}}, \
             {ipBlock: {cidr: \"::/0\", except: [\"fd01::2/128\"]}}]}",
            false,
        ),
    ] {
        scene.put(&egress(rule));
        scene.leads(API, WEB, Tcp(80), &[("shop/web", 8080, passes)]);
    }

    // The backends move: a flow goes by those that stand there now.
    scene.put(&egress("{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 9090}]}"));
    scene.leads(API, WEB, Tcp(80), &[("shop/web", 8080, false)]);
    scene.put_all(&[
        slice("shop/web-4", "web", &["10.1.0.3"], "{port: 9090}"),
        slice("shop/web-6", "web", &["fd01::3"], "{port: 9090}"),
    ]);
    scene.time_passes();
    scene.leads(API, WEB, Tcp(80), &[("shop/db", 9090, true)]);

    // The backend's own ingress is asked at its port, too.
    let db = |rule: &str| {
        let spec = "podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]";
        policy("shop/db", &format!("{spec}, ingress: [{rule}]"))
    };
    scene.put(&db("{ports: [{port: 80}]}"));
    scene.leads(API, WEB, Tcp(80), &[("shop/db", 9090, false)]);
    scene.put(&db("{from: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 9090}]}"));
    scene.leads(API, WEB, Tcp(80), &[("shop/db", 9090, true)]);

    // An address of the range that no Service has is closed, whatever block covers it.
    scene.put(&egress("{to: [{ipBlock: {cidr: 10.96.0.0/16}}, {ipBlock: {cidr: 192.0.2.0/24}}]}"));
    let (api, nobody) = (scene.end(API), scene.end("10.96.0.99"));
    let asked = crate::sent::Sent::of_flow(
        Tcp(80),
        crate::sent::Step::Opens,
        netpol_tests::kernel::craft::at(api.address(true).unwrap(), 4000),
        netpol_tests::kernel::craft::at(nobody.address(true).unwrap(), 80),
    );
    assert!(!scene.walks(&api, &nobody, &asked).passes);
    scene.passes(API, "192.0.2.9", Tcp(80));
}
