//! Case 41: fragments, in order and out of order.

use std::sync::atomic::{AtomicU16, Ordering};

use netpol_tests::kernel::craft::at;

use crate::{
    ask::API,
    packets::both_ways,
    scene::{Scene, Side, rules},
    sent::Sent,
};

/// Nothing else may have had the identification in this process: the kernel remembers.
static IDENTIFICATIONS: AtomicU16 = AtomicU16::new(1);

// With real packets, counted at the socket: wire/fragments.rs, fragments_follow_their_first_*.
#[test]
#[ignore = "needs root and BPF"]
fn case_41a_later_fragments_follow_their_first_one_in_either_order() {
    Scene::both(|scene| {
        scene.put_all(&[
            both_ways("api", "[]", "[]"),
            rules(
                "p",
                "[{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 53, protocol: UDP}]}]",
            ),
        ]);
        for (peer, port, first, later_before) in [
            ("shop/web", 53, true, true),
            // Without the first nothing is delivered, and that one is dropped.
            ("shop/web", 54, false, true),
            ("other/web", 53, false, false),
            ("world", 53, false, false),
        ] {
            for v4 in [true, false] {
                assert_eq!(in_order(scene, peer, port, v4, [0, 1, 2]), [first; 3], "{peer} {port}");
                let passed = in_order(scene, peer, port, v4, [2, 1, 0]);
                assert_eq!(passed, [later_before, later_before, first], "{peer} {port} backwards");
                let passed = in_order(scene, peer, port, v4, [1, 0, 2]);
                assert_eq!(passed, [later_before, first, first], "{peer} {port} mixed");
            }
        }
    });
}

#[test]
#[ignore = "needs root and BPF"]
fn case_41b_a_fragment_before_its_first_one_passes_where_a_port_of_its_protocol_is_allowed_in_either_direction()
 {
    let web = "podSelector: {matchLabels: {app: web}}";
    for (ports, passes) in [
        ("ports: [{port: 53, protocol: UDP}]", true),
        ("ports: [{protocol: UDP}]", true),
        ("ports: [{port: 53}]", false),
        ("ports: [{protocol: SCTP}, {protocol: TCP}]", false),
        ("ports: []", true),
    ] {
        Scene::both(|scene| {
            let allows = [format!("[{{PEERS: [{{{web}}}], {ports}}}]"), "[]".to_owned()];
            for turn in [0, 1] {
                let one = allows[turn].replace("PEERS", "from");
                let other = allows[1 - turn].replace("PEERS", "to");
                scene.put(&both_ways("api", &one, &other));
                scene.reports_nothing();
                for v4 in [true, false] {
                    assert_eq!(in_order(scene, "shop/web", 54, v4, [1, 2, 1])[0], passes, "{ports} {turn}");
                    assert!(!in_order(scene, "other/web", 53, v4, [1, 2, 1])[0], "{ports} {turn}");
                }
            }
        });
    }
}

/// Which fragments of a datagram between the peer and the server pass, sent in this order.
fn in_order(scene: &mut Scene, peer: &str, port: u16, v4: bool, order: [usize; 3]) -> [bool; 3] {
    let (from, to) = match scene.side {
        Side::Ingress => (scene.end(peer), scene.end(API)),
        Side::Egress => (scene.end(API), scene.end(peer)),
    };
    let (src, dst) = (from.address(v4).unwrap(), to.address(v4).unwrap());
    let (client, id) = (scene.new_port(), IDENTIFICATIONS.fetch_add(1, Ordering::Relaxed));
    let parts = Sent::datagram(at(src, client), at(dst, port), id);
    order.map(|turn| scene.walks(&from, &to, &parts[turn]).passes)
}
