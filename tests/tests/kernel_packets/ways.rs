//! Which packets go the short way, and what becomes of the others where the long one is missing: they are dropped.

use std::net::SocketAddr;

use netpol_common::{
    flow::{STATE_CLOSING, STATE_OPENING},
    packet::{TCP_FIN as FIN, TCP_RST as RST},
};
use netpol_tests::kernel::{
    Tables,
    craft::{at, echo, framed, tagged, tcp},
};
use netpol_tests::packet::{self, ACK, SYN};

use crate::scene::{BOTH, DENIED, POLICY, Scene, UNREPORTED, confidant, friend};

/// Does something while what does not go the short way goes nowhere.
fn without_the_long_way(scene: &mut Scene, what: impl FnOnce(&mut Scene)) {
    scene.tables.take_the_long_way_off();
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| what(scene)));
    // Others have the same programs.
    scene.tables.reopen_as_it_was();
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
}

/// One that is not shorter than all that the short way reads at once.
fn datagram(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    framed(&packet::udp(from, to, &[7; 12]))
}

fn passes(scene: &mut Scene, frame: &[u8]) -> bool {
    let pod = scene.pod;
    scene.tables.passes_from(&pod, frame)
}

#[test]
#[ignore = "needs root and BPF"]
fn where_the_long_way_is_missing_plain_flows_go_on_and_all_else_is_dropped() {
    let mut scene = Scene::new();
    // The second one's addresses stand somewhere else.
    let unselected = |tables: &mut Tables| {
        let pod = tables.pod();
        let plain = tcp(at(pod.address(true), 1), at(confidant(true), 1), ACK);
        [plain.clone(), tagged(plain, 0x8100, 5)].map(|frame| tables.passes_checked(&pod, &frame))
    };
    for v4 in BOTH {
        let (own, peer) = (at(scene.own(v4), 4000), at(confidant(v4), 80));
        let ping = echo(own.ip(), peer.ip(), 7);
        assert_eq!((scene.from(&tcp(own, peer, SYN)), scene.from(&ping)), (POLICY, POLICY));
        without_the_long_way(&mut scene, |scene| {
            assert!(passes(scene, &tcp(own, peer, ACK)), "a known flow");
            assert_eq!(scene.from(&datagram(own, at(friend(v4), 53))), POLICY, "a new one");
            assert_eq!(scene.from(&datagram(own, at(friend(v4), 54))), DENIED);
            assert!(!passes(scene, &ping), "nothing plain");
        });
        assert_eq!(scene.from(&ping), UNREPORTED);
    }
    assert_eq!(unselected(&mut scene.tables), [true, true]);
    without_the_long_way(&mut scene, |scene| assert_eq!(unselected(&mut scene.tables), [true, false]));
}

#[test]
#[ignore = "needs root and BPF"]
fn of_a_pod_that_no_policy_selects_each_byte_of_the_source_is_looked_at() {
    let mut scene = Scene::new();
    let pod = scene.tables.pod();
    for v4 in BOTH {
        let to = at(confidant(v4), 1);
        let (own, at_byte) = (pod.address(v4), if v4 { 26..30 } else { 22..38 });
        let plain = tcp(at(own, 1), to, ACK);
        without_the_long_way(&mut scene, |scene| assert!(scene.tables.passes_checked(&pod, &plain)));
        for byte in at_byte {
            let mut forged = plain.clone();
            forged[byte] ^= 1;
            assert!(!scene.tables.passes_checked(&pod, &forged), "byte {byte} of {own}");
        }
        // Of IPv4, the first two end before what is read of both families at once: the long way lets them through.
        for behind in [0, 3, 4] {
            let short = framed(&packet::ip(own, to.ip(), 253, &[0; 4][..behind]));
            assert!(scene.tables.passes_checked(&pod, &short), "{behind} bytes behind the header");
        }
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_connection_that_is_closed_makes_room_for_the_next_one_on_the_short_way() {
    for v4 in BOTH {
        let mut scene = Scene::new();
        let pod = scene.pod;
        let (own, peer) = scene.ends(v4);
        let state = |scene: &Scene| -> Vec<u8> {
            scene.tables.flows(&pod).iter().map(|(_, flow)| flow.state).collect()
        };
        for ending in [&[(true, RST)][..], &[(true, FIN | ACK), (false, FIN | ACK)]] {
            scene.opened(own, peer);
            scene.ended(own, peer, ending);
            assert_eq!(state(&scene), [STATE_CLOSING]);
            without_the_long_way(&mut scene, |scene| {
                assert_eq!(scene.from(&tcp(own, peer, SYN)), POLICY);
                assert_eq!(state(scene), [STATE_OPENING], "in the same place");
                // One that is not closed is looked at closely: it may be the same SYN again.
                assert!(!passes(scene, &tcp(own, peer, SYN)));
            });
            assert_eq!(scene.from(&tcp(own, peer, RST)), UNREPORTED);
        }
        // It is judged by what is in force now.
        scene.close(netpol_common::Direction::Egress);
        assert_eq!(scene.from(&tcp(own, peer, SYN)), DENIED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn the_verifier_walks_each_step_once() {
    let programs = netpol_agent::datapath::verify_programs().unwrap();
    assert!(programs.iter().any(|program| program.name == "long_way"));
    for program in programs {
        // 20,000 of the long way on Linux 5.10. Inlined, its steps made 240,000 of it, and half of an agent's start.
        let walked = program.instructions;
        assert!(
            (1..40_000).contains(&walked),
            "the verifier walks {walked} instructions of {}: make a step that is walked for several paths a function of its own",
            program.name
        );
    }
}
