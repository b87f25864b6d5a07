//! Cases 26 to 31: blocks of addresses.

use crate::{
    manifest::Manifest,
    scene::{Scene, rules},
    sent::What::{Ping, Tcp, Udp},
};

/// A policy whose only rule has these peers.
fn peers(list: &str) -> Manifest {
    rules("p", &format!("[{{from: [{list}]}}]"))
}

/// Each address by itself.
#[track_caller]
fn each(scene: &mut Scene, asked: &[(&str, bool)]) {
    for (address, passes) in asked {
        scene.answers(address, Tcp(80), *passes);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn case_26_except_subtracts_from_its_own_block_only() {
    let block = "{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.8/30, 192.0.2.77/32]}}";
    let six = "{ipBlock: {cidr: \"2001:db8::/64\", except: [\"2001:db8::8/126\"]}}";
    let hole = [("192.0.2.9", false), ("2001:db8::9", false)];
    Scene::both(|scene| {
        each(scene, &[("192.0.2.9", true), ("2001:db8::9", true)]);
        scene.put(&peers(&format!("{block}, {six}")));
        each(
            scene,
            &[
                ("192.0.2.7", true),
                ("192.0.2.8", false),
                ("192.0.2.11", false),
                ("192.0.2.12", true),
                ("192.0.2.77", false),
                ("192.0.3.1", false),
                ("2001:db8::7", true),
                ("2001:db8::8", false),
                ("2001:db8::b", false),
                ("2001:db8::c", true),
                ("2001:db8:0:1::1", false),
            ],
        );
        // Another peer, another rule, another policy may still allow what it leaves out.
        let more = "{ipBlock: {cidr: 192.0.2.9/32}}, {ipBlock: {cidr: \"2001:db8::9/128\"}}";
        let open = [("192.0.2.9", true), ("2001:db8::9", true), ("192.0.2.10", false), ("192.0.2.7", true)];
        scene.put(&peers(&format!("{block}, {six}, {more}")));
        each(scene, &open);
        scene.put(&rules("p", &format!("[{{from: [{block}, {six}]}}, {{from: [{more}]}}]")));
        each(scene, &open);
        scene.put(&peers(&format!("{block}, {six}")));
        each(scene, &hole);
        let other = rules("q", &format!("[{{from: [{more}]}}]"));
        scene.put(&other);
        each(scene, &open);
        scene.remove(&other);
        each(scene, &hole);
        // The whole block again, by its other half and by itself.
        scene.put(&rules("q", "[{from: [{ipBlock: {cidr: 192.0.0.0/16}}], ports: [{port: 80}]}]"));
        each(scene, &[("192.0.2.9", true), ("2001:db8::9", false)]);
        scene.denies("192.0.2.9", Udp(80));
        scene.allows("192.0.2.7", Udp(80));
        // A pod in the hole, whom a selector means.
        scene.put(&rules("q", "[{from: [{podSelector: {matchLabels: {app: web}}}]}]"));
        scene.put(&peers("{ipBlock: {cidr: 10.1.0.0/16, except: [10.1.0.0/24]}}"));
        each(scene, &[("10.1.0.2", true), ("10.1.0.3", false), ("10.1.1.1", true)]);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_27_overlapping_blocks_with_different_ports_are_the_union_of_all_that_hold_the_address() {
    let rule = |cidr: &str, port: u16| {
        format!("{{from: [{{ipBlock: {{cidr: \"{cidr}\"}}}}], ports: [{{port: {port}}}]}}")
    };
    let blocks = [
        ("192.0.0.0/16", 80),
        ("192.0.2.0/24", 81),
        ("192.0.2.8/30", 82),
        ("0.0.0.0/0", 83),
        ("2001:db8::/32", 80),
        ("2001:db8::/64", 81),
        ("2001:db8::8/126", 82),
        ("::/0", 83),
    ];
    let asked = [
        ("192.0.2.9", [true, true, true, true]),
        ("192.0.2.77", [true, true, false, true]),
        ("192.0.77.1", [true, false, false, true]),
        ("198.51.100.1", [false, false, false, true]),
        ("2001:db8::9", [true, true, true, true]),
        ("2001:db8::77", [true, true, false, true]),
        ("2001:db8:1::1", [true, false, false, true]),
        ("2001:db9::1", [false, false, false, true]),
    ];
    let check = |scene: &mut Scene, without: Option<u16>| {
        for (address, passes) in asked {
            for (port, passes) in (80..84).zip(passes) {
                scene.answers(address, Tcp(port), passes && without != Some(port));
            }
        }
    };
    Scene::both(|scene| {
        // As rules of one policy, the widest first and last; and as policies of their own.
        let mut list: Vec<String> = blocks.iter().map(|(cidr, port)| rule(cidr, *port)).collect();
        scene.put(&rules("p", &format!("[{}]", list.join(", "))));
        check(scene, None);
        list.reverse();
        scene.put(&rules("p", &format!("[{}]", list.join(", "))));
        check(scene, None);
        let own: Vec<Manifest> = blocks
            .iter()
            .enumerate()
            .map(|(n, (cidr, port))| rules(&format!("q{n}"), &format!("[{}]", rule(cidr, *port))))
            .collect();
        scene.put_all(&own);
        scene.remove(&rules("p", ""));
        check(scene, None);
        // One of them goes, and takes only its own port along.
        scene.remove(&own[1]);
        scene.remove(&own[5]);
        check(scene, Some(81));
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_28_a_block_with_host_bits_is_masked_and_those_that_are_then_the_same_are_merged() {
    let rule = |cidr: &str, port: u16| {
        format!("{{from: [{{ipBlock: {{cidr: \"{cidr}\"}}}}], ports: [{{port: {port}}}]}}")
    };
    Scene::both(|scene| {
        scene.put(&peers(
            "{ipBlock: {cidr: 192.0.2.77/24, except: [192.0.2.9/30]}}, \
             {ipBlock: {cidr: \"2001:db8::77/64\", except: [\"2001:db8::9/126\"]}}",
        ));
        scene.reports_nothing();
        each(
            scene,
            &[
                ("192.0.2.1", true),
                ("192.0.2.255", true),
                ("192.0.3.77", false),
                ("192.0.2.8", false),
                ("192.0.2.11", false),
                ("192.0.2.12", true),
                ("2001:db8::1", true),
                ("2001:db8::8", false),
                ("2001:db8::c", true),
                ("2001:db8:0:1::77", false),
            ],
        );
        let (one, two) = (
            rules("p", &format!("[{}, {}]", rule("192.0.2.1/24", 80), rule("2001:db8::1/64", 80))),
            rules("q", &format!("[{}, {}]", rule("192.0.2.200/24", 81), rule("2001:db8::200/64", 81))),
        );
        scene.put_all(&[one.clone(), two]);
        for address in ["192.0.2.9", "192.0.2.200", "2001:db8::9"] {
            scene.allows(address, Tcp(80));
            scene.allows(address, Tcp(81));
            scene.denies(address, Tcp(82));
        }
        scene.remove(&one);
        for address in ["192.0.2.9", "2001:db8::9"] {
            scene.denies(address, Tcp(80));
            scene.allows(address, Tcp(81));
        }
        // One that comes later, with an exception of its own.
        scene.put(&rules(
            "r",
            "[{from: [{ipBlock: {cidr: 192.0.2.3/24, except: [192.0.2.8/30]}}], ports: [{port: 82}]}]",
        ));
        for (address, passes) in [("192.0.2.9", false), ("192.0.2.77", true)] {
            scene.answers(address, Tcp(82), passes);
            scene.allows(address, Tcp(81));
        }
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_29_a_block_that_holds_addresses_of_pods_means_them_too() {
    Scene::both(|scene| {
        let blocks = "{ipBlock: {cidr: 10.1.0.0/30}}, {ipBlock: {cidr: \"fd01::/126\"}}";
        scene.put(&peers(blocks));
        // 1 to 3 are in it; pods here and elsewhere.
        for (peer, passes) in [
            ("shop/web", true),
            ("shop/db", true),
            ("other/web", false),
            ("other/db", false),
            ("world", false),
        ] {
            for what in [Tcp(80), Ping] {
                scene.answers(peer, what, passes);
            }
        }
        // Beside a selector that means one of them for another port.
        let db = "{from: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 81}]}";
        scene.put(&rules("p", &format!("[{{from: [{blocks}], ports: [{{port: 80}}]}}, {db}]")));
        scene.allows("shop/db", Tcp(80));
        scene.allows("shop/db", Tcp(81));
        scene.allows("shop/web", Tcp(80));
        scene.denies("shop/web", Tcp(81));
        // A block that comes when the pod is known already, and that goes again.
        let wider = "{ipBlock: {cidr: 10.1.0.0/29}}, {ipBlock: {cidr: \"fd01::/125\"}}";
        let late = rules("late", &format!("[{{from: [{wider}], ports: [{{port: 82}}]}}]"));
        for passes in [true, false] {
            if passes {
                scene.put(&late);
            } else {
                scene.remove(&late);
            }
            for peer in ["shop/db", "shop/web"] {
                scene.answers(peer, Tcp(82), passes);
                scene.allows(peer, Tcp(80));
            }
        }
        // A pod that comes later, and one of the host's network.
        scene.put(&peers("{ipBlock: {cidr: 10.1.9.0/24}}, {ipBlock: {cidr: 172.16.0.0/30}}"));
        let late = crate::manifest::pod("other/late", 9, "app: late").at(&["10.1.9.9"]).elsewhere();
        scene.put(&late.manifest());
        scene.allows("other/late", Tcp(80));
        scene.allows("172.16.0.2", Tcp(80));
        scene.denies("shop/web", Tcp(80));
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_30_each_family_has_its_own_everything() {
    let four = ["192.0.2.9", "10.1.0.2", "10.1.0.3", "255.1.2.3"];
    let six = ["2001:db8::9", "fd01::2", "fd01::3"];
    Scene::both(|scene| {
        for (cidr, v4, v6) in [("0.0.0.0/0", true, false), ("::/0", false, true)] {
            scene.put(&peers(&format!("{{ipBlock: {{cidr: \"{cidr}\"}}}}")));
            each(scene, &four.map(|address| (address, v4)));
            each(scene, &six.map(|address| (address, v6)));
        }
        scene.put(&peers("{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: \"::/0\"}}"));
        each(scene, &four.map(|address| (address, true)));
        each(scene, &six.map(|address| (address, true)));
        // An exception of one says nothing of the other.
        scene.put(&peers("{ipBlock: {cidr: 0.0.0.0/0, except: [0.0.0.0/1]}}, {ipBlock: {cidr: \"::/0\"}}"));
        each(scene, &[("192.0.2.9", true), ("10.1.0.2", false), ("2001:db8::9", true)]);
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_31_an_ipv4_mapped_block_is_its_ipv4_and_what_cannot_be_read_never_widens() {
    Scene::both(|scene| {
        for (mapped, asked) in [
            ("::ffff:192.0.2.0/120", [true, false, false]),
            ("::ffff:c000:200/120", [true, false, false]),
            ("::ffff:192.0.2.77/120", [true, false, false]),
            ("::ffff:192.0.2.9/128", [true, false, false]),
            ("::ffff:0:0/96", [true, true, false]),
            // Shorter than the family's own prefix it is a block of IPv6, in which no IPv4 address lies.
            ("::ffff:192.0.2.0/95", [false, false, false]),
            ("::/8", [false, false, false]),
        ] {
            scene.put(&peers(&format!("{{ipBlock: {{cidr: \"{mapped}\"}}}}")));
            scene.reports_nothing();
            each(scene, &[("192.0.2.9", asked[0]), ("198.51.100.1", asked[1]), ("2001:db8::9", asked[2])]);
        }
        scene.put(&peers("{ipBlock: {cidr: 192.0.2.0/24, except: [\"::ffff:192.0.2.8/126\"]}}"));
        scene.reports_nothing();
        each(scene, &[("192.0.2.9", false), ("192.0.2.12", true)]);
        for bad in [
            "192.0.2.0/33",
            "192.0.2.0",
            "192.0.2.0/",
            "192.0.2/24",
            "192.0.2.0/024",
            "010.0.0.0/8",
            "0/0",
            "/0",
            "::/129",
            "2001:db8::/x",
            "::ffff:192.0.2.0",
            "",
            "all",
        ] {
            scene.put(&peers(&format!("{{ipBlock: {{cidr: \"{bad}\"}}}}")));
            scene.reports("shop/p", "spec.ingress[0].from[0].ipBlock.cidr");
            each(
                scene,
                &[("192.0.2.9", false), ("10.1.0.2", false), ("2001:db8::9", false), ("fd01::2", false)],
            );
        }
    });
}
